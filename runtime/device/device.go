// Package device is a device we can talk to: finding it, describing it and
// opening its services on the right route.
//
//	Finder --List/Find/Wait/Watch--> Device --Open(service.Name)--> net.Conn
//
// A Device is one phone, by whichever route it is reached; Device.Open alone chooses
// the route and does what it needs (session, TLS, tunnel, check-in, escrow bag),
// so that service clients get a plain net.Conn. The routes are
//
//	usbmux 62078 or TCP 62078 -> lockdown session -> StartService -> port -> TLS
//	lockdown -> CoreDeviceProxy (17.4) -> tunnel -> RSD -> port -> check-in
//	RSD 58783 or TCP -> remote pairing -> createListener -> QUIC or TLS-PSK -> tunnel -> RSD
//	somebody else's tunnel -> RSD
//
// Package route plans which of them serves what. The files: find.go and network.go
// find devices, route.go has the routes to one, device.go opens services, session.go
// keeps lockdown's session, raise.go and remote.go make tunnels, tunnel.go keeps them,
// report.go tells what was chosen and why.
package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/device/route"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// DefaultTimeout bounds each call whose context has no deadline.
const DefaultTimeout = 30 * time.Second

// Device is one phone that can be reached. It is safe for concurrent use; its
// lockdown session is opened when first needed, shared by all callers and
// opened again when the device has dropped it.
type Device struct {
	finder *Finder
	log    *slog.Logger

	mu   sync.Mutex
	info Info

	// turn is held by whoever uses the shared session: a channel and not a
	// mutex, so that waiting for it ends with the caller's context.
	turn    chan struct{}
	session *session
	closed  bool
	probe   bool // made to ask one address who is there: it looks for no other

	tunnels tunnels
	closers []io.Closer // what was opened in the device's name, guarded by mu

	life context.Context // ends at Close, and with it what still waits
	end  context.CancelCauseFunc
}

// CloseWith makes c end together with the device.
func (d *Device) CloseWith(c io.Closer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closers = append(d.closers, c)
}

func newDevice(f *Finder, info Info) *Device {
	d := &Device{
		finder: f, info: info, turn: make(chan struct{}, 1), log: f.log.With("udid", info.UDID),
	}
	d.turn <- struct{}{}
	d.tunnels.turn = make(chan struct{}, 1)
	d.tunnels.turn <- struct{}{}
	d.life, d.end = context.WithCancelCause(context.Background())
	return d
}

// newProbe makes a Device that finds out who is at the routes of info. It never
// looks for the device elsewhere: that is what it is made for.
func newProbe(f *Finder, info Info) *Device {
	d := newDevice(f, info)
	d.probe = true
	return d
}

// Info returns the description made when the device was found or refreshed.
func (d *Device) Info() Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info
}

// UDID returns the device's identifier.
func (d *Device) UDID() string { return d.Info().UDID }

// String returns the name, version and identifier.
func (d *Device) String() string { return d.Info().String() }

// Refresh asks again where the device is and the device what it is. After a
// restart or a re-plug the routes have changed.
func (d *Device) Refresh(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	was := d.Info()
	routes, err := d.finder.routes(ctx, was)
	if err != nil {
		return err
	}
	if len(routes) == 0 {
		return &Error{UDID: was.UDID, Op: "refresh", Err: ErrNotFound}
	}
	was.Routes, was.Err = routes, nil
	info := describe(ctx, d.finder, was)
	d.mu.Lock()
	d.info = info
	d.mu.Unlock()
	return info.Err
}

// Connect opens a connection to a TCP port of the device: over lockdown's
// routes, or else in the tunnel.
func (d *Device) Connect(ctx context.Context, port uint16) (net.Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	what := fmt.Sprintf("port %d", port)
	if _, ok := d.Info().lockdown(); ok {
		c, _, err := d.connect(ctx, port, what)
		return c, err
	}
	t, err := d.tunnel(ctx)
	if err != nil {
		return nil, d.fail("connect", what, err)
	}
	c, err := t.dial(ctx, port)
	if err != nil {
		return nil, d.fail("connect", what, t.why(err))
	}
	return &conn{Conn: c, udid: d.UDID(), service: what, tunnel: t}, nil
}

// connect dials the port on the best route that has lockdown; when that leads
// nowhere, the device may have come back on another one, so it looks once more.
func (d *Device) connect(ctx context.Context, port uint16, what string) (net.Conn, Route, error) {
	for attempt := 0; ; attempt++ {
		route, ok := d.Info().lockdown()
		if !ok {
			return nil, route, d.fail("connect", what, ErrNoRoute)
		}
		c, err := d.connectOn(ctx, route, port, what)
		if err == nil {
			return c, route, nil
		}
		lost := errors.Is(err, usbmux.BadDevice) || route.mux == nil
		if attempt > 0 || !lost || d.rediscover(ctx) != nil {
			return nil, route, d.fail("connect", what, err)
		}
	}
}

