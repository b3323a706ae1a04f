package tunneld

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// The example of protocol sheet 45, section 6.
const preambleHex = "fd6c7a1e52b300000000000000000001b2e20000"

func TestPreamble(t *testing.T) {
	t.Parallel()
	want, err := hex.DecodeString(preambleHex)
	if err != nil {
		t.Fatal(err)
	}
	if got := appendPreamble(nil, tunnelAddress, 58034); !reflect.DeepEqual(got, want) {
		t.Errorf("appendPreamble = % x, want % x", got, want)
	}
	to, port, err := decodePreamble(want)
	if err != nil {
		t.Errorf("decodePreamble(% x): %v", want, err)
	}
	if to != tunnelAddress.As16() {
		t.Errorf("decodePreamble(% x): address %x, want %v", want, to, tunnelAddress)
	}
	if port != 58034 {
		t.Errorf("decodePreamble(% x): port %d, want 58034", want, port)
	}
	for name, bad := range map[string]string{
		"short": preambleHex[:38], "long": preambleHex + "00",
		"port 0":     preambleHex[:32] + "00000000",
		"port 65536": preambleHex[:32] + "00000100", "big-endian": preambleHex[:32] + "0000e2b2",
		"empty": "",
	} {
		b, err := hex.DecodeString(bad)
		if err != nil {
			t.Fatal(err)
		}
		if to, port, err := decodePreamble(b); err == nil {
			t.Errorf("%s: decodePreamble(% x) = %x, %d, want an error", name, b, to, port)
		}
	}
}

// entry returns the Entry that a decoder should return.
func entry(api API, id, address string, port, relay uint16, label string) Entry {
	return Entry{
		UDID: id, Address: netip.MustParseAddr(address), RSDPort: port, RelayPort: relay,
		Interface: label, API: api,
	}
}

// TestDecode covers the bodies of the protocol sheet and those of other versions.
func TestDecode(t *testing.T) {
	t.Parallel()
	const address = "fd6c:7a1e:52b3::1"
	for name, tt := range map[string]struct {
		decode func([]byte) ([]Entry, error)
		body   string
		want   []Entry
	}{
		"pymobiledevice3": {
			decodeList,
			`{"00008120-001A2D3E4F567890":[{"tunnel-address":"fd6c:7a1e:52b3::1","tunnel-port":58034,"interface":"usbmux-00008120-001A2D3E4F567890-USB"}]}`,
			[]Entry{entry(Python, udid, address, 58034, 0, "usbmux-00008120-001A2D3E4F567890-USB")},
		},
		"several": {
			decodeList,
			`{"b":[{"tunnel-address":"fd00::2","tunnel-port":2,"interface":"x","new":1},{"tunnel-address":"fd00::1","tunnel-port":1,"interface":"y"}],"a":[],"A":[{"tunnel-address":"fe80::1%en5","tunnel-port":65535,"interface":"fe80::1%en5"}]}`,
			[]Entry{
				entry(Python, "A", "fe80::1%en5", 65535, 0, "fe80::1%en5"),
				entry(Python, "b", "fd00::2", 2, 0, "x"), entry(Python, "b", "fd00::1", 1, 0, "y"),
			},
		},
		"none": {decodeList, `{}`, nil},
		"go-ios": {
			decodeTunnels,
			`[{"address":"fd6c:7a1e:52b3::1","rsdPort":58034,"udid":"00008120-001A2D3E4F567890","userspaceTun":true,"userspaceTunPort":60106}]`,
			[]Entry{entry(GoIOS, udid, address, 58034, 60106, "")},
		},
		"go-ios with a TUN": {
			decodeTunnels,
			`[{"address":"fd6c:7a1e:52b3::1","rsdPort":58034,"udid":"u","userspaceTun":false,"userspaceTunPort":60106}]`,
			[]Entry{entry(GoIOS, "u", address, 58034, 0, "")},
		},
		"go-ios null":  {decodeTunnels, "null\n", nil},
		"go-ios empty": {decodeTunnels, "[]\n", nil},
		"appium": {
			decodeRegistry,
			`{"tunnels":{"00008120-001A2D3E4F567890":{"udid":"00008120-001A2D3E4F567890","deviceId":4,"address":"fd6c:7a1e:52b3::1","rsdPort":58034,"services":{"com.apple.afc.shim.remote":{"port":"49152"}},"connectionType":"USB"}},"metadata":{"lastUpdated":"2025-01-01T00:00:00.000Z","totalTunnels":1,"activeTunnels":1}}`,
			[]Entry{entry(Appium, udid, address, 58034, 0, "")},
		},
		"appium none": {decodeRegistry, `{"tunnels":{},"metadata":{}}`, nil},
	} {
		got, err := tt.decode([]byte(tt.body))
		if err != nil {
			t.Errorf("%s: decode(%s): %v", name, tt.body, err)
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: decode(%s) = %+v, want %+v", name, tt.body, got, tt.want)
		}
	}
}

