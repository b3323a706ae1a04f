package coredevice

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

const (
	// connectTimeout and invokeTimeout bound what has no deadline of its own.
	connectTimeout = 10 * time.Second
	invokeTimeout  = 30 * time.Second
	// rebootTimeout is how long a device may take to leave; one that says
	// nothing for so long has left.
	rebootTimeout = 10 * time.Second
	// captureTimeout does it for a sysdiagnose, which takes minutes.
	captureTimeout = 30 * time.Minute
)

// Options of a connection. The zero value works.
type Options struct {
	// Window is the receive window, 0 is remotexpc's default.
	Window uint32
	// Rand is where identifiers come from; nil means crypto/rand.
	Rand io.Reader
	// Logger is silent when nil.
	Logger *slog.Logger
}

// Conn is a connection to one service of the family. Invocations take turns, as
// it is not known of these services that they keep more than one apart.
type Conn struct {
	x      *remotexpc.Conn
	log    *slog.Logger
	device string
	rand   io.Reader
	turn   chan struct{} // taken during an invocation

	malformed link.Skipped

	// For who holds turn.
	streams uint64 // message id of the last streaming invocation
	files   int    // that the device has announced
}

// Connect opens a service on a device.
func Connect(ctx context.Context, o service.Opener, n service.Name) (*Conn, error) {
	opts := Options{Rand: service.Rand(o)}
	if n == Diagnostics {
		opts.Window = remotexpc.BulkWindow
	}
	return connect(ctx, o, n, opts)
}

func connect(ctx context.Context, o service.Opener, n service.Name, opts Options) (*Conn, error) {
	ctx, cancel := bounded(ctx, connectTimeout)
	defer cancel()
	c, err := o.Open(ctx, n)
	if err != nil {
		return nil, &Error{Op: "connect", Subject: n.String(), Err: err}
	}
	return New(ctx, c, opts)
}

// New brings a connection up on nc. It owns nc from now on and closes it when
// that fails.
func New(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	ctx, cancel := bounded(ctx, connectTimeout)
	defer cancel()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	x, err := remotexpc.Connect(ctx, nc, remotexpc.Options{
		Window: o.Window, MaxMessage: MaxReply, Logger: o.Logger, Alone: true,
	})
	if err != nil {
		return nil, &Error{Op: "connect", Err: err}
	}
	return &Conn{
		x: x, log: o.Logger.With("layer", "coredevice"),
		device: xpc.UUID(link.UUID(o.Rand)).String(),
		rand:   o.Rand,
		turn:   make(chan struct{}, 1),
	}, nil
}

// Close ends the connection and every call on it.
func (c *Conn) Close() error { return c.x.Close() }

// Done is closed when the connection is over.
func (c *Conn) Done() <-chan struct{} { return c.x.Done() }

// bounded gives a context without a deadline one.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

func (c *Conn) newUUID() xpc.UUID { return link.UUID(c.rand) }

// Invoke asks for a feature, by its identifier or the last part of it
// ("listprocesses"), and returns the output in xpc's types. input is an xpc.Dict
// as a rule, nil for none. A call that its context ends leaves the connection
// usable; the device may still do what was asked.
func (c *Conn) Invoke(ctx context.Context, feature string, input any) (any, error) {
	return c.invoke(ctx, &Invocation{Feature: full(FeaturePrefix, feature), Input: input}, "")
}

// Act is Invoke for an action that stands without a feature
// ("getuserinterfacestyle").
func (c *Conn) Act(ctx context.Context, action string, input any) (any, error) {
	return c.invoke(ctx, &Invocation{Action: full(ActionPrefix, action), Input: input}, "")
}

// InvokeAction is Invoke for a feature that wants the name of an action as well.
func (c *Conn) InvokeAction(ctx context.Context, feature, action string, input any) (any, error) {
	return c.invoke(ctx, &Invocation{
		Feature: full(FeaturePrefix, feature), Action: full(ActionPrefix, action), Input: input,
	}, "")
}

// invoke makes one exchange; subject is for the error.
func (c *Conn) invoke(ctx context.Context, i *Invocation, subject string) (any, error) {
	ctx, cancel := bounded(ctx, invokeTimeout)
	defer cancel()
	return c.exchange(ctx, i, subject, func(any) {})
}

// exchange is invoke without a deadline of its own. seen is called with the
// output before the next invocation may begin.
func (c *Conn) exchange(
	ctx context.Context, i *Invocation, subject string, seen func(any),
) (any, error) {
	op := short(i.name())
	if err := c.take(ctx); err != nil {
		return nil, failed(op, subject, err)
	}
	defer func() { <-c.turn }()
	v, err := c.call(ctx, i)
	if err != nil {
		return nil, failed(op, subject, err)
	}
	seen(v)
	return v, nil
}

