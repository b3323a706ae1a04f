package tunnel

import (
	"io"
	"net"

	"gvisor.dev/gvisor/pkg/buffer"
)

const (
	// readChunk is how much of a stream is read at once. The packets in it share its
	// memory until the last of them has been consumed.
	readChunk = buffer.MaxChunkSize
	// shareFrom is the size from which a packet uses the memory into which it was read.
	// Smaller packets are copied, so that a few bytes do not keep a complete chunk.
	shareFrom = 4 << 10
)

// stream is a carrier over a connection on which packets follow each other.
type stream struct {
	net.Conn
	chunk      *buffer.View // the complete buffer for reading
	start, end int          // the part that was read and not returned
	cork       corker       // nil means that every write is a system call
}

// corker is a TLS connection that can keep its records and then send all of them in one
// write to the connection below. The peer still receives one packet per record. With a
// system call for each record, a transfer would take a third more time.
type corker interface {
	Cork()
	Uncork() error
}

// burst is how many bytes of packets are sent between Cork and Uncork. A small packet
// of another connection waits for at most these.
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

// Read returns bytes of the handshake. It is used before the first packet.
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

// fill reads until n bytes are unread. It returns io.EOF if there are none.
func (s *stream) fill(n int) error {
	full := s.chunk == nil || s.start+n > s.chunk.Size()
	if full || s.start == s.end && s.chunk.Size()-s.start < readChunk/4 {
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
			err = io.EOF // TLS ended without close_notify, as it often does on devices
		}
		return err
	}
	return nil
}

// renew continues in a new chunk that has room for n bytes, and copies the unread bytes
// to it. Packets in the old chunk keep its memory while they need it.
func (s *stream) renew(n int) {
	fresh := buffer.NewViewSize(max(readChunk, n))
	if s.chunk != nil {
		s.end = copy(fresh.AsSlice(), s.chunk.AsSlice()[s.start:s.end])
		s.chunk.Release()
	}
	s.chunk, s.start = fresh, 0
}

// receive returns the next packet. Its headers are separate from the rest, because the
// stack copies the memory of the headers several times.
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

// whole reports whether another packet has been read completely.
func (s *stream) whole() bool {
	rest := s.chunk.AsSlice()[s.start:s.end]
	if len(rest) < ipHeader {
		return false
	}
	n, err := packetLength(rest)
	return err == nil && n <= len(rest)
}

// send makes one write for each packet, or for as many as fit into most bytes.
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

// prefix returns the length of the packets in b that share a write. These are as many
// as fit into most bytes, but at least one.
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

// free frees the memory. receive must not be called any more.
func (s *stream) free() {
	if s.chunk != nil {
		s.chunk.Release()
		s.chunk = nil
	}
}
