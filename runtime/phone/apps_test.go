package phone

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

func TestBuiltinApps(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		kinds := map[string]int{}
		var ids []string
		for _, a := range p.Apps() {
			ids = append(ids, a.BundleID())
			kinds[fmt.Sprintf("%s developer=%v sharing=%v", a.Type(), a.Developer(),
				a.FileSharing())]++
			checkAttributes(t, a)
			dirs, err := a.Container().ReadDir("/")
			if err != nil ||
				!slices.Equal(dirs, []string{"Documents", "Library", "SystemData", "tmp"}) {
				t.Errorf("%s: container %v, %v", a.BundleID(), dirs, err)
			}
			if static, _ := a.DiskUsage(); static == 0 {
				t.Errorf("%s takes no space", a.BundleID())
			}
		}
		if !slices.IsSorted(ids) || len(slices.Compact(ids)) != len(ids) {
			t.Errorf("ids %v", ids)
		}
		for _, kind := range []string{"User developer=true sharing=true",
			"User developer=true sharing=false", "User developer=false sharing=true",
			"User developer=false sharing=false", "System developer=false sharing=false",
			"Hidden developer=false sharing=false"} {
			if kinds[kind] == 0 {
				t.Errorf("no app is %s", kind)
			}
		}
	})
}

func checkAttributes(t *testing.T, a *App) {
	t.Helper()
	d, id := a.Attributes(), a.BundleID()
	if _, err := plist.Encode(d, plist.Binary); err != nil {
		t.Errorf("%s: %v", id, err)
	}
	for key, kind := range map[string]string{
		"CFBundleIdentifier": "string", "CFBundleName": "string", "CFBundleDisplayName": "string",
		"CFBundleVersion":            "string",
		"CFBundleShortVersionString": "string", "CFBundleNumericVersion": "integer",
		"CFBundleExecutable": "string", "Path": "string",
		"Container": "string", "ApplicationType": "string", "EnvironmentVariables": "dictionary",
		"Entitlements":   "dictionary",
		"SignerIdentity": "string", "IsUpgradeable": "boolean", "IsDemotedApp": "boolean",
		"IsAppClip": "boolean", "SequenceNumber": "integer",
		"UIFileSharingEnabled": "boolean", "UIDeviceFamily": "array", "MinimumOSVersion": "string",
		"DTPlatformName":             "string",
		"CFBundleSupportedPlatforms": "array",
	} {
		if got := plist.TypeName(d[key]); got != kind {
			t.Errorf("%s: %s is %s, want %s", id, key, got, kind)
		}
	}
	for _, key := range []string{"StaticDiskUsage", "DynamicDiskUsage"} {
		if _, ok := d[key]; ok {
			t.Errorf("%s: %s is given out unasked", id, key)
		}
	}
	ent, _ := d.Dict("Entitlements")
	if debug, _ := ent.Bool("get-task-allow"); debug != a.Developer() {
		t.Errorf("%s: get-task-allow %v", id, debug)
	}
	env, _ := d.Dict("EnvironmentVariables")
	where, _ := d.String("Path")
	user := strings.HasPrefix(where, "/private/var/containers/Bundle/Application/")
	if env["HOME"] != d["Container"] || user != (a.Type() == UserApp) ||
		d["ApplicationType"] != a.Type() {
		t.Errorf("%s: HOME %v, container %v, path %s", id, env["HOME"], d["Container"], where)
	}
}

func TestAttributesAreACopy(t *testing.T) {
	t.Parallel()
	a, _ := newPhone(t, Options{}).App("com.example.notes")
	want := a.Attributes()
	scribble(a.Attributes())
	if got := a.Attributes(); !reflect.DeepEqual(got, want) {
		t.Errorf("changed through a copy: %v", got)
	}
}

func TestNumericVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"1.0": 16809984, "1": 16809984, "12.3.4": 0x12348000,
		"x": 0x8000, "": 0x8000,
		"2024.5": 0x99508000, "1.2.3.4": 0x01238000, "-1": 0x8000, "1.20": 0x01908000} {
		if got := numericVersion(in); got != want {
			t.Errorf("numericVersion(%q) = %#x, want %#x", in, got, want)
		}
	}
}

