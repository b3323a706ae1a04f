// Package virtual declares the script module imd.virtual: virtual devices and their
// controls. A script can start virtual devices, with or without real devices connected.
package virtual

import (
	"context"
	"sync"
	"time"

	binding "github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// Env says where virtual devices are plugged in.
type Env struct {
	// Host returns the muxer of this process that virtual devices are plugged into.
	// The first call makes it. The finder of the device family lists its devices.
	Host func() (*virtual.Host, error)
}

// module is the state of imd.virtual in one host.
type module struct {
	env     *Env
	devices *binding.Registry

	mu      sync.Mutex
	started map[*virtual.Machine]*Device // those that scripts of this host started
}

// Module declares imd.virtual.
func Module(env *Env, devices *binding.Registry) *api.Module {
	m := &module{env: env, devices: devices, started: map[*virtual.Machine]*Device{}}
	return &api.Module{
		Name: "virtual", Perm: "none",
		Doc: "Virtual devices, which speak the device side of every protocol, and all their " +
			"knobs. A fault applies to connections that begin after it is set.",
		Funcs: []*api.Func{
			api.Function("start", "Makes one more virtual device and plugs it in. It lives until "+
				"the script ends or it is closed. With image=false each restart unmounts the "+
				"developer image again. With lists=\"single\", which iOS 27.2 and later are by "+
				"themselves, a device keeps one connection to the list of services in a "+
				"tunnel, and closes the ports of the services when another computer reads it.",
				"opts?", m.start,
				api.ParamDoc("opts", "what kind of device"),
				api.Checks(host.AccessHost),
				api.Perm("none"),
				api.Example(`local virtual = require "imd.virtual"
local phone = virtual.start{ profile = "ios18", name = "Shelf 7" }
print(phone:device().version)`)),
			api.Function("list", "Returns the virtual devices of this process, plugged in or not. "+
				"close() unplugs those that the script started, and lets others live on.",
				"", m.list,
				api.Returns("VirtualDevice[] devices"),
				api.Perm("none"),
				api.Example(`local virtual = require "imd.virtual"
print(#virtual.list())`)),
		},
		Classes: []*api.Class{class()},
		Records: []*api.Record{
			api.NewRecord[Place]("VirtualPlace", "Where a virtual device listens on a network. A "+
				"port is 0 when nothing listens there."),
		},
	}
}

// Device is the VirtualDevice of scripts.
type Device struct {
	machine *virtual.Machine
	module  *module
	life    *binding.Life
	guest   bool // the script did not start it, so Close leaves it running
}

func (m *module) object(machine *virtual.Machine, guest bool) *Device {
	life := binding.NewLife("VirtualDevice")
	return &Device{machine: machine, module: m, life: life, guest: guest}
}

// Close ends the virtual device if the script started it.
func (d *Device) Close() error {
	d.life.End()
	if d.guest {
		return nil
	}
	return d.machine.Close()
}

type startOptions struct {
	Profile string `lua:"profile" doc:"kind" default:"ios17" enum:"ios16|ios17.2|ios17|ios18|ios26|ios27|ipad17|ipad18"`

	Lists string `lua:"lists" doc:"several hosts at one list of services" default:"version" enum:"version|single|many"`

	Trust string `lua:"trust" doc:"accept, deny, never, ask: the Trust dialog" default:"accept"`

	Name    string        `lua:"name" doc:"device name"`
	After   time.Duration `lua:"trust_after" doc:"seconds until the dialog is accepted"`
	LogRate float64       `lua:"log_rate" doc:"lines a second of its log; default 20, -1 for none"`
	Echo    uint16        `lua:"echo" doc:"port that sends back what it gets"`
	Wifi    bool          `lua:"wifi" doc:"show it on a network of this computer as well"`
	Boot    time.Duration `lua:"boot" doc:"seconds that a restart takes; 0.5 when left out"`
	Image   bool          `lua:"image" doc:"the developer image is mounted" default:"true"`
	Mode    bool          `lua:"developer_mode" doc:"Developer Mode is on" default:"true"`
}

var trustModes = map[string]trust.Mode{
	"": trust.Accept, "accept": trust.Accept, "deny": trust.Deny,
	"never": trust.Ignore, "ask": trust.Ask,
}

func (m *module) start(c *api.Call, o startOptions) (api.Opened[*Device], error) {
	var none api.Opened[*Device]
	mode, ok := trustModes[o.Trust]
	if !ok {
		return none, c.ArgError(1, "unknown trust %q (known: accept, deny, never, ask)", o.Trust)
	}
	lists, _ := virtual.ParseListRule(o.Lists) // the declaration allows known rules only
	policy := trust.Policy{Mode: mode}
	if o.After > 0 {
		policy = trust.Policy{Mode: trust.After, After: o.After}
	}
	if o.Wifi {
		if err := c.Allow(host.AccessHost, defaultAddress); err != nil {
			return none, err
		}
	}
	options := virtual.Options{
		Phone: phone.Options{
			Profile: o.Profile, Name: o.Name, LogRate: o.LogRate, Trust: policy,
			NoImage: !o.Image, NoDeveloperMode: !o.Mode,
		},
		Echo: o.Echo, Boot: o.Boot, Lists: lists,
	}
	return api.Open(c, func(context.Context) (*Device, error) {
		return m.plugIn(c, options, o.Wifi)
	})
}

// plugIn makes a virtual device and plugs it in. If wifi is set, it also shows the device
// on a network.
func (m *module) plugIn(c *api.Call, o virtual.Options, wifi bool) (*Device, error) {
	h, err := m.env.Host()
	if err != nil {
		return nil, err
	}
	o.Phone.Serial = h.NextSerial()
	machine, err := h.Add(o)
	if err != nil {
		return nil, c.ArgError(1, "%v", err)
	}
	if wifi {
		if _, err := machine.Show(virtual.NetworkOptions{Wifi: true}); err != nil {
			machine.Close()
			return nil, err
		}
	}
	d := m.object(machine, false)
	m.mu.Lock()
	m.started[machine] = d
	m.mu.Unlock()
	return d, nil
}

func (m *module) list(c *api.Call) ([]api.Opened[*Device], error) {
	h, err := m.env.Host()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []api.Opened[*Device]{}
	for _, machine := range h.Devices() {
		d := m.started[machine]
		switch {
		case d == nil:
			d = m.object(machine, true)
		case d.life.Over():
			continue // the script has closed it
		}
		out = append(out, api.Own(c, d))
	}
	return out, nil
}

// deviceOf returns the Device of scripts for a virtual device.
func deviceOf(c *api.Call, d *Device) (*binding.Device, error) {
	return d.module.devices.ByUDID(c, d.machine.UDID(), d.life)
}
