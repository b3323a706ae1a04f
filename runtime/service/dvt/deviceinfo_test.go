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
	if err != nil {
		t.Fatalf("Processes: %v", err)
	}
	if len(list) != 349 {
		t.Fatalf("%d processes, want 349", len(list))
	}
	for _, p := range list[:348] {
		if p.Name == "" {
			t.Errorf("%+v has no name", p)
		}
		if p.PID <= 0 {
			t.Errorf("%+v has no PID", p)
		}
		if p.Started.Year() < 2020 {
			t.Errorf("%+v started before 2020", p)
		}
	}
	k := list[348]
	if k.Name != "Mach Kernel" {
		t.Errorf("kernel: Name = %q, want %q", k.Name, "Mach Kernel")
	}
	if k.Path != "mach_kernel" {
		t.Errorf("kernel: Path = %q, want %q", k.Path, "mach_kernel")
	}
	if k.PID != 0 {
		t.Errorf("kernel: PID = %v, want 0", k.PID)
	}
	if k.App {
		t.Error("the kernel is an app")
	}
	if !k.Started.IsZero() {
		t.Errorf("the kernel started at %v, want no time", k.Started)
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
		if err != nil {
			t.Fatalf("Processes: %v", err)
		}
		if len(list) != len(model) {
			t.Fatalf("%d processes, want %d", len(list), len(model))
		}
		for i, p := range list[:len(list)-1] {
			q := model[i+1]
			// Dates are sent as floats, so they may differ a little.
			apart := p.Started.Sub(q.Started).Abs()
			if p.PID != q.PID {
				t.Errorf("process %d: PID = %v, want %v", q.PID, p.PID, q.PID)
			}
			if p.Name != q.Name {
				t.Errorf("process %d: Name = %v, want %v", q.PID, p.Name, q.Name)
			}
			if p.Path != q.Path {
				t.Errorf("process %d: Path = %v, want %v", q.PID, p.Path, q.Path)
			}
			if p.BundleID != q.BundleID {
				t.Errorf("process %d: BundleID = %v, want %v", q.PID, p.BundleID, q.BundleID)
			}
			if apart > time.Millisecond {
				t.Errorf("process %d: Started = %v, want %v", q.PID, p.Started, q.Started)
			}
			isApp := p.BundleID != "" && p.Name != "SpringBoard"
			if p.App != isApp {
				t.Errorf("process %d: App = %v, want %v", p.PID, p.App, isApp)
			}
			if p.Foreground != (p.PID == app.PID) {
				t.Errorf("process %d: Foreground = %v, want %v", p.PID, p.Foreground,
					p.PID == app.PID)
			}
			// go-ios requires these keys.
			_, named := p.Raw.String("name")
			_, pathed := p.Raw.String("realAppName")
			_, app := p.Raw.Bool("isApplication")
			_, dated := p.Raw.Date("startDate")
			if !named {
				t.Errorf("%v has no name", p.Raw)
			}
			if !pathed {
				t.Errorf("%v has no realAppName", p.Raw)
			}
			if !app {
				t.Errorf("%v has no isApplication", p.Raw)
			}
			if !dated {
				t.Errorf("%v has no startDate", p.Raw)
			}
		}
		k := list[len(list)-1]
		if k.Name != "Mach Kernel" {
			t.Errorf("kernel: Name = %q, want %q", k.Name, "Mach Kernel")
		}
		if k.PID != 0 {
			t.Errorf("kernel: PID = %v, want 0", k.PID)
		}
		if !k.Started.IsZero() {
			t.Errorf("the kernel started at %v, want no time", k.Started)
		}

		if path, err := r.ExecName(t.Context(), app.PID); err != nil {
			t.Errorf("ExecName(%d): %v", app.PID, err)
		} else if path != app.Path {
			t.Errorf("ExecName(%d) = %v, want %v", app.PID, path, app.Path)
		}
		if ok, err := r.IsRunning(t.Context(), app.PID); err != nil {
			t.Errorf("IsRunning: %v", err)
		} else if !ok {
			t.Error("IsRunning = false for a running process")
		}
		if err := r.phone.Processes.Kill(app.PID); err != nil {
			t.Fatal(err)
		}
		if ok, err := r.IsRunning(t.Context(), app.PID); err != nil {
			t.Errorf("IsRunning: %v", err)
		} else if ok {
			t.Error("IsRunning = true for a dead process")
		}
		if path, err := r.ExecName(t.Context(), app.PID); path != "" {
			t.Errorf("ExecName of a dead process = %q, want %q", path, "")
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ExecName of a dead process: %v, want %v", err, fs.ErrNotExist)
		}
	})
}

