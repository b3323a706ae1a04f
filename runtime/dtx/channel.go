package dtx

import (
	"context"
	"errors"
	"fmt"

	"github.com/imdlua/imdlua/runtime/link"
)

// Handler answers what the peer sends on a channel, one message after the
// other. The result answers a call: nil as an acknowledgement, an error as
// refusal, anything else archived. Of messages that expect no reply it is
// dropped. ctx ends with the connection.
type Handler interface {
	Handle(ctx context.Context, in *Incoming) (any, error)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, in *Incoming) (any, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, in *Incoming) (any, error) { return f(ctx, in) }

// Limits of what waits on a channel.
const (
	DefaultQueue      = 4096
	DefaultQueueBytes = 64 << 20
)

// ChannelOptions say what becomes of the messages on a channel. The zero value
// keeps them for Next.
type ChannelOptions struct {
	Handler    Handler // nil: Next takes them
	Queue      int     // messages that may wait, 0 is DefaultQueue
	QueueBytes int     // and their size, 0 is DefaultQueueBytes
}

// Channel is one of the many conversations on a connection.
type Channel struct {
	conn       *Conn
	code       int32 // positive if this side opened it
	identifier string
	deaf       bool // takes no messages: channel 0 without Options.Control
	ctx        context.Context
	cancel     context.CancelFunc

	handler Handler
	queue   *link.Queue[*Incoming] // it ends when the channel is closed
}

// over says until when calls may wait on the channel, and usable whether they
// may be made. Channel 0 that overflowed receives no more; what DTX itself
// sends on it goes on as long as the connection does.
func (ch *Channel) over() <-chan struct{} {
	if ch.code == 0 {
		return ch.conn.done
	}
	return ch.Done()
}

func (ch *Channel) usable() error {
	if ch.code == 0 {
		return ch.conn.Err()
	}
	return ch.Err()
}

func newChannel(c *Conn, code int32, identifier string) *Channel {
	ch := &Channel{
		conn: c, code: code, identifier: identifier,
		queue: link.NewQueue(link.QueueOptions[*Incoming]{
			Items: DefaultQueue, Bytes: DefaultQueueBytes, Size: (*Incoming).Size,
		}),
	}
	ch.ctx, ch.cancel = context.WithCancel(c.ctx)
	return ch
}

// take sets what becomes of messages and starts the handler.
func (ch *Channel) take(o ChannelOptions) {
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = DefaultQueueBytes
	}
	ch.queue.Bound(o.Queue, o.QueueBytes)
	if o.Handler != nil {
		ch.handler = o.Handler
		ch.conn.goWhileOpen(ch.serve, &ch.conn.serving)
	}
}

// goWhileOpen starts a goroutine that Close waits for, unless the connection is
// over. While it runs it counts in count, if that is not nil.
func (c *Conn) goWhileOpen(f func(), count *int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return false
	case count == nil:
		c.wg.Go(f)
		return true
	}
	*count++
	c.wg.Go(func() {
		f()
		c.mu.Lock()
		*count--
		c.mu.Unlock()
	})
	return true
}

// Open asks the peer for a channel. It is there before the peer knows of it, so
// that no event is missed.
func (c *Conn) Open(ctx context.Context, identifier string, o ChannelOptions) (*Channel, error) {
	c.mu.Lock()
	if c.opened == 1<<31-1 {
		c.mu.Unlock()
		return nil, &Error{
			Op: "open channel", Subject: identifier, Err: fmt.Errorf("no codes left"),
		}
	}
	c.opened++
	code := c.opened
	c.mu.Unlock()
	ch := newChannel(c, code, identifier)
	if err := c.register(ch, o); err != nil {
		return nil, &Error{Op: "open channel", Subject: identifier, Err: err}
	}
	m, err := c.control.call(ctx, selRequestChannel, []any{Int32(code), identifier})
	if err == nil && m.Type == Failure {
		err = c.failure(m)
	}
	if err != nil {
		c.unregister(code)
		ch.end(err)
		if ctx.Err() != nil {
			c.sayCancelled(code) // the peer may have opened it, or may do so yet
		}
		return nil, &Error{Op: "open channel", Subject: identifier, Err: err}
	}
	return ch, nil
}

// Identifier returns what the channel was asked for as.
func (ch *Channel) Identifier() string { return ch.identifier }

// Code returns the channel's number: positive if this side opened it, negative
// if the peer did.
func (ch *Channel) Code() int32 { return ch.code }

// Conn returns the connection of the channel.
func (ch *Channel) Conn() *Conn { return ch.conn }

// Context ends when the channel is closed, by whomever.
func (ch *Channel) Context() context.Context { return ch.ctx }

// Done is closed when the channel is.
func (ch *Channel) Done() <-chan struct{} { return ch.queue.Ended() }

