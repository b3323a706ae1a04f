package mobileimagemounter

import (
	"context"
	"errors"
	"fmt"
	"io"
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
		return unchanged{&Device{Phone: p}}
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
	c, ended := servicetest.Dial(t.Context(), t, &Device{Phone: p})
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
			if got, err := r.client.Lookup(t.Context(), c.imgType); err != nil ||
				!reflect.DeepEqual(*got, c.want) {
				t.Errorf("Lookup(%s) with an image: %v = %+v, %v, want %+v", c.imgType, c.mounted,
					got, err, c.want)
			}
			// Some clients fail if one of the keys is absent.
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
		if got, err := r.client.Lookup(t.Context(), mine); got != nil ||
			!errors.Is(err, ErrDeviceLocked) {
			t.Errorf("locked: Lookup = %v, %v, want DeviceLocked", got, err)
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
		if err != nil || len(got) != 1 {
			t.Fatalf("Images = %+v, %v", got, err)
		}
		raw := got[0].Raw
		got[0].Raw = nil
		if !reflect.DeepEqual(got[0], want) {
			t.Errorf("Images = %+v, want %+v", got[0], want)
		}
		if !got[0].Developer() {
			t.Errorf("%+v is not a developer image", got[0])
		}
		if raw["DeviceNode"] != model.DeviceNode || raw["FilesystemType"] != model.Filesystem ||
			raw["DeviceType"] != "DiskImage" {
			t.Errorf("entry %v", raw)
		}
		r.phone.Image.Unmount()
		if got, err := r.client.Images(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("without an image: Images = %+v, %v", got, err)
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
			if got, err := r.client.DeveloperMode(t.Context()); err != nil || got != want {
				t.Errorf("DeveloperMode = %v, %v, want %v", got, err, want)
			}
		}
	})
}

