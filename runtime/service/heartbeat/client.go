package heartbeat

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

const (
	// firstBeat is how long the client waits for the first message.
	firstBeat = 60 * time.Second
	// silence is the number of intervals without a message after which the client
	// considers the device lost.
	silence = 3
)

// Client answers the heartbeat messages on one connection. Run and Beat work on the
// goroutine of the caller; Start starts a goroutine.
type Client struct {
	conn  *link.PlistConn
	next  time.Duration // how long to wait for the next message
	bad   link.Skipped
	once  sync.Once
	start sync.Once
	done  chan struct{} // closed when the goroutine started by Start has ended
	stop  context.CancelFunc
	ctx   context.Context
	err   error // error of that goroutine; valid after done is closed
}

// Connect opens the service on a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Service, &errs, New)
}

// New returns a client on a connection to the service. Close closes c.
func New(c net.Conn) *Client {
	ctx, stop := context.WithCancel(context.Background())
	return &Client{
		conn: &link.PlistConn{Conn: c, Max: MaxMessage},
		next: firstBeat, done: make(chan struct{}), ctx: ctx, stop: stop,
	}
}

// Beat waits for one message of the device and answers it. If ctx ends a Beat, the
// connection is not usable afterwards.
func (c *Client) Beat(ctx context.Context) (Beat, error) {
	ctx, cancel := context.WithTimeout(ctx, c.next)
	defer cancel()
	m, err := c.receive(ctx)
	if err != nil {
		return Beat{}, errs.New("beat", "", err)
	}
	if err := c.conn.Send(ctx, polo{cmdPolo}); err != nil {
		return Beat{}, errs.New("beat", "", err)
	}
	b := Beat{Sleepy: m.SupportsSleepyTime}
	if m.Interval > 0 && m.Interval <= maxInterval {
		b.Interval = time.Duration(m.Interval) * time.Second
		c.next = silence * b.Interval
	}
	return b, nil
}

// receive waits for a Marco message. It ignores and counts all other messages, because
// they must not end a connection that is needed for a long time.
func (c *Client) receive(ctx context.Context) (m marco, err error) {
	for {
		body, err := c.conn.RecvBytes(ctx)
		if err != nil {
			return marco{}, err
		}
		m = marco{}
		err = plist.Unmarshal(body, &m)
		switch {
		case err == nil && m.Command == cmdMarco:
			return m, nil
		case err == nil && m.Command == cmdSleepy:
			return marco{}, ErrSleep
		case err == nil:
			err = fmt.Errorf("%w: command %q", ErrProtocol, link.Clip(m.Command))
		}
		c.bad.Add(nil, "malformed message passed over", "err", err)
	}
}

// Malformed returns the number of messages that were ignored.
func (c *Client) Malformed() uint64 { return c.bad.Count() }

// Run answers messages until the connection or ctx ends, or until no message has come
// for three intervals. It returns the reason: ErrSleep or io.EOF if the device ended
// the connection, context.DeadlineExceeded if no message came, or the error of ctx.
func (c *Client) Run(ctx context.Context) error {
	for {
		if _, err := c.Beat(ctx); err != nil {
			return err
		}
	}
}

// Start calls Run on a goroutine that lives until Close. A second call has no effect.
func (c *Client) Start() {
	c.start.Do(func() {
		go func() {
			defer close(c.done)
			c.err = c.Run(c.ctx)
		}()
	})
}

// Done returns a channel that is closed when the goroutine started by Start has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns the reason why the goroutine started by Start has ended. It returns nil
// while the goroutine runs.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Close closes the connection and waits for the goroutine started by Start.
func (c *Client) Close() error {
	var err error
	c.once.Do(func() {
		c.stop()
		err = c.conn.Close()
		c.start.Do(func() { close(c.done) }) // no goroutine was started
	})
	<-c.done
	return err
}
