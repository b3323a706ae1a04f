package remotexpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

// queuedOverhead is what a message in the queue costs beside its bytes.
const queuedOverhead = 64

// maxGiven is how many calls that were given up are remembered.
const maxGiven = 64

// queued is a message that waits to be received, not decoded yet: its bytes are
// what the windows count, and decoding is not the reader's work.
type queued struct {
	st   *stream
	raw  []byte
	held int64 // what is not credited to the peer until somebody receives it
}

// call waits for a reply.
type call struct {
	id    uint64
	any   bool // takes messages on stream 1 that are not replies, too
	reply chan []byte
}

// encodings are reused for messages up to this size.
const maxReused = 64 << 10

var encodings = sync.Pool{New: func() any { return new([]byte) }}

// send encodes and writes a message.
func (c *Conn) send(ctx context.Context, st *stream, m *xpc.Message) error {
	buf := encodings.Get().(*[]byte)
	raw, err := xpc.Append((*buf)[:0], m)
	if err != nil {
		return err
	}
	err = c.writeMessage(ctx, st, raw)
	if c.log.Enabled(ctx, slog.LevelDebug) {
		c.log.Debug("message sent", "stream", st.id, "flags", m.Flags, "id", m.ID, "bytes",
			len(raw), "err", err)
	}
	if cap(raw) <= maxReused {
		*buf = raw
		encodings.Put(buf)
	}
	return err
}

// opError makes the error of an operation.
func opError(op string, stream uint32, err error) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.of(op)
	}
	return &Error{Op: op, Stream: stream, Err: err}
}

// newID returns the next message id: odd ones for a host, even ones for a
// device.
func (c *Conn) newID() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.nextID
	c.nextID += 2
	return id
}

// Write sends a message as it is, on stream 1 or 3. Send, Call and Reply choose
// stream, flags and id themselves.
func (c *Conn) Write(ctx context.Context, m *Message) error {
	if !carriesMessages(m.Stream) {
		return &Error{Op: opSend, Stream: m.Stream, Err: errors.New("not a message stream")}
	}
	c.mu.Lock()
	st := c.streams[m.Stream]
	c.mu.Unlock()
	if err := c.send(ctx, st, &m.Message); err != nil {
		return opError(opSend, m.Stream, err)
	}
	return nil
}

// Send sends a message that wants no reply, on stream 1.
func (c *Conn) Send(ctx context.Context, body xpc.Dict) error {
	return c.Write(ctx, &Message{
		Stream:  rootStream,
		Message: xpc.Message{Flags: bodyFlags(0, body), ID: c.newID(), Body: body},
	})
}

// Reply answers a message on stream 3 with its id. Hosts pass over replies with
// an empty body and go on waiting: an answer that says nothing must say so in
// some key.
func (c *Conn) Reply(ctx context.Context, to *Message, body xpc.Dict) error {
	return c.Write(ctx, &Message{
		Stream:  replyStream,
		Message: xpc.Message{Flags: bodyFlags(xpc.FlagReply, body), ID: to.ID, Body: body},
	})
}

func bodyFlags(flags uint32, body xpc.Dict) uint32 {
	if len(body) > 0 {
		flags |= xpc.FlagDataPresent
	}
	return flags | xpc.FlagAlwaysSet
}

// Call sends a request and waits for its reply. Unless Options.Pipeline is set,
// calls take turns. A call that its context ends leaves the connection usable;
// its reply is dropped when it comes.
func (c *Conn) Call(ctx context.Context, body xpc.Dict) (xpc.Dict, error) {
	return c.call(ctx, body, false)
}

// CallAny is Call for requests that some services answer with a message of
// their own, on stream 1 and without the mark of a reply.
func (c *Conn) CallAny(ctx context.Context, body xpc.Dict) (xpc.Dict, error) {
	return c.call(ctx, body, true)
}

func (c *Conn) call(ctx context.Context, body xpc.Dict, any bool) (xpc.Dict, error) {
	if !c.opts.Pipeline {
		if err := c.take(ctx, c.calling); err != nil {
			return nil, opError(opCall, 0, err)
		}
		defer func() { <-c.calling }()
	}
	cl := &call{id: c.newID(), any: any, reply: make(chan []byte, 1)}
	c.mu.Lock()
	c.calls = append(c.calls, cl)
	st := c.streams[rootStream]
	c.mu.Unlock()
	m := &xpc.Message{Flags: bodyFlags(xpc.FlagWantingReply, body), ID: cl.id, Body: body}
	if err := c.send(ctx, st, m); err != nil {
		c.giveUp(cl, false)
		return nil, opError(opCall, rootStream, err)
	}
	raw, err := c.await(ctx, cl)
	if err != nil {
		return nil, err
	}
	reply, _, err := xpc.Decode(raw)
	if err != nil {
		return nil, &Error{Op: opCall, Err: err}
	}
	return reply.Body, nil
}

func (c *Conn) await(ctx context.Context, cl *call) ([]byte, error) {
	select {
	case raw := <-cl.reply:
		return raw, nil
	case <-c.done:
		select {
		case raw := <-cl.reply: // it came right before the end
			return raw, nil
		default:
		}
		return nil, c.failed(opCall)
	case <-ctx.Done():
		c.giveUp(cl, true)
		return nil, &Error{Op: opCall, Err: context.Cause(ctx)}
	}
}

