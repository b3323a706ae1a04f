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

// queueLimit is how many notifications wait for Next.
const queueLimit = 4096

// Client is one connection. Its methods may be called from any goroutine.
type Client struct {
	conn    *link.PlistConn
	writing chan struct{} // holds a token while nobody writes
	done    chan struct{} // closed when the reader has ended
	queue   *link.Queue[string]
	bad     link.Skipped
	once    sync.Once
}

// Connect opens the service on a paired device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return connect(ctx, o, Service)
}

// ConnectInsecure opens the variant that needs no pairing.
func ConnectInsecure(ctx context.Context, o service.Opener) (*Client, error) {
	return connect(ctx, o, Insecure)
}

func connect(ctx context.Context, o service.Opener, n service.Name) (*Client, error) {
	c, err := o.Open(ctx, n)
	if err != nil {
		return nil, errs.New("connect", "", err)
	}
	return New(c), nil
}

// New speaks the protocol on c and starts the goroutine that reads it; Close
// ends both.
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

// read is the connection's one reader. It never waits for a consumer.
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

// decodeMessage reads what a device sends: a notification, or the end of the service.
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

// Malformed counts the messages that were passed over because they could not be decoded.
func (c *Client) Malformed() uint64 { return c.bad.Count() }

// Observe asks for the notifications of these names. The device does not
// confirm it: a notification that fires at the same moment may be missed.
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

// Next returns the name of the next notification. What arrived before the end
// of the connection is still returned after it.
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

// Shutdown asks the device to end the service and waits until it has. Close
// is still needed.
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

// Close ends the connection and whatever waits on it.
func (c *Client) Close() error {
	var err error
	c.once.Do(func() { err = c.conn.Close() })
	<-c.done
	return err
}
