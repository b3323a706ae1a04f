package tunnel

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"github.com/imdlua/imdlua/runtime/link"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// maxHandshakes is the maximum number of TCP handshakes in progress in a tunnel,
	// and maxConns that of connections. Further SYNs are not answered, and further
	// connections are refused.
	maxHandshakes = 256
	maxConns      = 4096
)

// acceptor answers on every port of a stack. For each connection a function decides
// whether something listens on the port, before the peer is told of success.
type acceptor struct {
	stack   *Stack
	open    func(port uint16) (func(ctx context.Context, c net.Conn), error)
	log     *slog.Logger
	forward *tcp.Forwarder
	ctx     context.Context // ends with the stack
	cancel  context.CancelFunc

	mu      sync.Mutex
	pending map[stack.TransportEndpointID]struct{} // those that have not been answered
	conns   int
	wg      sync.WaitGroup // counts all goroutines
}

func newAcceptor(
	s *Stack, open func(uint16) (func(context.Context, net.Conn), error), log *slog.Logger,
) *acceptor {
	a := &acceptor{
		stack: s, open: open, log: log, pending: map[stack.TransportEndpointID]struct{}{},
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.forward = tcp.NewForwarder(s.s, socketBuffer, maxHandshakes, a.handle)
	s.s.SetTransportProtocolHandler(tcp.ProtocolNumber, a.packet)
	return a
}

// close ends the connections. The stack must be down.
func (a *acceptor) close() {
	a.cancel()
	a.wg.Wait()
}

// packet is called by the reader for a packet that belongs to no connection. It returns
// true if it has handled the packet. Otherwise the stack answers with a reset.
//
// The forwarder starts a goroutine for a SYN unless that is already being handled. It
// does not report which SYNs it handles, so the acceptor counts them, too, because
// close must know how many goroutines to wait for.
func (a *acceptor) packet(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	flags := header.TCP(p.TransportHeader().Slice()).Flags()
	if flags&(header.TCPFlagSyn|header.TCPFlagAck) != header.TCPFlagSyn {
		return false
	}
	a.mu.Lock()
	_, twice := a.pending[id]
	if !twice && len(a.pending) < maxHandshakes {
		a.pending[id] = struct{}{}
		a.wg.Add(1)
	} else {
		twice = true
	}
	a.mu.Unlock()
	if twice {
		return true
	}
	if a.forward.HandlePacket(id, p) {
		return true
	}
	a.answered(id)
	a.wg.Done()
	return false
}

func (a *acceptor) answered(id stack.TransportEndpointID) {
	a.mu.Lock()
	delete(a.pending, id)
	a.mu.Unlock()
}

// handle answers one SYN and serves its connection.
func (a *acceptor) handle(r *tcp.ForwarderRequest) {
	defer a.wg.Done()
	id := r.ID()
	serve, err := a.openPort(id.LocalPort)
	if err != nil {
		r.Complete(true)
		a.answered(id)
		a.log.Debug("refused", "port", id.LocalPort, "error", err)
		return
	}
	defer a.left()
	c := a.connect(r, id)
	a.log.Debug("connected", "port", id.LocalPort)
	serve(a.ctx, c)
	c.Close()
}

// openPort returns the function for a port and counts the connection.
func (a *acceptor) openPort(port uint16) (func(context.Context, net.Conn), error) {
	a.mu.Lock()
	full := a.conns >= maxConns
	if !full {
		a.conns++
	}
	a.mu.Unlock()
	if full {
		return nil, errTooMany
	}
	serve, err := a.open(port)
	if err != nil {
		a.left()
		return nil, err
	}
	return serve, nil
}

func (a *acceptor) left() {
	a.mu.Lock()
	a.conns--
	a.mu.Unlock()
}

// connect completes the handshake. If the peer is gone before that, connect returns a
// closed connection, so that the function for the port can free what it has prepared.
func (a *acceptor) connect(r *tcp.ForwarderRequest, id stack.TransportEndpointID) net.Conn {
	defer a.answered(id)
	done, err := a.stack.begin()
	if err != nil {
		r.Complete(false)
		return closedConn()
	}
	defer done()
	queue := new(waiter.Queue)
	ep, terr := r.CreateEndpoint(queue)
	r.Complete(terr != nil)
	if terr != nil {
		return closedConn()
	}
	return newConn(a.stack, ep, queue)
}

func closedConn() net.Conn {
	c, peer := link.Pipe()
	c.Close()
	peer.Close()
	return c
}
