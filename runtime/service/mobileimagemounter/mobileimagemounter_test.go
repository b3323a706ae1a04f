package mobileimagemounter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// unchanged is the device side of a phone whose image no host may change.
type unchanged struct{ *Device }

func (u unchanged) Serve(ctx context.Context, c net.Conn) error {
	err := u.Device.Serve(ctx, c)
	if !u.Phone.Image.IsMounted() || !u.Phone.Values.DeveloperMode() {
		return errors.New("a host changed the phone")
	}
	return err
}

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		p := phonetest.New(tb, phone.Options{})
		return unchanged{&Device{Env: service.Env{Phone: p}}}
	},
	Calls: servicetest.Calls[*Client]{
		"images": images, "lookup": find, "identifiers": identifiers, "developer mode": mode,
	},
	Typed:  fuzztest.Typed[*service.Error],
	Framed: true,
}

var (
	images      = servicetest.Value((*Client).Images)
	find        = servicetest.With((*Client).Lookup, "x")
	identifiers = servicetest.Value((*Client).PersonalizationIdentifiers)
	mode        = servicetest.Value((*Client).DeveloperMode)
)

func TestService(t *testing.T) { suite.Test(t) }

type rig struct {
	t      *testing.T
	phone  *phone.Phone
	client *Client
	conn   *link.PlistConn // the same connection, for requests that the client does not make
	ended  <-chan error
}

func newRig(t *testing.T, o phone.Options) *rig {
	o.LogRate = -1
	p, err := phone.New(o)
	if err != nil {
		t.Fatal(err)
	}
	c, ended := servicetest.Dial(t.Context(), t, NewDevice(service.Env{Phone: p}))
	r := &rig{t: t, phone: p, client: New(c), conn: link.NewPlistConn(c), ended: ended}
	t.Cleanup(func() { r.client.Close() })
	return r
}

// ask makes one exchange and returns the whole answer.
func (r *rig) ask(req plist.Dict) plist.Dict {
	r.t.Helper()
	var d plist.Dict
	if err := r.conn.Call(r.t.Context(), req, &d); err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *rig) lock() {
	r.phone.Screen.SetPasscode(true)
	r.phone.Screen.Lock()
}

// bubble runs f with fake time. The test fails if a goroutine is left.
func bubble(t *testing.T, o phone.Options, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t, o)) })
}

// each runs f with a phone of each profile.
func each(t *testing.T, f func(t *testing.T, r *rig, personalized bool)) {
	t.Helper()
	t.Parallel()
	for _, profile := range identity.Profiles() {
		t.Run(profile, func(t *testing.T) {
			bubble(t, phone.Options{Profile: profile},
				func(t *testing.T, r *rig) { f(t, r, profile != "ios16") })
		})
	}
}

func TestLookup(t *testing.T) {
	each(t, func(t *testing.T, r *rig, personalized bool) {
		mine, other := TypeDeveloper, TypePersonalized
		if personalized {
			mine, other = other, mine
		}
		signature := r.phone.Image.Accepted().Signature
		for _, c := range []struct {
			mounted bool
			imgType string
			want    Lookup
		}{
			{true, mine, Lookup{true, [][]byte{signature}}},
			{true, other, Lookup{}},
			{false, mine, Lookup{}},
		} {
			r.phone.Image.Unmount()
			if c.mounted {
				r.phone.Image.Mount()
			}
			got, err := r.client.Lookup(t.Context(), c.imgType)
			if err != nil {
				t.Errorf("Lookup(%s) with an image: %v: %v", c.imgType, c.mounted, err)
				continue
			}
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("Lookup(%s) with an image: %v = %+v, want %+v", c.imgType, c.mounted, *got,
					c.want)
			}
			// go-ios fails if the key ImageSignature is absent.
			d := r.ask(plist.Dict{"Command": "LookupImage", "ImageType": c.imgType})
			list := []any{}
			if c.want.Present {
				list = append(list, signature)
			}
			if want := (plist.Dict{
				"ImagePresent": c.want.Present, "ImageSignature": list, "Status": "Complete",
			}); !reflect.DeepEqual(d, want) {
				t.Errorf("answer %v, want %v", d, want)
			}
		}
		if d := r.ask(plist.Dict{"Command": "LookupImage"}); !reflect.DeepEqual(d,
			plist.Dict{"Error": "MissingImageType"}) {
			t.Errorf("without a type: %v", d)
		}
		r.lock()
		got, err := r.client.Lookup(t.Context(), mine)
		if got != nil {
			t.Errorf("locked: Lookup = %v beside an error", got)
		}
		if !errors.Is(err, ErrDeviceLocked) {
			t.Errorf("locked: Lookup: %v, want ErrDeviceLocked", err)
		}
	})
}

