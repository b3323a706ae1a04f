// Package device finds devices, describes them and opens their services on the right
// route.
//
//	Finder --List/Find/Wait/Watch--> Device --Open(service.Name)--> net.Conn
//
// A Device is one phone and all known routes to it. Device.Open chooses the route and
// takes every step that the route requires: session, TLS, tunnel, check-in, escrow bag.
// Clients of services therefore get a plain net.Conn. The routes are:
//
//	usbmux 62078 or TCP 62078 -> lockdown session -> StartService -> port -> TLS
//	lockdown -> CoreDeviceProxy (17.4) -> tunnel -> RSD -> port -> check-in
//	RSD 58783 or TCP -> remote pairing -> createListener -> QUIC or TLS-PSK -> tunnel -> RSD
//	somebody else's tunnel -> RSD
//
// Package route plans which route serves what. In this package, find.go, network.go and
// search.go find devices, route.go describes the routes to a device, device.go opens
// services, session.go keeps the lockdown session, raise.go and remote.go make tunnels,
// tunnel.go keeps them, and report.go reports which routes are used and why.
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

// Device is a phone that can be reached. It is safe for concurrent use. Its lockdown
// session is opened when it is first needed, shared by all callers, and opened again
// after the device has closed it.
type Device struct {
	finder *Finder
	log    *slog.Logger

	mu   sync.Mutex
	info Info

	// turn has a token for the user of the shared session. It is a channel and not a
	// mutex, so that a caller's context ends the wait for it.
	turn    chan struct{}
	session *session
	closed  bool
	probe   bool // made by newProbe; it does not look for other routes

	tunnels tunnels
	closers []io.Closer // from CloseWith; guarded by mu

	life context.Context // ends at Close, which ends all waiting calls
	end  context.CancelCauseFunc
}

// CloseWith closes c when the device is closed.
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

// newProbe returns a Device that finds out which device is at the routes of info. It
// does not look for other routes, because it serves that search itself.
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

// Refresh looks up the routes to the device again and asks the device for its
// description. The routes change when the device restarts or is plugged in again.
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

// Connect opens a connection to a TCP port of the device. It uses a route that has
// lockdown if there is one, and the tunnel otherwise.
func (d *Device) Connect(ctx context.Context, port uint16) (net.Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	what := fmt.Sprintf("port %d", port)
	if _, ok := d.Info().lockdown(); ok {
		c, _, err := d.connect(ctx, port, what)
		return c, err
	}
	return d.connectTunneled(ctx, port, what)
}

// connectTunneled opens a connection to a TCP port of the device in its tunnel.
func (d *Device) connectTunneled(ctx context.Context, port uint16, what string) (net.Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
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

// connect dials the port on the best route that has lockdown. If that fails, the device
// may have another route by now, so connect looks the routes up and tries once more.
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
		if attempt == 0 && lost && d.rediscover(ctx) == nil {
			continue
		}
		return nil, route, d.fail("connect", what, err)
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

// rediscover looks up the current routes to the device.
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

// Open starts a service and connects to it, by the steps that route.Service plans. It
// implements service.Opener. Errors of the connection name the device and the service.
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
	c, tunnelErr := d.openBy(ctx, plan[1], n)
	missing := errors.Is(tunnelErr, rsd.ErrNotListed) ||
		errors.Is(tunnelErr, rsd.ErrInvalidService) || errors.Is(tunnelErr, ErrNoTunnel)
	if missing {
		return nil, err // neither has the service, and lockdown's error is the better known
	}
	return c, tunnelErr
}

// openBy takes one step of a plan.
func (d *Device) openBy(ctx context.Context, s route.Step, n service.Name) (net.Conn, error) {
	if s.Skip != "" {
		return nil, d.fail("open", n.String(), fmt.Errorf("%w: %s", ErrNoRoute, s.Skip))
	}
	if s.Method == route.ByLockdown {
		c, err := d.openLockdown(ctx, n, Route{})
		return c, d.imageError(ctx, n, d.fail("open", n.Lockdown, err))
	}
	c, err := d.openTunneled(ctx, n)
	return c, d.fail("open", n.String(), err)
}

// openLockdown has lockdown start a service. It uses the shared session, unless on
// names another route, for which it opens a session of its own.
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
	best, _ := d.Info().lockdown()
	var err error
	if on.Via == "" || on.same(best) {
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

// Rand returns the source of random bytes on the wire. It implements
// service.Randomizer.
func (d *Device) Rand() io.Reader { return d.finder.opts.Rand }

// Close ends the shared session, the tunnel, the closers of CloseWith and every call
// that waits. Connections that were opened outside of the tunnel stay open. After Close
// the Finder returns a new Device for the phone.
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

// bound is withTimeout for a call that Close ends, too.
func (d *Device) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := withTimeout(ctx)
	ctx, end := d.living(ctx)
	return ctx, func() {
		end()
		cancel()
	}
}

// living returns a context that ends with ctx or when the Device is closed.
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
	tunnel        *Tunnel // nil outside of a tunnel
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.wrap("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.wrap("write", err)
}

// Place names the connection in the errors of calls that time out.
func (c *conn) Place() string { return c.service + " on " + c.udid }

func (c *conn) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if err == io.EOF && (c.tunnel == nil || c.tunnel.alive()) {
		return err
	}
	if c.tunnel != nil {
		err = c.tunnel.why(err)
	}
	return &Error{UDID: c.udid, Service: c.service, Op: op, Err: err}
}

// CloseWrite closes the writing side, if the route allows that, and the connection
// otherwise.
func (c *conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}
