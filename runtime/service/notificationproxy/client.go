package notificationproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// queueLimit is how many notifications are queued for Next.
const queueLimit = 4096

// Client is a connection to the service. Its methods may be called from any goroutine.
type Client struct {
	conn    *link.PlistConn
	writing chan struct{} // holds a token while no goroutine writes
	done    chan struct{} // closed when the reading goroutine has ended
	queue   *link.Queue[string]
	bad     link.Skipped
	once    sync.Once
}

// Connect opens the service on a paired device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Service, &errs, New)
}

// ConnectInsecure opens the variant of the service that does not need pairing.
func ConnectInsecure(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Insecure, &errs, New)
}

// New returns a client on a connection to the service and starts the goroutine that
// reads from it. Close closes c and ends the goroutine.
func New(c net.Conn) *Client {
	cl := &Client{
		conn:    &link.PlistConn{Conn: c, Max: MaxMessage},
		writing: make(chan struct{}, 1),
		done:    make(chan struct{}),
		queue:   link.NewQueue(link.QueueOptions[string]{Items: queueLimit}),
	}
	cl.writing <- struct{}{}
	go cl.read()
	return cl
}

// read runs on the only goroutine that reads from the connection. It never waits for a
// consumer.
func (c *Client) read() {
	defer close(c.done)
	for {
		err := c.readOne()
		if err != nil {
			c.queue.End(err)
			if err == ErrOverflow {
				c.conn.Close()
			}
			return
		}
	}
}

func (c *Client) readOne() error {
	body, err := c.conn.RecvBytes(context.Background())
	if err != nil {
		return err
	}
	m, err := decodeMessage(body)
	if err != nil {
		c.bad.Add(nil, "malformed event passed over", "err", err)
		return nil
	}
	if m.Command == cmdDeath {
		return ErrProxyDeath
	}
	if !c.queue.Push(m.Name) {
		return ErrOverflow
	}
	return nil
}

// decodeMessage decodes a message from the device: a notification, or the end of the
// service.
func decodeMessage(body []byte) (m message, err error) {
	if err := plist.Unmarshal(body, &m); err != nil {
		return message{}, err
	}
	switch {
	case m.Command == cmdDeath:
		return m, nil
	case m.Command != cmdRelay:
		return message{}, fmt.Errorf("%w: command %q", ErrProtocol, link.Clip(m.Command))
	}
	return m, checkName(m.Name)
}

// Malformed returns the number of messages that were ignored because they could not be
// decoded.
func (c *Client) Malformed() uint64 { return c.bad.Count() }

// Observe subscribes to the notifications with these names. The device does not confirm
// the subscription, so a notification that is posted at the same time may be missed.
func (c *Client) Observe(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := c.send(ctx, "observe", message{cmdObserve, name}); err != nil {
			return err
		}
	}
	return nil
}

// Post posts a notification on the device.
func (c *Client) Post(ctx context.Context, name string) error {
	return c.send(ctx, "post", message{cmdPost, name})
}

func (c *Client) send(ctx context.Context, op string, m message) error {
	if m.Command != cmdShutdown {
		if err := checkName(m.Name); err != nil {
			return errs.New(op, m.Name, err)
		}
	}
	err := ctx.Err()
	if err == nil {
		select {
		case <-c.writing:
			err = c.conn.Send(ctx, m)
			c.writing <- struct{}{}
		case <-ctx.Done():
			err = link.Expired(ctx, c.conn)
		}
	}
	if err != nil {
		return errs.New(op, m.Name, err)
	}
	return nil
}

// Next returns the name of the next notification. After the end of the connection it
// still returns the notifications that arrived before.
func (c *Client) Next(ctx context.Context) (string, error) {
	name, err := c.queue.Pop(ctx)
	switch err {
	case nil:
		return name, nil
	case ctx.Err():
		err = link.Expired(ctx, c.conn)
	}
	return "", errs.New("next", "", err)
}

// Shutdown asks the device to end the service and waits until the service has ended.
// Close must still be called.
func (c *Client) Shutdown(ctx context.Context) error {
	if err := c.send(ctx, "shutdown", message{Command: cmdShutdown}); err != nil {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return errs.New("shutdown", "", link.Expired(ctx, c.conn))
	}
	if err := c.queue.Err(); err != ErrProxyDeath && err != io.EOF {
		return errs.New("shutdown", "", err)
	}
	return nil
}

// Close closes the connection and ends all calls on it.
func (c *Client) Close() error {
	var err error
	c.once.Do(func() { err = c.conn.Close() })
	<-c.done
	return err
}
