package dvt

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
)

// TestCapturedProcesses decodes the answer of a phone with iOS 14. testdata/go-ios of
// package dtx describes the capture.
func TestCapturedProcesses(t *testing.T) {
	t.Parallel()
	f, err := os.Open("../../dtx/testdata/go-ios/fragmentedmessage.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := dtx.NewReader(bufio.NewReader(f)).Read()
	if err != nil {
		t.Fatal(err)
	}
	v, err := m.Object(classes())
	if err != nil {
		t.Fatal(err)
	}
	s := fake(t, map[string]dtx.Handler{ChannelDeviceInfo: answer(v)})
	list, err := s.Processes(t.Context())
	if err != nil || len(list) != 349 {
		t.Fatalf("%d processes, %v, want 349", len(list), err)
	}
	for _, p := range list[:348] {
		if p.Name == "" || p.PID <= 0 || p.Started.Year() < 2020 {
			t.Errorf("%+v", p)
		}
	}
	if k := list[348]; k.Name != "Mach Kernel" || k.Path != "mach_kernel" || k.PID != 0 || k.App ||
		!k.Started.IsZero() {
		t.Errorf("kernel %+v", k)
	}
}

func TestProcesses(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		app, err := r.phone.Processes.Launch("com.example.shop")
		if err != nil {
			t.Fatal(err)
		}
		list, err := r.Processes(t.Context())
		model := r.phone.Processes.List()
		if err != nil || len(list) != len(model) {
			t.Fatalf("%d processes, %v, want %d", len(list), err, len(model))
		}
		for i, p := range list[:len(list)-1] {
			q := model[i+1]
			apart := p.Started.Sub(q.Started).Abs() // dates are floats, so they may differ a little
			if p.PID != q.PID || p.Name != q.Name || p.Path != q.Path || p.BundleID != q.BundleID ||
				apart > time.Millisecond {
				t.Errorf("%+v, want %+v", p, q)
			}
			if isApp := p.BundleID != "" && p.Name != "SpringBoard"; p.App != isApp ||
				p.Foreground != (p.PID == app.PID) {
				t.Errorf("%+v", p)
			}
			// go-ios requires these keys.
			_, named := p.Raw.String("name")
			_, pathed := p.Raw.String("realAppName")
			_, app := p.Raw.Bool("isApplication")
			_, dated := p.Raw.Date("startDate")
			if !named || !pathed || !app || !dated {
				t.Errorf("%v lacks something", p.Raw)
			}
		}
		if k := list[len(list)-1]; k.Name != "Mach Kernel" || k.PID != 0 || !k.Started.IsZero() {
			t.Errorf("kernel %+v", k)
		}

		if path, err := r.ExecName(t.Context(), app.PID); path != app.Path || err != nil {
			t.Errorf("executable %s, %v", path, err)
		}
		if ok, err := r.IsRunning(t.Context(), app.PID); !ok || err != nil {
			t.Errorf("running: %v, %v", ok, err)
		}
		if err := r.phone.Processes.Kill(app.PID); err != nil {
			t.Fatal(err)
		}
		if ok, err := r.IsRunning(t.Context(), app.PID); ok || err != nil {
			t.Errorf("running after its end: %v, %v", ok, err)
		}
		if path, err := r.ExecName(t.Context(), app.PID); path != "" ||
			!errors.Is(err, fs.ErrNotExist) {
			t.Errorf("executable of a dead process %q, %v", path, err)
		}
	})
}

func TestInformation(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		system, err := r.SystemInformation(ctx)
		for key, want := range map[string]string{"_productType": "iPhone15,2",
			"_productVersion": "17.5.1", "_deviceVersion": "21F90",
			"_deviceIdentifier":  r.phone.Identity.UDID,
			"_deviceDisplayName": "Virtual iPhone (v17.5.1)",
			"_xrdeviceClassName": "XRMobileDevice"} {
			if got, _ := system.String(key); got != want || err != nil {
				t.Errorf("%s = %s, %v, want %s", key, got, err, want)
			}
		}
		hardware, err := r.HardwareInformation(ctx)
		if n, _ := hardware.Int("numberOfCpus"); n != 6 || err != nil {
			t.Errorf("hardware %v, %v", hardware, err)
		}
		clusters, _ := hardware.Dict("cpuClusterInfo")
		if len(clusters) != 6 {
			t.Errorf("clusters %v, want 6", clusters)
		}
		want := nskeyed.CPUCluster{ID: 1, Flags: 1}
		if v, ok := clusters.Get(5); !ok || v != want {
			t.Errorf("cluster 5 is %v, %v, want %v", v, ok, want)
		}
		if n, err := r.NetworkInformation(ctx); n["en0"] != "Wi-Fi" || err != nil {
			t.Errorf("network %v, %v", n, err)
		}
	})
}

