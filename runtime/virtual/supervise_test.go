package virtual_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestTunnelGoesDown cuts the tunnel while a call waits. The call must fail immediately
// with the reason, and the next call must make a new tunnel.
func TestTunnelGoesDown(t *testing.T) {
	for _, r := range allRoutes {
		if r.tunnel == "" || r.via == "" {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			ctx := virtualtest.Context(t)
			d, m := r.only(t, r.profiles[0])
			for generation := 1; generation <= 3; generation++ {
				s, err := dvt.Connect(ctx, d, dvt.Options{})
				if err != nil {
					t.Fatal(err)
				}
				n, err := s.Notifications(ctx, dvt.NotificationOptions{Apps: true})
				if err != nil {
					t.Fatal(err)
				}
				tun := d.Tunneled()
				if tun == nil {
					t.Fatalf("there is no tunnel, want generation %d", generation)
				}
				if tun.Generation != generation {
					t.Fatalf("the tunnel has the generation %d, want %d", tun.Generation,
						generation)
				}
				ended := make(chan error, 1)
				go func() {
					for {
						if _, err := n.Next(ctx); err != nil {
							ended <- err
							return
						}
					}
				}()
				if m.DropTunnels() == 0 {
					t.Fatal("the device has no tunnel")
				}
				if err := <-ended; !errors.Is(err, tunnel.ErrDown) {
					t.Errorf("a call that waited ended in %v, want ErrDown", err)
				}
				s.Close()
			}
		})
	}
}

// TestSilentTunnel makes the device side of a tunnel stop answering, as happens on Wi-Fi.
// The host must notice this, and the next call must make a new tunnel.
func TestSilentTunnel(t *testing.T) {
	t.Parallel()
	ctx := virtualtest.Context(t)
	d, m := virtualtest.Device(t, virtual.Options{})
	m.SetFault(tunnel.LockdownService, virtual.Fault{Kind: virtual.Stall, After: 100 << 10})
	first, err := d.Tunnel(ctx, device.TunnelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.ClearFaults()
	s, err := dvt.Connect(ctx, d, dvt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	hung := make(chan error, 1)
	go func() { // its answers are what falls silent
		for {
			if _, err := s.Screenshot(ctx); err != nil {
				hung <- err
				return
			}
		}
	}()
	select {
	case <-first.Done():
	case <-ctx.Done():
		t.Fatal("the tunnel stays, dead as it is")
	}
	if err := <-hung; !errors.Is(err, tunnel.ErrDown) {
		t.Errorf("the call in it ended in %v, want ErrDown", err)
	}
	next, err := d.Tunnel(ctx, device.TunnelOptions{})
	if err != nil {
		t.Fatalf("the next tunnel: %v", err)
	}
	if next.Generation != 2 {
		t.Errorf("the next tunnel has the generation %d, want 2", next.Generation)
	}
}

// events collects the events of KeepTunnel.
type events chan device.TunnelEvent

// up waits for a tunnel of a later generation and returns it.
func (e events) up(t *testing.T, ctx context.Context, after int) *device.Tunnel {
	t.Helper()
	for {
		select {
		case ev := <-e:
			if ev.Up && ev.Tunnel.Generation > after {
				return ev.Tunnel
			}
		case <-ctx.Done():
			t.Fatalf("no tunnel after generation %d came up", after)
		}
	}
}

// TestKeepTunnel keeps a tunnel while the phone restarts, disconnects and comes back.
func TestKeepTunnel(t *testing.T) {
	for _, profile := range []string{"ios17.2", "ios17", "ios26"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(virtualtest.Context(t))
			d, m := virtualtest.Device(t, virtual.Options{Phone: phone.Options{Profile: profile}})
			told := make(events, 1000)
			done := make(chan error, 1)
			go func() {
				done <- d.KeepTunnel(ctx, device.TunnelOptions{},
					func(e device.TunnelEvent) { told <- e })
			}()
			now := told.up(t, ctx, 0)
			for _, what := range []struct {
				name string
				do   func()
			}{
				{"cut", func() { m.DropTunnels() }},
				{"unplugged and plugged in", func() {
					m.Detach()
					if err := m.Replug(); err != nil {
						t.Error(err)
					}
				}},
				{"restarted", func() { m.Phone().Power.Do(power.Restart) }},
				{"restarted again", func() { m.Phone().Power.Do(power.Restart) }},
			} {
				what.do()
				next := told.up(t, ctx, now.Generation)
				if now.Err() == nil {
					t.Errorf("%s: the tunnel before it is still up", what.name)
				}
				if v := next.List().Peer().Properties.UDID(); v != d.UDID() {
					t.Errorf("%s: the tunnel leads to %s", what.name, v)
				}
				now = next
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("KeepTunnel = %v", err)
			}
		})
	}
}

