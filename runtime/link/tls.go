package link

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// handshakeTimeout bounds a TLS handshake whose context has no deadline, so that a peer
// that stops answering does not hold a connection forever.
const handshakeTimeout = 30 * time.Second

// TLSConn is a TLS session that can be removed from its connection. A connection to
// lockdown continues in plain text after StopSession, and a few developer services use
// TLS for the handshake only.
type TLSConn struct {
	*tls.Conn
	raw *recordConn
}

// Close ends the session and closes the connection. It is not an error if the peer is
// gone and cannot be told about the end.
func (t *TLSConn) Close() error {
	t.Conn.Close()
	return nil
}

// Cork buffers the records that are written until Uncork, which writes all of them at
// once. The peer receives the same records, with fewer system calls. Only the goroutine
// that writes may call the two.
func (t *TLSConn) Cork() { t.raw.cork() }

// Uncork writes the records that were buffered since Cork.
func (t *TLSConn) Uncork() error { return t.raw.uncork() }

// ClientTLS performs the client's handshake on c. On error c is closed.
func ClientTLS(ctx context.Context, c net.Conn, cfg *tls.Config) (*TLSConn, error) {
	raw := &recordConn{Conn: c}
	return handshake(ctx, &TLSConn{Conn: tls.Client(raw, cfg), raw: raw})
}

// ServerTLS performs the server's handshake on c. On error c is closed.
func ServerTLS(ctx context.Context, c net.Conn, cfg *tls.Config) (*TLSConn, error) {
	raw := &recordConn{Conn: c}
	return handshake(ctx, &TLSConn{Conn: tls.Server(raw, cfg), raw: raw})
}

func handshake(ctx context.Context, t *TLSConn) (*TLSConn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	release := Guard(ctx, t.raw)
	if err := release(t.Handshake()); err != nil {
		t.raw.Close()
		return nil, err
	}
	return t, nil
}

// Raw returns the connection below TLS after the handshake. It is for services that use
// TLS for the handshake only, after which plain text follows. The TLSConn must not be
// used any more. With TLS 1.3 the server must disable session tickets, because they are
// sent after the handshake and would be taken for plain text.
func (t *TLSConn) Raw() net.Conn { t.raw.plain(); return t.raw }

// maxTail is how much HandBack reads before the peer's close_notify.
const maxTail = 1 << 20

// errNoEnd is the error of HandBack if the peer does not send close_notify.
var errNoEnd = Malformed("peer does not end tls")

