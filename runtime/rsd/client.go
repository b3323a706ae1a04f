package rsd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

// DialFunc opens a connection to a port of the device, through a tunnel or on the USB
// Ethernet interface.
type DialFunc func(ctx context.Context, port uint16) (net.Conn, error)

// Options of a Client. The zero value works.
type Options struct {
	// Label is the program name in a check-in; "" means "imdlua".
	Label string
	// EscrowBag is sent in the check-in of a service that requires it. For remote
	// pairing it is the host's unlock key.
	EscrowBag []byte
	// Host is the identity of this computer in handshakes. Devices with iOS 27.2 close
	// the ports of their services when the identity of the host changes, so all
	// programs of a computer should have the same one; see HostIdentity. The zero value
	// means a random one for this Client.
	Host xpc.UUID
	// Patience is how long a reading of the list is tried again if the device ends the
	// connection before it has sent the list; 0 means that it is not tried again. It is
	// for devices that are known; see UsualPatience. They end a connection when another
	// host connects at the same moment, and some do it just after a tunnel has begun.
	Patience time.Duration
	// Heartbeat is the interval at which the device is asked whether it is still there.
	// 0 means never, which is what hosts other than Apple's do. A device that has
	// answered once and then does not answer within another Heartbeat is lost.
	Heartbeat time.Duration
	// Rand is the source of random bytes; nil means crypto/rand. It must be safe for
	// concurrent use.
	Rand io.Reader
	// Logger is also used for the RemoteXPC connection. If it is nil, nothing is
	// logged.
	Logger *slog.Logger
}

// Client holds a device's list of services and opens connections to them. Its methods
// may be called concurrently.
type Client struct {
	dial DialFunc
	port uint16
	opts Options
	log  *slog.Logger

	turn chan struct{} // has a token; taken while the list is read again

	mu     sync.Mutex
	list   *session
	begun  uint64 // number of readings of the list that have begun
	read   uint64 // the newest one of them that has succeeded
	closed bool
}

// session is one connection to the list.
type session struct {
	conn *remotexpc.Conn
	peer atomic.Pointer[Peer]
	stop context.CancelFunc
	done chan struct{} // closed when the device is gone or the session is closed
	wg   sync.WaitGroup

	mu  sync.Mutex
	err error // why done was closed
}

// Dial reads the device's list at port and keeps the connection open. Reading is
// bounded by ctx and by thirty seconds.
func Dial(ctx context.Context, dial DialFunc, port uint16, o Options) (*Client, error) {
	if o.Label == "" {
		o.Label = "imdlua"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Host == (xpc.UUID{}) {
		o.Host = link.UUID(o.Rand)
	}
	c := &Client{
		dial: dial, port: port, opts: o, log: o.Logger.With("layer", "rsd"),
		turn: make(chan struct{}, 1),
	}
	c.turn <- struct{}{}
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	c.list = s
	return c, nil
}

// connect opens a session. If the device ends the connection before it has sent the
// list, connect tries again at growing intervals, as long as Options.Patience says.
func (c *Client) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	begun := time.Now()
	for pause := firstPause; ; pause *= 2 {
		s, reached, err := c.attempt(ctx)
		again := reached && ended(err) && time.Since(begun)+pause <= c.opts.Patience
		if !again || link.Sleep(ctx, pause) != nil {
			return s, err
		}
		c.log.Debug("list was cut off", "error", err)
	}
}

// ended reports whether the device has ended a connection without a reason of its own.
func ended(err error) bool {
	for _, end := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, remotexpc.ErrReset, remotexpc.ErrGoAway,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return link.Disconnected(err)
}

// attempt opens a session. reached reports whether a connection could be made.
func (c *Client) attempt(ctx context.Context) (s *session, reached bool, err error) {
	nc, err := c.dial(ctx, c.port)
	if err != nil {
		return nil, false, &Error{Op: "dial", Err: err}
	}
	conn, err := remotexpc.Connect(ctx, nc, remotexpc.Options{
		MaxMessage: maxList, Buffer: maxList, Logger: c.opts.Logger,
	})
	if err != nil {
		return nil, true, &Error{Op: "dial", Err: err}
	}
	peer, err := shake(ctx, conn, c.opts.Host)
	if err != nil {
		_ = conn.Close()
		return nil, true, &Error{Op: "handshake", Err: err}
	}
	c.log.Debug("list", "udid", peer.Properties.UDID(), "services", len(peer.Services), "protocol",
		peer.ProtocolVersion)
	inner, stop := context.WithCancel(context.Background())
	s = &session{conn: conn, stop: stop, done: make(chan struct{})}
	s.peer.Store(peer)
	s.wg.Go(func() { s.watch(inner) })
	if c.opts.Heartbeat > 0 {
		s.wg.Go(func() { s.beat(inner, c.opts.Heartbeat) })
	}
	return s, true, nil
}