func TestDecodeBad(t *testing.T) {
	t.Parallel()
	many := "[" + strings.Repeat(`{"address":"::1","rsdPort":1,"udid":"u"},`, maxListed) +
		`{"address":"::1","rsdPort":1,"udid":"u"}]`
	for _, tt := range []struct {
		decode     func([]byte) ([]Entry, error)
		body, text string
	}{
		{decodeList, ``, "unexpected end"},
		{decodeList, `<html>`, "invalid character"},
		{decodeList, `[]`, "cannot unmarshal array"},
		{decodeList, `null`, "null"},
		{decodeList, `{"detail":"Not Found"}`, "cannot unmarshal string"},
		{decodeList, `{"u":[{"tunnel-port":1,"interface":"x"}]}`,
			`device "u": "" is not an address`},
		{
			decodeList, `{"u":[{"tunnel-address":"localhost","tunnel-port":1}]}`,
			`"localhost" is not an address`,
		},
		{decodeList, `{"u":[{"tunnel-address":"::1"}]}`, `device "u": no port`},
		{
			decodeList, `{"u":[{"tunnel-address":"::1","tunnel-port":65536}]}`,
			"cannot unmarshal number 65536",
		},
		{
			decodeList, `{"u":[{"tunnel-address":"::1","tunnel-port":-1}]}`,
			"cannot unmarshal number -1",
		},
		{
			decodeList, `{"u":[{"tunnel-address":"::1","tunnel-port":"1"}]}`,
			"cannot unmarshal string",
		},
		{decodeList, `{"":[{"tunnel-address":"::1","tunnel-port":1}]}`, "without a device"},
		{decodeTunnels, `{}`, "cannot unmarshal object"},
		{decodeTunnels, `[{"address":"::1","rsdPort":1}]`, "without a device"},
		{
			decodeTunnels, `[{"address":"::1","rsdPort":1,"udid":"u","userspaceTun":true}]`,
			"userspaceTun without a port",
		},
		{decodeTunnels, many, "4097 tunnels, over the limit of 4096"},
		{decodeRegistry, `{}`, `no "tunnels"`},
		{
			decodeRegistry, `{"tunnels":{"u":{"address":"::1","rsdPort":"1"}}}`,
			"cannot unmarshal string",
		},
		{func(b []byte) ([]Entry, error) {
			e, err := decodeStarted("u",
				b)
			return []Entry{e}[:0], err
		}, `{"address":"x","port":1}`, `"x" is not an address`},
	} {
		body := tt.body[:min(len(tt.body), 100)]
		list, err := tt.decode([]byte(tt.body))
		if len(list) != 0 {
			t.Errorf("decode(%s) = %+v, want none", body, list)
		}
		if !errors.Is(err, ErrAnswer) {
			t.Errorf("decode(%s): %v, want ErrAnswer", body, err)
		}
		if err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("decode(%s): %v, want %q", body, err, tt.text)
		}
	}
}

