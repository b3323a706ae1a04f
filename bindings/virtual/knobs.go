package virtual

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/virtual"
)

type faultOptions struct {
	After int           `lua:"after" doc:"bytes of answers, or calls for kill and mute, before it"`
	Delay time.Duration `lua:"delay" doc:"seconds between bytes (trickle) or before answers (late)"`
	At    int           `lua:"at" doc:"length: byte to spoil; 0 is a plist's length, 15 AFC's"`
}

func fault(c *api.Call, d *Device, service, kind string, o faultOptions) error {
	k, ok := virtual.ParseFault(kind)
	if !ok {
		known := "close, stall, trickle, late, length, kill, mute"
		return c.ArgError(2, "unknown fault %q (known: %s)", kind, known)
	}
	f := virtual.Fault{Kind: k, After: o.After, Delay: o.Delay, LengthAt: o.At}
	d.machine.SetFault(service, f)
	return nil
}

// defaultAddress is the address that virtual devices listen on by default.
const defaultAddress = "127.0.0.1"

type showOptions struct {
	Address  string `lua:"address" doc:"IP address to listen on" default:"127.0.0.1"`
	Ethernet bool   `lua:"ethernet" doc:"the network of the cable: remote pairing (iOS 17)"`
	Wifi     bool   `lua:"wifi" doc:"lockdown and remote pairing over Wi-Fi"`
	Trusted  bool   `lua:"trusted" doc:"what is in tunnels, for device.rsd and --rsd (iOS 17)"`
	Port     uint16 `lua:"port" doc:"of the trusted list; default a free one"`
	Fixed    bool   `lua:"fixed" doc:"insist on the ports that devices have"`
}

// Place is the record VirtualPlace: the address and the ports that a virtual device
// listens on.
type Place struct {
	Address   string `lua:"address" doc:"IP address"`
	Untrusted int    `lua:"untrusted_port" doc:"list of services for hosts that are not paired"`
	Trusted   int    `lua:"trusted_port" doc:"list of services as inside a tunnel"`
	Lockdown  int    `lua:"lockdown_port" doc:"lockdown"`
	Pairing   int    `lua:"pairing_port" doc:"remote pairing over TCP"`
}

func show(c *api.Call, d *Device, o showOptions) (*Place, error) {
	if !o.Ethernet && !o.Wifi && !o.Trusted {
		return nil, c.ArgError(1, "say what to show: ethernet, wifi or trusted")
	}
	n := virtual.NetworkOptions{
		Ethernet: o.Ethernet, Wifi: o.Wifi, Trusted: o.Trusted, TrustedPort: o.Port,
		Fixed: o.Fixed,
	}
	if o.Address != "" {
		ip, err := netip.ParseAddr(o.Address)
		if err != nil {
			return nil, c.ArgError(1, "%q is not an IP address", o.Address)
		}
		n.Address = ip
	}
	if err := c.Allow(host.AccessHost, cmp.Or(o.Address, defaultAddress)); err != nil {
		return nil, err
	}
	p, err := d.machine.Show(n)
	if err != nil {
		return nil, err
	}
	at := p.Ports()
	return &Place{
		Address: p.Address().String(), Untrusted: int(at.Untrusted), Trusted: int(at.Trusted),
		Lockdown: int(at.Lockdown), Pairing: int(at.Pairing),
	}, nil
}

type tunnelFaults struct {
	RefuseListener bool          `lua:"refuse_listener" doc:"remote pairing opens no listener"`
	DropOver       int           `lua:"drop_over" doc:"lose longer packets to the device"`
	Loss           int           `lua:"loss" doc:"lose every n-th packet, in each direction"`
	Reorder        int           `lua:"reorder" doc:"let one in so many packets be overtaken"`
	Seed           int           `lua:"seed" doc:"the same seed chooses the same packets"`
	Delay          time.Duration `lua:"delay" doc:"seconds that packets are late"`
	CutAfter       int64         `lua:"cut_after" doc:"cut the tunnel after so many bytes"`
	Mute           bool          `lua:"mute" doc:"never answer the handshake"`
}

