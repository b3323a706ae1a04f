package syslogrelay

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// readSize is how much is asked of the connection at a time.
const readSize = 32 << 10

// Client reads the log. Next is for one goroutine; Close may be called from
// any.
type Client struct {
	// Now tells the year and the zone that records lack; nil means time.Now.
	// Give it the device's zone for true times.
	Now func() time.Time

	conn  net.Conn
	buf   []byte // received and not yet returned: buf[start:]
	start int
	seen  int  // buf[start:seen] holds no record end
	skip  bool // what comes up to the next record end belongs to one that is too long
	err   error
	bad   link.Skipped
	once  sync.Once
}

// Connect opens the service on a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	c, err := o.Open(ctx, Service)
	if err != nil {
		return nil, errs.New("connect", "", err)
	}
	return New(c), nil
}

// New reads the log from c, which Close closes.
func New(c net.Conn) *Client { return &Client{conn: c} }

// Next returns the next entry. When ctx ends first, nothing is lost: the
// following call goes on where this one stopped. The error wraps io.EOF when
// the device ended the log and net.ErrClosed after Close.
func (c *Client) Next(ctx context.Context) (Entry, error) {
	record, err := c.NextRecord(ctx)
	if err != nil {
		return Entry{}, err
	}
	now := c.Now
	if now == nil {
		now = time.Now
	}
	return Parse(record, now()), nil
}

// NextRecord is Next without the parsing. The record is without its end and
// belongs to the client again with the following call.
func (c *Client) NextRecord(ctx context.Context) ([]byte, error) {
	for {
		if r := c.cut(); len(r) > 0 {
			return r, nil
		} else if r != nil {
			continue // an empty record
		}
		if c.err != nil {
			return nil, errs.New("next", "", c.err)
		}
		if len(c.buf)-c.start > MaxRecord {
			c.skipRecord()
			continue
		}
		if err := c.fill(ctx); err != nil {
			return nil, errs.New("next", "", err)
		}
	}
}

// skipRecord drops what has come of a record that is longer than any; the rest of it is
// dropped when its end comes.
func (c *Client) skipRecord() {
	if !c.skip {
		c.bad.Add(nil, "record passed over")
	}
	c.skip = true
	c.start = len(c.buf) - 1 // may be the first half of an end
	c.seen = c.start
}

// Malformed counts the records that were passed over because they were longer than
// MaxRecord.
func (c *Client) Malformed() uint64 { return c.bad.Count() }

// cut takes one record out of the buffer; nil when there is no whole one.
func (c *Client) cut() []byte {
	i := bytes.Index(c.buf[c.seen:], recordEnd)
	if i < 0 {
		// The last byte may be the first half of an end.
		c.seen = max(c.start, len(c.buf)-1)
		return nil
	}
	end := c.seen + i
	r := c.buf[c.start:end:end]
	c.start = end + len(recordEnd)
	c.seen = c.start
	if c.skip {
		c.skip = false
		return r[:0]
	}
	for len(r) > 0 && r[0] == 0 {
		r = r[1:] // stray NULs, which some firmware sends to keep the line busy
	}
	return r
}

// fill reads once. Errors that end the log are kept for after the records
// that came before them; the end of ctx is returned and forgotten.
func (c *Client) fill(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.start > 0 && len(c.buf)+readSize > cap(c.buf) {
		n := copy(c.buf, c.buf[c.start:])
		c.buf, c.seen, c.start = c.buf[:n], c.seen-c.start, 0
	}
	if len(c.buf)+readSize > cap(c.buf) {
		grown := make([]byte, len(c.buf), 2*cap(c.buf)+readSize)
		copy(grown, c.buf)
		c.buf = grown
	}
	release := link.GuardRead(ctx, c.conn)
	n, err := c.conn.Read(c.buf[len(c.buf) : len(c.buf)+readSize])
	c.buf = c.buf[:len(c.buf)+n]
	if err = release(err); err == nil {
		return nil
	}
	if ctx.Err() != nil || isTimeout(err) {
		return err
	}
	c.err = err
	return nil
}

func isTimeout(err error) bool {
	t, ok := err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}

// Close ends the log and a Next that waits.
func (c *Client) Close() error {
	var err error
	c.once.Do(func() { err = c.conn.Close() })
	return err
}
