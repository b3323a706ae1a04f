//go:build linux

package interop

import (
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
)

func TestIdeviceDiagnostics(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 6, 10, 12, 0, 0, 0, time.UTC)
	r := plug(t, virtual.HostOptions{
		Device: virtual.Options{Phone: phone.Options{Clock: func() time.Time { return now }}},
	})
	p := r.phone()
	p.Power.SetBattery(42, true)
	same := func(want any, args ...string) {
		t.Helper()
		got := xml(t, decoded(t, r.output("idevicediagnostics", args...)))
		if want := xml(t, want); got != want {
			t.Errorf("idevicediagnostics %q:\n%s\nwant\n%s", args, got, want)
		}
	}
	for _, kind := range []string{"All", "WiFi", "GasGauge", "NAND"} {
		want, ok := p.Diagnostics.Answer(kind)
		if !ok {
			t.Fatalf("the phone has no diagnostics %s", kind)
		}
		if kind != "All" {
			want = plist.Dict{kind: want}
		}
		same(want, "diagnostics", kind)
	}
	for _, plane := range []string{"", "IODeviceTree", "IOPower", "IOService"} {
		want, ok := p.Diagnostics.IORegistry(plane, "", "")
		if !ok {
			t.Fatalf("the phone has no plane %q", plane)
		}
		args := []string{"ioreg"}
		if plane != "" {
			args = append(args, plane)
		}
		same(plist.Dict{"IORegistry": want}, args...)
	}
	battery, ok := p.Diagnostics.IORegistry("", "AppleSmartBattery", "")
	if !ok {
		t.Fatal("the phone has no battery")
	}
	if n, _ := battery.Int("CurrentCapacity"); n != 42 {
		t.Errorf("the battery is at %d %%, want 42", n)
	}
	same(plist.Dict{"IORegistry": battery}, "ioregentry", "AppleSmartBattery")
	got := r.run("idevicediagnostics", "ioregentry", "NoSuchEntry")
	if got.code != 1 {
		t.Errorf("ioregentry of nothing: exit status %d, want 1", got.code)
	}
	if got.out != "" {
		t.Errorf("ioregentry of nothing prints %q", got.out)
	}
}

func TestIdeviceGestalt(t *testing.T) {
	t.Parallel()
	for profile, deprecated := range map[string]bool{"ios16": false, "ios18": true} {
		r := one(t, profile)
		keys := []string{"ProductType", "UniqueDeviceID", "NoSuchKey"}
		got, ok := decoded(t, r.output("idevicediagnostics",
			append([]string{"mobilegestalt"}, keys...)...)).(plist.Dict)
		answer, _ := got.Dict("MobileGestalt")
		if !ok {
			t.Fatalf("%s: the answer is not a dictionary", profile)
		}
		if answer == nil {
			t.Fatalf("%s: the answer %v has no MobileGestalt", profile, got)
		}
		want := plist.Dict{
			"Status": "Success", "ProductType": r.phone().Identity.ProductType,
			"UniqueDeviceID": r.phone().Identity.UDID,
		}
		if deprecated {
			want = plist.Dict{"Status": "MobileGestaltDeprecated"}
		}
		if xml(t, answer) != xml(t, want) {
			t.Errorf("%s: %v, want %v", profile, answer, want)
		}
	}
}

func TestIdevicePower(t *testing.T) {
	t.Parallel()
	r := plug(t, virtual.HostOptions{Device: virtual.Options{Boot: 1}})
	p := r.phone()
	mux, err := usbmux.New(usbmux.Options{Dial: r.host.Dial})
	if err != nil {
		t.Fatal(err)
	}
	events, err := mux.Listen(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	next := func(want usbmux.EventKind) uint32 {
		t.Helper()
		for {
			e, err := events.Next(r.ctx)
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == usbmux.Paired { // the tool pairs when it has to
				continue
			}
			if e.Kind != want {
				t.Fatalf("event %v of %s, want %v", e.Kind, e.Entry.UDID, want)
			}
			if e.Entry.UDID != p.Identity.UDID {
				t.Fatalf("event %v of %s, want %s", e.Kind, e.Entry.UDID, p.Identity.UDID)
			}
			return e.Entry.DeviceID
		}
	}
	id, boot := next(usbmux.Attached), p.Clock.BootID()

	actions := make(chan power.Action, 8)
	p.Power.OnAction(func(a power.Action) { actions <- a })
	r.want(result{out: "Putting device into deep sleep mode.\n"}, "idevicediagnostics", "sleep")
	select {
	case a := <-actions:
		if a != power.Sleep {
			t.Errorf("the phone was told %v, want sleep", a)
		}
	case <-r.ctx.Done():
		t.Fatal("the phone was not put to sleep")
	}
	r.want(result{out: "Restarting device.\n"}, "idevicediagnostics", "restart")
	next(usbmux.Detached)
	now := next(usbmux.Attached)
	if now == id {
		t.Errorf("the device id %d is the same after a restart", now)
	}
	if p.Clock.BootID() == boot {
		t.Error("the boot id is the same after a restart")
	}
	r.want(result{out: "Shutting down device.\n"}, "idevicediagnostics", "shutdown")
	next(usbmux.Detached)
	r.want(result{}, "idevice_id", "-l")
}
