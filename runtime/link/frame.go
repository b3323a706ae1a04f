package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

const (
	// MaxLockdownFrame bounds a frame from lockdownd.
	MaxLockdownFrame = 16 << 20
	// MaxServiceFrame bounds a frame from a service. Icon states, crash archives and
	// lists of applications are larger than lockdown's answers.
	MaxServiceFrame = 256 << 20
	// growStep is how much memory is allocated for a declared length before the bytes
	// arrive.
	growStep = 64 << 10
)

// FrameError reports a frame that is refused because of its length.
type FrameError struct {
	Length uint32 // as declared
	Max    uint32
}

func (e *FrameError) Error() string {
	return fmt.Sprintf("frame of %d bytes is over the limit of %d", e.Length, e.Max)
}

// Is matches ErrTooLarge and ErrProtocol, because no peer may send such a frame.
func (e *FrameError) Is(target error) bool {
	return target == ErrTooLarge || target == ErrProtocol
}

// ReadN reads exactly n bytes into buf's capacity. It grows buf only as bytes arrive,
// so that a length from the wire does not allocate memory by itself.
func ReadN(r io.Reader, n int, buf []byte) ([]byte, error) {
	buf, err := readMore(r, n, buf[:0])
	if err != nil {
		return nil, err
	}
	return buf, nil
}

// readMore appends to buf until it holds n bytes. On error it returns the bytes that it
// has read.
func readMore(r io.Reader, n int, buf []byte) ([]byte, error) {
	for len(buf) < n {
		step := min(n-len(buf), max(growStep, len(buf)))
		if cap(buf)-len(buf) < step {
			grown := make([]byte, len(buf), len(buf)+step)
			copy(grown, buf)
			buf = grown
		}
		m, err := io.ReadFull(r, buf[len(buf):len(buf)+step])
		buf = buf[:len(buf)+m]
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return buf, err
		}
	}
	return buf, nil
}

// ReadFrame reads one length-prefixed frame of at most max bytes. The error is io.EOF
// if the stream ends before the first byte, and io.ErrUnexpectedEOF if it ends inside
// the frame.
func ReadFrame(r io.Reader, max uint32, buf []byte) ([]byte, error) {
	var h [4]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	n, err := frameLength(h[:], max)
	if err != nil {
		return nil, err
	}
	return ReadN(r, n, buf)
}

func frameLength(header []byte, max uint32) (int, error) {
	n := binary.BigEndian.Uint32(header)
	if n > max {
		return 0, &FrameError{Length: n, Max: max}
	}
	return int(n), nil
}

// AppendFrame appends the length of body, and body.
func AppendFrame(b, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

// PlistConn exchanges framed property lists on a connection. The zero values of Format
// and Max mean XML and MaxServiceFrame. One goroutine may read while another one
// writes.
type PlistConn struct {
	net.Conn
	Format plist.Format
	Max    uint32

	header, body []byte // of a frame that was read in part
}

// NewPlistConn returns a PlistConn over c that writes XML.
func NewPlistConn(c net.Conn) *PlistConn { return &PlistConn{Conn: c} }

// Send writes v as one frame, in one write. A message with text that XML cannot
// represent is sent in binary form, which every reader of frames recognizes. Without
// this, a peer whose control character is echoed would lose the connection.
func (p *PlistConn) Send(ctx context.Context, v any) error {
	body, err := plist.Encode(v, p.Format)
	if errors.Is(err, plist.ErrNotXML) {
		body, err = plist.Encode(v, plist.Binary)
	}
	if err != nil {
		return err
	}
	release := GuardWrite(ctx, p.Conn)
	_, err = p.Conn.Write(AppendFrame(make([]byte, 0, 4+len(body)), body))
	return release(err)
}

// Recv reads one frame into v as plist.Unmarshal does. If the stream ends between
// frames, the error is io.EOF.
func (p *PlistConn) Recv(ctx context.Context, v any) error {
	b, err := p.RecvBytes(ctx)
	if err != nil {
		return err
	}
	return plist.Unmarshal(b, v)
}

// RecvBytes reads one frame and returns its body undecoded. A call that is ended by its
// context in the middle of a frame loses no bytes; the next call continues.
func (p *PlistConn) RecvBytes(ctx context.Context) ([]byte, error) {
	limit := p.Max
	if limit == 0 {
		limit = MaxServiceFrame
	}
	release := GuardRead(ctx, p.Conn)
	b, err := p.resume(limit)
	return b, release(err)
}

func (p *PlistConn) resume(limit uint32) (body []byte, err error) {
	fresh := len(p.header) == 0
	p.header, err = readMore(p.Conn, 4, p.header)
	if err != nil {
		if fresh && len(p.header) == 0 && err == io.ErrUnexpectedEOF {
			err = io.EOF // between frames
		}
		return nil, err
	}
	n, err := frameLength(p.header, limit)
	if err != nil {
		return nil, err
	}
	p.body, err = readMore(p.Conn, n, p.body)
	if err != nil {
		return nil, err
	}
	body = p.body
	p.header, p.body = p.header[:0], nil
	return body, nil
}

// RecvDict reads one frame whose root must be a dictionary.
func (p *PlistConn) RecvDict(ctx context.Context) (plist.Dict, error) {
	var d plist.Dict
	err := p.Recv(ctx, &d)
	return d, err
}

// Call sends req and reads the answer into resp. If the stream ends instead, the error
// is io.ErrUnexpectedEOF.
func (p *PlistConn) Call(ctx context.Context, req, resp any) error {
	if err := p.Send(ctx, req); err != nil {
		return err
	}
	err := p.Recv(ctx, resp)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// CloseWrite closes the writing side, or the connection if it cannot be closed in one
// direction.
func (p *PlistConn) CloseWrite() error { return CloseWrite(p.Conn) }

// CloseWrite half-closes c if c supports that, and closes it otherwise.
func CloseWrite(c net.Conn) error {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Close()
}

// lingerBytes is how much Linger reads.
const lingerBytes = 1 << 20

// Linger closes c so that the peer receives the last bytes. A connection that is closed
// with unread bytes is reset, and the reset can overtake the last bytes. Linger
// therefore half-closes c, reads until the peer closes it too, and then closes c, all
// within timeout. Nothing else may read from c.
func Linger(c net.Conn, timeout time.Duration) {
	h, ok := c.(interface{ CloseWrite() error })
	if ok && h.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(timeout)) == nil {
		_, _ = io.CopyN(io.Discard, c, lingerBytes)
	}
	_ = c.Close()
}
