package usbmux

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

func TestSockaddr(t *testing.T) {
	t.Parallel()
	v6 := "fe80000000000000a8bbccfffeddeeff"
	for _, c := range []struct {
		goos, addr string
		scope      uint32
		head       string // hex, then zeros up to 128
		back       string
	}{
		{"linux", "192.168.1.20", 0, "02000000c0a80114", "192.168.1.20"},
		{"windows", "192.168.1.20", 0, "02000000c0a80114", "192.168.1.20"},
		{"darwin", "192.168.1.20", 0, "10020000c0a80114", "192.168.1.20"},
		{"linux", "::ffff:10.0.0.1", 0, "020000000a000001", "10.0.0.1"},
		{
			"linux", "fe80::a8bb:ccff:fedd:eeff", 3, "0a00000000000000" + v6 + "03000000",
			"fe80::a8bb:ccff:fedd:eeff%3",
		},
		{
			"darwin", "fe80::a8bb:ccff:fedd:eeff", 3, "1c1e000000000000" + v6 + "03000000",
			"fe80::a8bb:ccff:fedd:eeff%3",
		},
		{
			"windows", "fe80::a8bb:ccff:fedd:eeff", 0, "1700000000000000" + v6 + "00000000",
			"fe80::a8bb:ccff:fedd:eeff",
		},
	} {
		got := encodeSockaddr(netip.MustParseAddr(c.addr), c.scope, c.goos)
		want := make([]byte, 128)
		copy(want, unhex(t, c.head))
		if !bytes.Equal(got, want) {
			t.Errorf("%s %s = % x, want % x", c.goos, c.addr, got[:32], want[:32])
		}
		if a, err := decodeSockaddr(got); err != nil {
			t.Errorf("%s %s: decodeSockaddr: %v", c.goos, c.addr, err)
		} else if a.String() != c.back {
			t.Errorf("%s %s reads back as %v, want %v", c.goos, c.addr, a, c.back)
		}
	}
	for _, bad := range [][]byte{
		nil, {2, 0}, make([]byte, 128), {10, 0, 0, 0, 0, 0, 0, 0}, {99, 0, 0, 0, 1, 2, 3, 4},
	} {
		if a, err := decodeSockaddr(bad); err == nil {
			t.Errorf("decodeSockaddr(% x) = %v, want an error", bad, a)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b := make([]byte, len(s)/2)
	for i := range b {
		for _, c := range s[2*i : 2*i+2] {
			b[i] = b[i]<<4 | byte(strings.IndexRune("0123456789abcdef", c))
		}
	}
	return b
}

func TestDecodeEntry(t *testing.T) {
	t.Parallel()
	usb := plist.Dict{"MessageType": "Attached", "DeviceID": int64(3), "Properties": plist.Dict{
		"ConnectionSpeed": int64(480000000), "ConnectionType": "USB", "DeviceID": int64(3),
		"LocationID": int64(-1), "ProductID": int64(4776),
		"SerialNumber": "00008030-001A35E40212345E", "New": true,
	}}
	e, err := decodeEntry(usb)
	if err != nil {
		t.Errorf("decodeEntry: %v", err)
	}
	want := Entry{
		DeviceID: 3, UDID: "00008030-001A35E40212345E", ConnectionType: USB, ProductID: 0x12A8,
		ConnectionSpeed: 480000000, LocationID: 1<<32 - 1, Properties: e.Properties,
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("decodeEntry = %+v\nwant %+v", e, want)
	}
	if e.Properties["New"] != true {
		t.Errorf("decodeEntry keeps the properties %v, want New", e.Properties)
	}
	delete(usb, "DeviceID")
	e, err = decodeEntry(usb)
	if err != nil {
		t.Errorf("id in the properties alone: %v", err)
	}
	if e.DeviceID != 3 {
		t.Errorf("id in the properties alone: %d, want 3", e.DeviceID)
	}
	for name, d := range map[string]plist.Dict{
		"nil":           nil,
		"no properties": {"DeviceID": int64(3)},
		"no id":         {"Properties": plist.Dict{}},
		"id 0":          {"DeviceID": int64(0), "Properties": plist.Dict{}},
		"id a string":   {"DeviceID": "3", "Properties": plist.Dict{}},
	} {
		if e, err := decodeEntry(d); err == nil {
			t.Errorf("%s: %+v, want an error", name, e)
		}
	}
}

func TestEventsInBothDialects(t *testing.T) {
	t.Parallel()
	entry := newEntry(Attachment{UDID: "00008030-001A35E40212345E"}, 7)
	for _, kind := range []EventKind{Attached, Detached, Paired} {
		for _, version := range []uint32{versionBinary, versionPlist} {
			f, err := eventFrame(version, Event{kind, entry})
			if err != nil {
				t.Fatalf("%v in version %d: %v", kind, version, err)
			}
			wantHead(t, f, version, f.message, 0)
			ev, known, err := decodeEvent(f)
			if err != nil {
				t.Errorf("%v in version %d: decodeEvent: %v", kind, version, err)
			}
			if !known {
				t.Errorf("%v in version %d is not known", kind, version)
			}
			if ev.Kind != kind {
				t.Errorf("%v in version %d reads back as %v", kind, version, ev.Kind)
			}
			want := Entry{DeviceID: 7}
			if kind == Attached {
				want.UDID, want.ProductID, want.LocationID = entry.UDID, 0x12A8, 1<<16|7
			}
			got := Entry{DeviceID: ev.Entry.DeviceID}
			if kind == Attached {
				got.UDID, got.ProductID = ev.Entry.UDID, ev.Entry.ProductID
				got.LocationID = ev.Entry.LocationID
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%v in version %d: entry %+v, want %+v", kind, version, got, want)
			}
		}
	}
}

// DEVICE_ADD has holes that a packed structure would hide: the layout is fixed
// at 268 bytes.
func TestDeviceAddLayout(t *testing.T) {
	t.Parallel()
	b := appendDeviceAdd(nil,
		Entry{DeviceID: 0x01020304, ProductID: 0x12A8, UDID: "abc", LocationID: 0x0A0B0C0D})
	want := make([]byte, 268)
	copy(want, []byte{4, 3, 2, 1, 0xA8, 0x12, 'a', 'b', 'c'})
	copy(want[264:], []byte{0x0D, 0x0C, 0x0B, 0x0A})
	if !bytes.Equal(b, want) {
		t.Errorf("DEVICE_ADD = % x", b)
	}
	long := appendDeviceAdd(nil, Entry{UDID: strings.Repeat("x", 400)})
	if len(long) != 268 {
		t.Fatalf("DEVICE_ADD with a long serial number has %d bytes, want 268", len(long))
	}
	if long[261] != 0 {
		t.Error("a long serial number is not cut to 255 and a NUL")
	}
}

func TestUnknownEvents(t *testing.T) {
	t.Parallel()
	unknown, _ := plistFrame(0, plist.Dict{"MessageType": "DeviceColour", "DeviceID": int64(1)})
	for _, f := range []frame{unknown, {message: 7}} {
		_, known, err := decodeEvent(f)
		if err != nil {
			t.Errorf("decodeEvent(%+v): %v", f, err)
		}
		if known {
			t.Errorf("%+v is a known event, want it passed over", f)
		}
	}
	bad, _ := plistFrame(0, plist.Dict{"MessageType": "Detached"})
	for _, f := range []frame{
		bad, {message: msgDeviceAdd, body: make([]byte, 267)},
		{message: msgDeviceRemove, body: []byte{1}}, {message: msgPlist, body: []byte("x")},
	} {
		_, known, err := decodeEvent(f)
		if err == nil {
			t.Errorf("decodeEvent(%+v) succeeds, want an error", f)
		}
		if known {
			t.Errorf("%+v is a known event", f)
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, version := range []uint32{0, 1} {
		for _, k := range []EventKind{Attached, Detached, Paired} {
			fr, err := eventFrame(version,
				Event{k, newEntry(Attachment{UDID: "x", Network: version == 1}, 1)})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(fr.message, fr.body)
		}
	}
	f.Fuzz(func(t *testing.T, message uint32, body []byte) {
		ev, known, err := decodeEvent(frame{message: message, body: body})
		if !known {
			return
		}
		if err != nil {
			t.Fatalf("%+v is known, but %v", ev, err)
		}
		if ev.Kind == 0 {
			t.Fatalf("%+v has no kind", ev)
		}
	})
}

func FuzzDecodeSockaddr(f *testing.F) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		f.Add(encodeSockaddr(netip.MustParseAddr("fe80::1"), 2, goos))
		f.Add(encodeSockaddr(netip.MustParseAddr("10.0.0.1"), 0, goos))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := decodeSockaddr(b); err == nil && !a.IsValid() {
			t.Fatal("invalid address without an error")
		}
	})
}
