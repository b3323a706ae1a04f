package virtual_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// stage is a step of making a tunnel at which the device stops answering.
type stage struct {
	name, profile string
	via           device.Via
	options       device.TunnelOptions
	service       string // "mute" are the tunnels, "" is the user
	after         int
}

var stages = []stage{
	{"lockdown's first answer", "ios17", device.ViaMuxer, device.TunnelOptions{}, "lockdown", 0},
	{"in lockdown's session", "ios17", device.ViaMuxer, device.TunnelOptions{}, "lockdown", 1500},
	{"the proxy's handshake", "ios17", device.ViaMuxer, device.TunnelOptions{}, proxyService, 0},
	{
		"in the proxy's handshake", "ios17", device.ViaMuxer, device.TunnelOptions{}, proxyService,
		50,
	},
	{"the proxy's packets", "ios17", device.ViaMuxer, device.TunnelOptions{}, proxyService, 300},
	{
		"in the proxy's packets", "ios17", device.ViaMuxer, device.TunnelOptions{}, proxyService,
		5000,
	},
	{"the list in the proxy's tunnel", "ios17", device.ViaMuxer, device.TunnelOptions{}, "rsd", 0},
	{
		"in the list in the proxy's tunnel", "ios17", device.ViaMuxer, device.TunnelOptions{},
		"rsd", 6000,
	},
	{"the list on the cable", "ios17.2", device.ViaRemoted, device.TunnelOptions{}, "rsd", 0},
	{"the list in a QUIC tunnel", "ios17.2", device.ViaPairing, device.TunnelOptions{}, "rsd", 0},
	{
		"in the list in a QUIC tunnel", "ios17.2", device.ViaPairing, device.TunnelOptions{}, "rsd",
		9000,
	},
	{"the list in a PSK tunnel", "ios26", device.ViaPairing, device.TunnelOptions{}, "rsd", 0},
	{
		"the handshake of a QUIC tunnel", "ios17.2", device.ViaPairing,
		device.TunnelOptions{Protocol: "quic"}, "mute", 0,
	},
	{
		"the handshake of a PSK tunnel", "ios26", device.ViaRemoted, device.TunnelOptions{}, "mute",
		0,
	},
	{
		"the pairing channel by XPC", "ios17.2", device.ViaRemoted, device.TunnelOptions{},
		remotepair.Service, 0,
	},
	{
		"the pairing channel by TCP", "ios26", device.ViaPairing, device.TunnelOptions{},
		remotepair.Service, 0,
	},
	{"pair-verify", "ios26", device.ViaPairing, device.TunnelOptions{}, remotepair.Service, 1200},
	{"pair-setup", "ios26", device.ViaPairing, device.TunnelOptions{}, remotepair.Service, 2200},
	{"the dialog", "ios17.2", device.ViaRemoted, device.TunnelOptions{}, "", 0},
	{"the dialog on Wi-Fi", "ios26", device.ViaPairing, device.TunnelOptions{}, "", 0},
	{"lockdown's dialog", "ios17", device.ViaMuxer, device.TunnelOptions{}, "", 0},
}

// silence makes the device stop answering at this step.
func (s stage) silence(m *virtual.Machine) {
	if s.service == "" {
		m.Phone().Trust.Reset()
		m.Phone().Trust.SetPolicy(trust.Policy{Mode: trust.Ignore})
		return
	}
	if s.service == "mute" {
		m.SetTunnelFaults(virtual.TunnelFaults{Faults: tunnel.Faults{Mute: true}})
		return
	}
	m.SetFault(s.service, virtual.Fault{Kind: virtual.Stall, After: s.after})
}

