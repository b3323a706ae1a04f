package dvt

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

const (
	maxEvents     = 4096     // most events that wait for a script
	maxEventBytes = 32 << 20 // most bytes of events that wait for a script

	// goodbyeTimeout bounds the message to the device that a channel is closed.
	goodbyeTimeout = 2 * time.Second
)

// Event is the record DVTEvent of a message that the device sends on a channel and that
// is not a reply.
type Event struct {
	Selector string `lua:"selector" doc:"method that the device calls here; empty for a bare value"`
	Args     []any  `lua:"args" doc:"arguments of the method"`
	Value    any    `lua:"value" doc:"the value that was sent without a method"`

	size int // on the wire
}

// Channel is a channel of Instruments' server that a script opened for itself.
type Channel struct {
	dvt  *DVT
	name string // identifier
	ch   *dtx.Channel
	life *device.Life
	done chan struct{} // closed when the pump has ended

	mu     sync.Mutex
	events *stream.Stream
	push   func(...any) // of events
	end    func(error)  // of events
	err    error        // why the channel ended
	once   sync.Once
	closed error        // result of Close
	bad    link.Skipped // malformed events
}

func openChannel(
	c *api.Call, v *DVT, name string, t device.Timeout,
) (api.Opened[*Channel], error) {
	return device.Open(c, v.dev, t, func(ctx context.Context) (out *Channel, err error) {
		err = v.life.Bound(onSession(v.dev, func(ctx context.Context, s *dvt.Session) error {
			ch, err := s.Open(ctx, identifier(name), dtx.ChannelOptions{})
			if err != nil {
				return err
			}
			out = newChannel(v, ch)
			if !v.adopt(out) {
				out.Close()
				return net.ErrClosed
			}
			return nil
		}))(ctx)
		return out, err
	})
}

// newChannel returns the Channel for ch and starts its pump.
func newChannel(v *DVT, ch *dtx.Channel) *Channel {
	c := &Channel{
		dvt: v, name: ch.Identifier(), ch: ch,
		life: device.NewLife("DVTChannel"), done: make(chan struct{}),
	}
	c.listen()
	go c.pump()
	return c
}

// listen makes the stream that the pump pushes events to.
func (c *Channel) listen() {
	c.events, c.push, c.end = stream.NewFed(stream.Options{
		Kind:  "events of " + short(c.name),
		Text:  func(v any) string { return v.(*Event).Selector },
		Queue: maxEvents,
		Size:  func(v any) int { return v.(*Event).size }, QueueBytes: maxEventBytes,
		Malformed: c.bad.Count,
	})
}

// pump takes all messages of the channel and pushes them to the stream of events, even
// if no script reads it. A channel whose messages are not taken would be closed.
func (c *Channel) pump() {
	defer close(c.done)
	for {
		in, err := c.ch.Next(context.Background())
		if err != nil {
			c.mu.Lock()
			c.err = c.dvt.dev.Ended(&dvt.Error{Op: "listen", Subject: c.name, Err: err})
			c.end(c.err)
			c.mu.Unlock()
			return
		}
		if in.ExpectsReply {
			// Scripts cannot answer calls of the device.
			_ = in.Reply(c.ch.Context(), dtx.UnknownSelector(in.Selector))
		}
		e, err := eventOf(in)
		if err != nil {
			c.bad.Add(nil, "malformed event passed over")
			continue
		}
		c.mu.Lock()
		c.push(e)
		c.mu.Unlock()
	}
}

// eventOf decodes a message.
func eventOf(in *dtx.Incoming) (*Event, error) {
	e := &Event{Selector: in.Selector, Args: []any{}, size: len(in.Aux) + len(in.Payload)}
	if in.Selector != "" {
		args, err := in.Args()
		if err != nil {
			return nil, err
		}
		e.Args = list(args)
		return e, nil
	}
	v, err := in.Object()
	if err != nil {
		return nil, err
	}
	e.Value = plain(v)
	return e, nil
}