// Err returns why the channel is closed, nil while it is not.
func (ch *Channel) Err() error { return ch.queue.Err() }

// Go runs f, which sends events as a rule, until the channel is closed. It
// reports whether it still could. Close of the connection waits for f.
func (ch *Channel) Go(f func(ctx context.Context)) bool {
	return ch.ctx.Err() == nil && ch.conn.goWhileOpen(func() { f(ch.ctx) }, nil)
}

// Close closes the channel and tells the peer, which then stops sending.
// Channel 0 cannot be closed.
func (ch *Channel) Close(ctx context.Context) error {
	if ch.code == 0 || ch.conn.unregister(ch.code) == nil {
		return nil
	}
	ch.end(ErrChannelClosed)
	for _, in := range ch.queue.Close(ErrChannelClosed) {
		ch.conn.memory.unpark(in.taken)
	}
	return ch.conn.control.Send(ctx, selCancelChannel, Int32(ch.code))
}

// end closes the channel on this side. What is queued can still be taken.
func (ch *Channel) end(err error) {
	ch.queue.End(err)
	ch.cancel()
}

// push queues a message. It is the reader's, and never waits: a channel that nobody
// empties is closed, the others go on. It reports false if the bytes taken for the message
// are still the reader's to give back.
func (ch *Channel) push(in *Incoming) bool {
	switch {
	case ch.deaf && in.Type == Barrier:
		in.ack()
		return false
	case ch.deaf:
		in.refuse(UnknownSelector(in.Selector))
		return false
	}
	parked := ch.Err() == nil && ch.conn.memory.park(in.taken)
	if parked && ch.queue.Push(in) {
		return true
	}
	if parked {
		ch.conn.memory.unpark(in.taken)
	}
	if ch.Err() != nil {
		in.refuse(Refuse(Domain, 1, "the channel is closed"))
	} else {
		ch.overflow(in)
	}
	return parked // and given back already
}

func (ch *Channel) overflow(in *Incoming) {
	c := ch.conn
	c.log.Warn("channel overflows", "channel", ch.code, "identifier", ch.identifier)
	ch.end(ErrOverflow)
	in.refuse(Refuse(Domain, 1, "the channel is closed"))
	if ch.code == 0 {
		return // stays known, so that later calls are refused the same way
	}
	c.unregister(ch.code)
	c.sayCancelled(ch.code)
}

// sayCancelled tells the peer that a channel is closed, without waiting.
func (c *Conn) sayCancelled(code int32) {
	d, err := c.encodeCall(0, selCancelChannel, []any{Int32(code)})
	if err != nil {
		return
	}
	defer c.release(d)
	_ = c.enqueue(c.ctx, &d.Message, nil, true)
}

// next waits for a message. Barriers are answered on the way: everything before
// them was taken.
func (ch *Channel) next(ctx context.Context) (*Incoming, error) {
	for {
		in, err := ch.queue.Pop(ctx)
		if err != nil || in.Type != Barrier {
			return in, err
		}
		err = in.Reply(ctx, nil)
		ch.conn.memory.unpark(in.taken)
		if err != nil {
			return nil, err
		}
	}
}

// Next returns the next message of a channel without a Handler. Calls that
// expect a reply have to be answered with Incoming.Reply. What was queued when
// the channel was closed still comes before the error.
func (ch *Channel) Next(ctx context.Context) (*Incoming, error) {
	in, err := ch.next(ctx)
	if err != nil {
		return nil, &Error{Op: "receive", Subject: ch.identifier, Err: err}
	}
	ch.conn.memory.unpark(in.taken) // the caller's from now on
	return in, nil
}

// serve runs the handler. It goes on after the peer left or cancelled, so that
// what was asked for last is done.
func (ch *Channel) serve() {
	c := ch.conn
	for {
		in, err := ch.next(context.Background())
		if err != nil || c.dropping() {
			return
		}
		ch.handle(in)
		c.memory.unpark(in.taken)
	}
}

// handle runs the handler for one message. A call is not begun while the peer does not
// read: its result would have to wait.
func (ch *Channel) handle(in *Incoming) {
	c := ch.conn
	if in.ExpectsReply {
		_ = c.out.room(c.ctx, c.done) // after the end, what was asked for is still done
	}
	v, err := ch.handler.Handle(c.ctx, in)
	if errors.Is(err, ErrLater) {
		return
	}
	if err != nil {
		c.log.Debug("call failed", "identifier", ch.identifier, "selector", in.Selector, "err", err)
		v = nsError(err)
	}
	if err := in.Reply(c.ctx, v); err != nil && c.Err() == nil {
		c.log.Warn("reply", "identifier", ch.identifier, "selector", in.Selector, "err", err)
	}
}

func (c *Conn) dropping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drop
}