// HandBack ends TLS in both directions with close_notify and returns the connection
// below it for plain text. On error the connection is closed.
func (t *TLSConn) HandBack(ctx context.Context) (net.Conn, error) {
	release := Guard(ctx, t.raw)
	err := t.CloseWrite()
	var b [512]byte
	for n, tail := 0, 0; err == nil; { // until the peer's close_notify
		n, err = t.Read(b[:])
		if err == nil {
			tail += n
			if tail > maxTail {
				err = errNoEnd
			}
		}
	}
	err = release(err)
	if err != io.EOF || !t.raw.aligned() {
		t.raw.Close()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	t.raw.SetDeadline(time.Time{}) // tls.Conn.CloseWrite sets a deadline
	t.raw.plain()
	return t.raw, nil
}

// recordBuffer holds the largest TLS record and the beginning of the next.
const recordBuffer = 64 << 10

var recordBuffers = sync.Pool{New: func() any { b := make([]byte, recordBuffer); return &b }}

// recordConn is the connection below TLS. It never returns bytes after the current
// record. crypto/tls reads as much as it can get, so that plain text after the last
// record would be lost in its buffer. recordConn keeps what it has read ahead.
type recordConn struct {
	net.Conn
	mu     sync.Mutex
	buf    *[]byte // from a pool; nil while empty
	r, w   int     // unread part of buf
	left   int     // bytes of the current record (or its header) that were not returned yet
	clear  bool    // TLS has ended: return everything
	ended  bool    // the peer has closed the connection
	broken bool    // not TLS: return everything, so that crypto/tls reports the error

	out struct {
		mu       sync.Mutex
		corked   bool
		flushing bool
		kept     []byte
	}
}

// Write buffers b while the connection is corked. It fails while Uncork writes the
// buffer. What is written at that time are the last bytes of a session that is being
// closed, and Close must not wait for a peer that does not read.
func (c *recordConn) Write(b []byte) (int, error) {
	c.out.mu.Lock()
	switch {
	case c.out.corked:
		c.out.kept = append(c.out.kept, b...)
		c.out.mu.Unlock()
		return len(b), nil
	case c.out.flushing:
		c.out.mu.Unlock()
		return 0, net.ErrClosed
	}
	c.out.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *recordConn) cork() {
	c.out.mu.Lock()
	c.out.corked = true
	c.out.mu.Unlock()
}

func (c *recordConn) uncork() error {
	c.out.mu.Lock()
	c.out.corked, c.out.flushing = false, true
	b := c.out.kept
	c.out.mu.Unlock()
	_, err := c.Conn.Write(b)
	c.out.mu.Lock()
	c.out.flushing, c.out.kept = false, b[:0]
	c.out.mu.Unlock()
	return err
}

func (c *recordConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if c.clear || c.broken {
		return c.readPlain(p)
	}
	if c.left == 0 {
		if err := c.fill(5); err != nil {
			return c.surrender(p, err)
		}
		h := (*c.buf)[c.r:c.w]
		if h[0] < 20 || h[0] > 24 || h[1] != 3 {
			c.broken = true
			return c.readPlain(p)
		}
		c.left = 5 + int(binary.BigEndian.Uint16(h[3:]))
	}
	if c.w == c.r {
		if err := c.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p[:min(len(p), c.left)], (*c.buf)[c.r:c.w])
	c.r += n
	c.left -= n
	c.recycle()
	return n, nil
}

// surrender returns an incomplete record header before its error.
func (c *recordConn) surrender(p []byte, err error) (int, error) {
	if c.w > c.r && err == io.EOF {
		n := copy(p, (*c.buf)[c.r:c.w])
		c.r += n
		c.recycle()
		return n, nil
	}
	return 0, err
}

func (c *recordConn) readPlain(p []byte) (int, error) {
	if c.w > c.r {
		n := copy(p, (*c.buf)[c.r:c.w])
		c.r += n
		c.recycle()
		return n, nil
	}
	return c.Conn.Read(p)
}

// fill reads until at least n unread bytes are buffered.
func (c *recordConn) fill(n int) error {
	if c.buf == nil {
		c.buf = recordBuffers.Get().(*[]byte)
		c.r, c.w = 0, 0
	}
	if c.r > 0 && len(*c.buf)-c.r < n {
		c.w = copy(*c.buf, (*c.buf)[c.r:c.w])
		c.r = 0
	}
	for c.w-c.r < n {
		m, err := c.Conn.Read((*c.buf)[c.w:])
		c.w += m
		c.ended = c.ended || err == io.EOF
		if err != nil && c.w-c.r < n {
			if c.w == c.r {
				c.recycle()
			}
			return err
		}
	}
	return nil
}

func (c *recordConn) recycle() {
	if c.r == c.w && c.buf != nil {
		recordBuffers.Put(c.buf)
		c.buf, c.r, c.w = nil, 0, 0
	}
}

func (c *recordConn) plain() {
	c.mu.Lock()
	c.clear = true
	c.mu.Unlock()
}

// aligned reports whether the peer has ended TLS with close_notify and not by closing
// the connection. crypto/tls returns io.EOF for both.
func (c *recordConn) aligned() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ended && c.left == 0
}

// CloseWrite half-closes the connection below.
func (c *recordConn) CloseWrite() error { return CloseWrite(c.Conn) }