func TestInformation(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		system, err := r.SystemInformation(ctx)
		if err != nil {
			t.Errorf("SystemInformation: %v", err)
		}
		for key, want := range map[string]string{"_productType": "iPhone15,2",
			"_productVersion": "17.5.1", "_deviceVersion": "21F90",
			"_deviceIdentifier":  r.phone.Identity.UDID,
			"_deviceDisplayName": "Virtual iPhone (v17.5.1)",
			"_xrdeviceClassName": "XRMobileDevice"} {
			if got, _ := system.String(key); got != want {
				t.Errorf("%s = %s, want %s", key, got, want)
			}
		}
		hardware, err := r.HardwareInformation(ctx)
		if err != nil {
			t.Errorf("HardwareInformation: %v", err)
		}
		if n, _ := hardware.Int("numberOfCpus"); n != 6 {
			t.Errorf("numberOfCpus = %d, want 6", n)
		}
		clusters, _ := hardware.Dict("cpuClusterInfo")
		if len(clusters) != 6 {
			t.Errorf("clusters %v, want 6", clusters)
		}
		want := nskeyed.CPUCluster{ID: 1, Flags: 1}
		if v, ok := clusters.Get(5); !ok || v != want {
			t.Errorf("cluster 5 is %v, %v, want %v", v, ok, want)
		}
		if n, err := r.NetworkInformation(ctx); err != nil {
			t.Errorf("NetworkInformation: %v", err)
		} else if n["en0"] != "Wi-Fi" {
			t.Errorf("NetworkInformation: en0 = %q, want Wi-Fi", n["en0"])
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
		if next, err := r.MachTime(ctx); err != nil {
			t.Errorf("MachTime a second later: %v", err)
		} else if next.Absolute-clock.Absolute != 24_000_000 {
			t.Errorf("%d ticks in a second, want 24000000", next.Absolute-clock.Absolute)
		}
		if s, err := r.TraceCodes(ctx); err != nil {
			t.Errorf("TraceCodes: %v", err)
		} else if !strings.Contains(s, "0x1020000\tKTrap_DivideError\n") {
			t.Errorf("TraceCodes = %q, want KTrap_DivideError as 0x1020000", s)
		}
		if v, err := r.Call(ctx, ChannelDeviceInfo, "kpepDatabase"); err != nil {
			t.Errorf("kpepDatabase: %v", err)
		} else if v != nil {
			t.Errorf("kpepDatabase = %v, want nil", v)
		}
		if name, err := r.UserName(ctx, 501); err != nil {
			t.Errorf("UserName(501): %v", err)
		} else if name != "mobile" {
			t.Errorf("UserName(501) = %q, want %q", name, "mobile")
		}
		if name, err := r.GroupName(ctx, 0); err != nil {
			t.Errorf("GroupName(0): %v", err)
		} else if name != "wheel" {
			t.Errorf("GroupName(0) = %q, want %q", name, "wheel")
		}
		if _, err := r.UserName(ctx, 4711); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("user 4711: %v", err)
		}
		if names, err := r.ListDirectory(ctx, "/usr/libexec"); err != nil {
			t.Errorf("ListDirectory: %v", err)
		} else if !slices.Contains(names, "lockdownd") {
			t.Errorf("ListDirectory = %q, want lockdownd in it", names)
		}
		for path, want := range map[string]error{
			"/none": fs.ErrNotExist, "/var/root": fs.ErrPermission,
		} {
			if names, err := r.ListDirectory(ctx, path); names != nil {
				t.Errorf("ListDirectory(%s) = %v, want nil", path, names)
			} else if !errors.Is(err, want) {
				t.Errorf("ListDirectory(%s): %v, want %v", path, err, want)
			}
		}
		for name, list := range map[string]func() ([]string, error){
			"cpuUsage":    func() ([]string, error) { return r.ProcessAttributes(ctx) },
			"vmFreeCount": func() ([]string, error) { return r.SystemAttributes(ctx) },
		} {
			names, err := list()
			unique := slices.Compact(slices.Sorted(slices.Values(names)))
			if err != nil {
				t.Errorf("attributes: %v", err)
			} else if !slices.Contains(names, name) {
				t.Errorf("attributes %q do not contain %s", names, name)
			} else if len(unique) != len(names) {
				t.Errorf("attributes %q have duplicates", names)
			}
		}
	})
}

// TestNumbers sends numbers in all the forms that the device side accepts.
func TestNumbers(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ch := r.host(ChannelDeviceInfo, dtx.Options{Silent: true})
		for _, pid := range []any{int64(1), dtx.Int32(1), dtx.Int64(1), dtx.Double(1), 1.0} {
			if v, err := ch.Call(t.Context(), selIsRunning, pid); err != nil {
				t.Errorf("isRunning(%v): %v", pid, err)
			} else if v != true {
				t.Errorf("isRunning(%v) = %v, want true", pid, v)
			}
		}
		path := dtx.Arg{Kind: dtx.ArgString, Bytes: []byte("/usr/sbin")}
		want := anyList([]string{
			"bluetoothd", "cfprefsd", "distnoted", "mDNSResponder", "mediaserverd", "wifid",
			"wirelessproxd",
		})
		if v, err := ch.Call(t.Context(), selListDir, path); err != nil {
			t.Errorf("directory: %v", err)
		} else if !reflect.DeepEqual(v, want) {
			t.Errorf("directory = %v, want %v", v, want)
		}
		for _, pid := range []any{int64(-5), 1.5, dtx.Double(1e300), int64(1) << 40, "1", nil} {
			if v, err := ch.Call(t.Context(), selIsRunning, pid); v != nil {
				t.Errorf("isRunning(%v) = %v, want nil", pid, v)
			} else if !errors.Is(err, dtx.ErrRemote) {
				t.Errorf("isRunning(%v): %v, want %v", pid, err, dtx.ErrRemote)
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
			if err == nil {
				if !ok {
					t.Errorf("%s, %s: no error", name, what)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%s, %s: %#v is not an *Error", name, what, err)
			}
			if !errors.Is(err, ErrProtocol) && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, %s: %v, want ErrProtocol or ErrNotExist", name, what, err)
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
