package phone_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/values"
)

func TestDeveloperServices(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		for _, c := range []struct{ image, mode bool }{
			{true, true}, {true, false}, {false, true}, {false, false},
		} {
			p.Values.SetDeveloperMode(c.mode)
			p.Image.Unmount()
			if c.image {
				p.Image.Mount()
			}
			if got, want := p.DeveloperServices(), c.image && c.mode; got != want {
				t.Errorf("%+v: DeveloperServices = %v, want %v", c, got, want)
			}
			if !p.Values.HasDeveloperMode() {
				t.Errorf("%+v: HasDeveloperMode = false, want true", c)
			}
		}
		off := phonetest.New(
			t,
			phone.Options{Profile: p.Identity.Profile.Name, NoDeveloperMode: true},
		)
		if off.Values.DeveloperMode() {
			t.Error("DeveloperMode = true with NoDeveloperMode")
		}
		if off.DeveloperServices() {
			t.Error("DeveloperServices = true with NoDeveloperMode")
		}
		if !off.Image.IsMounted() {
			t.Error("NoDeveloperMode leaves no image mounted")
		}
		if phonetest.Value(t, off, "com.apple.security.mac.amfi", "DeveloperModeStatus") != false {
			t.Error("DeveloperModeStatus is not false with NoDeveloperMode")
		}
	})
}

// TestConcurrentUse uses all parts of a phone at the same time, for the race detector.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{LogRate: 5000})
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 3 {
		w, o := p.Log.Watch(log.WatchOptions{PID: -1, Debug: true}), p.Notifications.Observe()
		o.Add(notifications.DeviceName)
		readers.Go(func() {
			defer w.Close()
			for buf := make([]*log.Entry, 16); ; {
				if _, err := w.NextBatch(ctx, buf); err != nil {
					return
				}
			}
		})
		readers.Go(func() {
			defer o.Close()
			for {
				if _, err := o.Next(ctx); err != nil {
					return
				}
			}
		})
	}
	for i, fn := range []func(int){
		func(k int) { _ = p.Values.Set("", "DeviceName", fmt.Sprint("n", k)) },
		func(k int) {
			p.Power.SetBattery(k%100, k%2 == 0)
			p.Values.Domain("com.apple.mobile.battery")
		},
		func(int) { p.Values.Domain(""); p.Values.PublicDomain(); p.Diagnostics.Gestalt(nil) },
		func(int) {
			proc, _ := p.Processes.Launch("com.example.shop")
			_ = p.Processes.Kill(proc.PID)
		},
		func(int) { p.Processes.List(); p.Log.History(); p.Diagnostics.IORegistry("", "", "") },
		func(k int) { p.Log.SetRate(float64(k)*10 + 1) },
		func(int) {
			_, _ = p.Apps.Install(apps.Spec{BundleID: "x.y"})
			p.Apps.List()
			_ = p.Apps.Remove("x.y")
		},
		func(k int) {
			if k%20 == 0 {
				p.Boot()
			}
			p.Screen.Lock()
			p.Screen.Locked()
			p.Screen.Unlock()
		},
	} {
		writers.Go(func() {
			for k := range 60 {
				fn(k + i)
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
}

// BenchmarkPhoneMemory measures the heap of a phone that all services have read.
func BenchmarkPhoneMemory(b *testing.B) {
	before := heap()
	all := make([]*phone.Phone, 0, b.N)
	for i := range b.N {
		p := phonetest.New(b, phone.Options{Serial: i, LogRate: 20})
		p.Values.Domain("")
		p.Processes.List()
		p.Log.History()
		for _, a := range p.Apps.List() {
			_, _ = a.DiskUsage()
		}
		p.Media.ContentSize()
		p.Crashes.Files.ContentSize()
		all = append(all, p)
	}
	b.ReportMetric(float64(heap()-before)/float64(b.N), "B/phone")
	runtime.KeepAlive(all)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestNewDefaults(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	if p.Identity.Profile.Name != "ios17" {
		t.Errorf("p.Identity.Profile.Name = %q, want %q", p.Identity.Profile.Name, "ios17")
	}
	if p.Identity.Version != "17.5.1" {
		t.Errorf("p.Identity.Version = %q, want %q", p.Identity.Version, "17.5.1")
	}
	if p.Identity.ProductType != "iPhone15,2" {
		t.Errorf("p.Identity.ProductType = %q, want %q", p.Identity.ProductType, "iPhone15,2")
	}
	if p.Values.Name() != "Virtual iPhone" {
		t.Errorf("p.Values.Name() = %q, want %q", p.Values.Name(), "Virtual iPhone")
	}
	if q := phonetest.New(t, phone.Options{Name: "Ada's phone"}); q.Values.Name() != "Ada's phone" {
		t.Errorf("Name = %q", q.Values.Name())
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]phone.Options{
		"unknown profile": {Profile: "ios3"},
		"negative serial": {Serial: -1},
	} {
		if p, err := phone.New(o); err == nil {
			t.Errorf("%s: New returns no error", name)
		} else if p != nil {
			t.Errorf("%s: New = %v, want nil", name, p)
		}
	}
}

func TestBoot(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	before, nonce := p.Clock.BootID(), phonetest.Value(t, p, "", "ApNonce")
	board, _ := p.Processes.Named("SpringBoard")
	p.Boot()
	if p.Clock.BootID() == before {
		t.Errorf("BootID %s is that before the restart", before)
	}
	if phonetest.Value(t, p, "", "BootSessionID") != p.Clock.BootID() {
		t.Errorf("BootSessionID = %v, want %v", phonetest.Value(t, p, "", "BootSessionID"),
			p.Clock.BootID())
	}
	if string(nonce.([]byte)) == string(phonetest.Value(t, p, "", "ApNonce").([]byte)) {
		t.Error("ApNonce survived a restart")
	}
	if again, _ := p.Processes.Named("SpringBoard"); again.PID == board.PID {
		t.Errorf("SpringBoard is %d as before the restart", again.PID)
	}
}

// TestHomeScreenAfterBoot checks that a host that comes back to a phone after a boot can wait
// for its home screen.
func TestHomeScreenAfterBoot(t *testing.T) {
	t.Parallel()
	for _, away := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			p := phonetest.New(t, phone.Options{})
			p.BootFor(away)
			time.Sleep(away)
			synctest.Wait()
			o := p.Notifications.Observe()
			defer o.Close()
			o.Add(notifications.Startup)
			if name, err := o.Next(t.Context()); err != nil {
				t.Errorf("Next: %v", err)
			} else if name != notifications.Startup {
				t.Errorf("Next = %v, want %v", name, notifications.Startup)
			}
		})
	}
}

// TestActivation checks that the values about activation agree.
func TestActivation(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]struct {
		state           string
		usable, bricked bool
	}{
		"":                 {values.Activated, true, false},
		values.Unactivated: {values.Unactivated, false, true},
		"FactoryActivated": {"FactoryActivated", true, false},
	} {
		p := phonetest.New(t, phone.Options{Activation: state})
		for _, v := range []struct {
			domain, key string
			want        any
		}{
			{"", "ActivationState", want.state},
			{"", "ActivationStateAcknowledged", want.usable},
			{"", "BrickState", want.bricked},
			{"com.apple.mobile.lockdown_cache", "ActivationState", want.state},
		} {
			if got := phonetest.Value(t, p, v.domain, v.key); got != v.want {
				t.Errorf("%q: %s = %v, want %v", state, v.key, got, v.want)
			}
		}
	}
}

