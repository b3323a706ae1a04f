package housearrest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

const (
	devApp    = "test.developer" // signed for development, no file sharing
	sharedApp = "test.shared"    // file sharing, not for development
)

func newPhone(tb testing.TB) *phone.Phone {
	tb.Helper()
	p, err := phone.New(phone.Options{})
	must(tb, err)
	for _, s := range []apps.Spec{
		{BundleID: devApp, Name: "Dev", Developer: true},
		{BundleID: sharedApp, Name: "Shared", FileSharing: true},
	} {
		a, err := p.Apps.Install(s)
		must(tb, err)
		must(tb, a.Container().WriteFile("/Documents/hello", []byte(s.Name)))
	}
	return p
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// wantContent checks the content of a file.
func wantContent(t *testing.T, c *afc.Client, name, want string) {
	t.Helper()
	b, err := c.ReadFile(ctx(t), name)
	if err != nil {
		t.Errorf("ReadFile(%s): %v", name, err)
	}
	if string(b) != want {
		t.Errorf("ReadFile(%s) = %q, want %q", name, b, want)
	}
}

// wantRefused checks what a vend command that failed returned.
func wantRefused(t *testing.T, name string, c *afc.Client, err error, code service.Code) {
	t.Helper()
	if c != nil {
		t.Errorf("%s: a client beside an error", name)
	}
	var e *service.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %v, want a *service.Error", name, err)
		return
	}
	if e.Code != code {
		t.Errorf("%s: %v has the code %q, want %q", name, err, e.Code, code)
	}
}

func ctx(tb testing.TB) context.Context {
	tb.Helper()
	c, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return c
}

// route returns an Opener for the service of a phone.
func route(tb testing.TB, p *phone.Phone) service.Opener {
	return servicetest.Opener{TB: tb, Name: Service, Handler: &Device{Env: service.Env{Phone: p}}}
}

// vend returns a call that opens the container of an app and lists its files.
func vend(
	open func(*Client, context.Context, string) (*afc.Client, error),
) servicetest.Call[*Client] {
	return func(c *Client, ctx context.Context) error {
		files, err := open(c, ctx, sharedApp)
		if err != nil {
			return err
		}
		defer files.Close()
		_, err = files.ReadDir(ctx, "/")
		return err
	}
}

var (
	container = vend((*Client).VendContainer)
	documents = vend((*Client).VendDocuments)
)

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		return NewDevice(service.Env{Phone: newPhone(tb)})
	},
	Calls: servicetest.Calls[*Client]{"container": container, "documents": documents},
	Typed: func(t *testing.T, what string, err error) {
		t.Helper()
		var files *afc.Error
		if !errors.As(err, &files) {
			fuzztest.Typed[*service.Error](t, what, err)
		}
	},
}

func TestService(t *testing.T) { suite.Test(t) }

func TestVendContainer(t *testing.T) {
	t.Parallel()
	c, err := VendContainer(ctx(t), route(t, newPhone(t)), devApp)
	must(t, err)
	defer c.Close()
	names, err := c.ReadDir(ctx(t), "/")
	must(t, err)
	if want := []string{"Documents", "Library", "SystemData", "tmp"}; !slices.Equal(names, want) {
		t.Errorf("ReadDir = %q, want %q", names, want)
	}
	wantContent(t, c, "/Documents/hello", "Dev")
	must(t, c.WriteFile(ctx(t), "/tmp/x", []byte("y")))
}

