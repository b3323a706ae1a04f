package apps_test

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestBuiltinApps(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		kinds := map[string]int{}
		var ids []string
		for _, a := range p.Apps.List() {
			ids = append(ids, a.BundleID())
			kinds[fmt.Sprintf("%s developer=%v sharing=%v", a.Type(), a.Developer(),
				a.FileSharing())]++
			checkAttributes(t, a)
			dirs, err := a.Container().ReadDir("/")
			if err != nil {
				t.Errorf("%s: container: %v", a.BundleID(), err)
			} else if !slices.Equal(dirs, []string{"Documents", "Library", "SystemData", "tmp"}) {
				t.Errorf("%s: container has %q, want Documents, Library, SystemData and tmp",
					a.BundleID(), dirs)
			}
			if static, _ := a.DiskUsage(); static == 0 {
				t.Errorf("%s takes no space", a.BundleID())
			}
		}
		if !slices.IsSorted(ids) {
			t.Errorf("ids %q are not sorted", ids)
		}
		if len(slices.Compact(ids)) != len(ids) {
			t.Errorf("ids %q have duplicates", ids)
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

func checkAttributes(t *testing.T, a *apps.App) {
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
	if env["HOME"] != d["Container"] {
		t.Errorf("%s: HOME = %v, want %v", id, env["HOME"], d["Container"])
	}
	if user != (a.Type() == apps.User) {
		t.Errorf("%s: %s is the path of a user app: %v, want %v", id, where, user,
			a.Type() == apps.User)
	}
	if d["ApplicationType"] != a.Type() {
		t.Errorf("%s: ApplicationType = %v, want %v", id, d["ApplicationType"], a.Type())
	}
}

func TestAttributesAreACopy(t *testing.T) {
	t.Parallel()
	a, _ := phonetest.New(t, phone.Options{}).Apps.Find("com.example.notes")
	want := a.Attributes()
	phonetest.Scribble(a.Attributes())
	if got := a.Attributes(); !reflect.DeepEqual(got, want) {
		t.Errorf("changed through a copy: %v", got)
	}
}

func TestNumericVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"1.0": 16809984, "1": 16809984, "12.3.4": 0x12348000,
		"x": 0x8000, "": 0x8000,
		"2024.5": 0x99508000, "1.2.3.4": 0x01238000, "-1": 0x8000, "1.20": 0x01908000} {
		if got := apps.NumericVersion(in); got != want {
			t.Errorf("numericVersion(%q) = %#x, want %#x", in, got, want)
		}
	}
}

func TestAddApp(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	o := p.Notifications.Observe()
	defer o.Close()
	o.Add(notifications.AppInstalled)
	o.Add(notifications.AppUninstalled)
	_, free, _ := p.Media.Usage()
	info := plist.Dict{"CFBundleName": "Tool", "CFBundleExecutable": "tool-bin",
		"CFBundleVersion":      "7",
		"UIFileSharingEnabled": true, "CustomKey": []any{"x"}, "CFBundleIdentifier": "evil"}
	a, err := p.Apps.Install(apps.Spec{
		BundleID: "org.example.tool", Developer: true, Info: info, StaticDiskUsage: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	info["CustomKey"].([]any)[0] = "changed"
	checkAttributes(t, a)
	d := a.Attributes()
	if d["CFBundleIdentifier"] != "org.example.tool" {
		t.Errorf("d[CFBundleIdentifier] = %q, want %q", d["CFBundleIdentifier"], "org.example.tool")
	}
	if d["CFBundleExecutable"] != "tool-bin" {
		t.Errorf("d[CFBundleExecutable] = %q, want %q", d["CFBundleExecutable"], "tool-bin")
	}
	if d["CFBundleShortVersionString"] != "1.0" {
		t.Errorf("d[CFBundleShortVersionString] = %q, want %q", d["CFBundleShortVersionString"],
			"1.0")
	}
	if d["CFBundleDisplayName"] != "Tool" {
		t.Errorf("d[CFBundleDisplayName] = %q, want %q", d["CFBundleDisplayName"], "Tool")
	}
	if !a.FileSharing() {
		t.Error("FileSharing = false")
	}
	if !reflect.DeepEqual(d["CustomKey"], []any{"x"}) {
		t.Errorf("CustomKey = %v, want %v", d["CustomKey"], []any{"x"})
	}
	if _, now, _ := p.Media.Usage(); free-now != 1<<20 {
		t.Errorf("the bundle takes %d bytes", free-now)
	}
	if err := a.Container().WriteFile("Documents/keep", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	proc, err := p.Processes.Launch("org.example.tool")
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Apps.Install(apps.Spec{BundleID: "org.example.tool", Name: "Tool", Version: "8"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Container().ReadFile("Documents/keep"); err != nil {
		t.Errorf("ReadFile after an upgrade: %v", err)
	} else if string(got) != "kept" {
		t.Errorf("ReadFile after an upgrade = %q, want %q", string(got), "kept")
	}
	if a.ContainerPath() != b.ContainerPath() {
		t.Errorf("the upgrade moved the container from %s to %s", a.ContainerPath(),
			b.ContainerPath())
	}
	if a.Path() == b.Path() {
		t.Errorf("the upgrade left the app at %s", a.Path())
	}
	if _, ok := p.Processes.Find(proc.PID); ok {
		t.Error("the old version still runs")
	}
	if err := p.Apps.Remove("org.example.tool"); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Apps.Find("org.example.tool"); ok {
		t.Error("still installed")
	}
	if _, now, _ := p.Media.Usage(); now != free {
		t.Errorf("%d bytes lost", free-now)
	}
	want := []string{
		notifications.AppInstalled, notifications.AppInstalled, notifications.AppUninstalled,
	}
	if got := phonetest.Heard(o); !slices.Equal(got, want) {
		t.Errorf("observers heard %v", got)
	}
}

func TestAppsRefuse(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	n := len(p.Apps.List())
	for name, c := range map[string]struct {
		err, want error
	}{
		"no identifier": {phonetest.Err(p.Apps.Install(apps.Spec{})), files.ErrInvalid},
		"odd identifier": {
			phonetest.Err(p.Apps.Install(apps.Spec{BundleID: "a/b"})), files.ErrInvalid,
		},
		"no room": {
			phonetest.Err(p.Apps.Install(apps.Spec{BundleID: "big", StaticDiskUsage: 1 << 50})),
			files.ErrNoSpace,
		},
		"remove unknown":    {p.Apps.Remove("nope"), fs.ErrNotExist},
		"remove system app": {p.Apps.Remove("com.apple.mobilesafari"), fs.ErrPermission},
		"launch unknown":    {phonetest.Err(p.Processes.Launch("nope")), fs.ErrNotExist},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if len(p.Apps.List()) != n {
		t.Errorf("%d apps, were %d", len(p.Apps.List()), n)
	}
}
