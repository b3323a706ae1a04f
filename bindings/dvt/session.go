package dvt

import (
	"context"
	"errors"
	"sync"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// DVT gives a script access to Instruments' server. All DVTs of a device share one
// session. Each DVT owns the channels that it opened.
type DVT struct {
	dev  *device.Device
	life *device.Life

	mu       sync.Mutex
	channels map[*Channel]bool // nil after Close
}

// open opens the session if there is none, so that a device without the service fails
// here and not at the first call.
func open(c *api.Call, d *device.Device, t device.Timeout) (api.Opened[*DVT], error) {
	return device.Open(c, d, t, func(ctx context.Context) (*DVT, error) {
		if _, err := sessionOf(d).Get(ctx); err != nil {
			return nil, err
		}
		return &DVT{dev: d, life: device.NewLife("DVT"), channels: map[*Channel]bool{}}, nil
	})
}

// with runs f with the session and the deadline of t. It cancels f when v is closed.
func (v *DVT) with(c *api.Call, t device.Timeout, f use) error {
	return v.dev.Do(c, t, v.life.Bound(onSession(v.dev, f)))
}

// Close closes the channels of v. It leaves the session open, because other tasks may use
// it and because the device ends a simulated location or condition with it.
func (v *DVT) Close() error {
	v.life.End()
	v.mu.Lock()
	channels := v.channels
	v.channels = nil
	v.mu.Unlock()
	var errs []error
	for ch := range channels {
		errs = append(errs, ch.Close())
	}
	return errors.Join(errs...)
}

// adopt adds ch to the channels that Close closes. It returns false if v is closed.
func (v *DVT) adopt(ch *Channel) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.channels == nil {
		return false
	}
	v.channels[ch] = true
	return true
}

// forget removes a channel that is closed.
func (v *DVT) forget(ch *Channel) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.channels, ch)
}

func callOn(c *api.Call, v *DVT, channel, selector string, args ...any) (any, error) {
	run := func(f use) error { return v.with(c, device.Timeout{}, f) }
	return call(run, channel, selector, args)
}

func capabilities(c *api.Call, v *DVT, t device.Timeout) (map[string]any, error) {
	var caps nskeyed.Dict
	err := v.with(c, t, func(ctx context.Context, s *dvt.Session) (err error) {
		caps, err = s.Capabilities(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return dict(caps), nil
}

// knownSelectors returns the list of selectors of one channel. Without a channel it
// returns a table of the lists of all channels.
func knownSelectors(_ *api.Call, _ *DVT, channel *string) any {
	list := func(identifier string) []any {
		out := []any{}
		for _, s := range dvt.Selectors(identifier) {
			out = append(out, s)
		}
		return out
	}
	if channel != nil {
		return list(identifier(*channel))
	}
	out := map[string]any{}
	for _, id := range dvt.Channels() {
		out[short(id)] = list(id)
	}
	return out
}

func dvtClass() *api.Class {
	c := api.NewClass[*DVT]("DVT", "Instruments' server on a device: any method of any channel. "+
		"All of a device share one session, in which 64 channels can be open; it is opened again "+
		"when it was lost.")
	c.Var, c.Closer, c.Perm = "dvt", true, "raw"
	c.String = func(v *DVT) string { return "DVT<" + v.dev.UDID() + ">" }
	const open = start + "local dvt = dev:dvt()\n"
	opts := api.ParamDoc("opts", "timeout")
	channel := api.ParamDoc("channel", "identifier; com.apple.instruments.server.services. may be "+
		"left out")
	c.Methods = []*api.Func{
		api.Method("call", "Calls any method of any channel and returns its answer, nil when it "+
			"has none. Whole numbers are sent as integers.",
			"channel selector args...", callOn,
			channel,
			api.StringChoices("channel", channelChoices),
			api.ParamDoc("selector", "name of the method, with a colon for each argument"),
			api.StringChoices("selector", selectorChoices),
			api.ParamDoc("args", "arguments of the method"),
			raises("unsupported"),
			api.Returns("any answer"),
			api.NeedsDDI(),
			api.Perm("raw"),
			api.SeeAlso("DVT:selectors"),
			api.Example(open+`print(#dvt:call("deviceinfo", "runningProcesses") > 0)`)),
		api.Method("channel", "Opens a channel of its own, for methods that send events or keep a "+
			"state with it.",
			"name opts?", openChannel,
			api.ParamDoc("name", "identifier, as call has it"),
			api.StringChoices("name", channelChoices),
			opts,
			raises("unsupported", "too_many_channels"),
			api.Returns("DVTChannel ch"),
			api.NeedsDDI(),
			api.Perm("raw"),
			api.Example(open+`local ch = dvt:channel("processcontrol")
print(ch:call("processIdentifierForBundleIdentifier:", "com.example.shop"))`)),
		api.Method("capabilities", "Returns what the server says that it can do: names with their "+
			"versions.",
			"opts?", capabilities,
			opts,
			raises(),
			api.Returns("table<string, any> capabilities"),
			api.NeedsDDI(),
			api.Perm("read"),
			api.Example(open+`local services = "com.apple.instruments.server.services."
print(dvt:capabilities()[services .. "screenshot"])`)),
		api.Method("selectors", "Lists the methods that imdlua knows of a channel; without one, a "+
			"table of all channels that it knows. A device may have others.",
			"channel?", knownSelectors,
			channel,
			api.StringChoices("channel", channelChoices),
			api.Returns("any selectors"),
			api.Perm("none"),
			api.Example(open+`for _, s in ipairs(dvt:selectors("screenshot")) do print(s) end`)),
	}
	return c
}