func TestVendDocuments(t *testing.T) {
	t.Parallel()
	c, err := VendDocuments(ctx(t), route(t, newPhone(t)), sharedApp)
	must(t, err)
	defer c.Close()
	wantContent(t, c, Documents+"/hello", "Shared")
	names, err := c.ReadDir(ctx(t), "/")
	if names != nil {
		t.Errorf("ReadDir of the root = %q beside an error", names)
	}
	if !errors.Is(err, afc.PermissionDenied) {
		t.Errorf("ReadDir of the root: %v, want PermissionDenied", err)
	}
	if err := c.WriteFile(ctx(t), "/Documents/../tmp/x", nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("outside: %v, want fs.ErrPermission", err)
	}
	i, err := c.DeviceInfo(ctx(t))
	if err != nil {
		t.Fatalf("DeviceInfo: %v", err)
	}
	if i.Model == "" {
		t.Errorf("DeviceInfo = %+v without a model", i)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	p := newPhone(t)
	container, documents := (*Client).VendContainer, (*Client).VendDocuments
	for _, tt := range []struct {
		name string
		vend func(*Client, context.Context, string) (*afc.Client, error)
		id   string
		code service.Code
		is   error
	}{
		{"unknown app", container, "none", NoSuchApp, fs.ErrNotExist},
		{"unknown app's documents", documents, "none", NoSuchApp, fs.ErrNotExist},
		{"app from the store", container, sharedApp, NotAllowed, fs.ErrPermission},
		{"app without file sharing", documents, devApp, NotAllowed, fs.ErrPermission},
		{"no app", container, "", missingIdentifier, nil},
		{"another command", func(c *Client, ctx context.Context, id string) (*afc.Client, error) {
			return c.vend(ctx, "vend all", "VendAll", id)
		}, devApp, unknownCommand, nil},
		{"no command", func(c *Client, ctx context.Context, id string) (*afc.Client, error) {
			return c.vend(ctx, "vend", "", id)
		}, devApp, missingCommand, nil},
	} {
		c, err := Connect(ctx(t), route(t, p))
		must(t, err)
		a, err := tt.vend(c, ctx(t), tt.id)
		wantRefused(t, tt.name, a, err, tt.code)
		if tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.is)
		}
		if _, err := c.VendContainer(ctx(t), devApp); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: second command: %v, want net.ErrClosed", tt.name, err)
		}
		must(t, c.Close())
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	p := newPhone(t)
	for id, want := range map[string]string{
		"a.b": `housearrest: vend documents of "a.b": ApplicationLookupFailed`,
		"":    `housearrest: vend documents: MissingIdentifier`,
	} {
		_, err := VendDocuments(ctx(t), route(t, p), id)
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestOneSegment sends the command and the first AFC packet together, in XML and in
// binary, as clients do that do not wait for the answer.
func TestOneSegment(t *testing.T) {
	t.Parallel()
	p := newPhone(t)
	readDir := "CFA6LPAA" + u64(40+10, 40+10, 0, 3) + "/Documents"
	for _, f := range []plist.Format{plist.XML, plist.Binary} {
		conn, err := route(t, p).Open(ctx(t), Service)
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		body, err := plist.Encode(
			plist.Dict{"Command": "VendDocuments", "Identifier": sharedApp, "Label": "x"}, f,
		)
		must(t, err)
		_, err = conn.Write(append(link.AppendFrame(nil, body), readDir...))
		must(t, err)
		var d plist.Dict
		must(t, link.NewPlistConn(conn).Recv(ctx(t), &d))
		s, _ := d.String("Status")
		if s != "Complete" {
			t.Errorf("answer %v, want Complete", d)
		}
		if len(d) != 1 {
			t.Errorf("answer %v, want the status alone", d)
		}
		names := ".\x00..\x00hello\x00"
		want := "CFA6LPAA" + u64(40+uint64(len(names)), 40, 0, 2) + names
		got := make([]byte, len(want))
		_, err = io.ReadFull(conn, got)
		if err != nil {
			t.Errorf("the answer to readDir: %v", err)
		}
		if string(got) != want {
			t.Errorf("the answer to readDir is %q, want %q", got, want)
		}
	}
}

func u64(v ...uint64) string {
	var b []byte
	for _, v := range v {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return string(b)
}

// TestMalformed checks that the device answers with an error if a request is not a
// property list or has values of other types. Data that is not a frame ends the
// connection.
func TestMalformed(t *testing.T) {
	t.Parallel()
	p := newPhone(t)
	array, err := plist.Encode([]any{"VendContainer"}, plist.XML)
	must(t, err)
	number, err := plist.Encode(plist.Dict{"Command": "VendContainer", "Identifier": 7}, plist.XML)
	must(t, err)
	for body, want := range map[string]service.Code{
		"hello": missingCommand, "": missingCommand, string(array): missingCommand,
		string(number): missingIdentifier,
	} {
		conn, err := route(t, p).Open(ctx(t), Service)
		must(t, err)
		_, err = conn.Write(link.AppendFrame(nil, []byte(body)))
		must(t, err)
		var d plist.Dict
		must(t, link.NewPlistConn(conn).Recv(ctx(t), &d))
		s, _ := d.String("Error")
		if service.Code(s) != want {
			t.Errorf("%q: answer %v, want %s", body, d, want)
		}
		if len(d) != 1 {
			t.Errorf("%q: answer %v, want the error alone", body, d)
		}
		if err := link.NewPlistConn(conn).Recv(ctx(t), &d); err != io.EOF {
			t.Errorf("%q: the connection goes on: %v", body, err)
		}
	}
	for _, raw := range []string{"\x7f\xff\xff\xff", "\x00\x00", "\x00\x00\x00\x09<?xm"} {
		var e *service.Error
		if err := suite.Request(t, raw); !errors.As(err, &e) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"nothing":    "",
		"no status":  frame(t, plist.Dict{"Other": "x"}),
		"new status": frame(t, plist.Dict{"Status": "Pending"}),
		"no plist":   string(link.AppendFrame(nil, []byte("hello"))),
		"long frame": "\x7f\xff\xff\xff",
		"half":       "\x00\x00\x01\x00abc",
	} {
		client := servicetest.Peer(t, []byte(raw))
		a, err := New(client).VendContainer(ctx(t), devApp)
		wantRefused(t, name, a, err, "")
		if err != nil && strings.Count(err.Error(), "housearrest:") != 1 {
			t.Errorf("%s: %v, want the package named once", name, err)
		}
		if _, err := client.Write([]byte("x")); err == nil {
			t.Errorf("%s: the connection is open still", name)
		}
	}
}

func frame(t *testing.T, v any) string {
	t.Helper()
	b, err := plist.Encode(v, plist.XML)
	must(t, err)
	return string(link.AppendFrame(nil, b))
}

func TestNoRoute(t *testing.T) {
	t.Parallel()
	for name, vend := range map[string]func(
		context.Context, service.Opener, string,
	) (*afc.Client, error){"VendContainer": VendContainer, "VendDocuments": VendDocuments} {
		c, err := vend(ctx(t), servicetest.NoRoute{}, devApp)
		if c != nil {
			t.Errorf("%s: a client beside an error", name)
		}
		if !errors.Is(err, servicetest.ErrNoRoute) {
			t.Errorf("%s: %v, want %v", name, err, servicetest.ErrNoRoute)
		}
	}
}

// FuzzClient sends arbitrary answers to a request for a container.
func FuzzClient(f *testing.F) {
	suite.FuzzClient(f,
		message("<dict><key>Status</key><string>Complete</string></dict>"),
		message("<dict><key>Error</key><string>ApplicationLookupFailed</string></dict>"),
		message("<dict><key>Status</key><true/></dict>"),
	)
}

func message(s string) string {
	return string(link.AppendFrame(nil, []byte("<plist>"+s+"</plist>")))
}

// FuzzDevice sends arbitrary data to the device side, also after the start of AFC.
func FuzzDevice(f *testing.F) {
	good, err := plist.Encode(request{vendDocuments, sharedApp}, plist.XML)
	must(f, err)
	suite.FuzzDevice(f,
		string(link.AppendFrame(nil, good))+"CFA6LPAA"+u64(40, 40, 0, 11),
		string(link.AppendFrame(nil, []byte("bplist00"))),
		"\x00\x00\x00\x00",
	)
}
