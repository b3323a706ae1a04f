// Package device is a device we can talk to: finding it, describing it and
// opening its services on the right road.
//
//	Finder --List/Find/Wait/Watch--> Device --Open(service.Name)--> net.Conn
//
// A Device is one phone, whatever roads lead to it; Device.Open alone chooses
// the road and does what it needs (session, TLS, escrow bag), so that service
// clients get a plain net.Conn. The road here is
//
//	usbmux Connect 62078 -> lockdown session -> StartService -> usbmux Connect port -> TLS
package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/pair"
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

	closers []io.Closer // what was opened in the device's name, guarded by mu
}

// CloseWith makes c end together with the device.
func (d *Device) CloseWith(c io.Closer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closers = append(d.closers, c)
}

// session is a lockdown connection with TLS.
type session struct {
	*lockdown.Client
	identity lockdown.Identity
	record   *pair.Record
	used     bool // has answered at least once: worth a second try when it breaks
}

func newDevice(f *Finder, info Info) *Device {
	d := &Device{finder: f, info: info, turn: make(chan struct{}, 1), log: f.log.With("udid", info.UDID)}
	d.turn <- struct{}{}
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

// road returns the muxer entry used to reach the device.
func (d *Device) road() (Road, error) {
	info := d.Info()
	if len(info.Roads) == 0 {
		return Road{}, &Error{UDID: info.UDID, Op: "connect", Err: ErrNoRoad}
	}
	return info.Roads[0], nil
}

// Refresh asks the muxers again where the device is and the device what it is.
// After a restart or a re-plug the roads have changed.
func (d *Device) Refresh(ctx context.Context) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	roads, err := d.finder.roads(ctx, d.UDID())
	if err != nil {
		return err
	}
	if len(roads) == 0 {
		return &Error{UDID: d.UDID(), Op: "refresh", Err: ErrNotFound}
	}
	info := describe(ctx, d.finder, Info{UDID: d.UDID(), Roads: roads})
	d.mu.Lock()
	d.info = info
	d.mu.Unlock()
	return info.Err
}

// Connect opens a connection to a TCP port of the device.
func (d *Device) Connect(ctx context.Context, port uint16) (net.Conn, error) {
	return d.connect(ctx, port, fmt.Sprintf("port %d", port))
}

// connect dials the port; when the muxer no longer knows the device id, the
// device may have come back under another one, so it looks once more.
func (d *Device) connect(ctx context.Context, port uint16, what string) (net.Conn, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	for attempt := 0; ; attempt++ {
		road, err := d.road()
		if err != nil {
			return nil, err
		}
		c, err := road.mux.Connect(ctx, road.DeviceID, port)
		if err == nil {
			return &conn{Conn: c, udid: d.UDID(), service: what}, nil
		}
		if attempt > 0 || !errors.Is(err, usbmux.BadDevice) || d.rediscover(ctx) != nil {
			return nil, d.fail("connect", what, err)
		}
	}
}

// rediscover finds the present roads to the device.
func (d *Device) rediscover(ctx context.Context) error {
	roads, err := d.finder.roads(ctx, d.UDID())
	if err == nil && len(roads) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.info.Roads = roads
	d.mu.Unlock()
	return nil
}

