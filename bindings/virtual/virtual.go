// Package virtual gives scripts the knobs of virtual devices: require
// "imd.virtual". A script can start some of its own, beside real phones or
// without any.
package virtual

import (
	"context"
	"fmt"
	"time"

	binding "github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// Env is where virtual devices are plugged in.
type Env struct {
	// Host returns the muxer of this process that devices are plugged into,
	// making it when first asked for. Finders look behind it.
	Host func() (*virtual.Host, error)
}

// Device is a virtual device as scripts see it.
type Device struct {
	machine *virtual.Machine
	devices *binding.Registry
}

// Close unplugs the device for good.
func (d *Device) Close() error { return d.machine.Close() }

type startOptions struct {
	Profile string        `lua:"profile" doc:"ios16, ios17, ios18; ios17 when left out"`
	Name    string        `lua:"name" doc:"device name"`
	Trust   string        `lua:"trust" doc:"accept, deny, never, ask: how the Trust dialog is answered" default:"accept"`
	After   time.Duration `lua:"trust_after" doc:"seconds until the dialog is accepted"`
	LogRate float64       `lua:"log_rate" doc:"lines a second of its log; 20 when left out, -1 for silence"`
	Echo    uint16        `lua:"echo" doc:"port that sends back what it gets"`
	Boot    time.Duration `lua:"boot" doc:"seconds that a restart takes; 0.5 when left out"`
}

var trustModes = map[string]phone.TrustMode{
	"": phone.TrustAccept, "accept": phone.TrustAccept, "deny": phone.TrustDeny, "never": phone.TrustIgnore, "ask": phone.TrustAsk,
}

func (e *module) start(c *api.Call, o startOptions) (*Device, error) {
	mode, ok := trustModes[o.Trust]
	if !ok {
		return nil, c.ArgError(1, "unknown trust %q (known: accept, deny, never, ask)", o.Trust)
	}
	policy := phone.TrustPolicy{Mode: mode}
	if o.After > 0 {
		policy = phone.TrustPolicy{Mode: phone.TrustAfter, After: o.After}
	}
	h, err := e.env.Host()
	if err != nil {
		return nil, err
	}
	m, err := h.Add(virtual.Options{
		Phone: phone.Options{Profile: o.Profile, Name: o.Name, Serial: h.NextSerial(), LogRate: o.LogRate, Trust: policy},
		Echo:  o.Echo, Boot: o.Boot,
	})
	if err != nil {
		return nil, c.ArgError(1, "%v", err)
	}
	return &Device{m, e.devices}, nil
}

func (e *module) list(*api.Call) ([]*Device, error) {
	h, err := e.env.Host()
	if err != nil {
		return nil, err
	}
	out := []*Device{}
	for _, m := range h.Devices() {
		out = append(out, &Device{m, e.devices})
	}
	return out, nil
}

func deviceOf(c *api.Call, d *Device) (dev *binding.Device, err error) {
	err = c.TryBlock(func(ctx context.Context) error {
		dev, err = d.devices.ByUDID(ctx, d.machine.UDID())
		return err
	})
	return dev, err
}

type faultOptions struct {
	After int           `lua:"after" doc:"close, stall: after so many bytes of answers"`
	Delay time.Duration `lua:"delay" doc:"trickle: seconds between bytes, 0.001 when left out; late: before each answer, 1 when left out"`
	At    int           `lua:"at" doc:"length: which byte of the answer to spoil; 0 is a plist's length, 15 AFC's"`
}

func fault(c *api.Call, d *Device, service, kind string, o faultOptions) error {
	k, ok := virtual.ParseFault(kind)
	if !ok {
		return c.ArgError(2, "unknown fault %q (known: close, stall, trickle, late, length)", kind)
	}
	d.machine.SetFault(service, virtual.Fault{Kind: k, After: o.After, Delay: o.Delay, LengthAt: o.At})
	return nil
}

type logOptions struct {
	Process   string `lua:"process" doc:"short name of a running process" default:"SpringBoard"`
	Level     string `lua:"level" doc:"debug, info, default, error or fault" default:"default"`
	Subsystem string `lua:"subsystem" doc:"subsystem; give category as well"`
	Category  string `lua:"category" doc:"category"`
}

var levels = map[string]phone.LogLevel{"debug": phone.LevelDebug, "info": phone.LevelInfo, "": phone.LevelDefault, "default": phone.LevelDefault, "error": phone.LevelError, "fault": phone.LevelFault}

func log(c *api.Call, d *Device, message string, o logOptions) error {
	level, ok := levels[o.Level]
	if !ok {
		return c.ArgError(2, "unknown level %q", o.Level)
	}
	name := o.Process
	if name == "" {
		name = "SpringBoard"
	}
	for _, p := range d.machine.Phone().Processes() {
		if p.Name == name {
			d.machine.Phone().Log(phone.LogEntry{PID: p.PID, Level: level, Subsystem: o.Subsystem, Category: o.Category, Message: message})
			return nil
		}
	}
	return c.ArgError(2, "no process %q is running on the virtual device", name)
}

func run(f func(m *virtual.Machine)) func(*api.Call, *Device) error {
	return func(c *api.Call, d *Device) error {
		return c.TryBlock(func(context.Context) error { f(d.machine); return nil })
	}
}

type module struct {
	env     *Env
	devices *binding.Registry
}

// Module declares imd.virtual.
func Module(env *Env, devices *binding.Registry) *api.Module {
	e := &module{env, devices}
	return &api.Module{
		Name: "virtual", Perm: "none",
		Doc: "Virtual devices: they speak the device side of every protocol, and every knob of theirs is here. Faults come true for connections that begin after they are set.",
		Funcs: []*api.Func{
			api.Function("start", "Makes one more virtual device and plugs it in. It lives until the script ends or it is closed.", "opts?", e.start,
				api.ParamDoc("opts", "what kind of device"), api.Perm("none"),
				api.Example("local virtual = require \"imd.virtual\"\nlocal phone = virtual.start{ profile = \"ios18\", name = \"Shelf 7\" }\nprint(phone:device().version)")),
			api.Function("list", "Returns the virtual devices of this process, plugged in or not.", "", e.list,
				api.Returns("VirtualDevice[] devices"), api.Perm("none"),
				api.Example("local virtual = require \"imd.virtual\"\nprint(#virtual.list())")),
		},
		Classes: []*api.Class{class()},
	}
}

func class() *api.Class {
	c := api.NewClass[*Device]("VirtualDevice", "A virtual device seen from behind: what a hand, a cable or a bad day does to a phone.")
	c.Var, c.Closer, c.Perm = "phone", true, "none"
	c.String = func(d *Device) string {
		return fmt.Sprintf("VirtualDevice<%s %q>", d.machine.UDID(), d.machine.Phone().Name())
	}
	c.Fields = []*api.Field{
		api.Property("udid", "unique device identifier", func(d *Device) string { return d.machine.UDID() }),
		api.Property("attached", "whether it is plugged in", func(d *Device) bool { return d.machine.Attached() }),
	}
	const start = "local virtual = require \"imd.virtual\"\nlocal phone = virtual.start()\n"
	none := api.Perm("none")
	c.Methods = []*api.Func{
		api.Method("device", "Returns the Device that scripts use for this virtual device.", "", deviceOf, api.Returns("Device dev"), none, api.Example(start+"print(phone:device().name)")),
		api.Method("detach", "Unplugs the device: every connection to it ends.", "", run(func(m *virtual.Machine) { m.Detach() }), none, api.Example(start+"phone:detach()")),
		api.Method("attach", "Plugs the device in again.", "", func(_ *api.Call, d *Device) error { return d.machine.Replug() }, none, api.Example(start+"phone:detach()\nphone:attach()")),
		api.Method("tap_trust", "Answers the Trust dialog with Trust.", "", run(func(m *virtual.Machine) { m.Phone().TapTrust() }), none, api.Example(start+"phone:tap_trust()")),
		api.Method("tap_deny", "Answers the Trust dialog with Don't Trust.", "", run(func(m *virtual.Machine) { m.Phone().TapDeny() }), none, api.Example(start+"phone:tap_deny()")),
		api.Method("forget_hosts", "Makes the device forget every computer that it trusts.", "", run(func(m *virtual.Machine) { m.Phone().ResetPairing() }), none, api.Example(start+"phone:forget_hosts()")),
		api.Method("lock", "Sets a passcode and locks the device.", "", run(func(m *virtual.Machine) { m.Phone().SetPasscode(true); m.Phone().Lock() }), none, api.Example(start+"phone:lock()")),
		api.Method("unlock", "Unlocks the device.", "", run(func(m *virtual.Machine) { m.Phone().Unlock() }), none, api.Example(start+"phone:lock()\nphone:unlock()")),
		api.Method("set_battery", "Sets the charge of the battery.", "percent charging?", func(c *api.Call, d *Device, percent int, charging *bool) error {
			if percent < 0 || percent > 100 {
				return c.ArgError(1, "between 0 and 100")
			}
			d.machine.Phone().SetBattery(percent, charging != nil && *charging)
			return nil
		}, api.ParamDoc("percent", "0 to 100"), api.ParamDoc("charging", "whether it is being charged"), none, api.Example(start+"phone:set_battery(15)\nprint(phone:device():battery().percent)")),
		api.Method("set_log_rate", "Sets how many lines a second the log has of itself.", "lines", func(_ *api.Call, d *Device, lines float64) error { d.machine.Phone().SetLogRate(lines); return nil },
			api.ParamDoc("lines", "a second; 0 for silence"), none, api.Example(start+"phone:set_log_rate(0)")),
		api.Method("log", "Writes one entry to the device's log.", "message opts?", log,
			api.ParamDoc("message", "text"), api.ParamDoc("opts", "who says it and how"), none,
			api.Example(start+"local stream = phone:device():syslog{ match = \"hello\" }\nphone:log(\"hello there\", { process = \"SpringBoard\" })\nprint(stream:next(5).message)")),
		api.Method("post", "Posts a Darwin notification from inside the device.", "name", func(_ *api.Call, d *Device, name string) error { d.machine.Phone().Post(name); return nil },
			api.ParamDoc("name", "of the notification"), none, api.Example(start+"phone:post(\"com.example.done\")")),
		api.Method("fault", "Makes a service misbehave: close (ends in mid-message), stall (falls silent), trickle (byte by byte), late, length (claims more than follows). `lockdown` is lockdownd itself, `*` every service.", "service kind opts?", fault,
			api.ParamDoc("service", "name of the service"), api.ParamDoc("kind", "close, stall, trickle, late, length"), api.ParamDoc("opts", "how badly"), none,
			api.Example(start+"phone:fault(\"com.apple.afc\", \"stall\", { after = 100 })")),
		api.Method("clear_faults", "Lets every service behave again.", "", run(func(m *virtual.Machine) { m.ClearFaults() }), none, api.Example(start+"phone:clear_faults()")),
	}
	return c
}
