package usbmux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// xmlHead begins every property list that usbmuxd sends.
const xmlHead = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
`

// The replies below were received from usbmuxd 1.1.1 (Debian 12).
const (
	realBUID = "\x14\x01\x00\x00\x01\x00\x00\x00\b\x00\x00\x00\x03\x00\x00\x00" + xmlHead +
		"<dict>\n\t<key>BUID</key>\n\t<string>F7DDA4AB-1323-D651-2E79-9156D61886ED</string>\n</dict>\n</plist>\n"
	realEmpty = "\xed\x00\x00\x00\x01\x00\x00\x00\b\x00\x00\x00\x00\x00\x00\x00" + xmlHead +
		"<dict>\n\t<key>DeviceList</key>\n\t<array/>\n</dict>\n</plist>\n"
	realRefuse = "&\x01\x00\x00\x01\x00\x00\x00\b\x00\x00\x00\x05\x00\x00\x00" + xmlHead +
		"<dict>\n\t<key>MessageType</key>\n\t<string>Result</string>\n\t<key>Number</key>\n\t<integer>2</integer>\n</dict>\n</plist>\n"
	realBinary = "\x14\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x06\x00\x00\x00"
)

func TestReadFrameOfUsbmuxd(t *testing.T) {
	t.Parallel()
	r := strings.NewReader(realBUID + realEmpty + realRefuse + realBinary)
	f, err := readFrame(r, maxReply)
	if err != nil || f.version != 1 || f.message != msgPlist || f.tag != 3 {
		t.Fatalf("readFrame = %+v, %v", f, err)
	}
	_, d, ok, err := decodeResult(f)
	if s, _ := d.String("BUID"); ok || err != nil || s != "F7DDA4AB-1323-D651-2E79-9156D61886ED" {
		t.Errorf("BUID reply = %v, %v", d, err)
	}
	f, _ = readFrame(r, maxReply)
	_, d, _, _ = decodeResult(f)
	if list, ok := d.Array("DeviceList"); !ok || len(list) != 0 || f.tag != 0 {
		t.Errorf("DeviceList reply = %v, tag %d", d, f.tag)
	}
	f, _ = readFrame(r, maxReply)
	if res, _, ok, err := decodeResult(f); res != BadDevice || !ok || err != nil {
		t.Errorf("Result = %v, %v, %v; want 2", res, ok, err)
	}
	f, _ = readFrame(r, maxReply)
	if res, _, ok, err := decodeResult(f); res != BadVersion || !ok || err != nil {
		t.Errorf("binary Result = %v, %v, %v; want 6", res, ok, err)
	}
	_, err = readFrame(r, maxReply)
	if err != io.EOF {
		t.Errorf("at the end readFrame = %v, want EOF", err)
	}
}

// The binary result must be the same bytes as usbmuxd's. The XML result may differ in
// white space only.
func TestResultFrame(t *testing.T) {
	t.Parallel()
	if got := appendFrame(nil, resultFrame(versionBinary, 1, BadVersion)); string(
		got,
	) != realBinary {
		t.Errorf("binary result = % x, want % x", got, realBinary)
	}
	got := appendFrame(nil, resultFrame(versionPlist, 5, BadDevice))
	if want := realRefuse[4:16]; string(got[4:16]) != want {
		t.Errorf("header = % x, want % x", got[4:16], want)
	}
	a, err1 := plist.DecodeDict(got[16:])
	b, err2 := plist.DecodeDict([]byte(realRefuse[16:]))
	if err1 != nil || err2 != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("result = %v, want %v", a, b)
	}
	if n := binary.LittleEndian.Uint32(got); int(n) != len(got) {
		t.Errorf("length field %d of %d bytes", n, len(got))
	}
}

func TestReadFrameRefusals(t *testing.T) {
	t.Parallel()
	head := func(n uint32) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, n), 1, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0)
	}
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"half a header", head(16)[:9], io.ErrUnexpectedEOF},
		{"no body", head(20), io.ErrUnexpectedEOF},
		{"half a body", append(head(20), 1, 2), io.ErrUnexpectedEOF},
	} {
		if _, err := readFrame(bytes.NewReader(c.in), maxRequest); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for _, n := range []uint32{0, 15, maxRequest + 1, 1<<32 - 1} {
		f, err := readFrame(bytes.NewReader(head(n)), maxRequest)
		var e *LengthError
		if !errors.As(err, &e) || e.Length != n || f.tag != 7 {
			t.Errorf("length %d: %+v, %v; want a LengthError and the tag", n, f, err)
		}
	}
}

// A frame with a large declared length and few bytes must not cost memory.
func TestReadFrameMemory(t *testing.T) {
	in := append(binary.LittleEndian.AppendUint32(nil, maxReply), make([]byte, 12+100)...)
	got := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			readFrame(bytes.NewReader(in), maxReply)
		}
	}).AllocedBytesPerOp()
	if got > 256<<10 {
		t.Errorf("%d bytes taken for a frame of 100", got)
	}
}

func TestReadFrameTakesOneFrameOnly(t *testing.T) {
	t.Parallel()
	r := strings.NewReader(realBinary + "service bytes")
	if _, err := readFrame(r, maxRequest); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "service bytes" {
		t.Errorf("left over %q", rest)
	}
}

func TestSwapPort(t *testing.T) {
	t.Parallel()
	if got := swapPort(62078); got != 32498 {
		t.Errorf("swapPort(62078) = %d, want 32498", got)
	}
	for _, p := range []uint16{0, 1, 256, 65535} {
		if swapPort(swapPort(p)) != p {
			t.Errorf("port %d does not survive", p)
		}
	}
}

func TestBinaryConnect(t *testing.T) {
	t.Parallel()
	want := []byte{3, 0, 0, 0, 0xF2, 0x7E, 0, 0}
	if got := appendConnect(nil, connectRequest{3, 62078}); !bytes.Equal(got, want) {
		t.Errorf("appendConnect = % x, want % x", got, want)
	}
	for _, b := range [][]byte{want, want[:6]} { // some clients leave the padding out
		if r, err := decodeConnect(b); err != nil || r != (connectRequest{3, 62078}) {
			t.Errorf("decodeConnect(% x) = %+v, %v", b, r, err)
		}
	}
	if _, err := decodeConnect(want[:5]); err == nil {
		t.Error("a short CONNECT is accepted")
	}
}

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
		if a, err := decodeSockaddr(got); err != nil || a.String() != c.back {
			t.Errorf("%s %s reads back as %v, %v", c.goos, c.addr, a, err)
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
	if e.DeviceID != 3 || e.UDID != "00008030-001A35E40212345E" || e.ConnectionType != USB {
		t.Errorf("decodeEntry = %d %q %q", e.DeviceID, e.UDID, e.ConnectionType)
	}
	if e.ProductID != 0x12A8 || e.ConnectionSpeed != 480000000 {
		t.Errorf("decodeEntry = product %#x, speed %d", e.ProductID, e.ConnectionSpeed)
	}
	if e.LocationID != 1<<32-1 {
		t.Errorf("decodeEntry = location %#x, want %#x", e.LocationID, uint32(1<<32-1))
	}
	if e.Properties["New"] != true {
		t.Errorf("decodeEntry keeps the properties %v, want New", e.Properties)
	}
	delete(usb, "DeviceID")
	if e, err := decodeEntry(usb); err != nil || e.DeviceID != 3 {
		t.Errorf("id in the properties alone: %+v, %v", e, err)
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
			if err != nil || f.tag != 0 || f.version != version {
				t.Fatalf("%v in version %d: %+v, %v", kind, version, f, err)
			}
			ev, known, err := decodeEvent(f)
			if err != nil || !known || ev.Kind != kind || ev.Entry.DeviceID != 7 {
				t.Errorf("%v in version %d reads back as %+v, %v, %v", kind, version, ev, known,
					err)
			}
			if kind == Attached && (ev.Entry.UDID != entry.UDID || ev.Entry.ProductID != 0x12A8 ||
				ev.Entry.LocationID != 1<<16|7) {
				t.Errorf("entry in version %d: %+v", version, ev.Entry)
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
	if len(long) != 268 || long[261] != 0 {
		t.Errorf("a long serial number is not cut to 255 and a NUL")
	}
}

func TestUnknownEvents(t *testing.T) {
	t.Parallel()
	f, _ := plistFrame(0, plist.Dict{"MessageType": "DeviceColour", "DeviceID": int64(1)})
	if _, known, err := decodeEvent(f); known || err != nil {
		t.Errorf("unknown event: %v, %v; want it passed over", known, err)
	}
	if _, known, err := decodeEvent(frame{message: 7}); known || err != nil {
		t.Errorf("unknown message: %v, %v; want it passed over", known, err)
	}
	bad, _ := plistFrame(0, plist.Dict{"MessageType": "Detached"})
	for _, f := range []frame{
		bad, {message: msgDeviceAdd, body: make([]byte, 267)},
		{message: msgDeviceRemove, body: []byte{1}}, {message: msgPlist, body: []byte("x")},
	} {
		if _, known, err := decodeEvent(f); known || err == nil {
			t.Errorf("%+v: %v, %v; want an error", f, known, err)
		}
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, network, address string }{
		{"127.0.0.1:27015", "tcp", "127.0.0.1:27015"},
		{"host.name:5000", "tcp", "host.name:5000"},
		{"[::1]:5000", "tcp", "[::1]:5000"},
		{"[fe80::1%eth0]:05000", "tcp", "[fe80::1%eth0]:5000"},
		{"tcp://h:5", "tcp", "h:5"},
		{"tcp://[::1]:5/", "tcp", "[::1]:5"},
		{"/tmp/mux.sock", "unix", "/tmp/mux.sock"},
		{"/tmp/a:5", "unix", "/tmp/a:5"},
		{"./mux.sock", "unix", "./mux.sock"},
		{"UNIX:/tmp/mux.sock", "unix", "/tmp/mux.sock"},
		{"unix:mux.sock", "unix", "mux.sock"},
		{"UNIX:///tmp/mux.sock", "unix", "/tmp/mux.sock"},
		{"unix:///tmp/mux.sock", "unix", "/tmp/mux.sock"},
		{`unix:C:\mux.sock`, "unix", `C:\mux.sock`},
	} {
		network, address, err := ParseAddress(c.in)
		if err != nil {
			t.Errorf("ParseAddress(%q): %v", c.in, err)
		}
		if network != c.network || address != c.address {
			t.Errorf("ParseAddress(%q) = %q, %q; want %q, %q", c.in, network, address, c.network,
				c.address)
		}
	}
	for _, in := range []string{
		"", "mux.sock", "host", "host:", "host:http", "host:70000", "host:-1", "::1:5000",
		"http://h:5", "unix:", "unix://tmp/x", "unix:///", "UNIX:/a\x00b", "a/b:5", "tcp://h",
	} {
		if network, address, err := ParseAddress(in); err == nil {
			t.Errorf("ParseAddress(%q) = %q, %q; want an error", in, network, address)
		}
	}
	if _, err := New(Options{Address: "mux.sock"}); err == nil {
		t.Error("New takes an address that it does not know")
	}
}

func TestDefaultAddress(t *testing.T) {
	t.Parallel()
	if got := DefaultAddress("windows"); got != "127.0.0.1:27015" {
		t.Errorf("windows: %s", got)
	}
	if got := DefaultAddress("darwin"); got != "/var/run/usbmuxd" {
		t.Errorf("darwin: %s", got)
	}
	for release, want := range map[string]bool{
		"5.15.90.1-microsoft-standard-WSL2\n": true, "4.4.0-19041-Microsoft": true,
		"6.1.0-13-amd64\n": false,
	} {
		if got := isWindowsKernel(release); got != want {
			t.Errorf("isWindowsKernel(%q) = %v", release, got)
		}
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  *Error
		text string
		is   []error
	}{
		{
			&Error{Op: "connect", Subject: "device 3 port 1", Code: ConnectionRefused},
			"usbmux: connect device 3 port 1: connection refused (3)",
			[]error{ConnectionRefused, syscall.ECONNREFUSED},
		},
		{
			&Error{Op: "connect", Subject: "device 9 port 1", Code: BadDevice},
			"usbmux: connect device 9 port 1: no such device (2)",
			[]error{BadDevice, fs.ErrNotExist},
		},
		{
			&Error{Op: opReadRecord, Subject: "X", Code: NotFound},
			"usbmux: read pair record X: no such record (2)", []error{NotFound, fs.ErrNotExist},
		},
		{
			&Error{Op: opSaveRecord, Subject: "X", Code: noPermission},
			"usbmux: save pair record X: permission denied (13)", []error{fs.ErrPermission},
		},
		{&Error{Op: "list", Code: 77}, "usbmux: list: refused (77)", []error{Result(77)}},
		{
			&Error{Op: "list", Err: io.ErrUnexpectedEOF}, "usbmux: list: unexpected EOF",
			[]error{io.ErrUnexpectedEOF},
		},
	} {
		if c.err.Error() != c.text {
			t.Errorf("text %q, want %q", c.err.Error(), c.text)
		}
		for _, target := range c.is {
			if !errors.Is(c.err, target) {
				t.Errorf("%v is not %v", c.err, target)
			}
		}
		if errors.Is(c.err, Result(99)) ||
			c.err.Code != ConnectionRefused && errors.Is(c.err, syscall.ECONNREFUSED) {
			t.Errorf("%v matches what it is not", c.err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	for _, s := range []string{
		realBUID, realEmpty, realRefuse, realBinary, "", "\x10\x00\x00\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bytes.NewReader(b), maxRequest)
		cut, rest, ok, cutErr := cutFrame(b, maxRequest)
		if (err == nil) != ok || ok && cutErr != nil {
			t.Fatalf("readFrame: %v, cutFrame: %v, %v", err, ok, cutErr)
		}
		if !ok {
			return
		}
		if !reflect.DeepEqual(appendFrame(nil, got), b[:len(b)-len(rest)]) ||
			!bytes.Equal(cut.body, got.body) {
			t.Fatalf("frame does not survive: %+v", got)
		}
		decodeResult(got)
	})
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
		if known && (err != nil || ev.Kind == 0) {
			t.Fatalf("%+v, %v", ev, err)
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

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{
		"127.0.0.1:27015", "[::1]:5", "unix:///x", "UNIX:/x", "tcp://h:5", "/x", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n1, a1, err := ParseAddress(s)
		if err == nil && n1 == "tcp" {
			if n2, a2, err := ParseAddress(a1); err != nil || n2 != n1 || a2 != a1 {
				t.Fatalf("%q gives %q, which gives %q %q, %v", s, a1, n2, a2, err)
			}
		}
	})
}

func FuzzDecodeConnect(f *testing.F) {
	f.Add([]byte{3, 0, 0, 0, 0xF2, 0x7E, 0, 0})
	f.Add([]byte{3})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeConnect(b)
		if err == nil && !bytes.Equal(appendConnect(nil, r)[:6], b[:6]) {
			t.Fatalf("% x reads as %+v", b, r)
		}
	})
}