// Open starts a service and connects to it; it makes Device a service.Opener.
// The connection's errors name the device and the service.
func (d *Device) Open(ctx context.Context, n service.Name) (net.Conn, error) {
	if n.Lockdown == "" {
		return nil, d.fail("open", n.String(), ErrNoRoad)
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	var end lockdown.Endpoint
	var identity lockdown.Identity
	err := d.withSession(ctx, func(s *session) (err error) {
		var escrow []byte
		if n.Escrow {
			escrow = s.record.EscrowBag
		}
		identity = s.identity
		end, err = s.StartService(ctx, n.Lockdown, escrow)
		return err
	})
	if err != nil {
		return nil, d.fail("open", n.Lockdown, err)
	}
	c, err := d.connect(ctx, end.Port, n.Lockdown)
	if err != nil || !end.TLS {
		return c, err
	}
	if c, err = lockdown.ServiceTLS(ctx, c, identity, n.HandshakeOnlyTLS); err != nil {
		return nil, d.fail("open", n.Lockdown, err)
	}
	return c, nil
}

// withSession runs fn with the shared session, opening one first if there is
// none. A session that had worked before and turns out to be gone (the device
// closes idle ones) is opened again once.
func (d *Device) withSession(ctx context.Context, fn func(*session) error) error {
	select {
	case <-d.turn:
		defer func() { d.turn <- struct{}{} }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		if d.closed {
			return net.ErrClosed
		}
		if d.session == nil {
			s, err := d.startSession(ctx)
			if err != nil {
				return err
			}
			d.session = s
		}
		err := fn(d.session)
		if err == nil || !sessionLost(err) { // a refusal is an answer too
			d.session.used = true
			return err
		}
		worked := d.session.used
		d.session.Close()
		d.session = nil
		if !worked || ctx.Err() != nil {
			return err
		}
		d.log.Debug("lockdown session lost, opening another", "layer", "device", "err", err)
	}
}

// sessionLost reports whether err says that the lockdown connection cannot be
// used any more, as opposed to a refusal.
func sessionLost(err error) bool {
	var refused *lockdown.Error
	if errors.As(err, &refused) && refused.Code != "" {
		return slices.Contains([]lockdown.Code{lockdown.ErrSessionInactive, lockdown.ErrInvalidConnection, lockdown.ErrInvalidResponse}, refused.Code)
	}
	return true
}

// plain opens a lockdown connection without a session.
func (d *Device) plain(ctx context.Context) (*lockdown.Client, error) {
	c, err := d.connect(ctx, lockdown.Port, "lockdown")
	if err != nil {
		return nil, err
	}
	return lockdown.New(c, lockdown.Options{Label: d.finder.opts.Label, Logger: d.finder.opts.Logger}), nil
}

// startSession opens a session with the stored pair record; without one, or
// when the device has forgotten it, it pairs first if that is allowed.
func (d *Device) startSession(ctx context.Context) (*session, error) {
	record, err := d.finder.loadRecord(ctx, d.Info())
	if err != nil && !errors.Is(err, ErrNotPaired) {
		return nil, err
	}
	if err == nil {
		s, err := d.sessionWith(ctx, record)
		if err == nil || !errors.Is(err, lockdown.ErrInvalidHostID) {
			return s, err
		}
		if d.finder.opts.NoAutoPair {
			return nil, err
		}
	} else if d.finder.opts.NoAutoPair {
		return nil, err
	}
	if record, err = d.pair(ctx); err != nil {
		return nil, err
	}
	return d.sessionWith(ctx, record)
}

func (d *Device) sessionWith(ctx context.Context, record *pair.Record) (*session, error) {
	cert, err := record.Certificate()
	if err != nil {
		return nil, err
	}
	c, err := d.plain(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{Client: c, record: record, identity: lockdown.Identity{HostID: record.HostID, SystemBUID: record.SystemBUID, Certificate: cert}}
	if err := c.StartSession(ctx, s.identity); err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the shared session and what was given to CloseWith. Services that
// were opened otherwise live on. The Finder gives a new Device for the same
// phone from then on.
func (d *Device) Close() error {
	d.finder.forget(d)
	d.mu.Lock()
	closers := d.closers
	d.closers = nil
	d.mu.Unlock()
	for _, c := range closers {
		c.Close()
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

// conn names the device and the service in the errors of a connection.
type conn struct {
	net.Conn
	udid, service string
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
	if err == nil || err == io.EOF {
		return err
	}
	return &Error{UDID: c.udid, Service: c.service, Op: op, Err: err}
}

// CloseWrite half-closes the connection where the road can.
func (c *conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}

// Back waits until the device has come back after a restart and answers
// lockdown, and renews its description.
func (d *Device) Back(ctx context.Context) error {
	w := d.finder.Watch()
	defer w.Close()
	before, err := d.road()
	if err != nil {
		return err
	}
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return d.fail("wait for restart", "", err)
		}
		came := e.Kind == usbmux.Attached && e.Info.UDID == d.UDID() && e.Info.ready()
		if came && e.Info.Roads[0].DeviceID != before.DeviceID {
			d.mu.Lock()
			d.info = e.Info
			d.mu.Unlock()
			return nil
		}
	}
}
