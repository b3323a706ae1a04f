package dvt

import (
	"context"
	"sync"
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

const (
	// Events that wait for a script.
	maxEvents     = 4096
	maxEventBytes = 32 << 20

	// goodbyeTimeout bounds telling the device that a channel is closed.
	goodbyeTimeout = 2 * time.Second
)

// Event is the record of what the device sends unasked on a channel.
type Event struct {
	Selector string `lua:"selector" doc:"method that the device calls here; empty for a bare value"`
	Args     []any  `lua:"args" doc:"arguments of the method"`
	Value    any    `lua:"value" doc:"the value that was sent without a method"`

	size int // on the wire
}

// Channel is a channel that belongs to one script.
type Channel struct {
	dvt  *DVT
	name string // identifier
	ch   *dtx.Channel
	done chan struct{} // closed when no event follows

	mu     sync.Mutex
	events *stream.Stream
	push   func(...any)
	end    func(error)
	err    error // why nothing follows
	once   sync.Once
	closed error
}

func openChannel(c *api.Call, v *DVT, name string, t device.Timeout) (*Channel, error) {
	out := &Channel{dvt: v, name: identifier(name), done: make(chan struct{})}
	out.listen()
	err := with(c, v.dev, t, func(ctx context.Context, s *dvt.Session) (err error) {
		out.ch, err = s.Open(ctx, out.name, dtx.ChannelOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	go out.pump()
	if err := v.adopt(out); err != nil {
		return nil, err
	}
	return out, nil
}

// listen makes the stream that events go to.
func (c *Channel) listen() {
	c.events, c.push, c.end = stream.NewFed(stream.Options{
		Kind: "events of " + short(c.name), Text: func(v any) string { return v.(*Event).Selector },
		Queue: maxEvents, Size: func(v any) int { return v.(*Event).size }, QueueBytes: maxEventBytes,
	})
}

// pump takes what the device sends, whether a script listens or not: a channel
// that nobody empties would be closed.
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
		if in.ExpectsReply { // a script cannot answer
			_ = in.Reply(c.ch.Context(), dtx.UnknownSelector(in.Selector))
		}
		if e, err := eventOf(in); err == nil { // one bent message; the channel goes on behind it
			c.mu.Lock()
			c.push(e)
			c.mu.Unlock()
		}
	}
}

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
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		if err := c.ch.Close(ctx); err != nil && c.ch.Conn().Err() == nil { // else the session went first
			c.closed = &dvt.Error{Op: "close", Subject: c.name, Err: err}
		}
		<-c.done
		c.dvt.forget(c)
		c.mu.Lock()
		events := c.events
		c.mu.Unlock()
		events.Close()
	})
	return c.closed
}

func (c *Channel) call(call *api.Call, selector string, args ...any) (any, error) {
	var v any
	err := c.dvt.dev.Do(call, device.Timeout{}, func(ctx context.Context) (err error) {
		if v, err = c.ch.Call(ctx, selector, archived(args)...); err != nil {
			return &dvt.Error{Op: "call", Subject: selector, Err: err}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return plain(v), nil
}

func (c *Channel) send(call *api.Call, selector string, args ...any) error {
	return c.dvt.dev.Do(call, device.Timeout{}, func(ctx context.Context) error {
		if err := c.ch.Send(ctx, selector, archived(args)...); err != nil {
			return &dvt.Error{Op: "send", Subject: selector, Err: err}
		}
		return nil
	})
}

// listener returns the stream of events; a new one when the script has closed
// the one before.
func (c *Channel) listener() *stream.Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.events.Closed() {
		c.listen()
		if c.err != nil {
			c.end(c.err)
		}
	}
	return c.events
}

func channelClass() *api.Class {
	c := api.NewClass[*Channel]("DVTChannel", "A channel of Instruments' server that belongs to the script alone. It ends with its DVT, and with the session: after a lost connection open another.")
	c.Var, c.Closer, c.Perm = "ch", true, "raw"
	c.String = func(c *Channel) string { return "DVTChannel<" + short(c.name) + ">" }
	c.Fields = []*api.Field{api.Property("name", "identifier of the channel", func(c *Channel) string { return c.name })}
	const open = start + "local ch = dev:dvt():channel(\"mobilenotifications\")\n"
	selector := api.ParamDoc("selector", "name of the method, with a colon for each argument")
	choices := api.StringChoices("selector", ownSelectorChoices)
	args := api.ParamDoc("args", "arguments of the method")
	c.Methods = []*api.Func{
		api.Method("call", "Calls a method of the channel and returns its answer, nil when it has none. Whole numbers are sent as integers.", "selector args...",
			func(call *api.Call, c *Channel, selector string, args ...any) (any, error) {
				return c.call(call, selector, args...)
			},
			selector, choices, args, raises("unsupported", "channel_closed"), api.Returns("any answer"), api.NeedsDDI(), api.Perm("raw"),
			api.Example(start+"local ch = dev:dvt():channel(\"deviceinfo\")\nprint(ch:call(\"isRunningPid:\", 1))")),
		api.Method("send", "Calls a method of the channel and does not wait for an answer: the device sends none.", "selector args...",
			func(call *api.Call, c *Channel, selector string, args ...any) error {
				return c.send(call, selector, args...)
			},
			selector, choices, args, raises("channel_closed"), api.NeedsDDI(), api.Perm("raw"),
			api.Example(open+"ch:send(\"setApplicationStateNotificationsEnabled:\", true)")),
		api.Method("events", "Returns what the device sends unasked on the channel, as a stream of DVTEvent. It begins with the channel: what came before the first call is in it.", "",
			func(_ *api.Call, c *Channel) *stream.Stream { return c.listener() },
			api.Returns("Stream stream"), api.NeedsDDI(), api.Perm("raw"),
			api.Example(open+"ch:send(\"setApplicationStateNotificationsEnabled:\", true)\nlocal e = ch:events():next(10)\nprint(e.selector, e.args[1].execName)")),
	}
	return c
}