func TestPersonalizationIdentifiers(t *testing.T) {
	each(t, func(t *testing.T, r *rig, personalized bool) {
		got, err := r.client.PersonalizationIdentifiers(t.Context())
		if !personalized {
			if got != nil || !errors.Is(err, ErrUnknownCommand) ||
				!errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("PersonalizationIdentifiers = %v, %v, want UnknownCommand", got, err)
			}
			return
		}
		if want := r.phone.Image.PersonalizationIdentifiers(); err != nil ||
			!reflect.DeepEqual(got, want) {
			t.Errorf("PersonalizationIdentifiers = %v, %v, want %v", got, err, want)
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
			if d["Error"] != c.code || !strings.Contains(detail, c.detail) ||
				has != (c.detail != "") || d["Status"] != nil {
				t.Errorf("%s: %v answers %v, want %s, %q", c.name, c.request, d, c.code, c.detail)
			}
			if on, err := r.client.DeveloperMode(t.Context()); err != nil ||
				on == c.options.NoDeveloperMode {
				t.Errorf("%s: the connection is out of step: %v, %v", c.name, on, err)
			}
			_, err := r.client.call(t.Context(), "test", "x", c.request)
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

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	refusal := func(code string) string {
		return frame("<key>Error</key><string>" + code + "</string>")
	}
	list := func(key, entries string) string {
		return frame("<key>" + key + "</key><array>" + entries + "</array>")
	}
	suite.Fails(t, "nothing", "", images, io.ErrUnexpectedEOF)
	suite.Fails(t, "half", "\x00\x00\x00\x09<", find, io.ErrUnexpectedEOF)
	suite.Fails(t, "no plist", "\x00\x00\x00\x02hi", images, plist.ErrFormat)
	suite.Fails(t, "too long", "\x7f\x00\x00\x00", images, link.ErrTooLarge)
	suite.Fails(t, "no list", frame(""), images, ErrProtocol)
	suite.Fails(t, "list of text", list("EntryList", "<string>x</string>"), images, ErrProtocol)
	suite.Fails(t, "long list", list("EntryList", strings.Repeat("<dict/>", MaxImages+1)), images,
		ErrProtocol)
	suite.Fails(t, "refused", refusal("InternalError"), images, ErrInternal)
	suite.Fails(t, "nothing told", frame(""), find, ErrProtocol)
	suite.Fails(t, "number", frame("<key>ImageSignature</key><integer>1</integer>"), find,
		ErrProtocol)
	suite.Fails(t, "list of numbers", list("ImageSignature", "<integer>1</integer>"), find,
		ErrProtocol)
	suite.Fails(t, "long signatures",
		list("ImageSignature", strings.Repeat("<data/>", MaxImages+1)), find, ErrProtocol)
	suite.Fails(t, "locked", refusal("DeviceLocked"), find, ErrDeviceLocked)
	suite.Fails(t, "no identifiers", frame(""), identifiers, ErrProtocol)
	suite.Fails(t, "no status", frame(""), mode, ErrProtocol)
	suite.Fails(t, "old", refusal("UnknownCommand"), mode, errors.ErrUnsupported)
}

// TestOtherDevices uses answers from the protocol sheet of versions that the virtual
// device does not have.
func TestOtherDevices(t *testing.T) {
	t.Parallel()
	sig := []byte{1, 2}
	for _, c := range []struct {
		name string
		in   plist.Dict
		want Lookup
	}{
		{
			"iOS 12, mounted",
			plist.Dict{"ImagePresent": true, "ImageSignature": sig, "Status": "Complete"},
			Lookup{true, [][]byte{sig}},
		},
		{"iOS 12", plist.Dict{"ImagePresent": false, "Status": "Complete"}, Lookup{}},
		{
			"no ImagePresent", plist.Dict{"ImageSignature": []any{sig}, "Status": "Complete"},
			Lookup{true, [][]byte{sig}},
		},
		{"iOS 14", plist.Dict{"ImageSignature": []any{}, "Status": "Complete"}, Lookup{}},
		{"status alone", plist.Dict{"Status": "Complete"}, Lookup{}},
	} {
		if got, err := decodeLookup(t.Context(), c.in); err != nil ||
			!reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: decodeLookup(%v) = %+v, %v, want %+v", c.name, c.in, got, err, c.want)
		}
	}
	got, err := decodeImages(t.Context(), plist.Dict{"EntryList": []any{
		plist.Dict{"DiskImageType": "Cryptex", "MountPath": "/x", "IsMounted": true},
		plist.Dict{"MountPath": "/private/var"},
		plist.Dict{"DiskImageType": "Developer", "IsMounted": false, "MountPath": "/Developer"},
		plist.Dict{"DiskImageType": "Developer"}, plist.Dict{"IsMounted": "yes"},
	}})
	if err != nil || len(got) != 5 {
		t.Fatalf("decodeImages = %+v, %v", got, err)
	}
	for n, want := range []struct{ mounted, developer bool }{
		{true, true}, {true, false}, {false, false}, {false, false}, {false, false},
	} {
		if i := got[n]; i.Mounted != want.mounted || i.Developer() != want.developer {
			t.Errorf("image %d: %+v, want %+v", n, i, want)
		}
	}
}

func TestDeadlineBreaksStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := linktest.Pipe() // the device does not answer
		defer d.Close()
		cl := New(c)
		start := time.Now()
		if _, err := cl.Images(context.Background()); !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(start) != callTimeout {
			t.Errorf("Images = %v after %v", err, time.Since(start))
		}
		if _, err := cl.Images(t.Context()); !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "out of step") {
			t.Errorf("second call = %v", err)
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

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(
		"<plist><dict><key>EntryList</key><array><dict><key>MountPath</key><string>/x</string></dict></array></dict></plist>",
	))
	f.Add([]byte(
		"<plist><dict><key>ImageSignature</key><array><data>AQ==</data></array><key>ImagePresent</key><true/></dict></plist>",
	))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := plist.DecodeDict(b)
		if err != nil {
			return
		}
		if l, err := decodeLookup(t.Context(), d); (l == nil) == (err == nil) {
			t.Errorf("decodeLookup = %+v, %v", l, err)
		}
		images, err := decodeImages(t.Context(), d)
		if (images == nil) == (err == nil) {
			t.Errorf("decodeImages = %+v, %v", images, err)
		}
		for _, i := range images {
			again, err := decodeImage(i.entry())
			if err != nil || again.Type != i.Type || again.MountPath != i.MountPath ||
				again.Mounted != i.Mounted {
				t.Errorf("%+v became %+v", i, again)
			}
		}
	})
}
