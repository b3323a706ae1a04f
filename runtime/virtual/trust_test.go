package virtual_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// dialogs counts the trust dialogs of a phone whose user gives this answer.
func dialogs(m *virtual.Machine, answer trust.Mode) *atomic.Int64 {
	var n atomic.Int64
	m.Phone().Trust.SetPolicy(trust.Policy{Mode: answer})
	m.Phone().Trust.OnDialog(func(trust.Dialog) { n.Add(1) })
	return &n
}

// another returns the device as a new program finds it. The program shares nothing with
// the others but the stores.
func another(
	t *testing.T, h *virtual.Host, o device.Options, types ...bonjour.Type,
) *device.Device {
	t.Helper()
	o.Browser = ears{h, types}
	f := virtualtest.Finder(t, h, o)
	infos, err := f.List(virtualtest.Context(t), device.Selector{Network: true})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if len(infos) != 1 {
		t.Fatalf("List = %v, want one device", infos)
	}
	return f.Device(infos[0])
}

// onNetwork starts a phone that is reachable by cable and by Wi-Fi.
func onNetwork(t *testing.T, profile string) (*virtual.Host, *virtual.Machine) {
	t.Helper()
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: profile}}})
	m := h.Devices()[0]
	if _, err := m.Show(virtual.NetworkOptions{Wifi: true}); err != nil {
		t.Fatal(err)
	}
	return h, m
}

// up makes a tunnel and returns how it was made.
func up(t *testing.T, d *device.Device, o device.TunnelOptions) string {
	t.Helper()
	tun, err := d.Tunnel(virtualtest.Context(t), o)
	if err != nil {
		t.Errorf("Tunnel: %v", err)
		return ""
	}
	return tun.How
}

// wantUp makes a tunnel over QUIC and checks how often the phone asked so far.
func wantUp(t *testing.T, d *device.Device, asked *atomic.Int64, want int64) {
	t.Helper()
	if how := up(t, d, device.TunnelOptions{}); how != quic {
		t.Errorf("the tunnel is %q, want %q", how, quic)
	}
	if n := asked.Load(); n != want {
		t.Errorf("asked %d times, want %d", n, want)
	}
}

// TestNoAutoPair checks that no route shows a trust dialog if NoAutoPair is set.
func TestNoAutoPair(t *testing.T) {
	for _, c := range []struct {
		profile string
		hears   []bonjour.Type
		options device.TunnelOptions
	}{
		{"ios17", nil, device.TunnelOptions{}},
		{"ios17", []bonjour.Type{wifi}, device.TunnelOptions{Route: "wifi"}},
		{"ios17", []bonjour.Type{cable}, device.TunnelOptions{Protocol: "quic"}},
		{"ios17.2", []bonjour.Type{cable}, device.TunnelOptions{}},
		{"ios17.2", []bonjour.Type{air}, device.TunnelOptions{}},
		{"ios26", []bonjour.Type{cable, air}, device.TunnelOptions{}},
	} {
		t.Run(c.profile+"/"+c.options.Protocol+c.options.Route, func(t *testing.T) {
			t.Parallel()
			d, m := heard(t, c.profile, device.Options{NoAutoPair: true}, c.hears...)
			n := dialogs(m, trust.After)
			tun, err := d.Tunnel(virtualtest.Context(t), c.options)
			if !errors.Is(err, device.ErrNotPaired) {
				t.Errorf("Tunnel: %v, want ErrNotPaired", err)
			}
			if tun != nil {
				t.Errorf("Tunnel = %v beside an error", tun)
			}
			e, ok := err.(*device.Error)
			if !ok {
				t.Errorf("%#v, want a *device.Error", err)
			} else if e.UDID != m.UDID() {
				t.Errorf("%#v is of the device %q, want %s", err, e.UDID, m.UDID())
			}
			if shown := n.Load(); shown != 0 {
				t.Errorf("%d dialogs, want none", shown)
			}
			if hosts := m.Phone().Trust.Hosts(); len(hosts) != 0 {
				t.Errorf("%d hosts are trusted, want none", len(hosts))
			}
		})
	}
}

