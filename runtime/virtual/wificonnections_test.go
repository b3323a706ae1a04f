package virtual_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

const (
	wirelessDomain = "com.apple.mobile.wireless_lockdown"
	wifiKey        = "EnableWifiConnections"
)

// awaitLockdown waits until lockdownd is on the network, or not there, and returns its port.
func awaitLockdown(ctx context.Context, t *testing.T, p *virtual.Presence, there bool) uint16 {
	t.Helper()
	for {
		port := p.Ports().Lockdown
		if (port != 0) == there {
			return port
		}
		if ctx.Err() != nil {
			t.Fatalf("lockdownd on the network: %v, want %v", port != 0, there)
		}
		runtime.Gosched()
	}
}

// advertises reports whether the device advertises lockdownd.
func advertises(p *virtual.Presence) bool {
	for _, s := range p.Advertised() {
		if s.Type == bonjour.Mobdev2 {
			return true
		}
	}
	return false
}

// TestWifiConnections switches connections over Wi-Fi off and on, over the cable and over the
// Wi-Fi connection that this ends. The host gets the answer in both cases.
func TestWifiConnections(t *testing.T) {
	t.Parallel()
	for name, profile := range map[string]string{"cable": "ios17", "wifi": "ios16"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := virtualtest.Context(t)
			h := virtualtest.Host(t, virtual.HostOptions{
				Device: virtual.Options{Phone: phone.Options{Profile: profile}},
			})
			m := h.Devices()[0]
			p := must(m.Show(virtual.NetworkOptions{Wifi: true}))(t)
			f := virtualtest.Finder(t, h, device.Options{})
			d := must(f.Find(ctx, device.Selector{}))(t)
			if name == "wifi" {
				if err := d.Pair(ctx); err != nil {
					t.Fatal(err)
				}
				i := must(f.List(ctx, device.Selector{Network: true}))(t)[0]
				i.Routes = slices.DeleteFunc(slices.Clone(i.Routes),
					func(r device.Route) bool { return r.Via != device.ViaLockdown })
				d.Close()
				d = f.Device(i)
			}
			port := awaitLockdown(ctx, t, p, true)
			idle := must(net.Dial("tcp", netip.AddrPortFrom(p.Address(), port).String()))(t)
			defer idle.Close()
			if err := idle.SetDeadline(time.Now().Add(virtualtest.Deadline)); err != nil {
				t.Fatal(err)
			}
			if !advertises(p) {
				t.Error("lockdownd is not advertised")
			}
			pairing := p.Ports().Pairing
			if err := d.Set(ctx, wirelessDomain, wifiKey, false); err != nil {
				t.Fatalf("Set: %v", err)
			}
			awaitLockdown(ctx, t, p, false)
			if advertises(p) {
				t.Error("lockdownd is still advertised")
			}
			if _, err := io.Copy(io.Discard, idle); err != nil { // it ends
				t.Errorf("an earlier connection: %v", err)
			}
			if got := p.Ports().Pairing; got != pairing {
				t.Errorf("remote pairing is at %d, want %d as before", got, pairing)
			}
			off := must(m.Show(virtual.NetworkOptions{Wifi: true}))(t)
			if port := off.Ports().Lockdown; port != 0 {
				t.Errorf("lockdownd is at %d of a new network", port)
			}
			if err := m.Phone().Values.Remove(wirelessDomain, wifiKey); err != nil {
				t.Fatal(err)
			}
			for _, p := range []*virtual.Presence{p, off} {
				awaitLockdown(ctx, t, p, true)
				if !advertises(p) {
					t.Error("lockdownd is not advertised again")
				}
			}
		})
	}
}

// TestRecovery puts a device into recovery mode. It is gone, whatever plugs it in, until it is
// told to leave the mode.
func TestRecovery(t *testing.T) {
	t.Parallel()
	ctx := virtualtest.Context(t)
	h := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{Boot: 1}})
	m := h.Devices()[0]
	p := must(m.Show(virtual.NetworkOptions{Wifi: true}))(t)
	f := virtualtest.Finder(t, h, device.Options{})
	d := must(f.Find(ctx, device.Selector{}))(t)
	boot := m.Phone().Clock.BootID()
	if err := d.EnterRecovery(ctx); err != nil {
		t.Fatal(err)
	}
	awaitLockdown(ctx, t, p, false)
	for m.Attached() {
		if ctx.Err() != nil {
			t.Fatal("the device is still plugged in")
		}
		runtime.Gosched()
	}
	if !m.Phone().Power.InRecovery() {
		t.Error("InRecovery = false")
	}
	if err := m.Replug(); !errors.Is(err, virtual.ErrRecovery) {
		t.Errorf("Replug: %v, want %v", err, virtual.ErrRecovery)
	}
	m.Attach(h.Mux)
	if m.Attached() {
		t.Error("a device in recovery mode is plugged in")
	}
	if list, err := f.List(ctx, device.Selector{}); err != nil {
		t.Errorf("List: %v", err)
	} else if len(list) != 0 {
		t.Errorf("List = %v, want no device", list)
	}
	m.LeaveRecovery()
	if err := d.Back(ctx); err != nil {
		t.Fatalf("Back: %v", err)
	}
	if m.Phone().Clock.BootID() == boot {
		t.Error("the device has not started again")
	}
	if _, err := d.Get(ctx, "", "DeviceName"); err != nil {
		t.Errorf("after recovery mode: %v", err)
	}
	after := m.Phone().Clock.BootID()
	m.LeaveRecovery() // does nothing now
	if m.Phone().Clock.BootID() != after {
		t.Error("LeaveRecovery restarts a device that is not in recovery mode")
	}
}