// Close closes the channel and the stream of its events.
func (c *Channel) Close() error {
	c.once.Do(func() {
		c.life.End()
		c.mu.Lock()
		events := c.events
		c.mu.Unlock()
		events.Close() // closed before the channel, so that it does not end with an error
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		err := c.ch.Close(ctx)
		if err != nil && c.ch.Conn().Err() == nil {
			// The session is still open, so the error is one of the channel.
			c.closed = &dvt.Error{Op: "close", Subject: c.name, Err: err}
		}
		<-c.done
		c.dvt.forget(c)
	})
	return c.closed
}

// do runs f with the default deadline. It cancels f when c is closed.
func (c *Channel) do(call *api.Call, f func(ctx context.Context) error) error {
	return c.dvt.dev.Do(call, device.Timeout{}, c.life.Bound(f))
}

func callChannel(call *api.Call, c *Channel, selector string, args ...any) (any, error) {
	var v any
	err := c.do(call, func(ctx context.Context) (err error) {
		v, err = c.ch.Call(ctx, selector, archived(args)...)
		if err != nil {
			return &dvt.Error{Op: "call", Subject: selector, Err: err}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return plain(v), nil
}

func sendChannel(call *api.Call, c *Channel, selector string, args ...any) error {
	return c.do(call, func(ctx context.Context) error {
		err := c.ch.Send(ctx, selector, archived(args)...)
		if err != nil {
			return &dvt.Error{Op: "send", Subject: selector, Err: err}
		}
		return nil
	})
}

// events returns the stream of events. If the script has closed it, events makes a new
// one.
func events(call *api.Call, c *Channel) api.Opened[*stream.Stream] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.events.Closed() {
		c.listen()
		if c.err != nil {
			c.end(c.err)
		}
	}
	return api.Own(call, c.events)
}

func channelClass() *api.Class {
	c := api.NewClass[*Channel]("DVTChannel", "A channel of Instruments' server that belongs to "+
		"the script alone. It ends with its DVT, and with the session: after a lost connection "+
		"open another.")
	c.Var, c.Closer, c.Perm = "ch", true, "raw"
	c.String = func(c *Channel) string { return "DVTChannel<" + short(c.name) + ">" }
	c.Fields = []*api.Field{api.Property("name", "identifier of the channel",
		func(c *Channel) string { return c.name })}
	const open = start + "local ch = dev:dvt():channel(\"mobilenotifications\")\n"
	selector := api.ParamDoc("selector", "name of the method, with a colon for each argument")
	choices := api.StringChoices("selector", ownSelectorChoices)
	args := api.ParamDoc("args", "arguments of the method")
	c.Methods = []*api.Func{
		api.Method("call", "Calls a method of the channel and returns its answer, nil when it has "+
			"none. Whole numbers are sent as integers.",
			"selector args...", callChannel,
			selector,
			choices,
			args,
			raises("unsupported", "channel_closed"),
			api.Returns("any answer"),
			api.NeedsDDI(),
			api.Perm("raw"),
			api.Example(start+`local ch = dev:dvt():channel("deviceinfo")
print(ch:call("isRunningPid:", 1))`)),
		api.Method("send", "Calls a method of the channel and does not wait for an answer: the "+
			"device sends none.",
			"selector args...", sendChannel,
			selector,
			choices,
			args,
			raises("channel_closed"),
			api.NeedsDDI(),
			api.Perm("raw"),
			api.Example(open+`ch:send("setApplicationStateNotificationsEnabled:", true)`)),
		api.Method("events", "Returns what the device sends unasked on the channel, as a stream "+
			"of DVTEvent. It begins with the channel: what came before the first call is in it.",
			"", events,
			api.Returns("Stream stream"),
			api.NeedsDDI(),
			api.Perm("raw"),
			api.Example(open+`ch:send("setApplicationStateNotificationsEnabled:", true)
local e = ch:events():next(10)
print(e.selector, e.args[1].execName)`)),
	}
	return c
}
