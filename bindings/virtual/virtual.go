// Package virtual gives scripts the knobs of virtual devices: require
// "imd.virtual". A script can start some of its own, beside real phones or
// without any.
package virtual

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	binding "github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/tunnel"
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
	Profile string        `lua:"profile" doc:"which phone" default:"ios17" enum:"ios16|ios17.2|ios17|ios18|ios26"`
	Name    string        `lua:"name" doc:"device name"`
	Trust   string        `lua:"trust" doc:"accept, deny, never, ask: how the Trust dialog is answered" default:"accept"`
	After   time.Duration `lua:"trust_after" doc:"seconds until the dialog is accepted"`
	LogRate float64       `lua:"log_rate" doc:"lines a second of its log; 20 when left out, -1 for silence"`
	Echo    uint16        `lua:"echo" doc:"port that sends back what it gets"`
	Wifi    bool          `lua:"wifi" doc:"show it on a Wi-Fi network of this computer, too"`
	Boot    time.Duration `lua:"boot" doc:"seconds that a restart takes; 0.5 when left out"`
	Image   bool          `lua:"image" doc:"whether the developer disk image is mounted; with false each restart takes it away again" default:"true"`
	Mode    bool          `lua:"developer_mode" doc:"whether Developer Mode is on" default:"true"`
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
		Phone: phone.Options{Profile: o.Profile, Name: o.Name, Serial: h.NextSerial(), LogRate: o.LogRate, Trust: policy,
			NoImage: !o.Image, NoDeveloperMode: !o.Mode},
		Echo: o.Echo, Boot: o.Boot,
	})
	if err != nil {
		return nil, c.ArgError(1, "%v", err)
	}
	if o.Wifi {
		if _, err := m.Show(virtual.NetworkOptions{Wifi: true}); err != nil {
			return nil, err
		}
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
	After int           `lua:"after" doc:"close, stall: after so many bytes of answers; kill, mute: after so many calls"`
	Delay time.Duration `lua:"delay" doc:"trickle: seconds between bytes, 0.001 when left out; late: before each answer, 1 when left out"`
	At    int           `lua:"at" doc:"length: which byte of the answer to spoil; 0 is a plist's length, 15 AFC's"`
}

func fault(c *api.Call, d *Device, service, kind string, o faultOptions) error {
	k, ok := virtual.ParseFault(kind)
	if !ok {
		return c.ArgError(2, "unknown fault %q (known: close, stall, trickle, late, length, kill, mute)", kind)
	}
	d.machine.SetFault(service, virtual.Fault{Kind: k, After: o.After, Delay: o.Delay, LengthAt: o.At})
	return nil
}

type showOptions struct {
	Address  string `lua:"address" doc:"IP address of this computer to listen on" default:"127.0.0.1"`
	Ethernet bool   `lua:"ethernet" doc:"the network interface of the cable: services for hosts that are not paired, and remote pairing (iOS 17)"`
	Wifi     bool   `lua:"wifi" doc:"lockdown and remote pairing over Wi-Fi"`
	Trusted  bool   `lua:"trusted" doc:"what is inside tunnels, without a tunnel, for device.rsd and --rsd (iOS 17)"`
	Port     uint16 `lua:"port" doc:"of the trusted list; a free one when left out"`
	Fixed    bool   `lua:"fixed" doc:"insist on the ports that devices have"`
}

// Place is the record of where a virtual device listens.
type Place struct {
	Address   string `lua:"address" doc:"IP address"`
	Untrusted int    `lua:"untrusted_port" doc:"list of services for hosts that are not paired; 0 when it is not there"`
	Trusted   int    `lua:"trusted_port" doc:"list of services as inside a tunnel"`
	Lockdown  int    `lua:"lockdown_port" doc:"lockdown"`
	Pairing   int    `lua:"pairing_port" doc:"remote pairing over TCP"`
}

func show(c *api.Call, d *Device, o showOptions) (*Place, error) {
	if !o.Ethernet && !o.Wifi && !o.Trusted {
		return nil, c.ArgError(1, "say what to show: ethernet, wifi or trusted")
	}
	n := virtual.NetworkOptions{Ethernet: o.Ethernet, Wifi: o.Wifi, Trusted: o.Trusted, TrustedPort: o.Port, Fixed: o.Fixed}
	if o.Address != "" {
		ip, err := netip.ParseAddr(o.Address)
		if err != nil {
			return nil, c.ArgError(1, "%q is no IP address", o.Address)
		}
		n.Address = ip
	}
	p, err := d.machine.Show(n)
	if err != nil {
		return nil, err
	}
	at := p.Ports()
	return &Place{p.Address().String(), int(at.Untrusted), int(at.Trusted), int(at.Lockdown), int(at.Pairing)}, nil
}