func (d *Device) connectOn(
	ctx context.Context, route Route, port uint16, what string,
) (net.Conn, error) {
	c, err := route.connect(ctx, port)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, udid: d.UDID(), service: what}, nil
}

// rediscover finds the present routes to the device.
func (d *Device) rediscover(ctx context.Context) error {
	if d.probe {
		return ErrNotFound
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	routes, err := d.finder.routes(ctx, d.Info())
	if err == nil && len(routes) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.info.Routes = routes
	d.mu.Unlock()
	return nil
}

// Open starts a service and connects to it, as route.Service plans it; it makes
// Device a service.Opener. The connection's errors name the device and the service.
func (d *Device) Open(ctx context.Context, n service.Name) (net.Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	plan := route.Service(d.Info().facts(TunnelOptions{}), route.Needs{
		Lockdown: n.Lockdown != "", Remote: n.Remote != "", Developer: n.NeedsDDI,
	})
	c, err := d.openBy(ctx, plan[0], n)
	if len(plan) == 1 || !errors.Is(err, lockdown.ErrInvalidService) {
		return c, err
	}
	c, more := d.openBy(ctx, plan[1], n)
	if errors.Is(more, rsd.ErrNotListed) || errors.Is(more, rsd.ErrInvalidService) ||
		errors.Is(more, ErrNoTunnel) {
		return nil, err // neither has it: lockdown's words are the known ones
	}
	return c, more
}

// openBy takes one step of a plan.
func (d *Device) openBy(ctx context.Context, s route.Step, n service.Name) (net.Conn, error) {
	if s.Skip != "" {
		return nil, d.fail("open", n.String(), fmt.Errorf("%w: %s", ErrNoRoute, s.Skip))
	}
	if s.Means == route.ByLockdown {
		c, err := d.openLockdown(ctx, n, Route{})
		return c, d.imageError(ctx, n, d.fail("open", n.Lockdown, err))
	}
	c, err := d.openTunneled(ctx, n)
	return c, d.fail("open", n.String(), err)
}

// openLockdown has lockdown start a service, over the shared session or, when
// a route is given that it does not use, over one on that route.
func (d *Device) openLockdown(ctx context.Context, n service.Name, on Route) (net.Conn, error) {
	var end lockdown.Endpoint
	var identity lockdown.Identity
	var route Route
	start := func(s *session) (err error) {
		var escrow []byte
		if n.Escrow && s.record != nil {
			escrow = s.record.EscrowBag
		}
		identity, route = s.identity, s.route
		end, err = s.StartService(ctx, n.Lockdown, escrow)
		return err
	}
	var err error
	if best, _ := d.Info().lockdown(); on.Via == "" || on.same(best) {
		err = d.withSession(ctx, start)
	} else {
		err = d.withOwnSession(ctx, on, start)
	}
	if err != nil {
		return nil, err
	}
	c, err := d.connectOn(ctx, route, end.Port, n.Lockdown)
	if err != nil || !end.TLS {
		return c, err
	}
	return lockdown.ServiceTLS(ctx, c, identity, n.HandshakeOnlyTLS)
}

// Rand returns where random bytes on the wire come from; it makes Device a
// service.Randomizer.
func (d *Device) Rand() io.Reader { return d.finder.opts.Rand }

// Close ends the shared session, the tunnel, what was given to CloseWith and
// every call that still waits. Services that were opened outside of the tunnel
// live on. The Finder gives a new Device for the same phone from then on.
func (d *Device) Close() error {
	d.finder.forget(d)
	d.end(net.ErrClosed)
	d.mu.Lock()
	closers, t := d.closers, d.tunnels.current
	d.closers = nil
	d.mu.Unlock()
	for _, c := range closers {
		c.Close()
	}
	if t != nil {
		t.close()
	}
	<-d.turn
	defer func() { d.turn <- struct{}{} }()
	d.closed = true
	if d.session == nil {
		return nil
	}
	err := d.session.Close()
	d.session = nil
	return err
}

// withTimeout gives ctx the default deadline when it has none.
func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}

// bound is withTimeout for a call that Close ends as well.
func (d *Device) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := withTimeout(ctx)
	ctx, end := d.living(ctx)
	return ctx, func() {
		end()
		cancel()
	}
}

// living ends ctx with the Device.
func (d *Device) living(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.life, func() { end(net.ErrClosed) })
	return ctx, func() {
		stop()
		end(nil)
	}
}

// conn names the device and the service in the errors of a connection.
type conn struct {
	net.Conn
	udid, service string
	tunnel        *Tunnel // nil outside of tunnels
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.wrap("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.wrap("write", err)
}

// Place names the connection in errors of calls that end while they wait.
func (c *conn) Place() string { return c.service + " on " + c.udid }

func (c *conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF && (c.tunnel == nil || c.tunnel.alive()) {
		return err
	}
	if c.tunnel != nil {
		err = c.tunnel.why(err)
	}
	return &Error{UDID: c.udid, Service: c.service, Op: op, Err: err}
}

// CloseWrite half-closes the connection where the route can.
func (c *conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}
