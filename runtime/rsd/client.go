package rsd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

// DialFunc opens a connection to a port of the device: through a tunnel, or on
// the USB Ethernet interface.
type DialFunc func(ctx context.Context, port uint16) (net.Conn, error)

// Options of a Client. The zero value works.
type Options struct {
	// Label is the program name in a check-in; "" means "imdlua".
	Label string
	// EscrowBag goes along with the check-in of a service that wants it. Of a
	// remote pairing it is the host's unlock key.
	EscrowBag []byte
	// Heartbeat is how often the device is asked whether it is still there;
	// 0 is never, as all hosts but Apple's have it. A device that has
	// answered once and then does not within another Heartbeat is lost.
	Heartbeat time.Duration
	// Rand is where random bytes come from; nil means crypto/rand. It must be safe for
	// concurrent use.
	Rand io.Reader
	// Logger is also that of the RemoteXPC connection; nil is silent.
	Logger *slog.Logger
}

// Client is a device's list and the way to its services. Its methods may be
// called concurrently.
type Client struct {
	dial DialFunc
	port uint16
	opts Options
	log  *slog.Logger

	mu     sync.Mutex
	list   *session
	asked  uint64 // how often the list was asked for
	closed bool
}

// session is one connection to the list.
type session struct {
	number uint64 // by which the newest list is known
	conn   *remotexpc.Conn
	peer   *Peer
	stop   context.CancelFunc
	done   chan struct{} // the device is gone or the session closed
	wg     sync.WaitGroup

	mu  sync.Mutex
	err error // why done is closed
}

// Dial reads the device's list at port and keeps the connection. ctx and thirty
// seconds bound the reading.
func Dial(ctx context.Context, dial DialFunc, port uint16, o Options) (*Client, error) {
	if o.Label == "" {
		o.Label = "imdlua"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{dial: dial, port: port, opts: o, log: o.Logger.With("layer", "rsd")}
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	c.list = s
	return c, nil
}

// connect makes a session.
func (c *Client) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	nc, err := c.dial(ctx, c.port)
	if err != nil {
		return nil, &Error{Op: "dial", Err: err}
	}
	conn, err := remotexpc.Connect(ctx, nc, remotexpc.Options{
		MaxMessage: maxList, Buffer: maxList, Logger: c.opts.Logger,
	})
	if err != nil {
		return nil, &Error{Op: "dial", Err: err}
	}
	peer, err := shake(ctx, conn, link.UUID(c.opts.Rand))
	if err != nil {
		_ = conn.Close()
		return nil, &Error{Op: "handshake", Err: err}
	}
	c.log.Debug("list", "udid", peer.Properties.UDID(), "services", len(peer.Services), "protocol",
		peer.ProtocolVersion)
	inner, stop := context.WithCancel(context.Background())
	s := &session{conn: conn, peer: peer, stop: stop, done: make(chan struct{})}
	s.wg.Go(func() { s.watch(inner) })
	if c.opts.Heartbeat > 0 {
		s.wg.Go(func() { s.beat(inner, c.opts.Heartbeat) })
	}
	return s, nil
}

// shake says who we are, which remoted of iOS 26 wants to know before it lets
// services be opened, and takes what the device says without being asked.
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

// watch notices that the device has closed the connection. What it says there
// is passed over.
func (s *session) watch(ctx context.Context) {
	for {
		_, err := s.conn.Receive(ctx)
		if e := s.conn.Err(); e != nil {
			s.lose(e)
			return
		}
		if err != nil && ctx.Err() != nil {
			return
		}
	}
}

// beat asks the device from time to time whether it is there. One that never
// answers does not know the question.
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

// lose ends the session; the first reason counts.
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

// Peer is what the device said last. It must not be changed.
func (c *Client) Peer() *Peer { return c.current().peer }

// Done returns a channel that is closed when the device has closed the
// connection of the list, does not answer heartbeats any more, or Close was
// called. Connections to services live on. Refresh makes a new channel.
func (c *Client) Done() <-chan struct{} { return c.current().done }

// Err says why Done is closed; nil while it is not.
func (c *Client) Err() error {
	s := c.current()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Refresh reads the list again: services that came up since, as those of a
// developer image, show on a new connection only. Peer returns the new list
// afterwards, or a newer one: of several calls at once the one that began last
// counts.
func (c *Client) Refresh(ctx context.Context) error {
	c.mu.Lock()
	c.asked++
	number := c.asked
	c.mu.Unlock()
	s, err := c.connect(ctx)
	if err != nil {
		return err
	}
	s.number = number
	c.mu.Lock()
	old, closed := c.list, c.closed
	if closed || old.number > s.number {
		old = s
	} else {
		c.list = s
	}
	c.mu.Unlock()
	old.close()
	if closed {
		return &Error{Op: "dial", Err: net.ErrClosed}
	}
	return nil
}

// Close ends the connection of the list. Connections to services live on.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	list := c.list
	c.mu.Unlock()
	list.close()
	return nil
}

// Find looks a service up by its name, or by that of the lockdown service
// behind it: "com.apple.afc" finds "com.apple.afc.shim.remote".
func (c *Client) Find(name string) (Service, bool) {
	services := c.Peer().Services
	if s, ok := services[name]; ok {
		return s, true
	}
	s, ok := services[name+shimSuffix]
	return s, ok
}

// find looks for a service under all the names it has.
func (c *Client) find(n service.Name) (Service, error) {
	for _, name := range []string{n.Remote, n.Lockdown} {
		if name == "" {
			continue
		}
		if s, ok := c.Find(name); ok {
			return s, nil
		}
	}
	name := n.Remote
	if name == "" {
		name = n.Lockdown
	}
	return Service{}, &Error{Op: "open", Service: name, Err: ErrNotListed}
}

// Open connects to a service, with the check-in if it wants one. A service that
// speaks RemoteXPC is left to its client to bring up (remotexpc.Connect).
func (c *Client) Open(ctx context.Context, n service.Name) (net.Conn, error) {
	s, err := c.find(n)
	if err != nil {
		return nil, err
	}
	nc, err := c.dial(ctx, s.Port)
	if err != nil {
		return nil, &Error{Op: "open", Service: s.Name, Err: err}
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

// OpenXPC connects to a service that speaks RemoteXPC and brings it up.
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

// checkin performs the exchange ahead of a lockdown service. It reads not one
// byte more than the two answers: the service may have begun right behind them.
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
