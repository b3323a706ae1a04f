package tunnel

import (
	"log/slog"
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// batchSize is how many bytes of packets a device puts into one write: as many
// as a TLS record holds.
const batchSize = 16 << 10

// carrier brings packets to the other side.
type carrier interface {
	// receive returns the next packet, its headers and what is behind them,
	// which may be nil. io.EOF is an orderly end.
	receive() (head, body *buffer.View, err error)
	// send sends packets in order and does not keep them.
	send([]*stack.PacketBuffer) error
	// Close ends both, also when they are waiting.
	Close() error
	// free is called last, when nobody receives any more.
	free()
}

// session moves packets between a stack and a carrier: one goroutine reads,
// one writes.
type session struct {
	stack   *Stack
	carrier carrier
	log     *slog.Logger
	inbound func(head []byte, size int) bool // may change the headers or drop a packet; nil = all pass
	batch   int                              // bytes of packets for one send; 0 = one packet

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
		s.fail(s.write())
	}()
	go func() {
		s.fail(s.read())
		s.carrier.free()
		<-written
		s.stack.close()
		close(s.done)
	}()
}

// fail ends the session; the first reason counts.
func (s *session) fail(err error) {
	s.once.Do(func() {
		s.err = err
		s.stack.fail(err)
		s.carrier.Close()
		s.log.Debug("ended", "error", err)
	})
}

// close ends the session and waits for that.
func (s *session) close() {
	s.fail(net.ErrClosed)
	<-s.done
}

func (s *session) read() error {
	for {
		head, body, err := s.carrier.receive()
		if err != nil {
			return err
		}
		if s.inbound != nil && !s.inbound(head.AsSlice(), size(head)+size(body)) {
			drop(head)
			drop(body)
			continue
		}
		s.stack.link.deliver(head, body)
	}
}

func size(v *buffer.View) int {
	if v == nil {
		return 0
	}
	return v.Size()
}

func drop(v *buffer.View) {
	if v != nil {
		v.Release()
	}
}

func (s *session) write() error {
	var batch []*stack.PacketBuffer
	for {
		batch = s.stack.link.out.take(batch[:0], s.batch)
		if len(batch) == 0 {
			return net.ErrClosed // somebody called fail
		}
		err := s.carrier.send(batch)
		for _, p := range batch {
			p.DecRef()
		}
		clear(batch)
		if err != nil {
			return err
		}
	}
}
