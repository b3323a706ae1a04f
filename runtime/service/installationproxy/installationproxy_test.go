package installationproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/apps"
)

type rig struct {
	t      *testing.T
	phone  *phone.Phone
	client *Client
	conn   *link.PlistConn // the same connection, for what the client does not say
	ended  chan error
}

func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := phone.New(phone.Options{LogRate: -1})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			if _, err := p.Apps.Install(apps.Spec{BundleID: fmt.Sprintf("com.example.app%02d", i),
				FileSharing: i == 3, Team: "TEAM123456", Developer: i == 3,
				Name: "App", ShortVersion: "1.2", Version: "34"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.Apps.Install(
			apps.Spec{BundleID: "com.example.hidden", Type: apps.Hidden},
		); err != nil {
			t.Fatal(err)
		}
		c, d := link.Pipe()
		r := &rig{
			t: t, phone: p, client: New(c), conn: link.NewPlistConn(c), ended: make(chan error, 1),
		}
		go func() {
			err := (&Device{Phone: p}).Serve(t.Context(), d)
			d.Close()
			r.ended <- err
		}()
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

// ids are the identifiers of the phone's apps that keep lets through.
func (r *rig) ids(keep func(*apps.App) bool) []string {
	var out []string
	for _, a := range r.phone.Apps.List() {
		if keep(a) {
			out = append(out, a.BundleID())
		}
	}
	return out
}

func TestBrowseTypes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, tc := range []struct {
			in   Options
			keep func(*apps.App) bool
		}{
			{Options{}, func(a *apps.App) bool { return a.Type() != Hidden }},
			{Options{Type: User}, func(a *apps.App) bool { return a.Type() == User }},
			{Options{Type: System}, func(a *apps.App) bool { return a.Type() == System }},
			{Options{Type: Hidden}, func(a *apps.App) bool { return a.Type() == Hidden }},
			{Options{Type: Any}, func(a *apps.App) bool { return true }},
			{Options{Type: "Internal"}, func(a *apps.App) bool { return false }},
			{Options{
				Type:      User,
				BundleIDs: []string{"com.apple.Preferences", "com.example.app07", "no.such.app"},
			},
				func(a *apps.App) bool { return a.BundleID() == "com.example.app07" }},
			{Options{BundleIDs: []string{}}, func(a *apps.App) bool { return false }},
		} {
			apps, err := r.client.Browse(t.Context(), tc.in)
			var got []string
			for _, a := range apps {
				got = append(got, a.BundleID)
			}
			if want := r.ids(tc.keep); err != nil || !slices.Equal(got, want) {
				t.Errorf("Browse(%+v) = %v, %v, want %v", tc.in, got, err, want)
			}
		}
	})
}