// TestNextWay checks that Tunnel tries the next way if the better ones fail.
func TestNextWay(t *testing.T) {
	noProxy := func(m *virtual.Machine) {
		m.SetFault(proxyService,
			virtual.Fault{Kind: virtual.CloseMidMessage})
	}
	for _, c := range []struct {
		name, profile string
		hears         []bonjour.Type
		fault         func(m *virtual.Machine)
		how, why      string // why is in the report of the first route
	}{
		{
			"proxy to cable", "ios17", []bonjour.Type{cable}, noProxy, quic,
			"no tunnel: tunnel: open: ",
		},
		{"proxy to Wi-Fi", "ios26", []bonjour.Type{air}, noProxy, tcp, "no tunnel: tunnel: open: "},
		{"proxy to what is found", "ios26", nil, noProxy, tcp, "no tunnel: tunnel: open: "},
		{
			"QUIC to TCP", "ios17.2", []bonjour.Type{cable},
			func(m *virtual.Machine) { m.SetTunnelFaults(virtual.TunnelFaults{WrongKey: true}) },
			tcp, "iOS 17.2.1 has it from 17.4 on",
		},
		{"a refused listener to proxy", "ios17", []bonjour.Type{cable}, func(m *virtual.Machine) {
			m.SetTunnelFaults(virtual.TunnelFaults{RefuseListener: true})
		}, proxy, "tunnel 1 took"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, m := onNetwork(t, c.profile)
			late := &lateEars{ears: ears{h, c.hears}}
			f := virtualtest.Finder(t, h, device.Options{Browser: late})
			infos, err := f.List(virtualtest.Context(t), device.Selector{Network: true})
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			if len(infos) != 1 {
				t.Fatalf("List = %v, want one device", infos)
			}
			d := f.Device(infos[0])
			if c.hears == nil {
				late.types = []bonjour.Type{cable}
			}
			c.fault(m)
			if how := up(t, d, device.TunnelOptions{}); how != c.how {
				t.Errorf("tunnel is %q, want %q", how, c.how)
			}
			if r := d.Routes()[0]; !strings.Contains(r.Why, c.why) {
				t.Errorf("%s: %q does not say %q", r.Route, r.Why, c.why)
			}
		})
	}
}

// lateEars are ears whose types are set later.
type lateEars struct{ ears }

const proxyService = "com.apple.internal.devicecompute.CoreDeviceProxy"

// TestNoWay checks the error of Tunnel if all ways fail.
func TestNoWay(t *testing.T) {
	refused := virtual.TunnelFaults{RefuseListener: true}
	for _, c := range []struct {
		name, profile string
		hears         []bonjour.Type
		options       device.TunnelOptions
		faults        virtual.TunnelFaults
		cause         error
		text          string
	}{
		{
			"none yet", "ios16", nil, device.TunnelOptions{}, virtual.TunnelFaults{},
			device.ErrNoTunnel, "iOS 16.7.2 has none, they came with 17.0",
		},
		{"not on the network", "ios17.2", nil, device.TunnelOptions{}, virtual.TunnelFaults{},
			device.ErrNoTunnel,
			"iOS 17.2.1 has them on the cable's network interface and on Wi-Fi alone, and it was not found there"},
		{
			"no Wi-Fi", "ios26", []bonjour.Type{cable}, device.TunnelOptions{Route: "wifi"},
			virtual.TunnelFaults{}, device.ErrNoTunnel, "no route by wifi reaches it",
		},
		{
			"no QUIC here", "ios17", nil, device.TunnelOptions{Protocol: "quic"},
			virtual.TunnelFaults{}, device.ErrNoTunnel,
			"CoreDeviceProxy not tried: QUIC was asked for",
		},
		{
			"no QUIC any more", "ios26", []bonjour.Type{cable},
			device.TunnelOptions{Protocol: "quic"}, virtual.TunnelFaults{}, errors.ErrUnsupported,
			`device says "Unsupported operation: QUIC tunnels are gone" (3)`,
		},
		{
			"refused", "ios17.2", []bonjour.Type{cable, air}, device.TunnelOptions{}, refused,
			errors.ErrUnsupported, `device says "Unsupported operation: no listener" (3)`,
		},
		{
			"another's key", "ios17.2", []bonjour.Type{air}, device.TunnelOptions{Protocol: "quic"},
			virtual.TunnelFaults{WrongKey: true}, nil, "the peer's key is not the expected one",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, m := heard(t, c.profile, device.Options{}, c.hears...)
			m.SetTunnelFaults(c.faults)
			tun, err := d.Tunnel(virtualtest.Context(t), c.options)
			if tun != nil {
				t.Errorf("Tunnel = %v beside an error", tun)
			}
			if err == nil {
				t.Fatalf("Tunnel: no error, want one that ends in %q", c.text)
			}
			if c.cause != nil && !errors.Is(err, c.cause) {
				t.Errorf("Tunnel: %v, want %v", err, c.cause)
			}
			if !strings.HasSuffix(err.Error(), c.text) {
				t.Errorf("Tunnel: %v, want an error that ends in %q", err, c.text)
			}
			if d.Tunneled() != nil {
				t.Errorf("there is a tunnel: %v", d.Tunneled())
			}
			if n := m.DropTunnels(); n != 0 && c.faults == (virtual.TunnelFaults{}) {
				t.Errorf("the phone has %d tunnels", n)
			}
		})
	}
}

