package tunnel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	nicID = 1
	// socketBuffer is the initial size of a connection's buffer in each direction, and
	// maxSocketBuffer its largest size.
	socketBuffer    = 1 << 20
	maxSocketBuffer = 4 << 20
	minSocketBuffer = 4 << 10
	// timeWait is how long a closed connection is remembered. It is short because
	// packets in a tunnel arrive almost in order, so that there are no old ones.
	timeWait = time.Second
	// settle is the interval at which close looks for connections that were established
	// while it ended the others.
	settle = time.Millisecond
)

// quiet keeps gVisor from writing its log to standard error.
var quiet = sync.OnceFunc(func() { log.SetTarget(silence{}) })

type silence struct{}

func (silence) Emit(int, log.Level, time.Time, string, ...any) {}

// Stack is one end of a tunnel in this process: an IPv6 address with TCP.
type Stack struct {
	s    *stack.Stack
	link *endpoint
	addr netip.Addr
	liveness

	down   chan struct{} // closed when the tunnel ends
	mu     sync.Mutex
	cause  error // set before down is closed
	closed bool  // no operation may begin any more
	busy   sync.WaitGroup
	once   sync.Once
}

// newStack returns a stack with one address. mss is the size of the segments to the
// peer without the fixed part of their headers.
func newStack(addr netip.Prefix, mtu, mss int) (*Stack, error) {
	quiet()
	s := &Stack{
		s: stack.New(stack.Options{
			NetworkProtocols: []stack.NetworkProtocolFactory{ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{
				tcp.NewProtocol, icmp.NewProtocol6,
			},
		}),
		link: &endpoint{out: newOutbox(), mtu: uint32(mtu), mss: mss},
		addr: addr.Addr(), liveness: defaultLiveness,
		down: make(chan struct{}),
	}
	if err := s.configure(addr); err != nil {
		s.s.Destroy()
		return nil, err
	}
	return s, nil
}

func (s *Stack) configure(addr netip.Prefix) error {
	sack := tcpip.TCPSACKEnabled(true)
	// RACK is off: with it gVisor can forget a FIN that was lost while it recovered
	// other losses. The peer then waits for the end of the stream forever (compare
	// google/gvisor issue 6113).
	recovery := tcpip.TCPRecovery(0)
	control := tcpip.CongestionControlOption("cubic")
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	for _, o := range []tcpip.SettableTransportProtocolOption{
		&sack, &recovery, &control, &moderate, &wait,
		&tcpip.TCPSendBufferSizeRangeOption{
			Min: minSocketBuffer, Default: socketBuffer, Max: maxSocketBuffer,
		},
		&tcpip.TCPReceiveBufferSizeRangeOption{
			Min: minSocketBuffer, Default: socketBuffer, Max: maxSocketBuffer,
		},
	} {
		if err := s.s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("%T: %s", o, err)
		}
	}
	if err := s.s.CreateNIC(nicID, s.link); err != nil {
		return fmt.Errorf("interface: %s", err)
	}
	if err := s.s.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
		Protocol: ipv6.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{
			Address: tcpip.AddrFrom16(addr.Addr().As16()), PrefixLen: addr.Bits(),
		},
	}, stack.AddressProperties{PEB: stack.CanBePrimaryEndpoint}); err != nil {
		return fmt.Errorf("address %s: %s", addr, err)
	}
	s.s.SetRouteTable([]tcpip.Route{{Destination: header.IPv6EmptySubnet, NIC: nicID}})
	return nil
}

// begin makes close wait until done is called. It fails if the stack is closing.
func (s *Stack) begin() (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.cause
	}
	s.busy.Add(1)
	return s.busy.Done, nil
}

// downErr returns why the stack is down, or nil while it is up.
func (s *Stack) downErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// fail marks the stack as down, which ends every call that waits on it.
func (s *Stack) fail(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed, s.cause = true, &downError{cause: cause}
	close(s.down)
	s.link.out.close()
}

// close ends every connection and waits for the goroutines of the stack. No packet may
// be delivered after it is called.
func (s *Stack) close() {
	s.fail(net.ErrClosed)
	s.once.Do(func() {
		idle := make(chan struct{})
		go func() { s.busy.Wait(); close(idle) }()
		// A handshake that began before fail may be added to the stack's table only
		// now. One pass is therefore not enough: gVisor would wait for its peer.
		for waiting := true; waiting; {
			s.abort()
			select {
			case <-idle:
				waiting = false
			case <-time.After(settle):
			}
		}
		s.s.Close()
		// The stack's own goroutines may have made connections since.
		s.s.TransportProtocolInstance(tcp.ProtocolNumber).Wait()
		s.abort()
		s.s.Wait()
	})
}

