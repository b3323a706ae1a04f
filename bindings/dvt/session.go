package dvt

import (
	"context"
	"errors"
	"sync"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// DVT is a script's hold on Instruments' server. All of a device share its one
// session; what belongs to this one are the channels that it opened.
type DVT struct {
	dev *device.Device

	mu       sync.Mutex
	channels map[*Channel]bool
	closed   bool
}

// open makes sure that there is a session, so that a device without the service
// says so here.
func open(c *api.Call, d *device.Device, t device.Timeout) (*DVT, error) {
	err := with(c, d, t, func(context.Context, *dvt.Session) error { return nil })
	if err != nil {
		return nil, err
	}
	return &DVT{dev: d, channels: map[*Channel]bool{}}, nil
}

// Close closes the channels. The session stays: others may use it, and the
// device forgets place and condition with it.
func (v *DVT) Close() error {
	v.mu.Lock()
	v.closed = true
	channels := v.channels
	v.channels = nil
	v.mu.Unlock()
	var errs []error
	for ch := range channels {
		errs = append(errs, ch.Close())
	}
	return errors.Join(errs...)
}

// adopt makes ch end with v.
func (v *DVT) adopt(ch *Channel) error {
	v.mu.Lock()
	closed := v.closed
	if !closed {
		v.channels[ch] = true
	}
	v.mu.Unlock()
	if closed {
		ch.Close() // by another task, while the device was asked
		return host.Errorf("closed", "DVT was closed while the channel was opened")
	}
	return nil
}

func (v *DVT) forget(ch *Channel) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.channels, ch)
}

func capabilities(c *api.Call, v *DVT, t device.Timeout) (map[string]any, error) {
	var caps nskeyed.Dict
	err := with(c, v.dev, t, func(ctx context.Context, s *dvt.Session) (err error) {
		caps, err = s.Capabilities(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return dict(caps), nil
}

// knownSelectors is a list for one channel, else a table of them all.
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
	c := api.NewClass[*DVT]("DVT", "Instruments' server on a device: any method of any channel. All of a device share one session, in which 64 channels can be open; it is opened again when it was lost.")
	c.Var, c.Closer, c.Perm = "dvt", true, "raw"
	c.String = func(v *DVT) string { return "DVT<" + v.dev.UDID() + ">" }
	const open = start + "local dvt = dev:dvt()\n"
	opts := api.ParamDoc("opts", "timeout")
	channel := api.ParamDoc("channel", "identifier; com.apple.instruments.server.services. may be left out")
	c.Methods = []*api.Func{
		api.Method("call", "Calls any method of any channel and returns its answer, nil when it has none. Whole numbers are sent as integers.", "channel selector args...",
			func(c *api.Call, v *DVT, channel, selector string, args ...any) (any, error) {
				return call(c, v.dev, channel, selector, args...)
			},
			channel, api.StringChoices("channel", channelChoices), api.ParamDoc("selector", "name of the method, with a colon for each argument"), api.StringChoices("selector", selectorChoices),
			api.ParamDoc("args", "arguments of the method"), raises("unsupported"), api.Returns("any answer"), api.NeedsDDI(), api.Perm("raw"), api.SeeAlso("DVT:selectors"),
			api.Example(open+"print(#dvt:call(\"deviceinfo\", \"runningProcesses\") > 0)")),
		api.Method("channel", "Opens a channel of its own, for methods that send events or keep a state with it.", "name opts?", openChannel,
			api.ParamDoc("name", "identifier, as call has it"), api.StringChoices("name", channelChoices), opts,
			raises("unsupported", "too_many_channels"), api.Returns("DVTChannel ch"), api.NeedsDDI(), api.Perm("raw"),
			api.Example(open+"local ch = dvt:channel(\"processcontrol\")\nprint(ch:call(\"processIdentifierForBundleIdentifier:\", \"com.example.shop\"))")),
		api.Method("capabilities", "Returns what the server says that it can do: names with their versions.", "opts?", capabilities,
			opts, raises(), api.Returns("table<string, any> capabilities"), api.NeedsDDI(), api.Perm("read"),
			api.Example(open+"print(dvt:capabilities()[\"com.apple.instruments.server.services.screenshot\"])")),
		api.Method("selectors", "Lists the methods that imdlua knows of a channel; without one, a table of all channels that it knows. A device may have others.", "channel?", knownSelectors,
			channel, api.StringChoices("channel", channelChoices), api.Returns("any selectors"), api.Perm("none"),
			api.Example(open+"for _, s in ipairs(dvt:selectors(\"screenshot\")) do print(s) end")),
	}
	return c
}
