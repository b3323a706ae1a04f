package dtsimulatelocation

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Client is a connection to the service. The device answers no call: a call has succeeded
// when its message was sent.
type Client struct {
	conn  net.Conn
	mu    sync.Mutex // held while a message is sent
	close sync.Once
	err   error
}

// Connect opens the service.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Service, &errs, New)
}

// New returns a client on a connection to the service.
func New(c net.Conn) *Client { return &Client{conn: c} }

// SetLocation overrides the location that the device reports, in degrees, until
// ClearLocation or a restart.
func (c *Client) SetLocation(ctx context.Context, latitude, longitude float64) error {
	return c.send(ctx, "set location", fmt.Sprintf("%v, %v", latitude, longitude),
		Request{Latitude: latitude, Longitude: longitude})
}

// ClearLocation ends the simulation of the location.
func (c *Client) ClearLocation(ctx context.Context) error {
	return c.send(ctx, "clear location", "", Request{Clear: true})
}

func (c *Client) send(ctx context.Context, op, subject string, r Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	release := link.GuardWrite(ctx, c.conn)
	_, err := c.conn.Write(Append(nil, r))
	err = release(err)
	if err != nil {
		return errs.New(op, subject, err)
	}
	return nil
}

// Close closes the connection. The simulation stays in effect.
func (c *Client) Close() error {
	c.close.Do(func() { c.err = c.conn.Close() })
	return c.err
}