// TestClass checks that all subjects say of which class a device is.
func TestClass(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		class, tablet := "iPhone", strings.HasPrefix(p.Identity.Profile.Name, "ipad")
		if tablet {
			class = "iPad"
		}
		if !strings.HasPrefix(p.Identity.ProductType, class) {
			t.Errorf("product type %s, want the prefix %s", p.Identity.ProductType, class)
		}
		all := p.Diagnostics.Gestalt(nil)
		for key, want := range map[string]any{
			"DeviceClass": class, "CPUArchitecture": "arm64e",
		} {
			if got := phonetest.Value(t, p, "", key); got != want {
				t.Errorf("%s = %v, want %v", key, got, want)
			}
			if all[key] != want {
				t.Errorf("MobileGestalt: %s = %v, want %v", key, all[key], want)
			}
		}
		if got := phonetest.Value(t, p, "", "TelephonyCapability"); got == tablet {
			t.Errorf("TelephonyCapability = %v", got)
		}
		if on := all["telephony"] == true; on == tablet {
			t.Errorf("MobileGestalt: telephony = %v", all["telephony"])
		}
		if name := p.SysdiagnoseName(time.Now()); !strings.Contains(name, "_iPhone-OS_"+class+"_") {
			t.Errorf("SysdiagnoseName = %s, want %s in it", name, class)
		}
	})
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		if _, err := phone.New(phone.Options{Serial: i}); err != nil {
			b.Fatal(err)
		}
	}
}