// TestKeeper keeps tunnels to all devices that are present, and only to those.
func TestKeeper(t *testing.T) {
	t.Parallel()
	ctx := virtualtest.Context(t)
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: "ios17"}}})
	old, err := h.Add(
		virtual.Options{Phone: phone.Options{Profile: "ios16", Serial: h.NextSerial()}},
	)
	if err != nil {
		t.Fatal(err)
	}
	f := virtualtest.Finder(t, h, device.Options{})
	changed := make(chan struct{}, 1000)
	k := f.Keep(
		device.KeeperOptions{Tell: func(string, device.TunnelEvent) { changed <- struct{}{} }},
	)
	defer k.Close()
	has := func(want ...string) {
		t.Helper()
		slices.Sort(want)
		for {
			var have []string
			for _, one := range k.Tunnels() {
				have = append(have, one.UDID)
			}
			if slices.Equal(have, want) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatalf("tunnels to %v, want %v", have, want)
			}
		}
	}
	first := h.Devices()[0]
	has(first.UDID())
	second, err := h.Add(
		virtual.Options{Phone: phone.Options{Profile: "ios26", Serial: h.NextSerial()}},
	)
	if err != nil {
		t.Fatal(err)
	}
	has(first.UDID(), second.UDID())
	first.Detach()
	has(second.UDID())
	if err := first.Replug(); err != nil {
		t.Fatal(err)
	}
	has(first.UDID(), second.UDID())
	if !k.Cancel(first.UDID()) {
		t.Error("Cancel of a tunnel that is there reports false")
	}
	if k.Cancel("00008120-0000000000000000") {
		t.Error("Cancel of a tunnel that is not there reports true")
	}
	has(second.UDID())
	one, err := k.Start(ctx, first.UDID())
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	if err := one.Tunnel.Err(); err != nil {
		t.Errorf("the tunnel that Start returned ended: %v", err)
	}
	has(first.UDID(), second.UDID())
	if !k.Restart(first.UDID()) {
		t.Error("Restart of a tunnel that is there reports false")
	}
	if k.Restart("00008120-0000000000000000") {
		t.Error("Restart of a tunnel that is not there reports true")
	}
	again, err := k.Start(ctx, first.UDID())
	if err != nil {
		t.Fatalf("Start after Restart: %v", err)
	}
	if before := one.Tunnel.Generation; again.Tunnel.Generation <= before {
		t.Errorf("after Restart the tunnel is number %d, want one after %d",
			again.Tunnel.Generation, before)
	}
	if _, err := k.Start(ctx, old.UDID()); !errors.Is(err, device.ErrNoTunnel) {
		t.Errorf("Start on iOS 16 = %v, want ErrNoTunnel", err)
	}
	if _, err := k.Start(ctx, "00008120-0000000000000000"); !errors.Is(err, device.ErrNotFound) {
		t.Errorf("Start of nobody = %v, want ErrNotFound", err)
	}
	if !k.Ready() {
		t.Error("not ready")
	}
	k.Clear()
	has()
}
