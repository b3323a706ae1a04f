package syslogrelay

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// readSize is the size of one read from the connection.
const readSize = 32 << 10

// Client reads the log. Only one goroutine may call Next at a time; Close may be called
// from any goroutine.
type Client struct {
	// Now provides the year and the time zone, which records do not contain; nil means
	// time.Now. For correct times it must return times in the time zone of the device.
	Now func() time.Time

	conn  net.Conn
	buf   []byte // buf[start:] is received but not yet returned
	start int
	seen  int  // buf[start:seen] contains no end of a record
	skip  bool // discard all bytes up to the next end of a record, which is too long
	err   error
	bad   link.Skipped

	once   sync.Once
	closed atomic.Bool
}

// Connect opens the service on a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Service, &errs, New)
}

// New returns a client that reads the log from c. Close closes c.
func New(c net.Conn) *Client { return &Client{conn: c} }

// Next returns the next entry. If ctx ends first, no data is lost: the following call
// continues where this one stopped. The error wraps io.EOF if the device ended the log,
// and net.ErrClosed after Close.
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

// NextRecord returns the next record without parsing it. The record does not include
// its end marker. It is valid until the following call.
func (c *Client) NextRecord(ctx context.Context) ([]byte, error) {
	for {
		if c.closed.Load() {
			return nil, errs.New("next", "", net.ErrClosed)
		}
		if r := c.cut(); len(r) > 0 {
			return r, nil
		} else if r != nil {
			continue // an empty record
		}
		if c.err != nil {
			return nil, errs.New("next", "", c.err)
		}
		// The last byte may be the first byte of an end marker.
		if len(c.buf)-c.start > MaxRecord+1 {
			c.skipRecord()
			continue
		}
		if err := c.fill(ctx); err != nil {
			return nil, errs.New("next", "", err)
		}
	}
}

// skipRecord discards the received part of a record that is longer than MaxRecord. The
// rest is discarded when the end of the record arrives.
func (c *Client) skipRecord() {
	if !c.skip {
		c.bad.Add(nil, "record passed over")
	}
	c.skip = true
	c.start = len(c.buf) - 1 // may be the first byte of an end marker
	c.seen = c.start
}

// Malformed returns the number of records that were ignored because they were longer
// than MaxRecord.
func (c *Client) Malformed() uint64 { return c.bad.Count() }

// cut removes one record from the buffer. It returns nil if the buffer holds no whole
// record.
func (c *Client) cut() []byte {
	i := bytes.Index(c.buf[c.seen:], recordEnd)
	if i < 0 {
		// The last byte may be the first byte of an end marker.
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
		r = r[1:] // NULs between records, which some firmware sends to keep the connection active
	}
	if len(r) > MaxRecord {
		c.bad.Add(nil, "record passed over")
		return r[:0]
	}
	return r
}

// fill reads from the connection once. It keeps an error that ends the log until the
// records before it are returned. It returns the error of ctx without keeping it.
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
	err = release(err)
	if err == nil {
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

// Close closes the connection and ends a call of Next that waits.
func (c *Client) Close() error {
	var err error
	c.closed.Store(true)
	c.once.Do(func() { err = c.conn.Close() })
	return err
}
