//go:build linux

package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/apps"
)

func TestIdeviceInstaller(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	p := r.phone()
	if _, err := p.Apps.Install(
		apps.Spec{BundleID: "org.example.new", DisplayName: "Neu & schön", Version: "3"},
	); err != nil {
		t.Fatal(err)
	}
	listing := func(types ...string) string {
		lines := "CFBundleIdentifier, CFBundleVersion, CFBundleDisplayName\n"
		for _, a := range p.Apps.List() {
			if d := a.Attributes(); slices.Contains(types, a.Type()) {
				lines += fmt.Sprintf("%s, \"%s\", \"%s\"\n", a.BundleID(), d["CFBundleVersion"],
					d["CFBundleDisplayName"])
			}
		}
		return lines
	}
	r.want(result{out: listing(apps.User)}, "ideviceinstaller", "-l")
	r.want(result{out: listing(apps.User)}, "ideviceinstaller", "-l", "-o", "list_user")
	r.want(result{out: listing(apps.System)}, "ideviceinstaller", "-l", "-o", "list_system")
	all := listing(apps.User, apps.System)
	r.want(result{out: all}, "ideviceinstaller", "-l", "-o", "list_all")
	n := strings.Count(all, "\n")
	if n < 13 {
		t.Errorf("the model has %d lines, want at least 13: %s", n, all)
	}
	if !strings.Contains(all, "Neu & schön") {
		t.Errorf("the model has no app with special characters in its name: %s", all)
	}

	list, ok := decoded(t, r.output("ideviceinstaller", "-l", "-o", "xml")).([]any)
	if !ok {
		t.Fatal("no list in the xml form")
	}
	seen := 0
	for _, v := range list {
		got, _ := v.(plist.Dict)
		id, _ := got.String("CFBundleIdentifier")
		a, ok := p.Apps.Find(id)
		if !ok {
			t.Errorf("%q is not an app of the phone", id)
			continue
		}
		if a.Type() != apps.User {
			t.Errorf("%q is an app of the type %v, want User", id, a.Type())
			continue
		}
		seen++
		want := a.Attributes()
		for _, key := range []string{
			"StaticDiskUsage", "DynamicDiskUsage",
		} { // come only when asked for
			delete(want, key)
		}
		if got, want := xml(t, got), xml(t, want); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", id, got, want)
		}
	}
	if want := strings.Count(listing(apps.User), "\n") - 1; seen != want {
		t.Errorf("%d apps in the xml form, want %d", seen, want)
	}
	got := r.run("ideviceinstaller", "-U", "org.example.new")
	if got.code != 0 {
		t.Errorf("ideviceinstaller -U: %+v", got)
	}
	if _, ok := p.Apps.Find("org.example.new"); ok {
		t.Error("the app is still installed after ideviceinstaller -U")
	}
}
