package device

import (
	"cmp"
	"context"
	"errors"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/version"
)

// Selector is the table that device{...} takes.
type Selector struct {
	UDID  string `lua:"udid" doc:"unique device identifier, with or without dash, or Wi-Fi address"`
	Name  string `lua:"name" doc:"name or pattern such as Ana*"`
	Model string `lua:"model" doc:"model identifier or pattern such as iPhone15,*"`
	OS    string `lua:"os" doc:"condition on the iOS version such as >=17.0"`
	Reach
	Network bool           `lua:"network" doc:"search the network as well, for two seconds"`
	Match   *lua.LFunction `lua:"match" doc:"function of a DeviceInfo that returns true"`
	Timeout time.Duration  `lua:"timeout" doc:"seconds until the call gives up; 30 when left out"`
}

// apply returns base, the conditions of --device, with those of s. A condition of s
// replaces the same condition of base.
func (s Selector) apply(base device.Selector) device.Selector {
	base.UDID = cmp.Or(s.UDID, base.UDID)
	base.Name = cmp.Or(s.Name, base.Name)
	base.Model = cmp.Or(s.Model, base.Model)
	base.OS = cmp.Or(s.OS, base.OS)
	base.Transport = cmp.Or(s.Transport, base.Transport)
	base.Network = base.Network || s.Network
	return base
}

// Info is the record DeviceInfo of a device that was found.
type Info struct {
	UDID        string           `lua:"udid" doc:"unique device identifier"`
	Name        string           `lua:"name" doc:"name given by the owner"`
	ProductType string           `lua:"product_type" doc:"model identifier, such as iPhone15,2"`
	Version     *version.Version `lua:"version" doc:"iOS version; nil if the device did not answer"`
	Build       string           `lua:"build" doc:"build of iOS"`
	Class       string           `lua:"class" doc:"iPhone, iPad, ..."`
	WiFiAddress string           `lua:"wifi_address" doc:"MAC address, empty if it is not known"`
	Transport   string           `lua:"transport" doc:"usb, wifi or tunnel: kind of the best route"`
	Error       string           `lua:"error" doc:"why the device did not answer; empty if it did"`
}

func info(i device.Info) *Info {
	r := &Info{
		UDID: i.UDID, Name: i.Name, ProductType: i.ProductType, Version: version.Of(i.Version),
		Build: i.Build, Class: i.Class, WiFiAddress: i.WiFiAddress, Transport: i.Transport(),
	}
	if i.Err != nil {
		r.Error = i.Err.Error()
	}
	return r
}