func TestAddApp(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	o := p.ObserveNotifications()
	defer o.Close()
	o.Add(NoteAppInstalled)
	o.Add(NoteAppUninstalled)
	_, free, _ := p.Media().Usage()
	info := plist.Dict{"CFBundleName": "Tool", "CFBundleExecutable": "tool-bin",
		"CFBundleVersion":      "7",
		"UIFileSharingEnabled": true, "CustomKey": []any{"x"}, "CFBundleIdentifier": "evil"}
	a, err := p.AddApp(AppSpec{
		BundleID: "org.example.tool", Developer: true, Info: info, StaticDiskUsage: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	info["CustomKey"].([]any)[0] = "changed"
	checkAttributes(t, a)
	d := a.Attributes()
	if d["CFBundleIdentifier"] != "org.example.tool" || d["CFBundleExecutable"] != "tool-bin" ||
		d["CFBundleShortVersionString"] != "1.0" ||
		d["CFBundleDisplayName"] != "Tool" || !a.FileSharing() ||
		!reflect.DeepEqual(d["CustomKey"], []any{"x"}) {
		t.Errorf("attributes %v", d)
	}
	if _, now, _ := p.Media().Usage(); free-now != 1<<20 {
		t.Errorf("the bundle takes %d bytes", free-now)
	}
	if err := a.Container().WriteFile("Documents/keep", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	proc, err := p.Launch("org.example.tool")
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.AddApp(AppSpec{BundleID: "org.example.tool", Name: "Tool", Version: "8"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Container().ReadFile("Documents/keep"); string(got) != "kept" || err != nil {
		t.Errorf("after an upgrade the container has %q, %v", got, err)
	}
	if a.ContainerPath() != b.ContainerPath() || a.Path() == b.Path() {
		t.Errorf("upgrade moved %s to %s and %s to %s", a.ContainerPath(), b.ContainerPath(),
			a.Path(), b.Path())
	}
	if _, ok := p.Process(proc.PID); ok {
		t.Error("the old version still runs")
	}
	if err := p.RemoveApp("org.example.tool"); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.App("org.example.tool"); ok {
		t.Error("still installed")
	}
	if _, now, _ := p.Media().Usage(); now != free {
		t.Errorf("%d bytes lost", free-now)
	}
	if got := heard(o); !slices.Equal(got,
		[]string{NoteAppInstalled, NoteAppInstalled, NoteAppUninstalled}) {
		t.Errorf("observers heard %v", got)
	}
}

func TestAppsRefuse(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	n := len(p.Apps())
	for name, c := range map[string]struct {
		err, want error
	}{
		"no identifier":  {second(p.AddApp(AppSpec{})), ErrInvalid},
		"odd identifier": {second(p.AddApp(AppSpec{BundleID: "a/b"})), ErrInvalid},
		"no room": {
			second(p.AddApp(AppSpec{BundleID: "big", StaticDiskUsage: 1 << 50})), ErrNoSpace,
		},
		"remove unknown":    {p.RemoveApp("nope"), fs.ErrNotExist},
		"remove system app": {p.RemoveApp("com.apple.mobilesafari"), fs.ErrPermission},
		"launch unknown":    {second(p.Launch("nope")), fs.ErrNotExist},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if len(p.Apps()) != n {
		t.Errorf("%d apps, were %d", len(p.Apps()), n)
	}
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		all := p.Processes()
		if len(all) < 60 || all[0].Name != "kernel" || all[0].PID != 0 ||
			all[1].Name != "launchd" || all[1].PID != 1 {
			t.Fatalf("%d processes, first %+v", len(all), all[:2])
		}
		names := map[string]bool{}
		for i, proc := range all {
			if i > 0 && proc.PID <= all[i-1].PID || names[proc.Name] {
				t.Errorf("odd process %+v", proc)
			}
			names[proc.Name] = true
			if got, ok := p.Process(proc.PID); !ok || got != proc {
				t.Errorf("Process(%d) = %+v, %v", proc.PID, got, ok)
			}
			if proc.PID > 1 && proc.ParentPID != 1 || proc.Started.IsZero() ||
				proc.Started.After(p.Now()) || proc.UUID == [16]byte{} || proc.User == "" {
				t.Errorf("incomplete process %+v", proc)
			}
		}
		for _, tpl := range logTemplates {
			if !names[tpl.process] {
				t.Errorf("%s logs but does not run", tpl.process)
			}
		}
	})
}

func TestLaunchAndKill(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	proc, err := p.Launch("com.example.shop")
	if err != nil || proc.BundleID != "com.example.shop" ||
		!strings.HasSuffix(proc.Path, "/ShopDemo.app/ShopDemo") {
		t.Fatalf("Launch = %+v, %v", proc, err)
	}
	if again, err := p.Launch("com.example.shop"); err != nil || again != proc {
		t.Errorf("second Launch = %+v, %v", again, err)
	}
	if err := p.Kill(proc.PID); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.RunningApp("com.example.shop"); ok {
		t.Error("runs after Kill")
	}
	if err := p.Kill(proc.PID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second Kill = %v", err)
	}
	if next, err := p.Launch("com.example.shop"); err != nil || next.PID == proc.PID {
		t.Errorf("third Launch = %+v, %v", next, err)
	}
	for _, pid := range []int{0, 1} {
		if err := p.Kill(pid); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Kill(%d) = %v", pid, err)
		}
	}
	daemon, _ := p.ProcessNamed("locationd")
	if err := p.Kill(daemon.PID); err != nil {
		t.Fatal(err)
	}
	if after, ok := p.ProcessNamed("locationd"); !ok || after.PID == daemon.PID {
		t.Errorf("locationd after Kill: %+v, %v", after, ok)
	}
}

// TestPIDsWrap: identifiers never leave the range that hosts accept, and one
// that is taken is not given out again.
func TestPIDsWrap(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	n := len(p.Processes())
	p.procs.last = maxPID - 5
	seen := map[int]bool{}
	for range 200 {
		proc, err := p.Launch("com.example.shop")
		if err != nil || proc.PID > maxPID || proc.PID < firstPID || seen[proc.PID] {
			t.Fatalf("Launch = %+v, %v", proc, err)
		}
		seen[proc.PID] = true
		if got := len(p.Processes()); got != n+1 {
			t.Fatalf("%d processes, want %d: PID %d was taken", got, n+1, proc.PID)
		}
		if _, err := p.kill(proc.PID); err != nil {
			t.Fatal(err)
		}
	}
	if !seen[maxPID-1] && !seen[maxPID-2] && !seen[maxPID-3] && !seen[maxPID-4] ||
		len(seen) != 200 {
		t.Errorf("%d identifiers, none at the end of the range", len(seen))
	}
}
