package dtx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/link"
)

// ErrLater is returned by a Handler that sends the answer itself, with
// Incoming.Reply, before or after it returns.
var ErrLater = errors.New("dtx: answered later")

// Incoming is a message that the peer sent on a channel: a call, or an event.
type Incoming struct {
	*Message
	Selector string // of a Dispatch

	conn    *Conn
	code    int32
	taken   int // bytes counted on the connection's account for this message
	replied atomic.Bool
}

// Args returns the arguments of a call.
func (in *Incoming) Args() (Args, error) {
	list, err := DecodeArgs(in.Aux)
	if err != nil {
		return nil, err
	}
	args := make(Args, len(list))
	for i := range list {
		args[i], err = list[i].Value(in.conn.opts.Classes)
		if err != nil {
			return nil, &Error{
				Op: "decode", Subject: fmt.Sprintf("argument %d of %s", i+1, in.Selector), Err: err,
			}
		}
	}
	return args, nil
}

// Object returns the payload as a value, as Message.Object does, with the
// classes of the connection.
func (in *Incoming) Object() (any, error) { return in.Message.Object(in.conn.opts.Classes) }

// Size returns the length of the arguments and the payload in bytes.
func (m *Message) Size() int { return len(m.Aux) + len(m.Payload) }

// Bytes returns the payload. It expands a compressed one.
func (m *Message) Bytes() ([]byte, error) {
	if m.Type == Compressed {
		return Decompress(m.Payload)
	}
	return m.Payload, nil
}

// Object returns the payload as a value. An archive gives the object in it, a
// plain property list gives its value, and any other payload gives its bytes.
// Object returns nil if there is no payload.
func (m *Message) Object(c *nskeyed.Classes) (any, error) {
	b, err := m.Bytes()
	if err != nil || len(b) == 0 {
		return nil, err
	}
	v, _, err := c.Unarchive(b)
	return v, err
}

// Reply answers a call. A nil v is sent as an acknowledgement, an
// *nskeyed.NSError as a refusal, and any other value as an archive. If v cannot
// be archived, Reply sends a refusal and returns an error. It does nothing if the
// peer expects no reply or has got one already.
func (in *Incoming) Reply(ctx context.Context, v any) error {
	if !in.ExpectsReply || in.replied.Swap(true) {
		return nil
	}
	return in.send(ctx, v, false)
}

func (in *Incoming) send(ctx context.Context, v any, force bool) error {
	d := in.conn.draft()
	defer in.conn.release(d)
	d.Message = Message{ID: in.ID, Conversation: in.Conversation + 1, Channel: in.Channel}
	var encodeErr error
	if v != nil {
		d.Type = Object
		if _, ok := v.(*nskeyed.NSError); ok {
			d.Type = Failure
		}
		encodeErr = d.archive(v)
		if encodeErr != nil {
			d.Type = Failure
			_ = d.archive(Refuse(Domain, 1, "the result cannot be sent"))
		}
		d.Payload = d.buf
	}
	if err := in.conn.enqueue(ctx, &d.Message, nil, force); err != nil {
		return &Error{Op: "reply to", Subject: in.Selector, Err: err}
	}
	if encodeErr != nil {
		return &Error{Op: "reply to", Subject: in.Selector, Err: encodeErr}
	}
	return nil
}

// refuse sends a refusal on behalf of the reader: it does not wait for room.
func (in *Incoming) refuse(err *nskeyed.NSError) {
	if in.ExpectsReply && !in.replied.Swap(true) {
		_ = in.send(in.conn.ctx, err, true)
	}
}

// ack sends an acknowledgement on behalf of the reader: it does not wait for room.
func (in *Incoming) ack() {
	if in.ExpectsReply && !in.replied.Swap(true) {
		_ = in.send(in.conn.ctx, nil, true)
	}
}

// Call calls a method of the peer and returns its result, or nil if it has none.
// Arguments are archived, except for nil and arguments of type Arg.
func (ch *Channel) Call(ctx context.Context, selector string, args ...any) (any, error) {
	m, err := ch.CallMessage(ctx, selector, args...)
	if err != nil {
		return nil, err
	}
	v, err := m.Object(ch.conn.opts.Classes)
	if err != nil {
		return nil, &Error{Op: "call", Subject: selector, Err: fmt.Errorf("reply: %w", err)}
	}
	return v, nil
}

// CallMessage is like Call, but returns the reply without decoding it.
func (ch *Channel) CallMessage(
	ctx context.Context, selector string, args ...any,
) (*Message, error) {
	m, err := ch.call(ctx, selector, args)
	if err == nil && m.Type == Failure {
		err = ch.conn.failure(m)
	}
	if err != nil {
		return nil, &Error{Op: "call", Subject: selector, Err: err}
	}
	return m, nil
}

