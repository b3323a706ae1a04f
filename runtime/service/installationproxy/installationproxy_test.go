package installationproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// newPhone returns a phone with 30 additional apps and a hidden one.
func newPhone(tb testing.TB) *phone.Phone {
	tb.Helper()
	p := phonetest.New(tb, phone.Options{})
	installed := []apps.Spec{{BundleID: "com.example.hidden", Type: apps.Hidden}}
	for i := range 30 {
		installed = append(installed, apps.Spec{BundleID: fmt.Sprintf("com.example.app%02d", i),
			FileSharing: i == 3, Team: "TEAM123456", Developer: i == 3,
			Name: "App", ShortVersion: "1.2", Version: "34"})
	}
	for _, app := range installed {
		if _, err := p.Apps.Install(app); err != nil {
			tb.Fatal(err)
		}
	}
	return p
}

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		return NewDevice(service.Env{Phone: newPhone(tb)})
	},
	Calls: servicetest.Calls[*Client]{
		"browse": browse,
		"lookup": lookup,
		"app": func(c *Client, ctx context.Context) error {
			_, err := c.App(ctx, "com.example.app00")
			return err
		},
		"capabilities": capabilities,
	},
	Typed:  fuzztest.Typed[*service.Error],
	Framed: true,
}

var (
	browse       = servicetest.With((*Client).Browse, Options{})
	lookup       = servicetest.With((*Client).Lookup, Options{})
	capabilities = servicetest.Value(func(c *Client, ctx context.Context) (bool, error) {
		return c.CheckCapabilities(ctx)
	})
)

func TestService(t *testing.T) { suite.Test(t) }

type rig struct {
	t      *testing.T
	phone  *phone.Phone
	client *Client
	conn   *link.PlistConn // the same connection, for requests that the client does not make
	ended  <-chan error
}

func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t)
		c, ended := servicetest.Dial(t.Context(), t, NewDevice(service.Env{Phone: p}))
		r := &rig{t: t, phone: p, client: New(c), conn: link.NewPlistConn(c), ended: ended}
		t.Cleanup(func() { r.client.Close() })
		f(t, r)
	})
}

func (r *rig) ask(req plist.Dict) plist.Dict {
	r.t.Helper()
	var d plist.Dict
	if err := r.conn.Call(r.t.Context(), req, &d); err != nil {
		r.t.Fatal(err)
	}
	return d
}

// ids returns the identifiers of the apps of the phone that keep accepts.
func (r *rig) ids(keep func(*apps.App) bool) []string {
	var out []string
	for _, a := range r.phone.Apps.List() {
		if keep(a) {
			out = append(out, a.BundleID())
		}
	}
	return out
}

func TestAttributes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		const id = "com.example.app03"
		model, _ := r.phone.Apps.Find(id)
		a, err := r.client.App(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		all := model.Attributes()
		text := func(k string) string { s, _ := all.String(k); return s }
		want := App{BundleID: id, Name: "App", Version: "34", ShortVersion: "1.2", Type: User,
			Path: text("Path"), Container: text("Container"),
			Executable: "App", FileSharing: true, SignerIdentity: text("SignerIdentity"),
			Attributes: a.Attributes}
		if !reflect.DeepEqual(*a, want) {
			t.Errorf("App = %+v, want %+v", *a, want)
		}
		if a.Path == "" {
			t.Errorf("the app %+v has no path", *a)
		}
		if a.Container == "" {
			t.Errorf("the app %+v has no container", *a)
		}
		_, ok := a.Attributes[keyStatic]
		if ok {
			t.Error("the attributes hold the disk usage")
		}
		if len(a.Attributes) != len(all) {
			t.Errorf("%d attributes, want %d", len(a.Attributes), len(all))
		}
		static, dynamic := model.DiskUsage()
		a, err = r.client.App(t.Context(), id, "CFBundleIdentifier", keyStatic, keyDynamic,
			"NoSuchKey")
		if err != nil {
			t.Fatal(err)
		}
		exact := plist.Dict{
			"CFBundleIdentifier": id, keyStatic: int64(static), keyDynamic: int64(dynamic),
		}
		if !reflect.DeepEqual(a.Attributes, exact) {
			t.Errorf("chosen attributes %v, want %v", a.Attributes, exact)
		}
		apps, err := r.client.Lookup(t.Context(), Options{BundleIDs: []string{id},
			Attributes: []string{}})
		if err != nil {
			t.Fatalf("Lookup without attributes: %v", err)
		}
		if len(apps) != 1 {
			t.Errorf("Lookup without attributes = %v, want one app", apps)
		}
		if len(apps[id].Attributes) != 0 {
			t.Errorf("Lookup without attributes = %v", apps[id].Attributes)
		}
		if apps[id].BundleID != id {
			t.Errorf("Lookup without attributes = app %q, want %s", apps[id].BundleID, id)
		}
	})
}

