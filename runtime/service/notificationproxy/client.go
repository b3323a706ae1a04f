package notificationproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// queueLimit is how many notifications are queued for Next.
const queueLimit = 4096

// shutdownTime bounds a Shutdown whose context has no deadline.
const shutdownTime = 30 * time.Second

// Client is a connection to the service. Its methods may be called from any goroutine.
type Client struct{ demux *link.Demux[message] }

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
	return &Client{link.NewDemux(c, link.DemuxOptions[message]{
		Max: MaxMessage, Decode: decodeMessage, Queue: queueLimit, Time: shutdownTime,
	})}
}

// decodeMessage decodes a message from the device: a notification, or the end of the
// service, which answers Shutdown.
func decodeMessage(body []byte) (m message, answers string, err error) {
	if err := plist.Unmarshal(body, &m); err != nil {
		return message{}, "", err
	}
	switch {
	case m.Command == cmdDeath:
		return m, cmdDeath, nil
	case m.Command != cmdRelay:
		return message{}, "", fmt.Errorf("%w: command %q", ErrProtocol, link.Clip(m.Command))
	}
	return m, "", checkName(m.Name)
}

// Malformed returns the number of messages that were ignored because they could not be
// decoded.
func (c *Client) Malformed() uint64 { return c.demux.Malformed() }

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
	err := checkName(m.Name)
	if err == nil {
		err = c.demux.Send(ctx, m)
	}
	if err != nil {
		return errs.New(op, m.Name, err)
	}
	return nil
}

// Next returns the name of the next notification. After the end of the connection it
// still returns the notifications that arrived before.
func (c *Client) Next(ctx context.Context) (string, error) {
	m, err := c.demux.Next(ctx)
	if err == nil && m.Command == cmdDeath {
		err = ErrProxyDeath
	}
	if err != nil {
		return "", errs.New("next", "", err)
	}
	return m.Name, nil
}

// Shutdown asks the device to end the service and waits until the service has ended.
// Close must still be called.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := c.demux.Ask(ctx, cmdDeath, message{Command: cmdShutdown})
	if err != nil && err != io.EOF {
		return errs.New("shutdown", "", err)
	}
	return nil
}

// Close closes the connection and ends all calls on it.
func (c *Client) Close() error { return c.demux.Close() }
