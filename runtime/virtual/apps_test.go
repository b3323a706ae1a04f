package virtual_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// listsOfApps returns what each service says of the apps: by the identifier, a text with the
// name, the version and the path.
func listsOfApps(
	ctx context.Context, t *testing.T, d *device.Device, core *coredevice.Apps,
) map[string]map[string]string {
	t.Helper()
	lists := map[string]map[string]string{}
	add := func(service, id, name, version, path string) {
		if lists[service] == nil {
			lists[service] = map[string]string{}
		}
		lists[service][id] = fmt.Sprintf("%s, %s, %s", name, version, path)
	}
	proxy := must(installationproxy.Connect(ctx, d))(t)
	defer proxy.Close()
	all := installationproxy.Options{Type: installationproxy.Any}
	for _, a := range must(proxy.Browse(ctx, all))(t) {
		add("installation_proxy", a.BundleID, a.Name, a.ShortVersion, a.Path)
	}
	for _, a := range must(core.List(ctx, coredevice.AllApps))(t) {
		add("CoreDevice", a.BundleID, a.Name, a.Version, a.Path)
	}
	s := must(dvt.Connect(ctx, d, dvt.Options{}))(t)
	defer s.Close()
	for _, a := range must(s.Applications(ctx, nil))(t) {
		add("Instruments", a.BundleID, a.DisplayName, a.Version, a.BundlePath)
	}
	return lists
}

// TestServicesAgreeOnApps compares what lockdown, installation_proxy, CoreDevice and Instruments
// say of the apps, before and after one was removed by each service that removes apps, and while
// removing is prohibited.
func TestServicesAgreeOnApps(t *testing.T) {
	t.Parallel()
	ctx := virtualtest.Context(t)
	d, m := virtualtest.Device(t, virtual.Options{Phone: phone.Options{Profile: "ios17"}})
	core := must(coredevice.ConnectApps(ctx, d))(t)
	defer core.Close()
	agree := func(when string) {
		t.Helper()
		lists := listsOfApps(ctx, t, d, core)
		want := map[string]string{}
		for _, a := range m.Phone().Apps.List() {
			want[a.BundleID()] = fmt.Sprintf("%s, %s, %s", a.DisplayName(), a.ShortVersion(),
				a.Path())
		}
		for service, got := range lists {
			if !maps.Equal(got, want) {
				t.Errorf("%s: %s has the apps %v, want %v", when, service, got, want)
			}
		}
		if len(lists) != 3 {
			t.Errorf("%s: %d lists, want 3", when, len(lists))
		}
	}
	agree("at first")
	m.Phone().Apps.ProhibitRemoval(true)
	checkRemovable(ctx, t, d, core, nil)
	m.Phone().Apps.ProhibitRemoval(false)
	var own []string
	for _, a := range m.Phone().Apps.List() {
		if a.Type() == apps.User {
			own = append(own, a.BundleID())
		}
	}
	checkRemovable(ctx, t, d, core, own)
	if err := core.Uninstall(ctx, "com.example.shop"); err != nil {
		t.Errorf("Uninstall by CoreDevice: %v", err)
	}
	if code := uninstall(ctx, t, d, "com.example.sky"); code != "" {
		t.Errorf("Uninstall by installation_proxy: %s", code)
	}
	if code := uninstall(ctx, t, d, "com.apple.Maps"); code != "UninstallProhibited" {
		t.Errorf("Uninstall of a system app by installation_proxy: %q", code)
	}
	agree("after two were removed")
}

// checkRemovable compares the apps that CoreDevice says can be removed, the restriction of
// lockdown, and whether an app of the user can be removed.
func checkRemovable(
	ctx context.Context, t *testing.T, d *device.Device, core *coredevice.Apps, want []string,
) {
	t.Helper()
	var got []string
	for _, a := range must(core.List(ctx, coredevice.AllApps))(t) {
		if a.Removable {
			got = append(got, a.BundleID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("CoreDevice: %v can be removed, want %v", got, want)
	}
	prohibited := must(d.Get(ctx, "com.apple.mobile.restriction", "ProhibitAppDelete"))(t)
	if prohibited != (want == nil) {
		t.Errorf("ProhibitAppDelete = %v, want %v", prohibited, want == nil)
	}
	if want != nil {
		return
	}
	if err := core.Uninstall(ctx, "com.example.shop"); err == nil {
		t.Error("CoreDevice removed an app although that is prohibited")
	}
	if code := uninstall(ctx, t, d, "com.example.shop"); code != "UninstallProhibited" {
		t.Errorf("Uninstall by installation_proxy while prohibited: %q", code)
	}
}

// uninstall removes an app by installation_proxy. It returns the code of the refusal, or "".
func uninstall(ctx context.Context, t *testing.T, d *device.Device, id string) string {
	t.Helper()
	c := must(d.Open(ctx, installationproxy.Service))(t)
	defer c.Close()
	p := link.NewPlistConn(c)
	err := p.Send(ctx, plist.Dict{"Command": "Uninstall", "ApplicationIdentifier": id})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m := must(p.RecvDict(ctx))(t)
		if code, ok := m.String("Error"); ok {
			return code
		}
		if m["Status"] == "Complete" {
			return ""
		}
	}
}