// shake sends the handshake of the host and reads that of the device, which the device
// sends unasked. remoted of iOS 26 does not let a host open services without its
// handshake.
func shake(ctx context.Context, conn *remotexpc.Conn, id xpc.UUID) (*Peer, error) {
	if err := conn.Send(ctx, hostHandshake(id)); err != nil {
		return nil, err
	}
	for {
		m, err := conn.Receive(ctx)
		if err != nil {
			return nil, err
		}
		if t, _ := m.Body.String(keyMessageType); t == typeHeartbeat {
			continue
		}
		return decodePeer(m.Body)
	}
}

// watch notices that the device has closed the connection, and keeps the list that the
// device sends again after its ports have changed. It ignores all other messages.
func (s *session) watch(ctx context.Context) {
	for {
		m, err := s.conn.Receive(ctx)
		if e := s.conn.Err(); e != nil {
			s.lose(e)
			return
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			continue
		}
		if t, _ := m.Body.String(keyMessageType); t != typeHandshake {
			continue
		}
		peer, err := decodePeer(m.Body)
		if err == nil {
			s.peer.Store(peer)
		}
	}
}

// beat asks the device at intervals whether it is there. A device that has never
// answered does not support the question.
func (s *session) beat(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	answered := false
	for n := uint64(1); ; n++ {
		select {
		case <-tick.C:
		case <-s.done:
			return
		case <-ctx.Done():
			return
		}
		bound, cancel := context.WithTimeout(ctx, every)
		_, err := s.conn.Call(bound, heartbeat(n))
		cancel()
		switch {
		case err == nil:
			answered = true
		case ctx.Err() != nil || !answered:
			return
		default:
			s.lose(&Error{Op: "heartbeat", Err: err})
			return
		}
	}
}

// lose ends the session. Only the first reason is kept.
func (s *session) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
	}
}

func (s *session) close() {
	s.lose(&Error{Op: "dial", Err: net.ErrClosed})
	s.stop()
	_ = s.conn.Close()
	s.wg.Wait()
}

// current returns the session in use.
func (c *Client) current() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list
}

// Peer returns the last description that the device sent. It must not be changed.
func (c *Client) Peer() *Peer { return c.current().peer.Load() }

// Done returns a channel that is closed when the device has closed the connection of
// the list, when it does not answer heartbeats any more, or after Close. Connections to
// services stay open. Refresh makes a new channel.
func (c *Client) Done() <-chan struct{} { return c.current().done }