func (ch *Channel) call(ctx context.Context, selector string, args []any) (*Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := ch.usable(); err != nil {
		return nil, err
	}
	c := ch.conn
	d, err := c.encodeCall(ch.code, selector, args)
	if err != nil {
		return nil, err
	}
	d.ExpectsReply = true
	reply := make(chan *Message, 1)
	err = c.enqueue(ctx, &d.Message, reply, false)
	id := d.ID
	c.release(d)
	if err != nil {
		return nil, err
	}
	// A reply that has arrived is returned even if ctx or the channel ends as well.
	select {
	case r := <-reply:
		return answer(r)
	case <-ctx.Done():
		err = &waitError{ch.code, id, ctx.Err()}
	case <-ch.over():
		err = ch.usable()
	}
	c.forget(callKey{ch.code, id})
	select {
	case r := <-reply:
		return answer(r)
	default:
		return nil, err
	}
}

// answer returns the reply, or an error if its type is not that of a reply.
func answer(m *Message) (*Message, error) {
	if m.Type == Dispatch || m.Type == Barrier || m.Type > Proxied {
		return nil, link.Malformed("reply of type " + m.Type.String())
	}
	return m, nil
}

// failure decodes an error reply.
func (c *Conn) failure(m *Message) error {
	v, err := m.Object(c.opts.Classes)
	if err != nil {
		return fmt.Errorf("error reply: %w", err)
	}
	if ns, ok := v.(*nskeyed.NSError); ok {
		return ns
	}
	return Refuse(Domain, 1, fmt.Sprintf("error reply holds %T", v))
}

// Send calls a method of the peer and does not wait for its result. It may wait
// for room in the outbox if the peer reads slowly.
func (ch *Channel) Send(ctx context.Context, selector string, args ...any) error {
	d, err := ch.conn.encodeCall(ch.code, selector, args)
	if err == nil {
		err = ch.enqueue(ctx, &d.Message)
		ch.conn.release(d)
	}
	if err != nil {
		return &Error{Op: "send", Subject: selector, Err: err}
	}
	return nil
}

// SendObject sends an event that is an archived value, as Data or Object:
// services differ in which they use, and their clients insist.
func (ch *Channel) SendObject(ctx context.Context, t Type, v any) error {
	b, err := nskeyed.Encode(v)
	if err != nil {
		return &Error{Op: "send", Subject: t.String(), Err: err}
	}
	return ch.SendBytes(ctx, t, b)
}

// SendBytes sends an event whose payload is b.
func (ch *Channel) SendBytes(ctx context.Context, t Type, b []byte) error {
	if err := ch.enqueue(ctx, &Message{Channel: ch.code, Type: t, Payload: b}); err != nil {
		return &Error{Op: "send", Subject: t.String(), Err: err}
	}
	return nil
}

func (ch *Channel) enqueue(ctx context.Context, m *Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := ch.usable(); err != nil {
		return err
	}
	return ch.conn.enqueue(ctx, m, nil, false)
}

// draft is a message that is being encoded, with the memory for its parts.
type draft struct {
	Message
	buf []byte
}

// draft returns an empty draft. The caller gives it back with release.
func (c *Conn) draft() *draft { return c.drafts.Get().(*draft) }

func (c *Conn) release(d *draft) {
	d.Message = Message{}
	d.buf = d.buf[:0]
	if cap(d.buf) <= maxSpare {
		c.drafts.Put(d)
	}
}

// archive replaces the contents of the draft's memory with the archive of v.
func (d *draft) archive(v any) error {
	b, err := nskeyed.Append(d.buf[:0], v)
	if err == nil {
		d.buf = b
	}
	return err
}

// encodeCall encodes a call. The caller gives the draft back with release.
func (c *Conn) encodeCall(code int32, selector string, args []any) (*draft, error) {
	d := c.draft()
	b, err := appendValues(d.buf, args)
	n := len(b)
	if err == nil {
		b, err = c.appendSelector(b, selector)
	}
	if err != nil {
		c.release(d)
		return nil, err
	}
	d.buf = b
	d.Message = Message{Channel: code, Type: Dispatch, Aux: b[:n], Payload: b[n:]}
	return d, nil
}

// appendSelector appends the archive of a selector. The connection keeps the
// archives of selectors that were used before.
func (c *Conn) appendSelector(b []byte, selector string) ([]byte, error) {
	c.mu.Lock()
	known, ok := c.archives[selector]
	c.mu.Unlock()
	if ok {
		return append(b, known...), nil
	}
	n := len(b)
	b, err := nskeyed.Append(b, selector)
	if err == nil && len(b)-n <= maxSelectorKey {
		c.mu.Lock()
		if len(c.archives) < maxSelectors {
			c.archives[selector] = bytes.Clone(b[n:])
		}
		c.mu.Unlock()
	}
	return b, err
}