func TestSameUDID(t *testing.T) {
	t.Parallel()
	for _, other := range []string{udid, strings.ToLower(udid), strings.ReplaceAll(udid, "-", "")} {
		if !SameUDID(udid, other) {
			t.Errorf("%q is not %q", other, udid)
		}
	}
	if SameUDID(udid, udid[:len(udid)-1]) {
		t.Error("a part of an identifier is the same")
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err        *Error
		want       string
		permission bool
		exist      bool
	}{
		{
			&Error{Op: "list", Address: "h:1", Status: 401}, "tunneld: list h:1: 401 Unauthorized",
			true, false,
		},
		{
			&Error{Op: "start", Address: "h:1", Status: 501, Text: "task not created"},
			"tunneld: start h:1: 501 Not Implemented: task not created", false, true,
		},
		{
			&Error{Op: "list", Address: "h:1", Status: 404}, "tunneld: list h:1: 404 Not Found",
			false, false,
		},
		{
			&Error{Op: "find", Err: fmt.Errorf("no tunnel: %w", fs.ErrNotExist)},
			"tunneld: find: no tunnel: file does not exist", false, true,
		},
		{&Error{Op: "list", Address: "h:1", Status: 999}, "tunneld: list h:1: 999", false, false},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.err, got, tt.want)
		}
		if got := errors.Is(tt.err, fs.ErrPermission); got != tt.permission {
			t.Errorf("%v is fs.ErrPermission: %t, want %t", tt.err, got, tt.permission)
		}
		if got := errors.Is(tt.err, fs.ErrNotExist); got != tt.exist {
			t.Errorf("%v is fs.ErrNotExist: %t, want %t", tt.err, got, tt.exist)
		}
	}
}

func FuzzPreamble(f *testing.F) {
	b, _ := hex.DecodeString(preambleHex)
	f.Add(b)
	f.Add(b[:19])
	f.Fuzz(func(t *testing.T, b []byte) {
		to, port, err := decodePreamble(b)
		if err != nil {
			return
		}
		if again := appendPreamble(nil, netip.AddrFrom16(to), port); !reflect.DeepEqual(again, b) {
			t.Fatalf("% x becomes % x", b, again)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{
		`{"u":[{"tunnel-address":"fd00::1","tunnel-port":1,"interface":"x"}]}`,
		`[{"address":"fd00::1","rsdPort":1,"udid":"u","userspaceTun":true,"userspaceTunPort":2}]`,
		`{"tunnels":{"u":{"address":"fd00::1","rsdPort":1}}}`,
		`{"interface":"x","port":1,"address":"::1"}`, `null`, `{"url":"x"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, decode := range []func([]byte) ([]Entry, error){decodeList, decodeTunnels,
			decodeRegistry, func(b []byte) ([]Entry, error) {
				e, err := decodeStarted("u", b)
				if err != nil {
					return nil, err
				}
				return []Entry{e}, nil
			}} {
			list, err := decode(b)
			if err != nil {
				if list != nil {
					t.Fatalf("decode(%q) = %+v with an error", b, list)
				}
				if !errors.Is(err, ErrAnswer) {
					t.Fatalf("decode(%q): %v, want %v", b, err, ErrAnswer)
				}
			}
			for _, e := range list {
				if e.UDID == "" {
					t.Fatalf("decode(%q) = %+v without a UDID", b, e)
				}
				if !e.Address.IsValid() {
					t.Fatalf("decode(%q) = %+v without an address", b, e)
				}
				if e.RSDPort == 0 {
					t.Fatalf("decode(%q) = %+v without a port", b, e)
				}
			}
		}
		if s, wrong := decodeUpstream(b); wrong != nil && s != "" {
			t.Fatalf("decodeUpstream(%q) = %q, %+v", b, s, wrong)
		}
		_ = (&answer{body: b}).text()
	})
}
