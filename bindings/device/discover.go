package device

import (
	"context"
	"errors"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// Selector is the table that device{...} takes.
type Selector struct {
	UDID      string         `lua:"udid" doc:"unique device identifier, with or without the dash"`
	Name      string         `lua:"name" doc:"name or pattern such as Ana*"`
	Model     string         `lua:"model" doc:"model identifier or pattern such as iPhone15,*"`
	OS        string         `lua:"os" doc:"condition on the iOS version such as >=17.0 or >=16,<18"`
	Transport string         `lua:"transport" doc:"usb, wifi or tunnel; wifi looks on the network as well"`
	Network   bool           `lua:"network" doc:"look on the network as well, which takes two seconds"`
	Match     *lua.LFunction `lua:"match" doc:"function that gets a DeviceInfo and says true"`
	Timeout   time.Duration  `lua:"timeout" doc:"seconds until the call gives up; 30 when left out"`
}

// apply narrows what --device asked for.
func (s Selector) apply(base device.Selector) device.Selector {
	for _, f := range []struct {
		to   *string
		from string
	}{{&base.UDID, s.UDID}, {&base.Name, s.Name}, {&base.Model, s.Model}, {&base.OS, s.OS}, {&base.Transport, s.Transport}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	base.Network = base.Network || s.Network
	return base
}

// Info is the record of a device that was found.
type Info struct {
	UDID        string `lua:"udid" doc:"unique device identifier"`
	Name        string `lua:"name" doc:"name given by the owner"`
	ProductType string `lua:"product_type" doc:"model identifier, such as iPhone15,2"`
	Version     string `lua:"version" doc:"iOS version"`
	Build       string `lua:"build" doc:"build of iOS"`
	Class       string `lua:"class" doc:"iPhone, iPad, ..."`
	Transport   string `lua:"transport" doc:"usb, wifi or tunnel: kind of the best road"`
	Error       string `lua:"error" doc:"why the device did not answer; empty when it did"`
}

func info(i device.Info) *Info {
	r := &Info{UDID: i.UDID, Name: i.Name, ProductType: i.ProductType, Version: i.Version, Build: i.Build, Class: i.Class, Transport: i.Transport()}
	if i.Err != nil {
		r.Error = i.Err.Error()
	}
	return r
}

// Event is the record of a device coming or going.
type Event struct {
	Event string `lua:"event" doc:"attached, detached or paired"`
	Info  *Info  `lua:"info" doc:"the device"`
}

// list returns the matching devices; the Lua predicate runs after the others,
// since it needs the interpreter lock.
func (r *Registry) list(c *api.Call, s Selector) ([]device.Info, *device.Finder, error) {
	var infos []device.Info
	var finder *device.Finder
	selector := s.apply(r.env.Selector)
	if err := selector.Check(); err != nil {
		return nil, nil, c.ArgError(1, "%v", err)
	}
	err := c.Timeout(s.Timeout).TryBlock(func(ctx context.Context) (err error) {
		if finder, err = r.env.Finder(); err != nil {
			return err
		}
		infos, err = finder.List(ctx, selector)
		return err
	})
	if err != nil || s.Match == nil {
		return infos, finder, err
	}
	kept := infos[:0]
	for _, i := range infos {
		if lua.LVAsBool(c.Invoke(s.Match, 1, c.Wrap(info(i)))[0]) {
			kept = append(kept, i)
		}
	}
	return kept, finder, nil
}

func (r *Registry) one(c *api.Call, s *Selector) (*Device, error) {
	if s == nil {
		s = &Selector{}
	}
	infos, finder, err := r.list(c, *s)
	if err != nil {
		return nil, err
	}
	switch len(infos) {
	case 0:
		return nil, &device.Error{UDID: s.apply(r.env.Selector).UDID, Op: "find", Err: device.ErrNotFound}
	case 1:
		return r.wrap(finder.Device(infos[0])), nil
	}
	return r.choose(c, finder, infos)
}

// choose settles which of several devices is meant. Who is asked may take any
// time.
func (r *Registry) choose(c *api.Call, f *device.Finder, infos []device.Info) (*Device, error) {
	if r.env.Choose == nil {
		return nil, &device.AmbiguousError{Matches: infos}
	}
	var chosen device.Info
	err := c.Timeout(api.NoTimeout).TryBlock(func(ctx context.Context) (err error) {
		chosen, err = r.env.Choose(ctx, infos)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r.wrap(f.Device(chosen)), nil
}

func (r *Registry) all(c *api.Call, s *Selector) ([]*Device, error) {
	if s == nil {
		s = &Selector{}
	}
	infos, finder, err := r.list(c, *s)
	if err != nil {
		return nil, err
	}
	out := make([]*Device, 0, len(infos))
	for _, i := range infos {
		out = append(out, r.wrap(finder.Device(i)))
	}
	return out, nil
}

// WaitSelector is the table that device.wait{...} takes.
type WaitSelector struct {
	UDID      string        `lua:"udid" doc:"unique device identifier, with or without the dash"`
	Name      string        `lua:"name" doc:"name or pattern such as Ana*"`
	Model     string        `lua:"model" doc:"model identifier or pattern such as iPhone15,*"`
	OS        string        `lua:"os" doc:"condition on the iOS version such as >=17.0 or >=16,<18"`
	Transport string        `lua:"transport" doc:"usb or wifi"`
	Timeout   time.Duration `lua:"timeout" doc:"seconds until the call gives up; 30 when left out"`
}

func (r *Registry) wait(c *api.Call, w *WaitSelector) (d *Device, err error) {
	if w == nil {
		w = &WaitSelector{}
	}
	s := Selector{UDID: w.UDID, Name: w.Name, Model: w.Model, OS: w.OS, Transport: w.Transport, Timeout: w.Timeout}
	var finder *device.Finder
	err = c.Timeout(s.Timeout).TryBlock(func(ctx context.Context) (err error) {
		if finder, err = r.env.Finder(); err != nil {
			return err
		}
		found, err := finder.Wait(ctx, s.apply(r.env.Selector))
		if err == nil {
			d = r.wrap(found)
		}
		return err
	})
	var several *device.AmbiguousError
	if errors.As(err, &several) {
		return r.choose(c, finder, several.Matches)
	}
	return d, err
}

func (r *Registry) watch(c *api.Call) (*stream.Stream, error) {
	finder, err := r.env.Finder()
	if err != nil {
		return nil, err
	}
	w := finder.Watch()
	names := map[usbmux.EventKind]string{usbmux.Attached: "attached", usbmux.Detached: "detached", usbmux.Paired: "paired"}
	return stream.New(func(ctx context.Context, push func(...any)) error {
		for {
			e, err := w.Next(ctx)
			if err != nil {
				return err
			}
			push(&Event{Event: names[e.Kind], Info: info(e.Info)})
		}
	}, w.Close, stream.Options{Kind: "devices", Text: func(v any) string { return v.(*Event).Info.UDID }}), nil
}

// Modules declares the device and devices globals with the whole Device class.
func Modules(r *Registry, families []Family) []*api.Module {
	selector := api.ParamDoc("selector", "what the device must be; all must hold")
	m := &api.Module{
		Name: "device", Global: true, Perm: "read",
		Doc: "Devices: `device()` is the only one connected, or the one that --device names.",
		Call: api.Function("device", "Returns the one device that matches. Several matches are an error that lists them, never the first one.", "selector?", r.one,
			selector, api.Raises("no_device", "ambiguous", "no_muxer", "timeout"), api.Perm("read"),
			api.Example("local dev = device()\nprint(dev.name, dev.version)")),
		Funcs: []*api.Func{
			api.Function("wait", "Waits until exactly one device matches and answers.", "selector?", r.wait,
				selector, api.Raises("timeout", "ambiguous", "no_muxer"), api.Perm("read"),
				api.Example("local dev = device.wait{ os = \">=15\", timeout = 60 }\nprint(dev.udid)")),
			api.Function("watch", "Returns a stream of devices coming and going, beginning with those that are there.", "", r.watch,
				api.Returns("Stream stream"), api.Perm("read"),
				api.Example("for e in device.watch() do print(e.event, e.info.udid) break end")),
		},
		Classes: []*api.Class{class(families), stream.Class()},
		Records: []*api.Record{
			api.NewRecord[Info]("DeviceInfo", "What is known of a device without opening it."),
			api.NewRecord[Event]("DeviceEvent", "A device coming or going."),
			api.NewRecord[Battery]("Battery", "The state of the battery."),
			api.NewRecord[Beat]("Beat", "A heartbeat of the device that was answered."),
			api.NewRecord[Storage]("Storage", "The disk of a device, in bytes."),
		},
	}
	for _, f := range families {
		m.Classes = append(m.Classes, f.Classes...)
		m.Records = append(m.Records, f.Records...)
		m.Funcs = append(m.Funcs, f.Finding...)
	}
	list := &api.Module{Name: "devices", Flat: true, Doc: "All devices.", Perm: "read", Funcs: []*api.Func{
		api.Function("devices", "Returns all devices that match, as a list; an empty one when there is none.", "selector?", r.all,
			selector, api.Raises("no_muxer", "timeout"), api.Returns("Device[] devices"), api.Perm("read"),
			api.Example("for _, dev in ipairs(devices{ os = \">=16\" }) do print(dev.name) end")),
	}}
	return []*api.Module{m, list}
}
