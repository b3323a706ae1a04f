package tunnel

import (
	"io"
	"net"

	"gvisor.dev/gvisor/pkg/buffer"
)

const (
	// readChunk is how much of a stream is read at once, and the memory that
	// the packets in it share until the last of them has been consumed.
	readChunk = buffer.MaxChunkSize
	// shareFrom is the size from which a packet's contents stay where they
	// were read. Smaller ones are copied: a few bytes that wait for their
	// consumer must not keep a whole chunk.
	shareFrom = 4 << 10
)

// stream is a carrier over a connection on which packets follow each other.
type stream struct {
	net.Conn
	chunk      *buffer.View // what is being read into, all of it
	start, end int          // what was read and not returned yet
	cork       corker       // nil = every write is a system call
}

// corker is a TLS connection that can keep its records back and then send all
// of them in one write to the connection below. The peer sees the same: one
// packet a record. A system call for each costs a third more time in all.
type corker interface {
	Cork()
	Uncork() error
}

// burst is how many bytes of packets leave between Cork and Uncork: what a
// small packet of another connection waits for at most.
const burst = 64 << 10

func newStream(c net.Conn) *stream {
	s := &stream{Conn: c}
	s.cork, _ = c.(corker)
	return s
}

func (s *stream) burst() int {
	if s.cork == nil {
		return 0
	}
	return burst
}

// Read returns bytes of the handshake, before the first packet.
func (s *stream) Read(b []byte) (int, error) {
	if s.start == s.end {
		if err := s.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.chunk.AsSlice()[s.start:s.end])
	s.start += n
	return n, nil
}

// fill reads until n bytes are there. io.EOF means that none is.
func (s *stream) fill(n int) error {
	if s.chunk == nil || s.start+n > s.chunk.Size() ||
		s.start == s.end && s.chunk.Size()-s.start < readChunk/4 {
		s.renew(n)
	}
	b := s.chunk.AsSlice()
	for s.end-s.start < n {
		m, err := s.Conn.Read(b[s.end:])
		s.end += m
		if m > 0 || err == nil {
			continue
		}
		switch {
		case err == io.EOF && s.end > s.start:
			err = io.ErrUnexpectedEOF
		case err == io.ErrUnexpectedEOF && s.end == s.start:
			err = io.EOF // TLS without close_notify: devices do not bother
		}
		return err
	}
	return nil
}

// renew goes on in a new chunk that has room for n bytes, and takes along what
// was not returned. Packets in the old one keep it for as long as they need.
func (s *stream) renew(n int) {
	fresh := buffer.NewViewSize(max(readChunk, n))
	if s.chunk != nil {
		s.end = copy(fresh.AsSlice(), s.chunk.AsSlice()[s.start:s.end])
		s.chunk.Release()
	}
	s.chunk, s.start = fresh, 0
}

// receive returns the next packet: its headers by themselves, because the
// stack copies what they are in several times over, and the rest.
func (s *stream) receive() (head, body *buffer.View, more bool, err error) {
	if err := s.fill(ipHeader); err != nil {
		return nil, nil, false, err
	}
	n, err := packetLength(s.chunk.AsSlice()[s.start:])
	if err != nil {
		return nil, nil, false, err
	}
	if err := s.fill(n); err != nil {
		return nil, nil, false, err
	}
	packet := s.chunk.AsSlice()[s.start : s.start+n]
	h := headersLength(packet)
	head = buffer.NewViewWithData(packet[:h])
	switch {
	case h == n:
	case n < shareFrom:
		body = buffer.NewViewWithData(packet[h:])
	default:
		body = s.chunk.Clone()
		body.TrimFront(s.start + h)
		body.CapLength(n - h)
	}
	s.start += n
	return head, body, s.whole(), nil
}

// whole reports whether another packet has been read.
func (s *stream) whole() bool {
	rest := s.chunk.AsSlice()[s.start:s.end]
	if len(rest) < ipHeader {
		return false
	}
	n, err := packetLength(rest)
	return err == nil && n <= len(rest)
}

// send makes one write of each packet, or of as many as most bytes hold.
func (s *stream) send(b []byte, most int) error {
	n, err := prefix(b, most)
	if err != nil || n == len(b) || s.cork == nil {
		return s.writes(b, most)
	}
	s.cork.Cork()
	if err := s.writes(b, most); err != nil {
		return err
	}
	return s.cork.Uncork()
}

func (s *stream) writes(b []byte, most int) error {
	for len(b) > 0 {
		n, err := prefix(b, most)
		if err != nil {
			return err
		}
		if _, err := s.Conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// prefix returns the length of the packets in b that share a write: as many as
// most bytes hold, but one in any case.
func prefix(b []byte, most int) (int, error) {
	end := 0
	for end < len(b) {
		n, err := packetLength(b[end:])
		if err != nil {
			return 0, err
		}
		if end > 0 && end+n > most {
			break
		}
		end += n
	}
	return end, nil
}

// free gives the memory back; nothing may be received any more.
func (s *stream) free() {
	if s.chunk != nil {
		s.chunk.Release()
		s.chunk = nil
	}
}