func TestLookup(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		if m := r.ask(plist.Dict{
			"Command": "Lookup", "ClientOptions": plist.Dict{"BundleIDs": []any{"no.such.app"}},
		}); !reflect.DeepEqual(m, plist.Dict{"Status": "Complete", "LookupResult": plist.Dict{}}) {
			t.Errorf("unknown app: %v", m)
		}
		_, err := r.client.App(t.Context(), "no.such.app")
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("unknown app: %v, want fs.ErrNotExist", err)
		}
		if want := `installationproxy: lookup "no.such.app": no such app`; err.Error() != want {
			t.Errorf("unknown app: %v, want %s", err, want)
		}
		found, err := r.client.Lookup(t.Context(), Options{
			BundleIDs: []string{"com.example.hidden", "com.example.app00"}, Placeholders: true,
		})
		if err != nil {
			t.Errorf("Lookup: %v", err)
		}
		if len(found) != 2 {
			t.Errorf("Lookup = %v, want two apps", found)
		}
		if a := found["com.example.hidden"]; a.Type != Hidden {
			t.Errorf("the hidden app has the type %v", a.Type)
		}
		found, err = r.client.Lookup(t.Context(), Options{})
		if err != nil {
			t.Errorf("all: %v", err)
		}
		visible := r.ids(func(a *apps.App) bool { return a.Type() != Hidden })
		if len(found) != len(visible) {
			t.Errorf("all: %d apps, want %d", len(found), len(visible))
		}
		if m := r.ask(plist.Dict{"Command": "LookupArchives"}); !reflect.DeepEqual(m,
			plist.Dict{"Status": "Complete", "LookupResult": plist.Dict{}}) {
			t.Errorf("archives: %v", m)
		}
	})
}