// TestUserDeclines checks that a user who declines is not asked again on another route.
func TestUserDeclines(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(m *virtual.Machine)
		cause error
		shown int64
	}{
		{"denied", func(*virtual.Machine) {}, remotepair.ErrDenied, 1},
		{
			"locked", func(m *virtual.Machine) {
				m.Phone().Screen.SetPasscode(true)
				m.Phone().Screen.Lock()
			},
			remotepair.ErrLocked, 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, m := heard(t, "ios17.2", device.Options{}, cable, air)
			n := dialogs(m, trust.Deny)
			c.set(m)
			ctx := virtualtest.Context(t)
			tun, err := d.Tunnel(ctx, device.TunnelOptions{})
			if !errors.Is(err, c.cause) {
				t.Errorf("Tunnel: %v, want %v", err, c.cause)
			}
			if !errors.Is(err, remotepair.ErrDenied) {
				t.Errorf("Tunnel: %v, want ErrDenied", err)
			}
			if tun != nil {
				t.Errorf("Tunnel = %v beside an error", tun)
			}
			if n.Load() != c.shown {
				t.Errorf("%d dialogs, want %d", n.Load(), c.shown)
			}
			if err := d.PairRemote(ctx); !errors.Is(err, c.cause) {
				t.Errorf("PairRemote = %v; want %v", err, c.cause)
			}
			if n.Load() != 2*c.shown {
				t.Errorf("%d dialogs after PairRemote, want %d", n.Load(), 2*c.shown)
			}
			m.Phone().Screen.Unlock()
			m.Phone().Trust.SetPolicy(trust.Policy{})
			if how := up(t, d, device.TunnelOptions{}); how != quic {
				t.Errorf("afterwards the tunnel is %q", how)
			}
		})
	}
}

// TestLockdownDeclines checks that no dialog of remote pairing follows after the user
// has declined that of lockdown.
func TestLockdownDeclines(t *testing.T) {
	t.Parallel()
	d, m := heard(t, "ios26", device.Options{}, cable)
	n := dialogs(m, trust.Deny)
	if tun, err := d.Tunnel(virtualtest.Context(t), device.TunnelOptions{}); err == nil ||
		!strings.Contains(err.Error(), "UserDeniedPairing") {
		t.Errorf("Tunnel = %v, %v; want the user's refusal", tun, err)
	}
	if n.Load() != 1 {
		t.Errorf("%d dialogs, want 1", n.Load())
	}
}

// TestDialogIsTold checks that OnTrustDialog is called again and again while a dialog
// waits.
func TestDialogIsTold(t *testing.T) {
	t.Parallel()
	h, m := onNetwork(t, "ios17.2")
	m.Phone().Trust.SetPolicy(trust.Policy{Mode: trust.Ask})
	var told atomic.Int64
	o := device.Options{OnTrustDialog: func(i device.Info) {
		if i.UDID != m.UDID() {
			t.Errorf("the dialog is on %v", i)
		}
		if told.Add(1) == 2 {
			m.Phone().Trust.TapTrust()
		}
	}}
	if how := up(t, another(t, h, o, cable), device.TunnelOptions{}); how != quic {
		t.Errorf("the tunnel is %q, want %q", how, quic)
	}
	if n := told.Load(); n < 2 {
		t.Errorf("told %d times, want at least 2", n)
	}
}

// must fails the test on an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// deadPort returns an address of this computer on which no program listens.
func deadPort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 1000 {
		port := 20000 + lastDeadPort.Add(1)%12000
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).AddrPort()
	}
	t.Fatal("no port is free")
	return netip.AddrPort{}
}

// lastDeadPort counts dead ports. They lie below those that systems give to listeners
// without a port, so that no other test gets one meanwhile.
var lastDeadPort atomic.Uint32

func init() { lastDeadPort.Store(rand.Uint32N(12000)) }