type tunnelFaults struct {
	RefuseListener bool          `lua:"refuse_listener" doc:"remote pairing opens no listener"`
	DropOver       int           `lua:"drop_over" doc:"lose packets to the device that are longer, as real ones do over 8192 bytes"`
	Loss           int           `lua:"loss" doc:"lose every n-th packet, in each direction"`
	Reorder        int           `lua:"reorder" doc:"let one in so many packets be overtaken by the next; seed chooses which"`
	Seed           int           `lua:"seed" doc:"the same seed makes the same mistakes"`
	Delay          time.Duration `lua:"delay" doc:"seconds by which each packet of the device is late"`
	CutAfter       int64         `lua:"cut_after" doc:"tear the tunnel when so many bytes have passed, in the middle of a packet if it comes so"`
	Mute           bool          `lua:"mute" doc:"never answer the handshake"`
}

func faultTunnels(c *api.Call, d *Device, o tunnelFaults) error {
	for name, n := range map[string]int64{"drop_over": int64(o.DropOver), "loss": int64(o.Loss), "reorder": int64(o.Reorder), "seed": int64(o.Seed), "delay": int64(o.Delay), "cut_after": o.CutAfter} {
		if n < 0 {
			return c.ArgError(1, "%s is negative", name)
		}
	}
	d.machine.SetTunnelFaults(virtual.TunnelFaults{RefuseListener: o.RefuseListener, Faults: tunnel.Faults{
		DropOver: o.DropOver, Loss: o.Loss, Reorder: o.Reorder, Seed: uint64(o.Seed), Delay: o.Delay, CutAfter: o.CutAfter, Mute: o.Mute,
	}})
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

func setImage(p *phone.Phone, mounted bool) {
	if mounted {
		p.MountImage()
	} else {
		p.UnmountImage()
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
		Records: []*api.Record{api.NewRecord[Place]("VirtualPlace", "Where a virtual device listens on a network.")},
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
		api.Property("tunnels", "how many tunnels lead to it", func(d *Device) int { return d.machine.Tunnels() }),
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
		api.Method("set_developer_mode", "Switches Developer Mode, which developer services need since iOS 16.", "on", func(_ *api.Call, d *Device, on bool) error { d.machine.Phone().SetDeveloperMode(on); return nil },
			api.ParamDoc("on", "whether it is on"), none, api.Example(start+"phone:set_developer_mode(false)\nprint(phone:device():developer_mode())")),
		api.Method("set_image", "Mounts the developer disk image, or takes it away. Developer services come and go with it.", "mounted", func(_ *api.Call, d *Device, mounted bool) error { setImage(d.machine.Phone(), mounted); return nil },
			api.ParamDoc("mounted", "whether it is mounted"), none, api.Example(start+"phone:set_image(false)\nprint(#phone:device():ddi())")),
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
		api.Method("fault", "Makes a service misbehave: close (ends in mid-message), stall (falls silent), trickle (byte by byte), late, length (claims more than follows). `lockdown` is lockdownd itself, `rsd` the list of services in tunnels, `*` every service. A channel of Instruments, by its identifier, can be killed at a call (kill) or leave calls unanswered (mute).", "service kind opts?", fault,
			api.ParamDoc("service", "name of the service or channel"), api.ParamDoc("kind", "close, stall, trickle, late, length, kill, mute"), api.ParamDoc("opts", "how badly"), none,
			api.Example(start+"phone:fault(\"com.apple.afc\", \"stall\", { after = 100 })")),
		api.Method("tunnel_fault", "Makes the tunnels misbehave that begin from now on.", "opts", faultTunnels, api.ParamDoc("opts", "how"), none,
			api.Example(start+"phone:tunnel_fault{ drop_over = 8192 }")),
		api.Method("drop_tunnels", "Cuts every tunnel to the device. Returns how many there were.", "", func(_ *api.Call, d *Device) int { return d.machine.DropTunnels() },
			api.Returns("integer count"), none, api.Example(start+"phone:device():tunnel()\nprint(phone:drop_tunnels())")),
		api.Method("restart", "Turns the device off and on, as somebody who holds its buttons does.", "", run(func(m *virtual.Machine) { m.Phone().Power(phone.Restart) }), none,
			api.Example(start+"phone:restart()")),
		api.Method("show", "Puts the device on a network of this computer, beside usbmux, until it is closed.", "opts", show, api.ParamDoc("opts", "what to show and where"),
			api.Returns("VirtualPlace place"), none,
			api.Example(start+"local at = phone:show{ trusted = true }\nprint(at.address, at.trusted_port)")),
		api.Method("clear_faults", "Lets every service behave again.", "", run(func(m *virtual.Machine) { m.ClearFaults() }), none, api.Example(start+"phone:clear_faults()")),
	}
	return c
}