func (s *Stack) abort() {
	for _, e := range s.s.RegisteredEndpoints() {
		e.Abort()
	}
}

// DialTCP connects to an address of the tunnel. ctx bounds the dialing only.
func (s *Stack) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	c, err := s.dial(ctx, to)
	if err != nil {
		return nil, &Error{Op: "dial", Subject: to.String(), Err: err}
	}
	return c, nil
}

func (s *Stack) dial(ctx context.Context, to netip.AddrPort) (*tcpConn, error) {
	if to.Port() == 0 || !to.Addr().Is6() {
		return nil, fmt.Errorf("%s is not an address to dial in a tunnel", to)
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	ep, queue, done, err := s.endpoint()
	if err != nil {
		return nil, err
	}
	defer done()
	entry, ready := waiter.NewChannelEntry(
		waiter.WritableEvents | waiter.EventHUp | waiter.EventErr,
	)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	terr := ep.Connect(fullAddress(to))
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ready:
			terr = ep.LastError()
		case <-ctx.Done():
			ep.Close()
			return nil, context.Cause(ctx)
		case <-s.down:
			ep.Close()
			return nil, s.downErr()
		}
	}
	if terr != nil {
		ep.Close()
		if err := s.downErr(); err != nil {
			return nil, err
		}
		return nil, stackError(terr)
	}
	return newConn(s, ep, queue), nil
}

// endpoint makes an endpoint for TCP. The stack stays until done is called.
func (s *Stack) endpoint() (ep tcpip.Endpoint, queue *waiter.Queue, done func(), err error) {
	done, err = s.begin()
	if err != nil {
		return nil, nil, nil, err
	}
	queue = new(waiter.Queue)
	ep, terr := s.s.NewEndpoint(tcp.ProtocolNumber, ipv6.ProtocolNumber, queue)
	if terr != nil {
		done()
		return nil, nil, nil, stackError(terr)
	}
	return ep, queue, done, nil
}

// ListenTCP accepts connections to a port of the stack's address. Port 0 means any free
// port.
func (s *Stack) ListenTCP(port uint16) (net.Listener, error) {
	at := netip.AddrPortFrom(s.addr, port)
	l, err := s.listen(at)
	if err != nil {
		return nil, &Error{Op: "listen", Subject: at.String(), Err: err}
	}
	return l, nil
}

func (s *Stack) listen(at netip.AddrPort) (*listener, error) {
	ep, queue, done, err := s.endpoint()
	if err != nil {
		return nil, err
	}
	defer done()
	terr := ep.Bind(fullAddress(at))
	if terr == nil {
		terr = ep.Listen(backlog)
	}
	if terr != nil {
		ep.Close()
		return nil, stackError(terr)
	}
	l := &listener{
		stack: s, ep: ep, queue: queue, closed: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if a, err := ep.GetLocalAddress(); err == nil {
		l.addr = tcpAddr(a)
	}
	l.entry = waiter.NewFunctionEntry(waiter.ReadableEvents|waiter.EventHUp,
		func(waiter.EventMask) {
			select {
			case l.wake <- struct{}{}:
			default:
			}
		})
	queue.EventRegister(&l.entry)
	return l, nil
}

// backlog is the number of connections that may wait for Accept.
const backlog = 128

// listener makes a listening endpoint a net.Listener.
type listener struct {
	stack  *Stack
	ep     tcpip.Endpoint
	queue  *waiter.Queue
	addr   *net.TCPAddr
	entry  waiter.Entry
	wake   chan struct{} // has a token after an event
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.accept()
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: err}
	}
	return c, nil
}

func (l *listener) accept() (*tcpConn, error) {
	for {
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		default:
		}
		ep, queue, err := l.ep.Accept(nil)
		switch err.(type) {
		case nil:
			// Another call of Accept may wait for the same event.
			select {
			case l.wake <- struct{}{}:
			default:
			}
			return newConn(l.stack, ep, queue), nil
		case *tcpip.ErrWouldBlock:
		default:
			if down := l.stack.downErr(); down != nil {
				return nil, down
			}
			return nil, stackError(err)
		}
		select {
		case <-l.wake:
		case <-l.closed:
			return nil, net.ErrClosed
		case <-l.stack.down:
			return nil, l.stack.downErr()
		}
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.queue.EventUnregister(&l.entry)
		l.ep.Close()
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }
