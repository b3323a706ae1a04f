package mobileimagemounter

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

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
		got, err := decodeLookup(t.Context(), c.in)
		if err != nil {
			t.Errorf("%s: decodeLookup(%v): %v", c.name, c.in, err)
			continue
		}
		if !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: decodeLookup(%v) = %+v, want %+v", c.name, c.in, *got, c.want)
		}
	}
	got, err := decodeImages(t.Context(), plist.Dict{"EntryList": []any{
		plist.Dict{"DiskImageType": "Cryptex", "MountPath": "/x", "IsMounted": true},
		plist.Dict{"MountPath": "/private/var"},
		plist.Dict{"DiskImageType": "Developer", "IsMounted": false, "MountPath": "/Developer"},
		plist.Dict{"DiskImageType": "Developer"}, plist.Dict{"IsMounted": "yes"},
	}})
	if err != nil {
		t.Fatalf("decodeImages: %v", err)
	}
	if len(got) != 5 {
		t.Fatalf("decodeImages = %+v, want 5 images", got)
	}
	for n, want := range []struct{ mounted, developer bool }{
		{true, true}, {true, false}, {false, false}, {false, false}, {false, false},
	} {
		i := got[n]
		if i.Mounted != want.mounted {
			t.Errorf("image %d: mounted is %v, want %v", n, i.Mounted, want.mounted)
		}
		if i.Developer() != want.developer {
			t.Errorf("image %d: developer is %v, want %v", n, i.Developer(), want.developer)
		}
	}
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
			if err != nil {
				t.Errorf("decodeImage of %+v: %v", i, err)
				continue
			}
			if again.Type != i.Type {
				t.Errorf("type %q became %q", i.Type, again.Type)
			}
			if again.MountPath != i.MountPath {
				t.Errorf("mount path %q became %q", i.MountPath, again.MountPath)
			}
			if again.Mounted != i.Mounted {
				t.Errorf("mounted %v became %v", i.Mounted, again.Mounted)
			}
		}
	})
}
