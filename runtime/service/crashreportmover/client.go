package crashreportmover

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Client is a connection to the mover. It serves one Flush.
type Client struct {
	conn  net.Conn
	close sync.Once
	err   error
}

// Connect opens the service. The device begins to move reports when the connection is
// open.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Service, &errs, New)
}

// New returns a client on a connection to the service.
func New(c net.Conn) *Client { return &Client{conn: c} }

// Flush waits until the device has moved its pending reports.
func (c *Client) Flush(ctx context.Context) error {
	var b [len(ping)]byte
	release := link.GuardRead(ctx, c.conn)
	_, err := io.ReadFull(c.conn, b[:])
	err = release(err)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && string(b[:]) != ping {
		err = fmt.Errorf("%w % x", errPing, b)
	}
	if err != nil {
		return errs.New("flush", "", err)
	}
	return nil
}

// Close closes the connection.
func (c *Client) Close() error {
	c.close.Do(func() { c.err = c.conn.Close() })
	return c.err
}
