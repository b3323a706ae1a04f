package virtual_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestFaultsInside does what TestFaults does with the services of tunnels: those of
// lockdown after their check-in, RemoteXPC, DTX, lockdown itself, and the list.
func TestFaultsInside(t *testing.T) {
	makeSharedKey(t)
	names := []string{"lockdown", "rsd"}
	for _, s := range virtual.Services() {
		if !slices.Contains(usedByRoutes, s) && !slices.Contains(withoutAnswers, s) {
			names = append(names, s)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testFaultsInside(t, name) })
		})
	}
}

func testFaultsInside(t *testing.T, name string) {
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: "ios26"}}})
	m := h.Devices()[0]
	f := device.NewFinder(device.Options{})
	t.Cleanup(func() { f.Close() })
	found := func() *device.Device {
		d, err := f.At(context.Background(),
			device.Direct{Address: "inside", Port: m.ListPort(), Dial: m.Inside})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := found()
	of := name
	if name == "lockdown" {
		of = "trusted lockdown"
	}
	for _, c := range callsOf(t, of, m.Phone()) {
		if err := c.do(context.Background(), d); err != nil {
			t.Errorf("%s without a fault: %v", c.name, err)
			continue
		}
		for what, fault := range faults(lengthAtInside[name]) {
			m.SetFault(name, fault)
			if name == "lockdown" ||
				name == "rsd" { // connections that are open already have no fault
				d.Close()
				if name == "lockdown" {
					d = found()
				} else {
					d = f.Device(d.Info())
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), faultDeadline)
			begin := time.Now()
			err := c.do(ctx, d)
			if took := time.Since(begin); took > faultDeadline {
				t.Errorf("%s, %s: ended after %v, the deadline was %v", c.name, what, took,
					faultDeadline)
			}
			cancel()
			checkInside(t, c.name+", "+what, fault, d.UDID(), err)
			m.ClearFaults()
			if name == "lockdown" || name == "rsd" { // what is open keeps its fault
				d.Close()
				d = found()
			}
			if err := c.do(context.Background(), d); err != nil {
				t.Errorf("%s, after %s: %v", c.name, what, err)
			}
		}
	}
}

// checkInside checks how a call ended. If the fault does not allow success, the error
// must name the operation and the device.
func checkInside(t *testing.T, what string, f virtual.Fault, udid string, err error) {
	t.Helper()
	endless := f.Kind == virtual.Late && f.Delay > faultDeadline
	silent := f.After == 0 && (f.Kind == virtual.CloseMidMessage || f.Kind == virtual.Stall)
	if err == nil {
		if endless || silent {
			t.Errorf("%s: succeeded", what)
		}
		return
	}
	if f.Kind == virtual.Late && !endless {
		t.Errorf("%s: %v", what, err)
	}
	// A device that does not answer when it is described counts as not found.
	absent := strings.HasPrefix(what, "Refresh") && errors.Is(err, device.ErrNotFound)
	if (endless || f.Kind == virtual.Stall) && !errors.Is(err, context.DeadlineExceeded) &&
		!absent {
		t.Errorf("%s: %v, want the deadline in it", what, err)
	}
	var of *device.Error
	var dtx *dvt.Error
	var core *coredevice.Error
	switch pkg, op := origin(err); {
	case pkg != "" && strings.HasPrefix(err.Error(), pkg+": "+op):
	case errors.As(err, &core) && core.Op != "" && strings.HasPrefix(err.Error(), "coredevice: "):
	case errors.As(err, &dtx) && dtx.Op != "" && strings.HasPrefix(err.Error(), "dvt: "):
	case errors.As(err, &of) && of.UDID == udid && of.Op != "":
	default:
		t.Errorf("%s: %T names no operation: %v", what, err, err)
	}
}

func dvtCalls() []call {
	type client = *dvt.Session
	do := func(name string, f func(context.Context, client) error) call {
		return call{name, func(ctx context.Context, d *device.Device) error {
			s, err := dvt.Connect(ctx, d, dvt.Options{})
			if err != nil {
				return err
			}
			defer s.Close()
			return f(ctx, s)
		}}
	}
	return []call{
		do("Processes",
			func(ctx context.Context, s client) error { return second(s.Processes(ctx)) }),
		do("Screenshot",
			func(ctx context.Context, s client) error { return second(s.Screenshot(ctx)) }),
		do("Conditions",
			func(ctx context.Context, s client) error { return second(s.Conditions(ctx)) }),
		do("Call", func(ctx context.Context, s client) error {
			return second(
				s.Call(ctx, "com.apple.instruments.server.services.deviceinfo", "machTimeInfo"),
			)
		}),
		do("Sysmon", func(ctx context.Context, s client) error {
			m, err := s.Sysmon(ctx, dvt.SysmonConfig{})
			if err != nil {
				return err
			}
			defer m.Close()
			return second(m.Next(ctx))
		}),
		do("Launch", func(ctx context.Context, s client) error {
			return second(s.Launch(ctx, "com.example.shop", dvt.LaunchOptions{}))
		}),
	}
}

func xpcAppCalls() []call {
	return []call{
		with("List", coredevice.ConnectApps, func(ctx context.Context, c *coredevice.Apps) error {
			return second(c.List(ctx, coredevice.AppFilter{}))
		}),
		with("Processes", coredevice.ConnectApps, func(
			ctx context.Context, c *coredevice.Apps,
		) error {
			return second(c.Processes(ctx))
		}),
		with("Launch", coredevice.ConnectApps, func(ctx context.Context, c *coredevice.Apps) error {
			return second(c.Launch(ctx, "com.example.shop", coredevice.LaunchOptions{}))
		}),
	}
}

func xpcInfoCalls() []call {
	return []call{
		with("Displays", coredevice.ConnectInfo,
			func(ctx context.Context, c *coredevice.Info) error { return second(c.Displays(ctx)) }),
		with("LockState", coredevice.ConnectInfo, func(
			ctx context.Context, c *coredevice.Info,
		) error {
			return second(c.LockState(ctx))
		}),
	}
}

func listCalls() []call {
	return []call{
		{"Tunnel", func(ctx context.Context, d *device.Device) error {
			return second(d.Tunnel(ctx, device.TunnelOptions{}))
		}},
		{"Open", func(ctx context.Context, d *device.Device) error {
			c, err := d.Open(ctx, afc.Service)
			if err == nil {
				c.Close()
			}
			return err
		}},
		{"Refresh", func(ctx context.Context, d *device.Device) error { return d.Refresh(ctx) }},
		{"Get", func(ctx context.Context, d *device.Device) error {
			return second(d.Get(ctx, "", "DeviceName"))
		}},
	}
}
