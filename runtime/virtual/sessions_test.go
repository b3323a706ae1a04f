package virtual_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/heartbeat"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
	"github.com/imdlua/imdlua/runtime/service/syslogrelay"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestHungStart has a service whose StartService is never answered, and as many calls
// that start it as there may be sessions, and more. All other calls of the device must
// work meanwhile.
func TestHungStart(t *testing.T) {
	makeSharedKey(t)
	synctest.Test(t, func(t *testing.T) {
		d, m := virtualtest.Device(t, virtual.Options{
			Phone: phone.Options{Profile: "ios16", LogRate: -1},
		})
		if err := d.Pair(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.SetFault(syslogrelay.Service.Lockdown, virtual.Fault{Kind: virtual.NeverAnswer})
		const hung = 20
		ended := make(chan error, hung)
		start := func(ctx context.Context) {
			c, err := d.Open(ctx, syslogrelay.Service)
			if err == nil {
				c.Close()
			}
			ended <- err
		}
		for range hung / 2 {
			go start(t.Context())
		}
		synctest.Wait()
		for range 3 {
			checkWorks(t, d)
		}
		// Those that are hung end by themselves, and each one in its own time.
		for range hung / 2 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start(ctx)
			}()
		}
		for n := range hung {
			if n == hung/2 {
				checkWorks(t, d)
			}
			if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a start that is not answered ends in %v, want its deadline", err)
			}
		}
		m.ClearFaults()
		go start(t.Context())
		if err := <-ended; err != nil {
			t.Errorf("without the fault the service does not start: %v", err)
		}
		checkWorks(t, d)
	})
}

// checkWorks reads a value, starts a service and uses it, with a deadline that is shorter
// than that of a start that hangs.
func checkWorks(t *testing.T, d *device.Device) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := d.Get(ctx, "", "DeviceName"); err != nil {
		t.Errorf("Get: %v", err)
	}
	c, err := afc.Connect(ctx, d)
	if err != nil {
		t.Errorf("afc: %v", err)
		return
	}
	defer c.Close()
	if _, err := c.List(ctx, "/"); err != nil {
		t.Errorf("List: %v", err)
	}
}

// TestSeveralHungStarts has several services that do not start.
func TestSeveralHungStarts(t *testing.T) {
	makeSharedKey(t)
	synctest.Test(t, func(t *testing.T) {
		d, m := virtualtest.Device(t, virtual.Options{
			Phone: phone.Options{Profile: "ios16", LogRate: -1},
		})
		if err := d.Pair(t.Context()); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 3)
		hung := []service.Name{
			syslogrelay.Service, heartbeat.Service, notificationproxy.Service,
		}
		for _, name := range hung {
			m.SetFault(name.Lockdown, virtual.Fault{Kind: virtual.NeverAnswer})
			go func() { ended <- second(d.Open(t.Context(), name)) }()
		}
		synctest.Wait()
		checkWorks(t, d)
		d.Close()
		for range hung {
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("a start under Close ends in %v, want ErrClosed", err)
			}
		}
	})
}

// TestHungHeartbeat reaches a device over Wi-Fi, where each session starts the heartbeat.
// The start of that service is never answered, or the service itself says nothing.
func TestHungHeartbeat(t *testing.T) {
	for name, fault := range map[string]virtual.Fault{
		"start": {Kind: virtual.NeverAnswer}, "service": {Kind: virtual.Stall},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := virtualtest.Host(t, virtual.HostOptions{
				Device: virtual.Options{Phone: phone.Options{Profile: "ios16", LogRate: -1}},
			}).Devices()[0]
			p := must(m.Show(virtual.NetworkOptions{Wifi: true}))(t)
			f := device.NewFinder(device.Options{
				Stores: []pair.Store{trustHost(t, m)},
				Browser: bonjour.Static{{
					Name: "x", Type: wifi, Port: p.Ports().Lockdown,
					Addresses: []netip.Addr{p.Address()},
				}},
			})
			t.Cleanup(func() { f.Close() })
			d := must(f.Find(virtualtest.Context(t), device.Selector{}))(t)
			m.SetFault(heartbeat.Service.Lockdown, fault)
			ctx := virtualtest.Context(t)
			if _, err := d.Get(ctx, "", "DeviceName"); err != nil {
				t.Errorf("Get: %v", err)
			}
			c, err := afc.Connect(ctx, d)
			if err != nil {
				t.Fatalf("afc: %v", err)
			}
			c.Close()
		})
	}
}

// TestSessionsPairOnce lets several calls need a session at once, while the device shows
// its Trust dialog for longer than a call waits for a session. The device must be asked
// to pair with one host.
func TestSessionsPairOnce(t *testing.T) {
	makeSharedKey(t)
	synctest.Test(t, func(t *testing.T) {
		d, m := virtualtest.Device(t, virtual.Options{Phone: phone.Options{LogRate: -1}})
		m.Phone().Trust.SetPolicy(trust.Policy{Mode: trust.After, After: 5 * time.Second})
		const calls = 12
		ended := make(chan error, calls)
		for range calls {
			go func() {
				_, err := d.Get(t.Context(), "", "DeviceName")
				ended <- err
			}()
		}
		for range calls {
			if err := <-ended; err != nil {
				t.Errorf("Get: %v", err)
			}
		}
		if n := len(m.Phone().Trust.Hosts()); n != 1 {
			t.Errorf("the device trusts %d hosts, want 1", n)
		}
	})
}

// TestPairRenewsSessions pairs and unpairs while sessions are open. Calls afterwards must
// not use a session of the earlier pairing.
func TestPairRenewsSessions(t *testing.T) {
	makeSharedKey(t)
	synctest.Test(t, func(t *testing.T) {
		h := virtualtest.Host(t, virtual.HostOptions{
			Device: virtual.Options{Phone: phone.Options{Profile: "ios16", LogRate: -1}},
		})
		f := virtualtest.Finder(t, h, device.Options{NoAutoPair: true})
		d := must(f.Find(t.Context(), device.Selector{}))(t)
		for range 2 {
			if err := d.Pair(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkWorks(t, d)
		}
		if err := d.Unpair(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Get(t.Context(), "", "DeviceName"); !errors.Is(err, device.ErrNotPaired) {
			t.Errorf("Get after Unpair = %v, want ErrNotPaired", err)
		}
	})
}
