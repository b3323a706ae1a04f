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
	// MaxServiceFrame bounds a frame from a service: icon states, crash
	// archives and application lists are larger than lockdown's answers.
	MaxServiceFrame = 256 << 20
	// growStep is how much memory a declared length is trusted with before
	// its bytes arrive.
	growStep = 64 << 10
)

// FrameError reports a frame that this side refuses to read.
type FrameError struct {
	Length uint32 // as declared
	Max    uint32
}

func (e *FrameError) Error() string {
	return fmt.Sprintf("frame of %d bytes is over the limit of %d", e.Length, e.Max)
}

// Is matches ErrProtocol.
func (e *FrameError) Is(target error) bool { return target == ErrProtocol }

// ReadN reads exactly n bytes into buf's capacity, growing it only as bytes
// arrive, so that a length from the wire reserves nothing by itself.
func ReadN(r io.Reader, n int, buf []byte) ([]byte, error) {
	buf, err := readMore(r, n, buf[:0])
	if err != nil {
		return nil, err
	}
	return buf, nil
}

// readMore appends to buf until it holds n bytes. On error it returns what it
// has.
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

// ReadFrame reads one length-prefixed frame of at most max bytes. A stream
// that ends before the first byte gives io.EOF, one that ends inside the frame
// io.ErrUnexpectedEOF.
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

// AppendFrame appends body to b behind its length.
func AppendFrame(b, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

// PlistConn exchanges framed property lists on a connection. The zero values
// of Format and Max mean XML and MaxServiceFrame. Methods may be called from
// one reading and one writing goroutine at a time.
type PlistConn struct {
	net.Conn
	Format plist.Format
	Max    uint32

	header, body []byte // of a frame whose reading was interrupted
}

// NewPlistConn returns a PlistConn over c that writes XML.
func NewPlistConn(c net.Conn) *PlistConn { return &PlistConn{Conn: c} }

// Send writes v as one frame, in one write. A message with text that XML cannot carry
// is sent in the binary form, which every reader of frames tells apart: a peer whose
// control character is echoed must not lose the connection by it.
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

// Recv reads one frame into v as plist.Unmarshal does. A stream that ends
// between frames gives io.EOF.
func (p *PlistConn) Recv(ctx context.Context, v any) error {
	b, err := p.RecvBytes(ctx)
	if err != nil {
		return err
	}
	return plist.Unmarshal(b, v)
}

// RecvBytes reads one frame and returns its body undecoded. A call that its
// context ended in the middle of a frame has lost nothing: the next one goes on
// there.
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
	if p.header, err = readMore(p.Conn, 4, p.header); err != nil {
		if fresh && len(p.header) == 0 && err == io.ErrUnexpectedEOF {
			err = io.EOF // between frames
		}
		return nil, err
	}
	n, err := frameLength(p.header, limit)
	if err != nil {
		return nil, err
	}
	if p.body, err = readMore(p.Conn, n, p.body); err != nil {
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

// Call sends req and reads the answer into resp. A stream that ends instead
// gives io.ErrUnexpectedEOF.
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

// CloseWrite ends the writing direction if the connection can do that alone.
func (p *PlistConn) CloseWrite() error { return CloseWrite(p.Conn) }

// CloseWrite half-closes c where it can and closes it otherwise.
func CloseWrite(c net.Conn) error {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Close()
}

// lingerBytes is how much Linger reads to make room for the end.
const lingerBytes = 1 << 20

// Linger closes c so that the peer gets what was written last: a connection that is
// closed with bytes unread is reset, and the reset can overtake the last bytes. It
// half-closes c, reads until the peer closes too, and closes c, within timeout.
// Nothing else may read from c.
func Linger(c net.Conn, timeout time.Duration) {
	h, ok := c.(interface{ CloseWrite() error })
	if ok && h.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(timeout)) == nil {
		_, _ = io.CopyN(io.Discard, c, lingerBytes)
	}
	_ = c.Close()
}
