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
	// connectTimeout and invokeTimeout bound operations whose context has no deadline.
	connectTimeout = 10 * time.Second
	invokeTimeout  = 30 * time.Second
	// rebootTimeout is how long Reboot waits for the device to close the connection. A
	// device that sends nothing for this time is considered restarted.
	rebootTimeout = 10 * time.Second
	// captureTimeout replaces invokeTimeout for a sysdiagnose, which takes minutes.
	captureTimeout = 30 * time.Minute
)

// Options are the options of a connection. The zero value works.
type Options struct {
	// Window is the receive window; 0 means the default of package remotexpc.
	Window uint32
	// Rand is the source of the random bytes of identifiers; nil means crypto/rand.
	Rand io.Reader
	// Logger receives the log messages; nil means no logging.
	Logger *slog.Logger
}

// Conn is a connection to one service of CoreDevice. It makes one invocation at a time,
// because it is not known whether the services support several.
type Conn struct {
	x      *remotexpc.Conn
	log    *slog.Logger
	device string
	rand   io.Reader
	turn   chan struct{} // holds a token during an invocation

	malformed link.Skipped

	// The holder of turn owns the following fields.
	streams uint64 // message identifier of the last streaming invocation
	files   int    // number of files that the device has announced
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

// New opens a connection on nc. The connection takes over nc and closes it if New
// fails.
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

// Close closes the connection and ends all calls on it.
func (c *Conn) Close() error { return c.x.Close() }

// Done returns a channel that is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.x.Done() }

// bounded returns a context with a deadline, if ctx has none.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

func (c *Conn) newUUID() xpc.UUID { return link.UUID(c.rand) }

// Invoke invokes a feature and returns its output with the types of package xpc. The
// name of the feature is its identifier or the last part of it, such as
// "listprocesses". The input is usually an xpc.Dict; nil means no input. If ctx ends,
// the connection stays usable, but the device may still perform the request.
func (c *Conn) Invoke(ctx context.Context, feature string, input any) (any, error) {
	return c.invoke(ctx, &Invocation{Feature: full(FeaturePrefix, feature), Input: input}, "")
}

// Act is like Invoke, but for an action that has no feature, such as
// "getuserinterfacestyle".
func (c *Conn) Act(ctx context.Context, action string, input any) (any, error) {
	return c.invoke(ctx, &Invocation{Action: full(ActionPrefix, action), Input: input}, "")
}

// InvokeAction is like Invoke, but for a feature that also requires the name of an
// action.
func (c *Conn) InvokeAction(ctx context.Context, feature, action string, input any) (any, error) {
	return c.invoke(ctx, &Invocation{
		Feature: full(FeaturePrefix, feature), Action: full(ActionPrefix, action), Input: input,
	}, "")
}

// invoke makes one exchange. The subject is used for errors.
func (c *Conn) invoke(ctx context.Context, i *Invocation, subject string) (any, error) {
	ctx, cancel := bounded(ctx, invokeTimeout)
	defer cancel()
	return c.exchange(ctx, i, subject, func(any) {})
}

// exchange is like invoke, but does not set a deadline. It calls seen with the output
// before the next invocation can start.
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

// call sends an invocation and waits for its reply. The caller holds turn.
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

// complete sets the fields that are the same in all invocations of the connection.
func (c *Conn) complete(i *Invocation) *Invocation {
	i.Protocol, i.Version = protocolVersion, coreDeviceVersion
	i.Device, i.ID = c.device, c.newUUID().String()
	if i.Input == nil {
		i.Input = xpc.Dict{}
	}
	return i
}

// dict is like invoke, but for outputs that are dictionaries.
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

// Stream invokes a streaming feature. It calls each with every group of elements that
// the device sends. A device does not stop when the host wants no more elements. Stream
// therefore closes the connection unless the stream ends or the device refuses the
// feature.
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

// ofStream reports whether a message belongs to a streaming invocation. Such messages
// are the reply to the invocation, messages on its channel, and errors that name no
// channel.
func (c *Conn) ofStream(i *Invocation, m *remotexpc.Message, id uint64, channel xpc.UUID) bool {
	if m.Flags&xpc.FlagReply != 0 {
		return m.ID == id // other replies are late answers to calls that were abandoned
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

// pass counts and logs a message of a stream that is ignored.
func (c *Conn) pass(i *Invocation, err error) {
	c.malformed.Add(c.log, "malformed event passed over", "feature", short(i.name()), "err", err)
}

// Malformed returns the number of messages of streams that could not be decoded.
func (c *Conn) Malformed() uint64 { return c.malformed.Count() }

// stream performs Stream. The result over is true if the device sends nothing more for
// the invocation.
func (c *Conn) stream(
	ctx context.Context, i *Invocation, channel xpc.UUID, each func([]any) error,
) (over bool, err error) {
	c.x.Receiving(true) // before the request, so that no message of the answer is dropped
	defer c.x.Receiving(false)
	// Streams use even identifiers, because those of calls are odd.
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
				c.pass(i, err) // one message that is malformed
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
			// The output of a reply means only that the device has accepted the
			// invocation.
			if _, reply := m.Body.Get(keyOutput); !reply {
				c.pass(i, err)
			}
			continue
		case p.finished:
			return true, nil
		}
		total += len(p.elements)
		if total > maxElements {
			return false, fmt.Errorf("%w: more than %d elements", ErrProtocol, maxElements)
		}
		if err := each(p.elements); err != nil {
			return false, err
		}
	}
}
