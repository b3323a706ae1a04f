package dtx

import (
	"context"
	"errors"
	"fmt"

	"github.com/imdlua/imdlua/runtime/link"
)

// Handler handles the messages that the peer sends on a channel, one after the
// other. The result answers a call: a nil result is sent as an acknowledgement,
// an error as a refusal, and any other value as an archive. The result is dropped
// if the message expects no reply. ctx ends with the connection.
type Handler interface {
	Handle(ctx context.Context, in *Incoming) (any, error)
}

// HandlerFunc adapts a function to the Handler interface.
type HandlerFunc func(ctx context.Context, in *Incoming) (any, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, in *Incoming) (any, error) { return f(ctx, in) }

// Default limits of the messages that wait on a channel.
const (
	DefaultQueue      = 4096
	DefaultQueueBytes = 64 << 20
)

// ChannelOptions say who handles the messages on a channel. With the zero value
// they wait until they are taken with Next.
type ChannelOptions struct {
	Handler    Handler // nil means that messages are taken with Next
	Queue      int     // number of messages that may wait; 0 means DefaultQueue
	QueueBytes int     // total size of these messages; 0 means DefaultQueueBytes
}

// Channel is one of the many conversations on a connection.
type Channel struct {
	conn       *Conn
	code       int32 // positive if this side opened it
	identifier string
	deaf       bool // refuses all messages: channel 0 without Options.Control
	ctx        context.Context
	cancel     context.CancelFunc

	handler Handler
	queue   *link.Queue[*Incoming] // it ends when the channel is closed
}

// over returns a channel that is closed when calls on ch must stop waiting.
// Channel 0 is special: when it has overflowed it receives no messages any more,
// but DTX itself sends calls on it until the connection ends.
func (ch *Channel) over() <-chan struct{} {
	if ch.code == 0 {
		return ch.conn.done
	}
	return ch.Done()
}

// usable returns nil if calls may be made on ch, or else the reason why not. It
// treats channel 0 as over does.
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

// take applies the options and starts the handler, if there is one.
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

// goWhileOpen runs f on a goroutine that Conn.Close waits for. It returns false
// and starts nothing if the connection is over. If count is not nil, it is
// increased while f runs.
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

// Open asks the peer to open a channel. The channel is registered before the
// request is sent, so that no event is lost.
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

// Identifier returns the identifier that the channel was opened with.
func (ch *Channel) Identifier() string { return ch.identifier }

// Code returns the channel's number: positive if this side opened it, negative
// if the peer did.
func (ch *Channel) Code() int32 { return ch.code }

// Conn returns the connection of the channel.
func (ch *Channel) Conn() *Conn { return ch.conn }

// Context returns a context that ends when either side closes the channel.
func (ch *Channel) Context() context.Context { return ch.ctx }

// Done returns a Go channel that is closed when ch is closed.
func (ch *Channel) Done() <-chan struct{} { return ch.queue.Ended() }

// Err returns the reason why the channel was closed, or nil while it is open.
func (ch *Channel) Err() error { return ch.queue.Err() }

// Go runs f on a new goroutine, with a context that ends when the channel is
// closed. Usually f sends events. Go reports whether f was started; it is not if
// the connection is over. Conn.Close waits for f.
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

// push queues a message. Only the reader calls it, so it never waits: a channel whose
// queue is full is closed, and the other channels go on. push returns false if the reader
// must give back the bytes that it took for the message.
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
	return parked // if it was parked, its bytes were given back by unpark
}

func (ch *Channel) overflow(in *Incoming) {
	c := ch.conn
	c.log.Warn("channel overflows", "channel", ch.code, "identifier", ch.identifier)
	ch.end(ErrOverflow)
	in.refuse(Refuse(Domain, 1, "the channel is closed"))
	if ch.code == 0 {
		return // stays registered, so that later calls are refused in the same way
	}
	c.unregister(ch.code)
	c.sayCancelled(ch.code)
}

// sayCancelled tells the peer that a channel is closed. It does not wait.
func (c *Conn) sayCancelled(code int32) {
	d, err := c.encodeCall(0, selCancelChannel, []any{Int32(code)})
	if err != nil {
		return
	}
	defer c.release(d)
	_ = c.enqueue(c.ctx, &d.Message, nil, true)
}

// next waits for the next message that is not a barrier. It answers a barrier
// when it finds one, because all earlier messages were taken by then.
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

// Next returns the next message of a channel without a Handler. The caller must
// answer calls that expect a reply with Incoming.Reply. After the channel was
// closed, Next returns the messages that are still queued, and then an error.
func (ch *Channel) Next(ctx context.Context) (*Incoming, error) {
	in, err := ch.next(ctx)
	if err != nil {
		return nil, &Error{Op: "receive", Subject: ch.identifier, Err: err}
	}
	ch.conn.memory.unpark(in.taken) // the caller owns the message from now on
	return in, nil
}

// serve runs the handler for each message. When the peer has left or cancelled
// the channel, serve still handles the messages that are queued.
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

// handle runs the handler for one message. It does not begin a call while the outbox is
// full because the peer does not read: the result could not be sent.
func (ch *Channel) handle(in *Incoming) {
	c := ch.conn
	if in.ExpectsReply {
		_ = c.out.room(c.ctx, c.done) // the call is handled even if the connection has ended
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