func TestImages(t *testing.T) {
	each(t, func(t *testing.T, r *rig, personalized bool) {
		want := Image{Type: TypeDeveloper, MountPath: "/Developer", Mounted: true}
		if personalized {
			want = Image{
				Type: TypePersonalized, PersonalizedType: "DeveloperDiskImage",
				MountPath: "/System/Developer", Mounted: true,
			}
		}
		model := r.phone.Image.Accepted()
		want.Signature, want.BackingImage = model.Signature, model.BackingImage
		r.lock() // has no effect on Images
		got, err := r.client.Images(t.Context())
		if err != nil {
			t.Fatalf("Images: %v", err)
		}
		if len(got) != 1 {
			t.Fatalf("Images = %+v, want one", got)
		}
		raw := got[0].Raw
		got[0].Raw = nil
		if !reflect.DeepEqual(got[0], want) {
			t.Errorf("Images = %+v, want %+v", got[0], want)
		}
		if !got[0].Developer() {
			t.Errorf("%+v is not a developer image", got[0])
		}
		if raw["DeviceNode"] != model.DeviceNode {
			t.Errorf("the device node is %v, want %v", raw["DeviceNode"], model.DeviceNode)
		}
		if raw["FilesystemType"] != model.Filesystem {
			t.Errorf("the file system is %v, want %v", raw["FilesystemType"], model.Filesystem)
		}
		if raw["DeviceType"] != "DiskImage" {
			t.Errorf("the device type is %v, want DiskImage", raw["DeviceType"])
		}
		r.phone.Image.Unmount()
		got, err = r.client.Images(t.Context())
		if err != nil {
			t.Errorf("without an image: Images: %v", err)
		}
		if len(got) != 0 {
			t.Errorf("without an image: Images = %+v", got)
		}
		if d := r.ask(plist.Dict{"Command": "CopyDevices"}); !reflect.DeepEqual(d,
			plist.Dict{"EntryList": []any{}, "Status": "Complete"}) {
			t.Errorf("without an image the answer is %v", d)
		}
	})
}

func TestDeveloperMode(t *testing.T) {
	each(t, func(t *testing.T, r *rig, _ bool) {
		for _, want := range []bool{true, false} {
			r.phone.Values.SetDeveloperMode(want)
			got, err := r.client.DeveloperMode(t.Context())
			if err != nil {
				t.Errorf("DeveloperMode: %v", err)
			}
			if got != want {
				t.Errorf("DeveloperMode = %v, want %v", got, want)
			}
		}
	})
}

func TestPersonalizationIdentifiers(t *testing.T) {
	each(t, func(t *testing.T, r *rig, personalized bool) {
		got, err := r.client.PersonalizationIdentifiers(t.Context())
		if !personalized {
			if got != nil {
				t.Errorf("PersonalizationIdentifiers = %v beside an error", got)
			}
			if !errors.Is(err, ErrUnknownCommand) {
				t.Errorf("PersonalizationIdentifiers: %v, want ErrUnknownCommand", err)
			}
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("PersonalizationIdentifiers: %v, want errors.ErrUnsupported", err)
			}
			return
		}
		if err != nil {
			t.Errorf("PersonalizationIdentifiers: %v", err)
		}
		if want := r.phone.Image.PersonalizationIdentifiers(); !reflect.DeepEqual(got, want) {
			t.Errorf("PersonalizationIdentifiers = %v, want %v", got, want)
		}
	})
}