// list returns the matching devices and the finder that listed them. The function
// Match of the script runs after the other conditions, because it needs the
// interpreter lock.
func (r *Registry) list(c *api.Call, s Selector) ([]device.Info, *device.Finder, error) {
	selector := s.apply(r.env.Selector)
	if err := s.allow(c, selector); err != nil {
		return nil, nil, err
	}
	var infos []device.Info
	var finder *device.Finder
	err := c.Timeout(s.Timeout).TryBlock(func(ctx context.Context) (err error) {
		finder, err = r.finder(s.Reach)
		if err != nil {
			return err
		}
		infos, err = finder.List(ctx, selector)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	kept := infos[:0]
	for _, i := range infos {
		if s.matches(c, i) {
			kept = append(kept, i)
		}
	}
	return kept, finder, nil
}

// matches calls the function Match of the script.
func (s Selector) matches(c *api.Call, i device.Info) bool {
	return s.Match == nil || lua.LVAsBool(c.Invoke(s.Match, 1, c.Wrap(info(i)))[0])
}

// listed returns the Device for an entry of finder's list, if the script may use it.
func (r *Registry) listed(c *api.Call, finder *device.Finder, i device.Info) (*Device, error) {
	if err := allow(c, i.UDID); err != nil {
		return nil, err
	}
	return r.object(finder.Device(i)), nil
}

// one returns the only device that matches.
func (r *Registry) one(c *api.Call, s Selector) (*Device, error) {
	if s.Address != "" {
		d, err := r.atAddress(c, s)
		if err == nil && d == nil {
			err = &device.Error{Op: "find at " + s.Address, Err: device.ErrNotFound}
		}
		return d, err
	}
	infos, finder, err := r.list(c, s)
	if err != nil {
		return nil, err
	}
	switch len(infos) {
	case 0:
		udid := s.apply(r.env.Selector).UDID
		return nil, &device.Error{UDID: udid, Op: "find", Err: device.ErrNotFound}
	case 1:
		return r.listed(c, finder, infos[0])
	}
	return r.choose(c, finder, infos)
}

// choose lets Env.Choose select one of several devices. It has no deadline, because
// the user may be asked.
func (r *Registry) choose(
	c *api.Call, finder *device.Finder, infos []device.Info,
) (*Device, error) {
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
	return r.listed(c, finder, chosen)
}

// all returns all devices that match.
func (r *Registry) all(c *api.Call, s Selector) ([]*Device, error) {
	if s.Address != "" {
		d, err := r.atAddress(c, s)
		if err != nil || d == nil {
			return []*Device{}, err
		}
		return []*Device{d}, nil
	}
	infos, finder, err := r.list(c, s)
	if err != nil {
		return nil, err
	}
	out := make([]*Device, len(infos))
	for n, i := range infos {
		out[n], err = r.listed(c, finder, i)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// WaitSelector is the table that device.wait{...} takes.
type WaitSelector struct {
	UDID  string `lua:"udid" doc:"unique device identifier, with or without dash, or Wi-Fi address"`
	Name  string `lua:"name" doc:"name or pattern such as Ana*"`
	Model string `lua:"model" doc:"model identifier or pattern such as iPhone15,*"`
	OS    string `lua:"os" doc:"condition on the iOS version such as >=16,<18"`
	Reach
	Timeout time.Duration `lua:"timeout" doc:"seconds until the call gives up; 30 when left out"`
}

func (w WaitSelector) apply(base device.Selector) device.Selector {
	s := Selector{UDID: w.UDID, Name: w.Name, Model: w.Model, OS: w.OS, Reach: w.Reach}
	return s.apply(base)
}

// wait waits until one device matches and answers.
func (r *Registry) wait(c *api.Call, w WaitSelector) (*Device, error) {
	selector := w.apply(r.env.Selector)
	if err := w.allow(c, selector); err != nil {
		return nil, err
	}
	var finder *device.Finder
	var found *device.Device
	err := c.Timeout(w.Timeout).TryBlock(func(ctx context.Context) (err error) {
		finder, err = r.finder(w.Reach)
		if err != nil {
			return err
		}
		if w.Address != "" {
			found, err = finder.WaitAddress(ctx, w.Address, selector)
		} else {
			found, err = finder.Wait(ctx, selector)
		}
		return err
	})
	var several *device.AmbiguousError
	switch {
	case errors.As(err, &several):
		return r.choose(c, finder, several.Matches)
	case err != nil:
		return nil, err
	}
	if err := allow(c, found.UDID()); err != nil {
		return nil, err
	}
	return r.object(found), nil
}

// Modules declares the globals device and devices, and the class Device with the
// members of the families.
func Modules(r *Registry, families []Family) []*api.Module {
	selector := api.ParamDoc("selector", "what the device must be; all must hold")
	m := &api.Module{
		Name: "device", Global: true, Perm: "read",
		Doc: "Devices: `device()` is the only one connected, or the one that --device names.",
		Call: api.Function("device", "Returns the one device that matches. Several matches are an "+
			"error that lists them, never the first one.",
			"selector?", r.one,
			api.Checks(host.AccessDevice, host.AccessHost),
			selector,
			api.Raises("no_device", "ambiguous", "no_muxer", "protocol", "timeout"),
			api.Perm("read"),
			api.Example(`local dev = device()
print(dev.name, dev.version)`),
			api.Example(`local virtual = require "imd.virtual"
local at = virtual.start():show{ wifi = true }
local dev = device{ address = at.address .. ":" .. at.lockdown_port, pair = false }
print(dev:get("ProductVersion"))`)),
		Funcs: []*api.Func{
			api.Function("wait", "Waits until exactly one device matches and answers.",
				"selector?", r.wait,
				api.Checks(host.AccessDevice, host.AccessHost),
				selector,
				api.Raises("timeout", "ambiguous", "no_muxer", "protocol"),
				api.Perm("read"),
				api.Example(`local dev = device.wait{ os = ">=15", timeout = 60 }
print(dev.udid)`)),
			api.Function("watch", "Returns a stream of devices coming and going, beginning with "+
				"those that are there. A device that does not answer delays no other one; it is "+
				"reported after five seconds, or at once with at_once.",
				"opts?", r.watch,
				api.Checks(host.AccessDevice),
				api.ParamDoc("opts", "at_once, network"),
				api.Returns("Stream stream"),
				api.Perm("read"),
				api.Example("for e in device.watch() do print(e.event, e.info.udid) break end")),
			browseFunc(r),
			pairRecordsFunc(r),
			pairRemoteFunc(r),
		},
		Classes: []*api.Class{class(families), stream.Class()},
		Records: []*api.Record{
			api.NewRecord[Info]("DeviceInfo", "What is known of a device without opening it."),
			api.NewRecord[Event]("DeviceEvent", "A device coming or going on one route."),
			api.NewRecord[EventRoute]("DeviceRoute", "A route on which a device was found."),
			api.NewRecord[Battery]("Battery", "The state of the battery."),
			api.NewRecord[Beat]("Beat", "A heartbeat of the device that was answered."),
			api.NewRecord[Storage]("Storage", "The disk of a device, in bytes."),
			api.NewRecord[Advertised]("BonjourService", "A service that is advertised by "+
				"Bonjour on one interface."),
			api.NewRecord[PairRecord]("PairRecord", "A pair record of this computer, without its "+
				"keys."),
		},
	}
	for _, f := range families {
		m.Classes = append(m.Classes, f.Classes...)
		m.Records = append(m.Records, f.Records...)
		m.Funcs = append(m.Funcs, f.Finding...)
	}
	list := &api.Module{Name: "devices", Flat: true, Doc: "All devices.", Perm: "read"}
	list.Funcs = []*api.Func{
		api.Function("devices", "Returns all devices that match, as a list; an empty one when "+
			"there is none.",
			"selector?", r.all,
			api.Checks(host.AccessDevice, host.AccessHost),
			selector,
			api.Raises("no_muxer", "protocol", "timeout"),
			api.Returns("Device[] devices"),
			api.Perm("read"),
			api.Example(`for _, dev in ipairs(devices{ os = ">=16" }) do print(dev.name) end`)),
	}
	return []*api.Module{m, list}
}