func TestCapabilities(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, tc := range []struct {
			in   []string
			want bool
		}{{
			nil, true,
		}, {[]string{"arm64", "telephony"}, true}, {[]string{"arm64", "x-ray"}, false}} {
			got, err := r.client.CheckCapabilities(t.Context(), tc.in...)
			if err != nil {
				t.Errorf("CheckCapabilities(%v): %v", tc.in, err)
			}
			if got != tc.want {
				t.Errorf("CheckCapabilities(%v) = %v, want %v", tc.in, got, tc.want)
			}
		}
		for _, tc := range []struct {
			in   any
			want any
		}{
			{plist.Dict{"arm64": true, "x-ray": false}, true},
			{plist.Dict{"arm64": false}, false},
		} {
			m := r.ask(plist.Dict{"Command": "CheckCapabilitiesMatch", "Capabilities": tc.in})
			if m["LookupResult"] != tc.want {
				t.Errorf("%v: result %v, want %v", tc.in, m["LookupResult"], tc.want)
			}
			if m["Status"] != "Complete" {
				t.Errorf("%v: answer %v, want Complete", tc.in, m)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, tc := range []struct {
			req  plist.Dict
			want service.Code
		}{
			{plist.Dict{"Command": "Fly"}, ErrUnknownCommand},
			{plist.Dict{"Command": "Archive", "ApplicationIdentifier": "x"}, ErrUnknownCommand},
			{plist.Dict{}, ErrMissingCommand},
			{plist.Dict{"Command": int64(4)}, ErrMissingCommand},
			{plist.Dict{"Command": "Install"}, ErrMissingPackagePath},
			{
				plist.Dict{"Command": "Upgrade", "PackagePath": "PublicStaging/a.ipa"},
				ErrInstallProhibited,
			},
			{plist.Dict{"Command": "Uninstall"}, ErrMissingApplicationIdentifier},
			{
				plist.Dict{
					"Command": "Uninstall", "ApplicationIdentifier": "com.apple.Preferences",
				},
				ErrUninstallProhibited,
			},
			{plist.Dict{"Command": "Browse", "ClientOptions": "all"}, ErrAPIInternalError},
			{plist.Dict{
				"Command": "Browse", "ClientOptions": plist.Dict{"ApplicationType": true},
			}, ErrAPIInternalError},
			{
				plist.Dict{"Command": "Lookup", "ClientOptions": plist.Dict{"BundleIDs": "one"}},
				ErrAPIInternalError,
			},
			{plist.Dict{
				"Command":       "Lookup",
				"ClientOptions": plist.Dict{"ReturnAttributes": []any{int64(1)}},
			}, ErrAPIInternalError},
			{plist.Dict{"Command": "CheckCapabilitiesMatch"}, ErrMissingAttributeValue},
			{
				plist.Dict{"Command": "CheckCapabilitiesMatch", "Capabilities": "arm64"},
				ErrAPIInternalError,
			},
			{plist.Dict{
				"Command": "CheckCapabilitiesMatch", "Capabilities": plist.Dict{"a": "b"},
			}, ErrAPIInternalError},
		} {
			m := r.ask(tc.req)
			text, _ := m.String("ErrorDescription")
			_, status := m["Status"]
			if m["Error"] != string(tc.want) {
				t.Errorf("%v: %v, want %s", tc.req, m, tc.want)
			}
			if text == "" {
				t.Errorf("%v: %v has no description", tc.req, m)
			}
			if status {
				t.Errorf("%v: %v has a status beside the error", tc.req, m)
			}
		}
		// The connection is still usable.
		if _, err := r.client.App(t.Context(), "com.example.app00"); err != nil {
			t.Error(err)
		}
	})
}

// TestUninstall removes an app that the phone has and one that it does not have, and checks
// that an app stays if removing is prohibited.
func TestUninstall(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		uninstall := func(id string) (last plist.Dict, steps []any) {
			m := r.ask(plist.Dict{"Command": "Uninstall", "ApplicationIdentifier": id})
			for m["PercentComplete"] != nil {
				steps = append(steps, m["Status"], m["PercentComplete"])
				var err error
				m, err = r.conn.RecvDict(t.Context())
				if err != nil {
					t.Fatalf("%s: %v", id, err)
				}
			}
			return m, steps
		}
		const id = "com.example.app00"
		want := []any{"RemovingApplication", int64(50), "GeneratingApplicationMap", int64(90)}
		for _, name := range []string{id, "com.example.none"} {
			last, steps := uninstall(name)
			if !reflect.DeepEqual(steps, want) {
				t.Errorf("%s: progress %v, want %v", name, steps, want)
			}
			if !reflect.DeepEqual(last, plist.Dict{"Status": "Complete"}) {
				t.Errorf("%s: last message %v, want Complete", name, last)
			}
		}
		if _, ok := r.phone.Apps.Find(id); ok {
			t.Errorf("%s is still installed", id)
		}
		r.phone.Apps.ProhibitRemoval(true)
		last, _ := uninstall("com.example.app01")
		if last["Error"] != string(ErrUninstallProhibited) {
			t.Errorf("while prohibited: %v, want %s", last, ErrUninstallProhibited)
		}
		if _, ok := r.phone.Apps.Find("com.example.app01"); !ok {
			t.Error("the app is gone although removing is prohibited")
		}
	})
}

// frames returns messages with these dictionaries.
func frames(inner ...string) string {
	var b []byte
	for _, s := range inner {
		b = link.AppendFrame(b, []byte("<plist><dict>"+s+"</dict></plist>"))
	}
	return string(b)
}

