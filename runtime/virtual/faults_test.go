package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/crashreportcopymobile"
	"github.com/imdlua/imdlua/runtime/service/dtsimulatelocation"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// faultDeadline is the deadline of each call. The test runs in a bubble of synctest, so
// that waiting takes no real time.
const faultDeadline = 20 * time.Second

// faults are the faults, and whether a call may succeed in spite of them. Connections are
// cut at many places of the answers.
func faults(lengthAt int) map[string]virtual.Fault {
	all := map[string]virtual.Fault{
		"trickle":        {Kind: virtual.Trickle},
		"trickle slowly": {Kind: virtual.Trickle, Delay: time.Second},
		"late":           {Kind: virtual.Late, Delay: 100 * time.Millisecond},
		"too late":       {Kind: virtual.Late, Delay: time.Hour},
		"wrong length":   {Kind: virtual.WrongLength, LengthAt: lengthAt},
	}
	for _, n := range []int{0, 3, 5, 41, 300, 2000} {
		all[fmt.Sprintf("close after %d", n)] = virtual.Fault{
			Kind: virtual.CloseMidMessage, After: n,
		}
		all[fmt.Sprintf("stall after %d", n)] = virtual.Fault{Kind: virtual.Stall, After: n}
	}
	return all
}

// fewFaults are the faults for calls that take long.
var fewFaults = []string{
	"trickle slowly", "too late", "wrong length", "close after 300", "stall after 2000",
}

// lengthAt holds the place of the byte that makes the first answer too long, for services
// whose answers do not begin with their length.
var lengthAt = map[string]int{
	afc.Service.String():                   15,
	crashreportcopymobile.Service.String(): 15,
	ostracerelay.Service.String():          1,
}

// lengthAtInside is lengthAt for services that begin with a check-in in tunnels. Other
// services of tunnels begin with their first answer.
var lengthAtInside = map[string]int{
	dvt.Service.String(): 12, // DTX: the length of the message
}

// withoutAnswers are the services whose device side sends nothing, so that no fault of its
// answers concerns them.
var withoutAnswers = []string{dtsimulatelocation.Service.String()}

// callsOf returns the calls of a service that a device with the phone p offers: its uses,
// and those of moreCalls.
func callsOf(t *testing.T, name string, p *phone.Phone) []call {
	t.Helper()
	calls := moreCalls()[name]
	for _, u := range services {
		if slices.Contains(u.opens(t, p), name) {
			calls = append(calls, call{u.name, func(ctx context.Context, d *device.Device) error {
				return u.use(ctx, d, p)
			}})
		}
	}
	if len(calls) == 0 {
		t.Errorf("%s has no use in uses_test.go", name)
	}
	return calls
}

// TestFaults makes every call of every service fail in every way. Each call must end by
// its deadline, either well or with an error that names what was tried with which device.
// The same Device must work afterwards.
func TestFaults(t *testing.T) {
	makeSharedKey(t)
	m := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{
		Phone: phone.Options{Profile: "ios16"},
	}}).Devices()[0]
	for _, name := range append(m.Services(), "lockdown") {
		if slices.Contains(withoutAnswers, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testFaults(t, name) })
		})
	}
}

func testFaults(t *testing.T, name string) {
	// Only a phone with an old version of iOS answers MobileGestalt.
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: "ios16"}}})
	m := h.Devices()[0]
	first := virtualtest.Finder(t, h, device.Options{})
	d, err := first.Find(context.Background(), device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Pair(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, c := range callsOf(t, name, m.Phone()) {
		if err := c.do(context.Background(), d); err != nil {
			t.Errorf("%s without a fault: %v", c.name, err)
			continue
		}
		all := faults(lengthAt[name])
		if c.name == "Pair" { // makes keys each time
			maps.DeleteFunc(all, func(what string, _ virtual.Fault) bool {
				return !slices.Contains(fewFaults, what)
			})
		}
		for what, f := range all {
			m.SetFault(name, f)
			if name == "lockdown" { // a session that is open already has no fault
				first.Close()
				first = virtualtest.Finder(t, h, device.Options{NoAutoPair: true})
				d = first.Device(d.Info())
			}
			ctx, cancel := context.WithTimeout(context.Background(), faultDeadline)
			begin := time.Now()
			err := c.do(ctx, d)
			if took := time.Since(begin); took > faultDeadline {
				t.Errorf("%s, %s: ended after %v, the deadline was %v", c.name, what, took,
					faultDeadline)
			}
			cancel()
			if name == dvt.Service.String() { // errors of channels do not name the device
				checkInside(t, c.name+", "+what, f, d.UDID(), err)
			} else {
				checkFault(t, c.name+", "+what, f, name, d.UDID(), err)
			}
			m.ClearFaults()
			if err == nil && name == "lockdown" {
				d.Close() // the session lives and its fault with it
				d = first.Device(d.Info())
			}
			if err := c.do(context.Background(), d); err != nil {
				t.Errorf("%s, after %s: %v", c.name, what, err)
			}
		}
	}
}

// checkFault checks how a call ended. The error of a service names the service and the
// operation. The error of a step of the route also names the device.
func checkFault(t *testing.T, what string, f virtual.Fault, name, udid string, err error) {
	t.Helper()
	endless := f.Kind == virtual.Late && f.Delay > faultDeadline
	silent := f.After == 0 && (f.Kind == virtual.CloseMidMessage || f.Kind == virtual.Stall)
	if strings.HasPrefix(what, "Shutdown, close") { // the end is what was asked for
		silent = false
	}
	if err == nil {
		if endless || silent {
			t.Errorf("%s: succeeded", what)
		}
		return
	}
	if f.Kind == virtual.Late && !endless {
		t.Errorf("%s: %v", what, err)
	}
	if endless || f.Kind == virtual.Stall {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want DeadlineExceeded", what, err)
		}
		if !strings.Contains(err.Error(), udid) {
			t.Errorf("%s: %v, want the device's UDID in it", what, err)
		}
	}
	if name == "lockdown" {
		named, ok := err.(*device.Error)
		if !ok {
			t.Errorf("%s: %T %v, want a *device.Error", what, err, err)
			return
		}
		if named.UDID != udid {
			t.Errorf("%s: %v is of the device %q, want %s", what, err, named.UDID, udid)
		}
		if named.Op == "" {
			t.Errorf("%s: %#v names no operation", what, err)
		}
		if named.Service == "" {
			t.Errorf("%s: %#v names no service", what, err)
		}
		if !strings.Contains(err.Error(), udid) {
			t.Errorf("%s: the text %q does not name the device", what, err)
		}
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the text %q does not name %s", what, err, name)
		}
		return
	}
	pkg, op := origin(err)
	if pkg == "" || op == "" {
		t.Errorf("%s: %T %v names no service or no operation", what, err, err)
	} else if !strings.HasPrefix(err.Error(), pkg+": "+op) {
		t.Errorf("%s: the text %q does not begin with %s: %s", what, err, pkg, op)
	}
}