// TestRefusals checks the answers to hosts that mount or unmount an image. Clients look
// for these texts.
func TestRefusals(t *testing.T) {
	t.Parallel()
	receive := plist.Dict{
		"Command": "ReceiveBytes", "ImageType": "Personalized", "ImageSize": int64(4),
		"ImageSignature": []byte{1},
	}
	mount := plist.Dict{
		"Command": "MountImage", "ImageType": "Personalized", "ImageSignature": []byte{1},
	}
	unmount := func(path string) plist.Dict {
		return plist.Dict{"Command": "UnmountImage", "MountPath": path}
	}
	lock := func(r *rig) { r.lock() }
	for _, c := range []struct {
		name         string
		options      phone.Options
		before       func(*rig)
		request      plist.Dict
		code, detail string
	}{
		{
			"mounted", phone.Options{}, nil, receive, "ImageMountFailed",
			"A disk image of type Personalized/DeveloperDiskImage is already mounted at /System/Developer.",
		},
		{"mounted", phone.Options{}, nil, mount, "ImageMountFailed", "is already mounted"},
		{
			"mounted, iOS 16", phone.Options{Profile: "ios16"}, nil, mount, "ImageMountFailed",
			"is already mounted at /Developer",
		},
		{
			"no developer mode", phone.Options{NoDeveloperMode: true}, nil, receive,
			"ImageMountFailed", "Developer mode is not enabled",
		},
		{
			"no developer mode, no image", phone.Options{NoDeveloperMode: true, NoImage: true}, nil,
			mount, "ImageMountFailed", "Developer mode is not enabled",
		},
		{
			"no image", phone.Options{NoImage: true}, nil, receive, "ImageMountFailed",
			"Failed to mount ",
		},
		{"locked", phone.Options{NoImage: true}, lock, receive, "DeviceLocked", ""},
		{"locked", phone.Options{}, lock, unmount("/System/Developer"), "DeviceLocked", ""},
		{
			"another path", phone.Options{}, nil, unmount("/Developer"), "InternalError",
			"There is no matching entry in the device map for /Developer.",
		},
		{
			"no image", phone.Options{NoImage: true}, nil, unmount("/System/Developer"),
			"InternalError", "There is no matching entry in the device map for /System/Developer.",
		},
		{
			"its own", phone.Options{}, nil, unmount("/System/Developer"), "InternalError",
			"Failed to unmount /System/Developer.",
		},
		{"nonce", phone.Options{}, nil, plist.Dict{"Command": "QueryNonce"}, "UnknownCommand", ""},
		{
			"manifest", phone.Options{}, nil, plist.Dict{"Command": "QueryPersonalizationManifest"},
			"UnknownCommand", "",
		},
		{"unknown", phone.Options{}, nil, plist.Dict{"Command": "Fly"}, "UnknownCommand", ""},
		{"no command", phone.Options{}, nil, plist.Dict{}, "UnknownCommand", ""},
		{"a number", phone.Options{}, nil, plist.Dict{"Command": int64(1)}, "UnknownCommand", ""},
	} {
		bubble(t, c.options, func(t *testing.T, r *rig) {
			if c.before != nil {
				c.before(r)
			}
			d := r.ask(c.request)
			detail, has := d.String("DetailedError")
			if d["Error"] != c.code {
				t.Errorf("%s: %v answers %v, want the error %s", c.name, c.request, d, c.code)
			}
			if !strings.Contains(detail, c.detail) {
				t.Errorf("%s: %v answers the detail %q, want %q", c.name, c.request, detail,
					c.detail)
			}
			if has != (c.detail != "") {
				t.Errorf("%s: %v answers a detail: %v, want %q", c.name, c.request, has, c.detail)
			}
			if d["Status"] != nil {
				t.Errorf("%s: %v answers the status %v beside an error", c.name, c.request,
					d["Status"])
			}
			on, err := r.client.DeveloperMode(t.Context())
			if err != nil {
				t.Errorf("%s: the next call: %v", c.name, err)
			}
			if on == c.options.NoDeveloperMode {
				t.Errorf("%s: the next call = %v, the connection is out of step", c.name, on)
			}
			_, err = r.client.Call(t.Context(), "test", "x", c.request)
			if !errors.Is(err, service.Code(c.code)) {
				t.Errorf("%s: the error is %v, want %s", c.name, err, c.code)
			}
			want := `mobileimagemounter: test "x": ` + c.code
			if text := fmt.Sprint(err); !strings.HasPrefix(text, want) {
				t.Errorf("%s: the error is %q, want it to begin with %q", c.name, text, want)
			}
		})
	}
}

func TestHangup(t *testing.T) {
	t.Parallel()
	bubble(t, phone.Options{}, func(t *testing.T, r *rig) {
		if err := r.client.Hangup(t.Context()); err != nil {
			t.Errorf("Hangup = %v", err)
		}
		if err := <-r.ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	bubble(t, phone.Options{}, func(t *testing.T, r *rig) {
		if err := r.conn.Send(t.Context(), plist.Dict{"Command": "Hangup"}); err != nil {
			t.Fatal(err)
		}
		r.client.Close() // without reading the answer to Hangup
		if err := <-r.ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// frame returns an answer in XML with its length.
func frame(s string) string {
	return string(link.AppendFrame(nil, []byte("<plist><dict>"+s+"</dict></plist>")))
}

func TestDeadlineBreaksStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := linktest.Pipe() // the device does not answer
		defer d.Close()
		cl := New(c)
		start := time.Now()
		_, err := cl.Images(context.Background())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Images: %v, want DeadlineExceeded", err)
		}
		if passed := time.Since(start); passed != exchanges.Timeout {
			t.Errorf("Images took %v, want %v", passed, exchanges.Timeout)
		}
		_, err = cl.Images(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second call: %v, want DeadlineExceeded", err)
		} else if !strings.Contains(err.Error(), "out of step") {
			t.Errorf("second call: %v, want out of step", err)
		}
		cl.Close()
		if err := cl.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
	})
}

func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	bubble(t, phone.Options{}, func(t *testing.T, r *rig) {
		errs := make(chan error)
		for range 20 {
			go func() {
				images, err := r.client.Images(t.Context())
				if err == nil && len(images) != 1 {
					err = errors.New("no image")
				}
				errs <- err
			}()
		}
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzDevice(f *testing.F) {
	suite.FuzzDevice(f,
		"<plist><dict><key>Command</key><string>LookupImage</string><key>ImageType</key><string>Developer</string></dict></plist>",
		"<plist><dict><key>Command</key><string>UnmountImage</string><key>MountPath</key><string>/Developer</string></dict></plist>",
	)
}

func FuzzClient(f *testing.F) {
	suite.FuzzClient(f, "<plist><dict><key>ImagePresent</key><true/></dict></plist>")
}