// call sends an invocation and waits for its reply; the caller holds turn.
func (c *Conn) call(ctx context.Context, i *Invocation) (v any, err error) {
	reply, err := c.x.Call(ctx, c.complete(i).Encode())
	if err == nil {
		v, err = decodeReply(reply)
	}
	c.log.Debug("invoked", "feature", short(i.name()), "err", err)
	return v, err
}

func (c *Conn) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-c.x.Done():
		return c.x.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// complete fills in what all invocations of the connection have.
func (c *Conn) complete(i *Invocation) *Invocation {
	i.Protocol, i.Version = protocolVersion, coreDeviceVersion
	i.Device, i.ID = c.device, c.newUUID().String()
	if i.Input == nil {
		i.Input = xpc.Dict{}
	}
	return i
}

// dict is invoke for outputs that are dictionaries.
func (c *Conn) dict(
	ctx context.Context, feature string, input xpc.Dict, subject string,
) (xpc.Dict, error) {
	v, err := c.invoke(ctx, &Invocation{Feature: full(FeaturePrefix, feature), Input: input},
		subject)
	if err != nil {
		return nil, err
	}
	d, ok := v.(xpc.Dict)
	if !ok {
		return nil, failed(feature, subject, fmt.Errorf("%w: output is a %T", ErrProtocol, v))
	}
	return d, nil
}

// Stream asks for a streaming feature and calls each with what it gives, in
// pieces. A device goes on sending when nobody wants more: unless the stream
// comes to its end, or the device refuses it, the connection is closed.
func (c *Conn) Stream(
	ctx context.Context, feature string, input any, each func(elements []any) error,
) error {
	ctx, cancel := bounded(ctx, invokeTimeout)
	defer cancel()
	i := &Invocation{Feature: full(FeaturePrefix, feature)}
	op := short(i.Feature)
	if err := c.take(ctx); err != nil {
		return failed(op, "", err)
	}
	defer func() { <-c.turn }()
	if input == nil {
		input = xpc.Dict{}
	}
	channel := c.newUUID()
	i.Input = wrapStream(input, channel)
	over, err := c.stream(ctx, c.complete(i), channel, each)
	c.log.Debug("streamed", "feature", op, "err", err)
	if !over {
		_ = c.x.Close()
	}
	if err != nil {
		return failed(op, "", err)
	}
	return nil
}

// ofStream reports whether a message belongs to a streaming invocation: the reply to it,
// what is sent on its channel, or a failure that names none.
func (c *Conn) ofStream(i *Invocation, m *remotexpc.Message, id uint64, channel xpc.UUID) bool {
	if m.Flags&xpc.FlagReply != 0 {
		return m.ID == id // others are late, to somebody who waits no more
	}
	from, ok := m.Body.UUID(keySideChannel)
	if _, failure := m.Body.Dict(keyError); failure && !ok {
		return true
	}
	if !ok {
		c.pass(i, fmt.Errorf("%w: no channel", ErrProtocol))
	}
	return ok && from == channel
}

// pass notes a message of a stream that is passed over.
func (c *Conn) pass(i *Invocation, err error) {
	c.malformed.Add(c.log, "malformed event passed over", "feature", short(i.name()), "err", err)
}

// Malformed counts the messages of streams that could not be decoded.
func (c *Conn) Malformed() uint64 { return c.malformed.Count() }

// stream reports beside the error whether the device has nothing more to send.
func (c *Conn) stream(
	ctx context.Context, i *Invocation, channel xpc.UUID, each func([]any) error,
) (over bool, err error) {
	c.x.Receiving(true) // ahead of the request, so that nothing of the answer is dropped
	defer c.x.Receiving(false)
	// Even numbers, as those of calls are odd.
	c.streams += 2
	id := c.streams
	request := xpc.Message{Flags: xpc.FlagsRequest, ID: id, Body: i.Encode()}
	if err := c.x.Write(ctx, &remotexpc.Message{Stream: 1, Message: request}); err != nil {
		return false, err
	}
	for total := 0; ; {
		m, err := c.x.Receive(ctx)
		if err != nil {
			if c.x.Err() == nil && ctx.Err() == nil {
				c.pass(i, err) // one message that is none
				continue
			}
			return false, err
		}
		if !c.ofStream(i, m, id, channel) {
			continue
		}
		p, err := decodePush(m.Body)
		if e, refused := err.(*Error); refused {
			return true, e
		}
		switch {
		case err != nil:
			// The output of a reply says no more than that the invocation was taken.
			if _, reply := m.Body.Get(keyOutput); !reply {
				c.pass(i, err)
			}
			continue
		case p.finished:
			return true, nil
		}
		if total += len(p.elements); total > maxElements {
			return false, fmt.Errorf("%w: more than %d elements", ErrProtocol, maxElements)
		}
		if err := each(p.elements); err != nil {
			return false, err
		}
	}
}
