package tunnel

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// readBuffer is how much of a stream is read at once.
	readBuffer = 64 << 10
	// batchSize is how many bytes of packets a device puts into one write: as
	// many as a TLS record holds.
	batchSize = 16 << 10
)

// carrier brings packets to the other side.
type carrier interface {
	// receive returns the next packet. io.EOF is an orderly end.
	receive() (*buffer.View, error)
	// send sends packets in order and does not keep them.
	send([]*stack.PacketBuffer) error
	// Close ends both, also when they are waiting.
	Close() error
}

// session moves packets between a stack and a carrier: one goroutine reads,
// one writes.
type session struct {
	stack   *Stack
	carrier carrier
	log     *slog.Logger
	inbound func(packet []byte) bool // may change a packet or drop it; nil = all pass
	batch   int                      // bytes of packets for one send; 0 = one packet

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
		v, err := s.carrier.receive()
		if err != nil {
			return err
		}
		if s.inbound != nil && !s.inbound(v.AsSlice()) {
			v.Release()
			continue
		}
		s.stack.link.deliver(v)
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

// stream is a carrier over a connection on which packets follow each other.
type stream struct {
	net.Conn
	r   *bufio.Reader
	out []byte
}

func newStream(c net.Conn) *stream {
	return &stream{Conn: c, r: bufio.NewReaderSize(c, readBuffer)}
}

func (s *stream) receive() (*buffer.View, error) {
	h, err := s.r.Peek(ipHeader)
	if err != nil {
		switch {
		case err == io.EOF && len(h) > 0:
			err = io.ErrUnexpectedEOF
		case err == io.ErrUnexpectedEOF && len(h) == 0:
			err = io.EOF // TLS without close_notify: devices do not bother
		}
		return nil, err
	}
	n, err := packetLength(h)
	if err != nil {
		return nil, err
	}
	v := buffer.NewViewSize(n)
	if _, err := io.ReadFull(s.r, v.AsSlice()); err != nil {
		v.Release()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return v, nil
}

func (s *stream) send(batch []*stack.PacketBuffer) error {
	s.out = s.out[:0]
	for _, p := range batch {
		s.out = appendPacket(s.out, p)
	}
	_, err := s.Conn.Write(s.out)
	return err
}