// giveUp forgets a call. If its request is out, its reply is still to come.
func (c *Conn) giveUp(cl *call, sent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.calls {
		if c.calls[i] != cl {
			continue
		}
		c.calls = append(c.calls[:i], c.calls[i+1:]...)
		if !sent {
			return
		}
		if c.given = append(c.given, cl.id); len(c.given) > maxGiven {
			c.given = c.given[1:]
		}
		return
	}
}

// wasGivenUp reports whether a reply is to a call that was given up, once; mu
// is held.
func (c *Conn) wasGivenUp(id uint64) bool {
	for i, g := range c.given {
		if g == id {
			c.given = append(c.given[:i], c.given[i+1:]...)
			return true
		}
	}
	return false
}

// callFor finds the call that a message answers and takes it off the list; mu
// is held. A device that puts the same id on every reply is believed to reply
// in order.
func (c *Conn) callFor(stream, flags uint32, id uint64, size int) *call {
	isReply := flags&xpc.FlagReply != 0
	if !isReply && size <= emptySize || flags&xpc.FlagWantingReply != 0 {
		return nil
	}
	found := -1
	for i, cl := range c.calls {
		if !isReply && stream != replyStream && !cl.any {
			continue
		}
		if cl.id == id {
			found = i
			break
		}
		if found < 0 {
			found = i
		}
	}
	if found < 0 {
		return nil
	}
	cl := c.calls[found]
	c.calls = append(c.calls[:found], c.calls[found+1:]...)
	return cl
}

// signal tells receivers that the queue is not empty.
func (c *Conn) signal() {
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// Receive returns the next message that is not a reply to a call, in the order in
// which they came on both streams. Messages that say nothing are passed over.
// What came before the connection ended is still received; then the cause of
// the error is io.EOF if the peer closed it in peace. Bytes that are not XPC give
// an error for their message alone.
func (c *Conn) Receive(ctx context.Context) (*Message, error) {
	for {
		q, err := c.next()
		if err != nil {
			return nil, err
		}
		if q.st != nil {
			m, _, err := xpc.Decode(q.raw)
			if err != nil {
				return nil, &Error{Op: opReceive, Stream: q.st.id, Err: err}
			}
			return &Message{Message: *m, Stream: q.st.id}, nil
		}
		select {
		case <-c.arrived:
		case <-c.done:
		case <-ctx.Done():
			return nil, &Error{Op: opReceive, Err: context.Cause(ctx)}
		}
	}
}

// Recv is Receive for those who want bodies alone, and io.EOF itself when the
// peer has closed the connection in peace.
func (c *Conn) Recv(ctx context.Context) (xpc.Dict, error) {
	m, err := c.Receive(ctx)
	if err == nil {
		return m.Body, nil
	}
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	return nil, err
}

// Receiving reports whether somebody receives. While nobody does, the newest messages are
// kept, a few, and the others are dropped and counted: the peer may go on and the
// connection lives. Otherwise all messages are kept, and a peer that keeps to the windows
// waits for the receiver. Receive begins it; who stops receiving says so.
func (c *Conn) Receiving(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alone = !on
	for c.alone && len(c.queue) > 0 {
		c.drop()
	}
}

// Dropped counts the messages that nobody received in time.
func (c *Conn) Dropped() uint64 { return c.dropped.Count() }

// enqueue keeps a message for who receives it; mu is held.
func (c *Conn) enqueue(st *stream, raw []byte) error {
	size := len(raw) + queuedOverhead
	full := func() bool { return c.buffered > 0 && c.buffered+size > c.opts.Buffer }
	if c.alone {
		full = func() bool {
			return len(c.queue) >= aloneMessages || c.queuedBytes+size > aloneBytes
		}
	}
	// A device loses no request of a host, and ends the connection instead.
	for !c.device && len(c.queue) > 0 && full() {
		c.drop()
		c.dropped.Add(c.log, "message dropped, nobody receives")
	}
	if err := c.keep(size); err != nil {
		return err
	}
	q := queued{st: st, raw: raw}
	if !c.alone {
		q.held = int64(len(raw))
		st.recv.held += q.held
	}
	c.queuedBytes += size
	c.queue = append(c.queue, q)
	c.signal()
	return nil
}

// drop takes the oldest message off the queue; mu is held.
func (c *Conn) drop() queued {
	q := c.queue[0]
	c.queue[0] = queued{}
	c.queue = c.queue[1:]
	size := len(q.raw) + queuedOverhead
	c.release(size)
	c.queuedBytes -= size
	q.st.recv.held -= q.held
	c.credit(q.st)
	return q
}

// next takes a message off the queue, none while it is empty.
func (c *Conn) next() (queued, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alone = false
	if len(c.queue) == 0 {
		c.queue = nil
		if c.cause != nil {
			return queued{}, c.cause.of(opReceive)
		}
		return queued{}, nil
	}
	q := c.drop()
	if len(c.queue) > 0 {
		c.signal()
	}
	return q, nil
}