// Err returns why Done is closed, or nil while it is open.
func (c *Client) Err() error {
	s := c.current()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Refresh reads the list again. Services that have been added since, such as those of a
// developer image, are listed on a new connection only. Only one call reads at a time,
// because devices do not accept two handshakes at once. A reading that began after
// several calls serves all of them.
func (c *Client) Refresh(ctx context.Context) error {
	c.mu.Lock()
	before := c.begun
	c.mu.Unlock()
	select {
	case <-c.turn:
		defer func() { c.turn <- struct{}{} }()
	case <-ctx.Done():
		return &Error{Op: "dial", Err: context.Cause(ctx)}
	}
	c.mu.Lock()
	closed, served := c.closed, c.read > before
	if !closed && !served {
		c.begun++
	}
	number := c.begun
	c.mu.Unlock()
	if closed {
		return &Error{Op: "dial", Err: net.ErrClosed}
	}
	if served {
		return nil
	}
	s, err := c.connect(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	old := c.list
	closed = c.closed
	if closed {
		old = s
	} else {
		c.list, c.read = s, number
	}
	c.mu.Unlock()
	old.close()
	if closed {
		return &Error{Op: "dial", Err: net.ErrClosed}
	}
	return nil
}

// Close closes the connection of the list. Connections to services stay open.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	list := c.list
	c.mu.Unlock()
	list.close()
	return nil
}

// Find returns the service with a name, or the one that a lockdown service has in the
// list: "com.apple.afc" finds "com.apple.afc.shim.remote".
func (c *Client) Find(name string) (Service, bool) { return c.Peer().find(name) }

func (p *Peer) find(name string) (Service, bool) {
	services := p.Services
	if s, ok := services[name]; ok {
		return s, true
	}
	s, ok := services[name+shimSuffix]
	return s, ok
}

// named returns the service that is listed under one of the names of n.
func (p *Peer) named(n service.Name) (Service, error) {
	for _, name := range []string{n.Remote, n.Lockdown} {
		if name == "" {
			continue
		}
		if s, ok := p.find(name); ok {
			return s, nil
		}
	}
	name := n.Remote
	if name == "" {
		name = n.Lockdown
	}
	return Service{}, &Error{Op: "open", Service: name, Err: ErrNotListed}
}

// Open connects to a service and performs the check-in if the service requires one. For
// a service that speaks RemoteXPC, the caller performs its handshake
// (remotexpc.Connect). If the service refuses the connection, its port may have
// changed, and Open reads the list again.
func (c *Client) Open(ctx context.Context, n service.Name) (net.Conn, error) {
	s, nc, err := c.reach(ctx, n)
	if err != nil {
		return nil, err
	}
	if !n.Checkin && s.Transport() != Checkin {
		return nc, nil
	}
	var escrow []byte
	if n.Escrow {
		escrow = c.opts.EscrowBag
	}
	if err := checkin(ctx, nc, s.Name, c.opts.Label, escrow); err != nil {
		_ = nc.Close()
		return nil, err
	}
	c.log.Debug("checked in", "service", s.Name)
	return nc, nil
}

// reach dials a service. If another host has made the device change its ports, the
// device changes them once more when it gets the handshake of this host. The list may
// therefore have to be read twice.
func (c *Client) reach(ctx context.Context, n service.Name) (Service, net.Conn, error) {
	for attempt := 0; ; attempt++ {
		peer := c.Peer()
		s, err := peer.named(n)
		if err != nil {
			return s, nil, err
		}
		nc, err := c.dial(ctx, s.Port)
		if err == nil {
			return s, nc, nil
		}
		if attempt == maxRereads || !link.Is(err, syscall.ECONNREFUSED) {
			return s, nil, &Error{Op: "open", Service: s.Name, Err: err}
		}
		if c.Peer() != peer {
			continue // the device has sent the list again
		}
		if err := c.Refresh(ctx); err != nil {
			return s, nil, err
		}
	}
}

// OpenXPC connects to a service that speaks RemoteXPC and performs its handshake.
func (c *Client) OpenXPC(
	ctx context.Context, name string, o remotexpc.Options,
) (*remotexpc.Conn, error) {
	nc, err := c.Open(ctx, service.Name{Remote: name})
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = c.opts.Logger
	}
	x, err := remotexpc.Connect(ctx, nc, o)
	if err != nil {
		return nil, &Error{Op: "open", Service: name, Err: err}
	}
	return x, nil
}

// checkin performs the exchange that precedes a lockdown service. It reads no byte
// after the two answers, because the first message of the service may follow at once.
func checkin(ctx context.Context, nc net.Conn, name, label string, escrow []byte) error {
	ctx, cancel := context.WithTimeout(ctx, checkinTimeout)
	defer cancel()
	fail := func(err error) error { return &Error{Op: "checkin", Service: name, Err: err} }
	p := &link.PlistConn{Conn: nc, Max: maxCheckin}
	request := plist.Dict{
		"Label": label, "ProtocolVersion": checkinProtocol, "Request": checkinRequest,
	}
	if len(escrow) > 0 {
		request["EscrowBag"] = escrow
	}
	if err := p.Send(ctx, request); err != nil {
		return fail(err)
	}
	for _, want := range []string{checkinRequest, checkinStart} {
		d, err := p.RecvDict(ctx)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fail(err)
		}
		if code, ok := d.String("Error"); ok && code != "" {
			detail, _ := d.String("ErrorDescription")
			return &Error{Op: "checkin", Service: name, Code: Code(code), Detail: detail}
		}
		if _, ok := d["Error"]; ok {
			return fail(link.Malformed("refused without a reason"))
		}
		if got, _ := d.String("Request"); got != want {
			return fail(
				link.Malformed(fmt.Sprintf("answer is to %q, not %s", link.Clip(got), want)),
			)
		}
	}
	return nil
}
