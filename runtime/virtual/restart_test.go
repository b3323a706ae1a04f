package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// alone returns a device that is known by one kind of route, which is found again
// after a restart.
func alone(t *testing.T, profile string, via device.Via) (*device.Device, *virtual.Machine) {
	t.Helper()
	ctx := virtualtest.Context(t)
	h := virtualtest.Host(t, virtual.HostOptions{
		Device: virtual.Options{Phone: phone.Options{Profile: profile}, Boot: 1},
	})
	m := h.Devices()[0]
	if via == device.ViaMuxer {
		return must(virtualtest.Finder(t, h, device.Options{
			Browser: ears{host: h}, Stores: []pair.Store{trustHost(t, m)},
		}).Find(ctx, device.Selector{}))(t), m
	}
	types := map[device.Via]bonjour.Type{
		device.ViaRemoted: cable, device.ViaPairing: air, device.ViaLockdown: wifi,
	}
	f := device.NewFinder(device.Options{Browser: ears{h, []bonjour.Type{types[via]}}}) // no muxer
	t.Cleanup(func() { f.Close() })
	if via == device.ViaRSD {
		at := deadPort(t)
		must(m.Show(virtual.NetworkOptions{Trusted: true, TrustedPort: at.Port()}))(t)
		return must(f.At(ctx, device.DirectAt(at)))(t), m
	}
	if via != device.ViaRemoted {
		must(m.Show(virtual.NetworkOptions{Wifi: true}))(t)
	}
	d := must(f.Find(ctx, device.Selector{}))(t)
	if r := d.Info().Routes; len(r) != 1 || r[0].Via != via {
		t.Fatalf("routes are %v, want one by %s", r, via)
	}
	return d, m
}

// TestRestarts restarts a phone that a Device uses over each route. Back must not return
// before the phone has started again, and afterwards every call must work.
func TestRestarts(t *testing.T) {
	for _, c := range []struct {
		profile string
		via     device.Via
	}{
		{"ios17", device.ViaMuxer}, {"ios17.2", device.ViaRemoted}, {"ios26", device.ViaRemoted},
		{"ios17.2", device.ViaPairing}, {"ios26", device.ViaPairing}, {"ios26", device.ViaRSD},
	} {
		t.Run(fmt.Sprintf("%s/%s", c.profile, c.via), func(t *testing.T) {
			t.Parallel()
			ctx := virtualtest.Context(t)
			d, m := alone(t, c.profile, c.via)
			for range 3 {
				if err := askProcesses(ctx, d, m); err != nil {
					t.Fatal(err)
				}
				boot := m.Phone().Clock.BootID()
				m.Phone().Power.Do(power.Restart)
				if err := d.Back(ctx); err != nil {
					t.Fatalf("Back: %v", err)
				}
				if m.Phone().Clock.BootID() == boot {
					t.Error("back before it went")
				}
			}
			if err := askProcesses(ctx, d, m); err != nil {
				t.Error(err)
			}
			if n := d.Tunneled().Generation; n < 4 {
				t.Errorf("%d tunnels for 4 boots", n)
			}
		})
	}
}

// TestRestartEndsRoutesTogether restarts a phone that is on a cable and on Wi-Fi. After a
// host has lost one connection, it cannot open another one until the phone is back.
func TestRestartEndsRoutesTogether(t *testing.T) {
	ctx := virtualtest.Context(t)
	for n := range 20 {
		h := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{
			Phone: phone.Options{Serial: n}, Boot: time.Hour,
		}})
		m := h.Devices()[0]
		var wifi *virtual.Presence // the last of many, which takes a while to go
		for range 50 {
			wifi = must(m.Show(virtual.NetworkOptions{Wifi: true}))(t)
		}
		at := netip.AddrPortFrom(wifi.Address(), wifi.Ports().Lockdown).String()
		mux := must(usbmux.New(usbmux.Options{Dial: h.Dial}))(t)
		id := must(mux.List(ctx))(t)[0].DeviceID
		routes := []func() (net.Conn, error){
			func() (net.Conn, error) { return mux.Connect(ctx, id, lockdown.Port) },
			func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", at) },
		}
		var group sync.WaitGroup
		for from, dial := range routes {
			c := must(dial())(t)
			group.Go(func() {
				io.Copy(io.Discard, c)
				c.Close()
				if c, err := routes[1-from](); err == nil {
					defer c.Close()
					if kind, err := lockdown.New(c, lockdown.Options{}).QueryType(ctx); err == nil {
						t.Errorf("%d: a phone that goes down answers %q on route %d", n, kind, 1-from)
					}
				}
			})
		}
		m.Phone().Power.Do(power.Restart)
		group.Wait()
	}
}

// TestStaleRoutes restarts a phone without a notification to the Device. The next call
// must notice that the routes are gone and find new ones.
func TestStaleRoutes(t *testing.T) {
	for _, c := range []struct {
		profile string
		via     device.Via
	}{{
		"ios17", device.ViaMuxer,
	}, {"ios17.2", device.ViaRemoted}, {"ios26", device.ViaPairing}, {"ios26", device.ViaRSD}} {
		t.Run(fmt.Sprintf("%s/%s", c.profile, c.via), func(t *testing.T) {
			t.Parallel()
			ctx := virtualtest.Context(t)
			d, m := alone(t, c.profile, c.via)
			if err := askProcesses(ctx, d, m); err != nil {
				t.Fatal(err)
			}
			other := m.Phone().Notifications.Observe()
			defer other.Close()
			other.Add("com.apple.mobile.lockdown.host_attached")
			m.Phone().Power.Do(power.Restart)
			if _, err := other.Next(ctx); err != nil { // it is back
				t.Fatal(err)
			}
			if err := askProcesses(ctx, d, m); err != nil {
				t.Errorf("after a restart: %v", err)
			}
		})
	}
}

// TestReady waits for a phone that is not reachable yet.
func TestReady(t *testing.T) {
	for _, c := range []struct {
		profile string
		via     device.Via
	}{{"ios16", device.ViaMuxer}, {"ios17.2", device.ViaRemoted}, {"ios26", device.ViaRSD}} {
		t.Run(fmt.Sprintf("%s/%s", c.profile, c.via), func(t *testing.T) {
			t.Parallel()
			ctx := virtualtest.Context(t)
			d, m := alone(t, c.profile, c.via)
			if err := d.Ready(ctx); err != nil {
				t.Errorf("Ready of one that is there: %v", err)
			}
			m.Detach()
			gone, cancel := context.WithCancel(ctx)
			asked := make(chan error, 1)
			go func() { asked <- d.Ready(gone) }()
			cancel()
			var e *device.Error
			err := <-asked
			if !errors.As(err, &e) {
				t.Errorf("Ready that is cancelled: %v, want a *device.Error", err)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Ready that is cancelled: %v, want Canceled", err)
			}
			go func() { asked <- d.Ready(ctx) }()
			if err := m.Replug(); err != nil {
				t.Fatal(err)
			}
			if err := <-asked; err != nil {
				t.Errorf("Ready: %v", err)
			}
		})
	}
}