func faultTunnels(c *api.Call, d *Device, o tunnelFaults) error {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"drop_over", int64(o.DropOver)},
		{"loss", int64(o.Loss)},
		{"reorder", int64(o.Reorder)},
		{"seed", int64(o.Seed)},
		{"delay", int64(o.Delay)},
		{"cut_after", o.CutAfter},
	} {
		if n.value < 0 {
			return c.ArgError(1, "%s is negative", n.name)
		}
	}
	f := virtual.TunnelFaults{RefuseListener: o.RefuseListener}
	f.Faults = tunnel.Faults{
		DropOver: o.DropOver, Loss: o.Loss, Reorder: o.Reorder, Seed: uint64(o.Seed),
		Delay: o.Delay, CutAfter: o.CutAfter, Mute: o.Mute,
	}
	d.machine.SetTunnelFaults(f)
	return nil
}

type logOptions struct {
	Process   string `lua:"process" doc:"short name of a running process" default:"SpringBoard"`
	Level     string `lua:"level" doc:"debug, info, default, error or fault" default:"default"`
	Subsystem string `lua:"subsystem" doc:"subsystem; give category as well"`
	Category  string `lua:"category" doc:"category"`
}

var levels = map[string]log.Level{
	"debug": log.LevelDebug, "info": log.LevelInfo, "": log.LevelDefault,
	"default": log.LevelDefault, "error": log.LevelError, "fault": log.LevelFault,
}

func writeLog(c *api.Call, d *Device, message string, o logOptions) error {
	level, ok := levels[o.Level]
	if !ok {
		return c.ArgError(2, "unknown level %q", o.Level)
	}
	name := cmp.Or(o.Process, "SpringBoard")
	for _, p := range d.machine.Phone().Processes.List() {
		if p.Name != name {
			continue
		}
		d.machine.Phone().Log.Write(log.Entry{
			PID: p.PID, Level: level, Subsystem: o.Subsystem, Category: o.Category,
			Message: message,
		})
		return nil
	}
	return c.ArgError(2, "no process %q is running on the virtual device", name)
}

// run returns a method that calls f without the interpreter lock, because f may wait.
func run(f func(m *virtual.Machine)) func(*api.Call, *Device) error {
	return func(c *api.Call, d *Device) error {
		return c.TryBlock(func(context.Context) error {
			f(d.machine)
			return nil
		})
	}
}

func attach(_ *api.Call, d *Device) error { return d.machine.Replug() }

func dropTunnels(_ *api.Call, d *Device) int { return d.machine.DropTunnels() }

func setDeveloperMode(_ *api.Call, d *Device, on bool) {
	d.machine.Phone().Values.SetDeveloperMode(on)
}

func setImage(_ *api.Call, d *Device, mounted bool) {
	if mounted {
		d.machine.Phone().Image.Mount()
	} else {
		d.machine.Phone().Image.Unmount()
	}
}

func restrictApps(_ *api.Call, d *Device, on bool) {
	d.machine.Phone().Apps.ProhibitRemoval(on)
}

func setBattery(c *api.Call, d *Device, percent int, charging *bool) error {
	if percent < 0 || percent > 100 {
		return c.ArgError(1, "between 0 and 100")
	}
	d.machine.Phone().Power.SetBattery(percent, charging != nil && *charging)
	return nil
}

func setLogRate(_ *api.Call, d *Device, lines float64) { d.machine.Phone().Log.SetRate(lines) }

func post(_ *api.Call, d *Device, name string) { d.machine.Phone().Notifications.Post(name) }

// lock sets a passcode and locks the device. A device without a passcode cannot be
// locked.
func lock(m *virtual.Machine) {
	m.Phone().Screen.SetPasscode(true)
	m.Phone().Screen.Lock()
}