// TestBrowseChunks checks what clients index by: exact, contiguous, and none
// in the last message.
func TestBrowseChunks(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		want := r.ids(func(a *apps.App) bool { return a.Type() == User })
		m := r.ask(plist.Dict{"Command": "Browse", "ClientOptions": plist.Dict{
			"ApplicationType": "User", "ShowLaunchProhibitedApps": true,
		}})
		next, messages := uint64(0), 0
		for ; m["Status"] == "BrowsingApplications"; messages++ {
			index, _ := m.Uint("CurrentIndex")
			amount, _ := m.Uint("CurrentAmount")
			total, _ := m.Uint("Total")
			list, _ := m.Array("CurrentList")
			if index != next || int(amount) != len(list) || len(list) == 0 || len(list) > chunk ||
				int(total) != len(want) {
				t.Fatalf("message %d: index %d, amount %d, %d in the list, total %d", messages,
					index, amount, len(list), total)
			}
			next += amount
			var err error
			if m, err = r.conn.RecvDict(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(m, plist.Dict{"Status": "Complete"}) || int(next) != len(want) ||
			messages < 2 {
			t.Errorf("last message %v after %d apps in %d messages, want %d", m, next, messages,
				len(want))
		}
		if m := r.ask(
			plist.Dict{"Command": "Browse", "ClientOptions": plist.Dict{"BundleIDs": []any{}}},
		); !reflect.DeepEqual(m, plist.Dict{"Status": "Complete"}) {
			t.Errorf("no apps: %v", m)
		}
	})
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
		if !reflect.DeepEqual(*a, want) || a.Path == "" || a.Container == "" {
			t.Errorf("App = %+v, want %+v", *a, want)
		}
		if _, ok := a.Attributes[keyStatic]; ok || len(a.Attributes) != len(all) {
			t.Errorf("%d attributes, want %d without disk usage", len(a.Attributes), len(all))
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
		if apps, err := r.client.Lookup(t.Context(),
			Options{BundleIDs: []string{id}, Attributes: []string{}}); err != nil ||
			len(apps) != 1 || len(apps[id].Attributes) != 0 || apps[id].BundleID != id {
			t.Errorf("no attributes: %v, %v", apps, err)
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
		if _, err := r.client.App(t.Context(), "no.such.app"); !errors.Is(err, fs.ErrNotExist) ||
			err.Error() != `installationproxy: lookup "no.such.app": no such app` {
			t.Errorf("unknown app: %v", err)
		}
		found, err := r.client.Lookup(t.Context(), Options{
			BundleIDs: []string{"com.example.hidden", "com.example.app00"}, Placeholders: true,
		})
		if err != nil || len(found) != 2 || found["com.example.hidden"].Type != Hidden {
			t.Errorf("Lookup = %v, %v", found, err)
		}
		if found, err = r.client.Lookup(t.Context(), Options{}); err != nil ||
			len(found) != len(r.ids(func(a *apps.App) bool { return a.Type() != Hidden })) {
			t.Errorf("all: %d apps, %v", len(found), err)
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
			if got, err := r.client.CheckCapabilities(t.Context(), tc.in...); err != nil ||
				got != tc.want {
				t.Errorf("CheckCapabilities(%v) = %v, %v", tc.in, got, err)
			}
		}
		for _, tc := range []struct {
			in   any
			want any
		}{
			{plist.Dict{"arm64": true, "x-ray": false}, true},
			{plist.Dict{"arm64": false}, false},
		} {
			if m := r.ask(
				plist.Dict{"Command": "CheckCapabilitiesMatch", "Capabilities": tc.in},
			); m["LookupResult"] != tc.want || m["Status"] != "Complete" {
				t.Errorf("%v: %v", tc.in, m)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, tc := range []struct {
			req  plist.Dict
			want Code
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
				plist.Dict{"Command": "Uninstall", "ApplicationIdentifier": "com.example.app00"},
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
			if _, status := m["Status"]; m["Error"] != string(tc.want) || text == "" || status {
				t.Errorf("%v: %v, want %s", tc.req, m, tc.want)
			}
		}
		// The connection lives on after all that.
		if _, err := r.client.App(t.Context(), "com.example.app00"); err != nil {
			t.Error(err)
		}
	})
}

func TestDeviceHostile(t *testing.T) {
	for _, tc := range []struct {
		in    string
		fails bool
	}{{"", false}, {
		"\x00\x00", true,
	}, {"\x00\x00\x00\x09<", true}, {"\x00\x00\x00\x02hi", true}, {"\x7f\x00\x00\x00", true}} {
		t.Run(fmt.Sprintf("%q", tc.in), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				if _, err := io.WriteString(r.conn, tc.in); err != nil {
					t.Fatal(err)
				}
				_ = r.conn.CloseWrite()
				var e *Error
				if err := <-r.ended; (err != nil) != tc.fails || err != nil && !errors.As(err, &e) {
					t.Errorf("Serve = %v", err)
				}
			})
		})
	}
}

// answer is a client whose peer sends these dictionaries and leaves.
func answer(t *testing.T, inner ...string) *Client {
	c, d := link.Pipe()
	go func() {
		for _, s := range inner {
			_, _ = d.Write(link.AppendFrame(nil, []byte("<plist><dict>"+s+"</dict></plist>")))
		}
		_ = link.CloseWrite(d)
	}()
	cl := New(c)
	t.Cleanup(func() { cl.Close(); d.Close() })
	return cl
}

const browsing = "<key>Status</key><string>BrowsingApplications</string>"

