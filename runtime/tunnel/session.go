package tunnel

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
)

// carrier carries packets to the other side.
type carrier interface {
	// receive returns the next packet as its headers and the rest, which may be nil.
	// more reports whether another packet has arrived already. io.EOF is an orderly
	// end.
	receive() (head, body *buffer.View, more bool, err error)
	// burst returns how many bytes of packets to pass to send at once; 0 means those of
	// one write.
	burst() int
	// send sends the packets in b, which follow each other. If packets can share a
	// write, it puts up to most bytes into one. It does not keep b.
	send(b []byte, most int) error
	// Close ends receive and send, even if they wait.
	Close() error
	// free frees the memory. It is called last, when receive is not called any more.
	free()
}

// end is where the packets of a tunnel end on this side: a stack in this process, or an
// interface of the kernel.
type end interface {
	// inbound receives the packets of the carrier until it fails.
	inbound(carrier) error
	// outbound sends packets to the carrier until it fails or fail is called.
	outbound(carrier) error
	// fail ends outbound and every call that waits. Only the first reason is kept.
	fail(error)
	// close waits for all goroutines. inbound and outbound have returned before.
	close()

	DialTCP(context.Context, netip.AddrPort) (net.Conn, error)
	ListenTCP(port uint16) (net.Listener, error)
}

// session moves packets between an end and a carrier. One goroutine reads and one
// writes.
type session struct {
	end     end
	carrier carrier
	log     *slog.Logger

	once sync.Once
	err  error         // set by once
	done chan struct{} // closed when all goroutines of the tunnel have ended
}

// start starts the goroutines.
func (s *session) start() {
	s.done = make(chan struct{})
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.fail(s.end.outbound(s.carrier))
	}()
	go func() {
		s.fail(s.end.inbound(s.carrier))
		s.carrier.free()
		<-written
		s.end.close()
		close(s.done)
	}()
}

// fail ends the session. Only the first reason is kept.
func (s *session) fail(err error) {
	s.once.Do(func() {
		s.err = err
		s.end.fail(err)
		s.carrier.Close()
		s.log.Debug("ended", "error", err)
	})
}

// close ends the session and waits until it has ended.
func (s *session) close() {
	s.fail(net.ErrClosed)
	<-s.done
}