// origin returns the package and the operation of a service's error.
func origin(err error) (pkg, op string) {
	var files *afc.Error
	var other *service.Error
	switch {
	case errors.As(err, &other):
		return other.Service, other.Op
	case errors.As(err, &files):
		return "afc", files.Op
	}
	return "", ""
}

// makeSharedKey makes the key that all phones of the process share. It must run outside of
// a bubble of synctest.
func makeSharedKey(t *testing.T) {
	t.Helper()
	p, err := phone.New(phone.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Trust.Key()
}

// TestMuxerFaults is like TestFaults, but the multiplexer has the faults.
func TestMuxerFaults(t *testing.T) {
	makeSharedKey(t)
	synctest.Test(t, func(t *testing.T) {
		h := virtualtest.Host(t, virtual.HostOptions{})
		var fault *virtual.Fault
		c, err := usbmux.New(usbmux.Options{Dial: func(ctx context.Context) (net.Conn, error) {
			client, server := link.Pipe()
			if fault != nil {
				server = virtual.Misbehave(context.Background(), server, *fault)
			}
			go h.Mux.ServeConn(context.Background(), server)
			return client, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.List(context.Background())
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		if len(list) != 1 {
			t.Fatalf("List = %v, want one device", list)
		}
		for name, do := range muxerCalls(c, list[0].DeviceID) {
			for what, f := range faults(3) {
				fault = nil
				if err := c.SavePairRecord(context.Background(), "x", 0,
					[]byte(someRecord)); err != nil {
					t.Fatal(err)
				}
				fault = &f
				ctx, cancel := context.WithTimeout(context.Background(), faultDeadline)
				begin := time.Now()
				err := do(ctx)
				if took := time.Since(begin); took > faultDeadline {
					t.Errorf("%s, %s: ended after %v", name, what, took)
				}
				cancel()
				checkMuxerFault(t, name+", "+what, f, err)
			}
		}
	})
}

const someRecord = `<?xml version="1.0"?><plist version="1.0"><dict><key>HostID</key><string>x</string></dict></plist>`

func muxerCalls(c *usbmux.Client, id uint32) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"list":      func(ctx context.Context) error { return second(c.List(ctx)) },
		"read BUID": func(ctx context.Context) error { return second(c.BUID(ctx)) },
		"list listeners": func(ctx context.Context) error {
			return second(c.ListListeners(ctx))
		},
		"save pair record": func(ctx context.Context) error {
			return c.SavePairRecord(ctx, "x", 0,
				[]byte(someRecord))
		},
		"read pair record": func(ctx context.Context) error {
			return second(c.ReadPairRecord(ctx, "x"))
		},
		"delete pair record": func(ctx context.Context) error {
			return c.DeletePairRecord(ctx,
				"x")
		},
		"connect": func(ctx context.Context) error {
			conn, err := c.Connect(ctx, id, lockdown.Port)
			if err == nil {
				conn.Close()
			}
			return err
		},
		"listen": func(ctx context.Context) error {
			l, err := c.Listen(ctx)
			if err != nil {
				return err
			}
			defer l.Close()
			return second(l.Next(ctx))
		},
	}
}

func checkMuxerFault(t *testing.T, what string, f virtual.Fault, err error) {
	t.Helper()
	endless := f.Kind == virtual.Late && f.Delay > faultDeadline
	silent := f.After == 0 && (f.Kind == virtual.CloseMidMessage || f.Kind == virtual.Stall)
	var e *usbmux.Error
	switch {
	case err == nil:
		if endless || silent {
			t.Errorf("%s: succeeded", what)
		}
	case f.Kind == virtual.Late && !endless:
		t.Errorf("%s: %v", what, err)
	case !errors.As(err, &e) || e.Op == "" || !strings.HasPrefix(err.Error(), "usbmux: "+e.Op):
		t.Errorf("%s: %T %v, want *usbmux.Error", what, err, err)
	case (endless || f.Kind == virtual.Stall) && !errors.Is(err, context.DeadlineExceeded):
		t.Errorf("%s: %v, want the deadline in it", what, err)
	}
}
