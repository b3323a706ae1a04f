package remotexpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

// queuedOverhead is the memory of a queued message in addition to its bytes.
const queuedOverhead = 64

// maxGiven is how many cancelled calls are remembered.
const maxGiven = 64

// queued is a message that has not been received or decoded yet. The windows count its
// bytes, and the reader does not spend time on decoding.
type queued struct {
	st   *stream
	raw  []byte
	held int64 // bytes that are not credited to the peer until the message is received
}

// call is a call that waits for its reply.
type call struct {
	id    uint64
	any   bool // accepts messages on stream 1 that are not replies, too
	reply chan []byte
}

// encodings holds buffers up to this size for reuse.
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

// opError returns the error of an operation.
func opError(op string, stream uint32, err error) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.of(op)
	}
	return &Error{Op: op, Stream: stream, Err: err}
}

// newID returns the next message id, which is odd for a host and even for a device.
func (c *Conn) newID() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.nextID
	c.nextID += 2
	return id
}

// Write sends a message unchanged on stream 1 or 3. Send, Call and Reply choose the
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

// Send sends a message without a reply, on stream 1.
func (c *Conn) Send(ctx context.Context, body xpc.Dict) error {
	return c.Write(ctx, &Message{
		Stream:  rootStream,
		Message: xpc.Message{Flags: bodyFlags(0, body), ID: c.newID(), Body: body},
	})
}

// Reply answers a message on stream 3 with its id. Hosts ignore replies with an empty
// body and continue to wait, so that a reply without a result must have some key.
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

// Call sends a request and waits for its reply. Calls are made one after the other
// unless Options.Pipeline is set. If a call is ended by its context, the connection
// stays usable, and its reply is dropped when it arrives.
func (c *Conn) Call(ctx context.Context, body xpc.Dict) (xpc.Dict, error) {
	return c.call(ctx, body, false)
}

// CallAny is Call for requests that some services answer on stream 1, with a message
// that is not marked as a reply.
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
		case raw := <-cl.reply: // it arrived just before the end
			return raw, nil
		default:
		}
		return nil, c.failed(opCall)
	case <-ctx.Done():
		c.giveUp(cl, true)
		return nil, &Error{Op: opCall, Err: context.Cause(ctx)}
	}
}

// giveUp removes a call. If its request has been sent, the reply is still expected.
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
		c.given = append(c.given, cl.id)
		if len(c.given) > maxGiven {
			c.given = c.given[1:]
		}
		return
	}
}

// wasGivenUp reports once whether a reply belongs to a cancelled call. The caller holds
// mu.
func (c *Conn) wasGivenUp(id uint64) bool {
	for i, g := range c.given {
		if g == id {
			c.given = append(c.given[:i], c.given[i+1:]...)
			return true
		}
	}
	return false
}

// callFor returns the call that a message answers and removes it. The caller holds mu.
// If a device has the same id in every reply, replies are assumed to be in order.
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

// signal wakes receivers because the queue is not empty.
func (c *Conn) signal() {
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// Receive returns the next message that is not a reply to a call, in the order of their
// arrival on both streams. It ignores messages without content. Messages that arrived
// before the connection ended are still returned. Then the cause of the error is io.EOF
// if the peer closed the connection without an error. Bytes that are not XPC cause an
// error for their message only.
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

// Recv is Receive without the message around the body. It returns io.EOF itself if the
// peer closed the connection without an error.
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

// Receiving states whether messages are received. While they are not, the few newest
// messages are kept and the others are dropped and counted, so that the peer may
// continue to send and the connection stays usable. While they are received, all
// messages are kept, and a peer that respects the windows waits for the receiver.
// Receive calls Receiving(true). A program that stops receiving calls Receiving(false).
func (c *Conn) Receiving(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alone = !on
	for c.alone && len(c.queue) > 0 {
		c.drop()
	}
}

// Dropped returns the number of messages that were dropped.
func (c *Conn) Dropped() uint64 { return c.dropped.Count() }

// enqueue queues a message for a receiver. The caller holds mu.
func (c *Conn) enqueue(st *stream, raw []byte) error {
	size := len(raw) + queuedOverhead
	full := func() bool { return c.buffered > 0 && c.buffered+size > c.opts.Buffer }
	if c.alone {
		full = func() bool {
			return len(c.queue) >= aloneMessages || c.queuedBytes+size > aloneBytes
		}
	}
	// A device never drops a host's request. It ends the connection instead.
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

// drop removes the oldest message from the queue. The caller holds mu.
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

// next removes and returns a message from the queue, or nil if it is empty.
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
