package ostracerelay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/imdlua/imdlua/runtime/link"
)

// streamRead is the size of one read from the connection. It holds several hundred
// records.
const streamRead = 64 << 10

// frameHead is the size of the type and the length that precede a record.
const frameHead = 5

// Stream is a live log. Only one goroutine may use it at a time, except that Close and
// Malformed may be called from any goroutine.
type Stream struct {
	client *Client
	dec    decoder
	buf    []byte
	start  int // buf[start:] is received but not decoded
	skip   int // bytes to discard of a record that is too long
	entry  Entry
	err    error // reason for the end of the stream
	bad    link.Skipped
}

// Next returns the next entry. The following call overwrites the entry, but its strings
// stay valid. If ctx ends first, no record is lost. The error wraps io.EOF if the
// device ended the stream. Malformed records are ignored and counted.
func (s *Stream) Next(ctx context.Context) (*Entry, error) {
	for {
		ok, err := s.decodeOne(&s.entry)
		if err != nil {
			return nil, errs.New("next", "", err)
		}
		if ok {
			return &s.entry, nil
		}
		if err := s.fill(ctx); err != nil {
			return nil, errs.New("next", "", err)
		}
	}
}

// NextBatch fills dst with the entries that have arrived and returns their number,
// which is at least one. It waits only if no entry has arrived. Errors are those of
// Next. An error that follows an entry is returned by the next call.
func (s *Stream) NextBatch(ctx context.Context, dst []Entry) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	n := 0
	for {
		for n < len(dst) {
			ok, err := s.decodeOne(&dst[n])
			if err != nil && n == 0 {
				return 0, errs.New("next", "", err)
			}
			if err != nil || !ok {
				break // the error is kept for the next call
			}
			n++
		}
		if n > 0 {
			return n, nil
		}
		if err := s.fill(ctx); err != nil {
			return 0, errs.New("next", "", err)
		}
	}
}

// Malformed returns the number of records that were ignored, because they are
// inconsistent or longer than MaxRecord.
func (s *Stream) Malformed() uint64 { return s.bad.Count() }

// decodeOne decodes the next valid record if the buffer holds all of it. It returns an
// error if the stream has ended.
func (s *Stream) decodeOne(e *Entry) (bool, error) {
	for {
		n := min(s.skip, len(s.buf)-s.start)
		s.start += n
		s.skip -= n
		b := s.buf[s.start:]
		if s.skip > 0 || len(b) < frameHead {
			return false, s.ended()
		}
		size, err := recordSize(b)
		if err != nil {
			s.err = err
			return false, err
		}
		if size > MaxRecord {
			s.bad.Add(nil, "record passed over")
			s.skip = frameHead + size
			continue
		}
		if len(b) < frameHead+size {
			return false, s.ended()
		}
		s.start += frameHead + size
		err = s.dec.decode(b[frameHead:frameHead+size], e)
		if err == nil {
			return true, nil
		}
		s.bad.Add(nil, "record passed over", "err", err)
	}
}

// recordSize decodes the header of a record. A record that is too long is skipped. An
// invalid length means that the position in the stream is lost.
func recordSize(b []byte) (int, error) {
	if b[0] != typeRecord {
		return 0, fmt.Errorf("%w: type %d, want a record", ErrProtocol, b[0])
	}
	n := binary.LittleEndian.Uint32(b[1:])
	if n > maxSkipped {
		return 0, &link.FrameError{Length: n, Max: maxSkipped}
	}
	return int(n), nil
}

// ended returns the error of a stream that has ended and whose buffer holds no whole
// record.
func (s *Stream) ended() error {
	if s.err == io.EOF && (len(s.buf) > s.start || s.skip > 0) {
		return io.ErrUnexpectedEOF
	}
	return s.err
}

// fill reads from the connection once. It keeps an error that ends the stream until the
// buffer is empty. It returns the error of ctx without keeping it.
func (s *Stream) fill(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.start > 0 {
		n := copy(s.buf, s.buf[s.start:])
		s.buf, s.start = s.buf[:n], 0
	}
	if cap(s.buf)-len(s.buf) < streamRead/2 {
		grown := make([]byte, len(s.buf), 2*cap(s.buf)+streamRead)
		copy(grown, s.buf)
		s.buf = grown
	}
	release := link.GuardRead(ctx, s.client.conn)
	n, err := s.client.conn.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	err = release(err)
	var timeout interface{ Timeout() bool }
	if err != nil && (ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout()) {
		return err
	}
	if err != nil {
		s.err = err
	}
	return nil
}

// Close ends the stream and a call of Next that waits.
func (s *Stream) Close() error { return s.client.Close() }