func TestNames(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		clock, err := r.MachTime(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want := r.phone.Clock.MachTime(); clock.Absolute != want {
			t.Errorf("mach time %d, want %d", clock.Absolute, want)
		}
		if now := r.phone.Clock.Now(); clock.Time.Sub(now).Abs() > time.Millisecond {
			t.Errorf("time %v, want %v", clock.Time, now)
		}
		if clock.Zone != "Europe/Berlin" {
			t.Errorf("zone %q, want Europe/Berlin", clock.Zone)
		}
		if d := clock.Duration(24_000_000); d != time.Second {
			t.Errorf("24 million ticks are %v", d)
		}
		time.Sleep(time.Second)
		if next, err := r.MachTime(ctx); next.Absolute-clock.Absolute != 24_000_000 || err != nil {
			t.Errorf("a second later %+v, %v", next, err)
		}
		if s, err := r.TraceCodes(ctx); !strings.Contains(s, "0x1020000\tKTrap_DivideError\n") ||
			err != nil {
			t.Errorf("trace codes %q, %v", s, err)
		}
		if v, err := r.Call(ctx, ChannelDeviceInfo, "kpepDatabase"); v != nil || err != nil {
			t.Errorf("kpepDatabase %v, %v", v, err)
		}
		if name, err := r.UserName(ctx, 501); name != "mobile" || err != nil {
			t.Errorf("user 501 is %s, %v", name, err)
		}
		if name, err := r.GroupName(ctx, 0); name != "wheel" || err != nil {
			t.Errorf("group 0 is %s, %v", name, err)
		}
		if _, err := r.UserName(ctx, 4711); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("user 4711: %v", err)
		}
		if names, err := r.ListDirectory(ctx, "/usr/libexec"); !slices.Contains(names,
			"lockdownd") || err != nil {
			t.Errorf("directory %v, %v", names, err)
		}
		for path, want := range map[string]error{
			"/none": fs.ErrNotExist, "/var/root": fs.ErrPermission,
		} {
			if names, err := r.ListDirectory(ctx, path); names != nil || !errors.Is(err, want) {
				t.Errorf("%s: %v, %v", path, names, err)
			}
		}
		for name, list := range map[string]func() ([]string, error){
			"cpuUsage":    func() ([]string, error) { return r.ProcessAttributes(ctx) },
			"vmFreeCount": func() ([]string, error) { return r.SystemAttributes(ctx) },
		} {
			names, err := list()
			unique := slices.Compact(slices.Sorted(slices.Values(names)))
			if !slices.Contains(names, name) || len(unique) != len(names) || err != nil {
				t.Errorf("attributes %q, %v", names, err)
			}
		}
	})
}

// TestNumbers sends numbers in all the forms that hosts use.
func TestNumbers(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ch := r.host(ChannelDeviceInfo, dtx.Options{Silent: true})
		for _, pid := range []any{int64(1), dtx.Int32(1), dtx.Int64(1), dtx.Double(1), 1.0} {
			if v, err := ch.Call(t.Context(), selIsRunning, pid); v != true || err != nil {
				t.Errorf("%v runs: %v, %v", pid, v, err)
			}
		}
		path := dtx.Arg{Kind: dtx.ArgString, Bytes: []byte("/usr/sbin")}
		if v, err := ch.Call(t.Context(), selListDir, path); !reflect.DeepEqual(v, anyList([]string{
			"bluetoothd", "cfprefsd", "distnoted", "mDNSResponder", "mediaserverd", "wifid",
			"wirelessproxd",
		})) || err != nil {
			t.Errorf("directory %v, %v", v, err)
		}
		for _, pid := range []any{int64(-5), 1.5, dtx.Double(1e300), int64(1) << 40, "1", nil} {
			if v, err := ch.Call(t.Context(), selIsRunning, pid); v != nil ||
				!errors.Is(err, dtx.ErrRemote) {
				t.Errorf("%v: %v, %v", pid, v, err)
			}
		}
	})
}

// TestOddAnswers uses a device that sends unexpected answers.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]any{
		"nothing": nil, "number": int64(7), "list of numbers": []any{int64(1)},
		"empty dictionary":     nskeyed.Dict{},
		"list of dictionaries": []any{nskeyed.Dict{{Key: int64(1), Value: "x"}}}, "data": []byte{1},
		"list":       []any{},
		"dictionary": nskeyed.Dict{{Key: int64(1), Value: int64(2)}},
		"large pid":  []any{nskeyed.Dict{{Key: "pid", Value: int64(1) << 40}}},
	} {
		h := answer(v)
		s := fake(t, map[string]dtx.Handler{
			ChannelDeviceInfo: h, ChannelProcessControl: h, ChannelScreenshot: h,
			ChannelConditions: h, ChannelApplications: h,
		})
		ctx := t.Context()
		check := func(what string, ok bool, err error) {
			t.Helper()
			var e *Error
			if err != nil && (!errors.As(err, &e) || !errors.Is(err, ErrProtocol) &&
				!errors.Is(err, fs.ErrNotExist)) || !ok && err == nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		list, isList := v.([]any)
		empty := isList && len(list) == 0
		_, isDict := v.(nskeyed.Dict)
		_, isData := v.([]byte)
		_, err := s.Processes(ctx)
		check("processes", empty, err)
		_, err = s.ExecName(ctx, 1)
		check("executable", false, err)
		_, err = s.IsRunning(ctx, 1)
		check("running", false, err)
		_, err = s.ListDirectory(ctx, "/")
		check("directory", empty, err)
		_, err = s.SystemInformation(ctx)
		check("system", isDict, err)
		_, err = s.NetworkInformation(ctx)
		check("network", name == "empty dictionary", err)
		_, err = s.MachTime(ctx)
		check("clock", false, err)
		_, err = s.ProcessAttributes(ctx)
		check("attributes", empty, err)
		_, err = s.Screenshot(ctx)
		check("screenshot", isData, err)
		_, err = s.Conditions(ctx)
		check("conditions", empty, err)
		_, err = s.Applications(ctx, nil)
		check("applications", isList && name != "list of numbers", err)
		_, err = s.Launch(ctx, "x", LaunchOptions{})
		check("launch", name == "number", err)
		_, err = s.Start(ctx, "x", LaunchOptions{})
		check("start", name == "number", err)
		_, err = s.PIDOf(ctx, "x")
		check("process", name == "number", err)
		_, err = s.DisableMemoryLimits(ctx, 1)
		check("memory limits", false, err)
	}
}
