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
	// firstBeat is how long a device may take for its first message.
	firstBeat = 60 * time.Second
	// silence is how many intervals may pass without a message before the
	// device counts as lost.
	silence = 3
)

// Client answers the heartbeat on one connection: either by Run (or Beat) on
// the caller's goroutine, or by Start on one of its own.
type Client struct {
	conn  *link.PlistConn
	next  time.Duration // how long the next message may take
	bad   link.Skipped
	once  sync.Once
	start sync.Once
	done  chan struct{} // closed when the goroutine of Start has ended
	stop  context.CancelFunc
	ctx   context.Context
	err   error // of that goroutine; read after done
}

// Connect opens the service on a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	c, err := o.Open(ctx, Service)
	if err != nil {
		return nil, errs.New("connect", "", err)
	}
	return New(c), nil
}

// New speaks the protocol on c, which Close closes.
func New(c net.Conn) *Client {
	ctx, stop := context.WithCancel(context.Background())
	return &Client{
		conn: &link.PlistConn{Conn: c, Max: MaxMessage},
		next: firstBeat, done: make(chan struct{}), ctx: ctx, stop: stop,
	}
}

// Beat waits for one message of the device and answers it. A Beat that its
// context interrupted leaves the connection unusable.
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

// receive waits for the question of the device. Whatever else it says is passed over: the
// connection of a whole session must not end for it.
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

// Malformed counts the messages that were passed over.
func (c *Client) Malformed() uint64 { return c.bad.Count() }

// Run answers until the device leaves, falls silent for three intervals or
// ctx ends, and returns the reason: ErrSleep, io.EOF, context.DeadlineExceeded
// for silence, or that of ctx.
func (c *Client) Run(ctx context.Context) error {
	for {
		if _, err := c.Beat(ctx); err != nil {
			return err
		}
	}
}

// Start runs the client on a goroutine of its own until Close. Calling it
// again changes nothing.
func (c *Client) Start() {
	c.start.Do(func() {
		go func() {
			defer close(c.done)
			c.err = c.Run(c.ctx)
		}()
	})
}

// Done is closed when what Start started has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why what Start started has ended, nil while it runs.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Close ends the connection and waits for the goroutine of Start.
func (c *Client) Close() error {
	var err error
	c.once.Do(func() {
		c.stop()
		err = c.conn.Close()
		c.start.Do(func() { close(c.done) }) // never started: nothing to wait for
	})
	<-c.done
	return err
}
