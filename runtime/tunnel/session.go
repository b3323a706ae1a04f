package tunnel

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
)

// carrier brings packets to the other side.
type carrier interface {
	// receive returns the next packet, its headers and what is behind them,
	// which may be nil. more says that another one is here already. io.EOF is
	// an orderly end.
	receive() (head, body *buffer.View, more bool, err error)
	// burst is how many bytes of packets send wants to have at once; 0 means
	// no more than share a write.
	burst() int
	// send sends packets that follow each other in b. Where packets can share
	// a write they do so up to most bytes. It does not keep b.
	send(b []byte, most int) error
	// Close ends both, also when they are waiting.
	Close() error
	// free is called last, when nobody receives any more.
	free()
}

// end is where the packets of a tunnel end on this side: a stack in this
// process, or an interface of the kernel.
type end interface {
	// inbound takes what the carrier brings, until that fails.
	inbound(carrier) error
	// outbound gives the carrier what is to be sent, until that or fail ends
	// it.
	outbound(carrier) error
	// fail ends outbound and every call that waits; the first reason counts.
	fail(error)
	// close waits until nothing runs any more. Both of the above are over.
	close()

	DialTCP(context.Context, netip.AddrPort) (net.Conn, error)
	ListenTCP(port uint16) (net.Listener, error)
}

// session moves packets between an end and a carrier: one goroutine reads, one
// writes.
type session struct {
	end     end
	carrier carrier
	log     *slog.Logger

	once sync.Once
	err  error         // set by once
	done chan struct{} // closed when nothing of the tunnel runs any more
}

// start begins to move packets.
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

// fail ends the session; the first reason counts.
func (s *session) fail(err error) {
	s.once.Do(func() {
		s.err = err
		s.end.fail(err)
		s.carrier.Close()
		s.log.Debug("ended", "error", err)
	})
}

// close ends the session and waits for that.
func (s *session) close() {
	s.fail(net.ErrClosed)
	<-s.done
}