// TestEndsAtEveryStage makes tunnels to devices that stop answering at one step. Each
// attempt must end by its deadline, by cancellation and by Close of the Device, with an
// error that names the device, and leave nothing behind.
func TestEndsAtEveryStage(t *testing.T) {
	for _, s := range stages {
		t.Run(s.name, func(t *testing.T) {
			d, m := alone(t, s.profile, s.via)
			before := held{goroutines: runtime.NumGoroutine(), descriptors: descriptors()}
			s.silence(m)
			attempt := func(what string, ctx context.Context, end func(), cause error) {
				t.Helper()
				if end != nil {
					timer := time.AfterFunc(100*time.Millisecond, end)
					defer timer.Stop()
				}
				tun, err := d.Tunnel(ctx, s.options)
				var e *device.Error
				if tun != nil {
					t.Errorf("%s: Tunnel = %v beside an error", what, tun)
				}
				if !errors.As(err, &e) {
					t.Errorf("%s: Tunnel: %v, want a *device.Error", what, err)
				} else if e.UDID != m.UDID() {
					t.Errorf("%s: Tunnel: %v of the device %q, want %s", what, err, e.UDID,
						m.UDID())
				}
				if !errors.Is(err, cause) {
					t.Errorf("%s: Tunnel: %v, want %v", what, err, cause)
				}
				if d.Tunneled() != nil {
					t.Errorf("%s: there is a tunnel", what)
				}
			}
			short, stop := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer stop()
			attempt("deadline", short, nil, context.DeadlineExceeded)
			long, cancel := context.WithCancel(virtualtest.Context(t))
			defer cancel()
			attempt("cancel", long, cancel, context.Canceled)
			attempt("cancelled before", long, nil, context.Canceled)
			attempt("Close", virtualtest.Context(t), func() { d.Close() }, net.ErrClosed)
			attempt("after Close", virtualtest.Context(t), nil, net.ErrClosed)
			if after := settle(before); after.goroutines > before.goroutines ||
				after.descriptors > before.descriptors {
				compare(t, s.name, before, after)
			}
			if _, shown := m.Phone().Trust.ShownDialog(); shown &&
				s.via != device.ViaMuxer { // lockdown's stays as long as its user lets it
				t.Error("the dialog still shows")
			}
		})
	}
}

// TestGoesOnAfterSilence checks that the same Device makes its tunnel when the device
// answers again.
func TestGoesOnAfterSilence(t *testing.T) {
	for _, s := range stages {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			d, m := alone(t, s.profile, s.via)
			s.silence(m)
			short, stop := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer stop()
			if tun, err := d.Tunnel(short, s.options); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Tunnel = %v, %v", tun, err)
			}
			m.ClearFaults()
			m.Phone().Trust.SetPolicy(trust.Policy{})
			if err := askProcesses(virtualtest.Context(t), d, m); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			r := d.Routes()[0]
			if !r.Up {
				t.Errorf("the route is not up: %+v", r)
			}
			if r.Generation != 1 {
				t.Errorf("the route has the generation %d, want 1", r.Generation)
			}
		})
	}
}

// TestCloseEndsCalls closes a Device while calls in its tunnel wait.
func TestCloseEndsCalls(t *testing.T) {
	for _, via := range []device.Via{device.ViaMuxer, device.ViaPairing, device.ViaRSD} {
		t.Run(string(via), func(t *testing.T) {
			t.Parallel()
			ctx := virtualtest.Context(t)
			d, m := alone(t, "ios26", via)
			tun := must(d.Tunnel(ctx, device.TunnelOptions{}))(t)
			m.SetFault("com.apple.afc", virtual.Fault{Kind: virtual.Stall})
			waits := make(chan error, 1)
			go func() {
				_, err := d.Open(ctx, service.Name{Remote: afc.Service.Remote, Checkin: true})
				waits <- err
			}()
			kept := make(chan error, 1)
			comes := make(chan struct{})
			go func() {
				kept <- d.KeepTunnel(ctx, device.TunnelOptions{}, func(e device.TunnelEvent) {
					if e.Up {
						close(comes)
					}
				})
			}()
			<-comes
			d.Close()
			if err := <-waits; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Open under Close = %v, want %v", err, net.ErrClosed)
			}
			if err := <-kept; !errors.Is(err, net.ErrClosed) {
				t.Errorf("KeepTunnel of a closed Device = %v, want %v", err, net.ErrClosed)
			}
			if err := tun.Err(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("tunnel ended in %v", err)
			}
			d.Close()
		})
	}
}