func TestClientBrokenAnswers(t *testing.T) {
	t.Parallel()
	app := browsing +
		"<key>CurrentList</key><array><dict><key>CFBundleIdentifier</key><string>a</string></dict></array>"
	refused := "<key>Error</key><string>NotEntitled</string><key>ErrorDescription</key><string>no</string><key>ErrorDetail</key><integer>-402620395</integer>"
	for _, tc := range []struct {
		name string
		in   []string
		want error
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"ends half-way", []string{app}, io.ErrUnexpectedEOF},
		{"app is a string", []string{
			"<key>Status</key><string>Complete</string><key>CurrentList</key><array><string>a</string></array>",
		}, ErrProtocol},
		{"another status", []string{app, "<key>Status</key><string>Dancing</string>"}, ErrProtocol},
		{"no status", []string{""}, ErrProtocol},
		{"refused", []string{app, refused}, ErrNotEntitled},
		{
			"description alone", []string{"<key>ErrorDescription</key><string>no</string>"},
			ErrAPIInternalError,
		},
	} {
		apps, err := answer(t, tc.in...).Browse(t.Context(), Options{})
		var e *Error
		if apps != nil || !errors.Is(err, tc.want) || !errors.As(err, &e) {
			t.Errorf("%s: Browse = %v, %v, want %v", tc.name, apps, err, tc.want)
		}
		if tc.want == ErrNotEntitled && (e.Detail != -402620395 ||
			err.Error() != "installationproxy: browse: NotEntitled: no (0xe8008015)") {
			t.Errorf("text %q, detail %d", err, e.Detail)
		}
	}
	for _, in := range []string{
		"<key>Status</key><string>Complete</string>", "<key>LookupResult</key><true/>",
		"<key>LookupResult</key><dict><key>a</key><string>b</string></dict>",
	} {
		if apps, err := answer(t, in).Lookup(t.Context(), Options{}); apps != nil ||
			!errors.Is(err, ErrProtocol) {
			t.Errorf("Lookup(%s) = %v, %v", in, apps, err)
		}
	}
	if _, err := answer(t, "<key>LookupResult</key><dict/>").CheckCapabilities(
		t.Context(),
	); !errors.Is(err, ErrProtocol) {
		t.Errorf("CheckCapabilities = %v", err)
	}
}

// TestListInComplete: what comes with the last message counts too.
func TestListInComplete(t *testing.T) {
	t.Parallel()
	apps, err := answer(t,
		"<key>Status</key><string>Complete</string><key>CurrentList</key><array><dict/></array>").
		Browse(
			t.Context(), Options{},
		)
	if err != nil || len(apps) != 1 {
		t.Errorf("Browse = %v, %v", apps, err)
	}
}

func TestEndlessBrowse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := link.Pipe()
		cl := New(c)
		ended := make(chan struct{})
		go func() { // an empty piece each second, for ever
			defer close(ended)
			for {
				if _, err := d.Write(
					link.AppendFrame(nil, []byte("<plist><dict>"+browsing+"</dict></plist>")),
				); err != nil {
					return
				}
				<-time.NewTimer(time.Second).C
			}
		}()
		if _, err := cl.Browse(context.Background(), Options{}); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("Browse = %v", err)
		}
		if _, err := cl.Browse(context.Background(), Options{}); err == nil ||
			!strings.Contains(err.Error(), "out of step") {
			t.Errorf("second Browse = %v", err)
		}
		cl.Close()
		<-ended
		d.Close()
	})
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
	f.Add([]byte(
		"<plist><dict><key>Command</key><string>Browse</string><key>ClientOptions</key><dict><key>BundleIDs</key><array><string>a</string></array></dict></dict></plist>",
	))
	f.Add([]byte(
		"<plist><dict><key>Command</key><string>CheckCapabilitiesMatch</string><key>Capabilities</key><dict/></dict></plist>",
	))
	p, err := phone.New(phone.Options{LogRate: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, d := link.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.Write(link.AppendFrame(nil, b))
			_ = link.CloseWrite(c)
			_, _ = io.Copy(io.Discard, c)
		}()
		_ = (&Device{Phone: p}).Serve(t.Context(), d)
		d.Close()
		<-done
		c.Close()
	})
}

func FuzzClient(f *testing.F) {
	f.Add("<key>Status</key><string>Complete</string><key>LookupResult</key><dict/>")
	f.Add(browsing + "<key>CurrentList</key><array><dict/></array>")
	f.Fuzz(func(t *testing.T, s string) {
		if apps, err := answer(t, s).Browse(t.Context(), Options{}); err == nil && apps == nil {
			t.Error("neither apps nor error")
		}
		if apps, err := answer(t, s).Lookup(t.Context(), Options{}); err == nil && apps == nil {
			t.Error("neither apps nor error")
		}
	})
}

func BenchmarkBrowse(b *testing.B) {
	p, err := phone.New(phone.Options{LogRate: -1})
	if err != nil {
		b.Fatal(err)
	}
	c, d := link.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- (&Device{Phone: p}).Serve(context.Background(), d) }()
	cl := New(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cl.Browse(context.Background(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
	cl.Close()
	<-ended
}
