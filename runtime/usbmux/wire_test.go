package usbmux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
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

// mustReadFrame reads the next frame.
func mustReadFrame(t *testing.T, r io.Reader) frame {
	t.Helper()
	f, err := readFrame(r, maxReply)
	if err != nil {
		t.Fatalf("readFrame: %v", err)
	}
	return f
}

// wantHead checks the header of a frame, without its length.
func wantHead(t *testing.T, f frame, version, message, tag uint32) {
	t.Helper()
	want := [...]uint32{version, message, tag}
	if got := [...]uint32{f.version, f.message, f.tag}; got != want {
		t.Errorf("version, message and tag are %d, want %d", got, want)
	}
}

// wantResult checks that a frame is a Result with this tag and number.
func wantResult(t *testing.T, f frame, tag uint32, want Result) {
	t.Helper()
	got, d, ok, err := decodeResult(f)
	if err != nil {
		t.Errorf("decodeResult: %v", err)
	} else if !ok {
		t.Errorf("%v is not a Result", d)
	}
	if got != want {
		t.Errorf("the result is %d, want %d", got, want)
	}
	if f.tag != tag {
		t.Errorf("the tag of the result is %d, want %d", f.tag, tag)
	}
}

func TestReadFrameOfUsbmuxd(t *testing.T) {
	t.Parallel()
	r := strings.NewReader(realBUID + realEmpty + realRefuse + realBinary)
	f := mustReadFrame(t, r)
	wantHead(t, f, versionPlist, msgPlist, 3)
	_, d, ok, err := decodeResult(f)
	if err != nil {
		t.Errorf("BUID reply: %v", err)
	}
	if ok {
		t.Errorf("the BUID reply %v is taken for a Result", d)
	}
	if s, _ := d.String("BUID"); s != "F7DDA4AB-1323-D651-2E79-9156D61886ED" {
		t.Errorf("BUID = %q, want F7DDA4AB-1323-D651-2E79-9156D61886ED", s)
	}
	f = mustReadFrame(t, r)
	wantHead(t, f, versionPlist, msgPlist, 0)
	_, d, _, _ = decodeResult(f)
	if list, ok := d.Array("DeviceList"); !ok || len(list) != 0 {
		t.Errorf("DeviceList reply = %v, want an empty list", d)
	}
	wantResult(t, mustReadFrame(t, r), 5, BadDevice)
	wantResult(t, mustReadFrame(t, r), 1, BadVersion)
	_, err = readFrame(r, maxReply)
	if err != io.EOF {
		t.Errorf("at the end readFrame = %v, want EOF", err)
	}
}

// The binary result must be the same bytes as usbmuxd's. The XML result may differ in
// white space only.
func TestResultFrame(t *testing.T) {
	t.Parallel()
	got := appendFrame(nil, resultFrame(versionBinary, 1, BadVersion))
	if string(got) != realBinary {
		t.Errorf("binary result = % x, want % x", got, realBinary)
	}
	got = appendFrame(nil, resultFrame(versionPlist, 5, BadDevice))
	if want := realRefuse[4:16]; string(got[4:16]) != want {
		t.Errorf("header = % x, want % x", got[4:16], want)
	}
	a, err1 := plist.DecodeDict(got[16:])
	b, err2 := plist.DecodeDict([]byte(realRefuse[16:]))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
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
		if !errors.As(err, &e) {
			t.Errorf("length %d: %v, want a LengthError", n, err)
		} else if e.Length != n {
			t.Errorf("length %d: the error has the length %d", n, e.Length)
		}
		if f.tag != 7 {
			t.Errorf("length %d: tag %d, want 7", n, f.tag)
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
	// A client may leave the padding out.
	for _, b := range [][]byte{want, want[:6]} {
		r, err := decodeConnect(b)
		if err != nil {
			t.Errorf("decodeConnect(% x): %v", b, err)
		}
		if want := (connectRequest{3, 62078}); r != want {
			t.Errorf("decodeConnect(% x) = %+v, want %+v", b, r, want)
		}
	}
	if _, err := decodeConnect(want[:5]); err == nil {
		t.Error("a short CONNECT is accepted")
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
		if network != c.network {
			t.Errorf("ParseAddress(%q): network %q, want %q", c.in, network, c.network)
		}
		if address != c.address {
			t.Errorf("ParseAddress(%q): address %q, want %q", c.in, address, c.address)
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
		if errors.Is(c.err, Result(99)) {
			t.Errorf("%v matches the result 99", c.err)
		}
		if c.err.Code != ConnectionRefused && errors.Is(c.err, syscall.ECONNREFUSED) {
			t.Errorf("%v matches ECONNREFUSED", c.err)
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
		if (err == nil) != ok {
			t.Fatalf("readFrame: %v, cutFrame: %v", err, ok)
		}
		if ok && cutErr != nil {
			t.Fatalf("cutFrame: %v", cutErr)
		}
		if !ok {
			return
		}
		encoded, want := appendFrame(nil, got), b[:len(b)-len(rest)]
		if !bytes.Equal(encoded, want) {
			t.Fatalf("appendFrame = % x, want % x", encoded, want)
		}
		if !bytes.Equal(cut.body, got.body) {
			t.Fatalf("cutFrame: body % x, want % x", cut.body, got.body)
		}
		decodeResult(got)
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
		if err != nil || n1 != "tcp" {
			return
		}
		n2, a2, err := ParseAddress(a1)
		if err != nil {
			t.Fatalf("%q gives %q, which gives %v", s, a1, err)
		}
		if n2 != n1 {
			t.Fatalf("%q gives %q, which has the network %q", s, a1, n2)
		}
		if a2 != a1 {
			t.Fatalf("%q gives %q, which gives %q", s, a1, a2)
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