// answer returns a client whose peer sends these dictionaries and disconnects.
func answer(t *testing.T, inner ...string) *Client {
	c := New(servicetest.Peer(t, []byte(frames(inner...))))
	t.Cleanup(func() { c.Close() })
	return c
}

const browsing = "<key>Status</key><string>BrowsingApplications</string>"

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	const (
		done = "<key>Status</key><string>Complete</string>"
		app  = browsing + "<key>CurrentList</key><array><dict><key>CFBundleIdentifier</key>" +
			"<string>a</string></dict></array>"
		odd    = "<key>CurrentList</key><array><string>a</string></array>"
		result = "<key>LookupResult</key>"
	)
	suite.Fails(t, "nothing", "", browse, io.ErrUnexpectedEOF)
	suite.Fails(t, "ends half-way", frames(app), browse, io.ErrUnexpectedEOF)
	suite.Fails(t, "app is a string", frames(done+odd), browse, ErrProtocol)
	suite.Fails(t, "another status",
		frames(app, "<key>Status</key><string>Dancing</string>"), browse, ErrProtocol)
	suite.Fails(t, "no status", frames(""), browse, ErrProtocol)
	suite.Fails(t, "description alone",
		frames("<key>ErrorDescription</key><string>no</string>"), browse, ErrAPIInternalError)
	suite.Fails(t, "no result", frames(done), lookup, ErrProtocol)
	suite.Fails(t, "result is a truth", frames(result+"<true/>"), lookup, ErrProtocol)
	suite.Fails(t, "result of strings",
		frames(result+"<dict><key>a</key><string>b</string></dict>"), lookup, ErrProtocol)
	suite.Fails(t, "no capabilities", frames(result+"<dict/>"), capabilities, ErrProtocol)
}

// TestRefused checks the fields of the error for a refusal.
func TestRefused(t *testing.T) {
	t.Parallel()
	_, err := answer(t, browsing, "<key>Error</key><string>NotEntitled</string>"+
		"<key>ErrorDescription</key><string>no</string>"+
		"<key>ErrorDetail</key><integer>-402620395</integer>").Browse(t.Context(), Options{})
	if !errors.Is(err, ErrNotEntitled) {
		t.Errorf("Browse = %v, want %v", err, ErrNotEntitled)
	}
	if want := "installationproxy: browse: NotEntitled: no (0xe8008015)"; err.Error() != want {
		t.Errorf("text %q, want %q", err, want)
	}
	var e *service.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %#v, want a *service.Error", err)
	}
	if e.Number != -402620395 {
		t.Errorf("error %#v, want the number -402620395", err)
	}
}

func TestConcurrentAndClose(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		errs := make(chan error)
		for range 10 {
			go func() {
				apps, err := r.client.Browse(t.Context(), Options{Type: User})
				if err == nil && len(apps) < 30 {
					err = fmt.Errorf("%d apps", len(apps))
				}
				errs <- err
			}()
		}
		for range 10 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		r.client.Close()
		r.client.Close()
		if _, err := r.client.Browse(t.Context(), Options{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Browse after Close = %v", err)
		}
		if err := <-r.ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func FuzzDevice(f *testing.F) {
	suite.FuzzDevice(f,
		"<plist><dict><key>Command</key><string>Browse</string><key>ClientOptions</key><dict><key>BundleIDs</key><array><string>a</string></array></dict></dict></plist>",
		"<plist><dict><key>Command</key><string>CheckCapabilitiesMatch</string><key>Capabilities</key><dict/></dict></plist>",
	)
}

func FuzzClient(f *testing.F) {
	suite.FuzzClient(f,
		"<plist><dict><key>Status</key><string>Complete</string><key>LookupResult</key><dict/></dict></plist>",
		"<plist><dict>"+browsing+"<key>CurrentList</key><array><dict/></array></dict></plist>",
	)
}

func BenchmarkBrowse(b *testing.B) {
	p := phonetest.New(b, phone.Options{})
	cl := New(servicetest.Conn(b, NewDevice(service.Env{Phone: p})))
	defer cl.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cl.Browse(context.Background(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
