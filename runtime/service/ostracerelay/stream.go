package ostracerelay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/imdlua/imdlua/runtime/link"
)

// streamRead is how much is asked of the connection at a time: some hundred
// records.
const streamRead = 64 << 10

// frameHead is the type and the length before a record.
const frameHead = 5

// Stream is a live log. Its methods are for one goroutine, but for Close and Malformed.
type Stream struct {
	client *Client
	dec    decoder
	buf    []byte
	start  int // buf[start:] is received and not yet decoded
	skip   int // bytes of a record that is too long, still to come
	entry  Entry
	err    error // what ended the stream
	bad    link.Skipped
}

// Next returns the next entry. The entry is the stream's own and changes with
// the following call; its strings stay. When ctx ends first, nothing is lost.
// The error wraps io.EOF when the device ended the stream. Malformed records are
// passed over.
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

// NextBatch fills dst with the entries that have arrived, at least one, and
// returns how many. It waits only while there is none. Errors are as for Next;
// those that came behind an entry are reported by the following call.
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
				break // the error is kept: it comes again
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

// Malformed counts the records that were passed over, because they contradict themselves
// or are longer than MaxRecord.
func (s *Stream) Malformed() uint64 { return s.bad.Count() }

// decodeOne decodes the next good record if all of it is in the buffer. An error is what
// ended the stream.
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

// recordSize reads the head of a record. One that is too long for a record is passed over;
// a length that makes no sense says that the heads have been lost.
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

// ended returns the error of an ended stream whose buffer holds no whole
// record any more.
func (s *Stream) ended() error {
	if s.err == io.EOF && (len(s.buf) > s.start || s.skip > 0) {
		return io.ErrUnexpectedEOF
	}
	return s.err
}

// fill reads once. What ends the stream is kept until the buffer is empty,
// the end of ctx is returned and forgotten.
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

// Close ends the stream and a Next that waits.
func (s *Stream) Close() error { return s.client.Close() }
