package tunnel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// The bytes are those of docs/protocols: what the hosts of iOS 17 send and what
// a device answers.
const (
	goldenRequest  = "CDTunnel\x00\x2d" + `{"type":"clientHandshakeRequest","mtu":16000}`
	goldenResponse = "CDTunnel\x00\xbd" +
		`{"clientParameters":{"address":"fd6c:7a1e:52b3::2","mtu":16000,"netmask":"ffff:ffff:ffff:ffff::"},"serverAddress":"fd6c:7a1e:52b3::1","serverRSDPort":58034,"type":"serverHandshakeResponse"}`
)

var goldenTerms = terms{
	host:    netip.MustParsePrefix("fd6c:7a1e:52b3::2/64"),
	device:  netip.MustParseAddr("fd6c:7a1e:52b3::1"),
	rsdPort: 58034,
	mtu:     16000,
}

func TestHandshakeGolden(t *testing.T) {
	t.Parallel()
	if b, err := appendRequest(nil, 16000); err != nil || string(b) != goldenRequest {
		t.Errorf("request %q, %v; want %q", b, err, goldenRequest)
	}
	if b, err := appendResponse(nil, goldenTerms); err != nil || string(b) != goldenResponse {
		t.Errorf("response %q, %v; want %q", b, err, goldenResponse)
	}
	// Byte by byte, with the first packet right behind.
	r := iotest.OneByteReader(strings.NewReader(goldenResponse + "packet"))
	body, err := readFrame(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeResponse(body); err != nil || got != goldenTerms {
		t.Errorf("decodeResponse = %+v, %v; want %+v", got, err, goldenTerms)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "packet" {
		t.Errorf("behind the handshake %q, want the packet", rest)
	}
	body, err = readFrame(strings.NewReader(goldenRequest))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeRequest(body); err != nil ||
		got != (request{Type: typeRequest, MTU: 16000}) {
		t.Errorf("decodeRequest = %+v, %v", got, err)
	}
}

// go-ios reads the low byte of the length alone.
func TestResponseIsShort(t *testing.T) {
	t.Parallel()
	long := goldenTerms
	long.host = netip.MustParsePrefix("fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/64")
	long.device = netip.MustParseAddr("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	long.rsdPort = 65535
	b, err := appendResponse(nil, long)
	if err != nil || b[8] != 0 {
		t.Errorf("%d bytes, %v: the length must fit in one byte", len(b), err)
	}
}

func TestHandshakeHostile(t *testing.T) {
	t.Parallel()
	response := func(old, new string) string {
		body := strings.Replace(goldenResponse[handshakeHeader:], old, new, 1)
		if old != "" && body == goldenResponse[handshakeHeader:] {
			t.Errorf("%q is not in the response", old)
		}
		return frame(body)
	}
	for name, in := range map[string]string{
		"other protocol":          "HTTP/1.1 400 Bad Request\r\n\r\n",
		"plist":                   "\x00\x00\x01\x00<?xml version",
		"no JSON":                 frame("junk"),
		"empty":                   frame(""),
		"array":                   frame("[]"),
		"nothing in it":           frame("{}"),
		"deep":                    frame(strings.Repeat(`{"a":`, 10_000)),
		"a request":               goldenRequest,
		"own type":                response("serverHandshakeResponse", "serverHandshakeRefusal"),
		"no device":               response("fd6c:7a1e:52b3::1", ""),
		"device IPv4":             response("fd6c:7a1e:52b3::1", "10.0.0.1"),
		"device mapped":           response("fd6c:7a1e:52b3::1", "::ffff:10.0.0.1"),
		"device with zone":        response("fd6c:7a1e:52b3::1", "fe80::1%en0"),
		"device multicast":        response("fd6c:7a1e:52b3::1", "ff02::1"),
		"device loopback":         response("fd6c:7a1e:52b3::1", "::1"),
		"host unspecified":        response("fd6c:7a1e:52b3::2", "::"),
		"host is device":          response("fd6c:7a1e:52b3::2", "fd6c:7a1e:52b3::1"),
		"host a name":             response("fd6c:7a1e:52b3::2", "localhost"),
		"netmask with holes":      response("ffff:ffff:ffff:ffff::", "ffff:0:ffff::"),
		"netmask IPv4":            response("ffff:ffff:ffff:ffff::", "255.255.255.0"),
		"netmask of nothing":      response("ffff:ffff:ffff:ffff::", "::"),
		"port 0":                  response("58034", "0"),
		"port negative":           response("58034", "-1"),
		"port 65536":              response("58034", "65536"),
		"port a string":           response("58034", `"58034"`),
		"mtu below IPv6's":        response("16000", "1279"),
		"mtu negative":            response("16000", "-1"),
		"mtu beyond packets":      response("16000", "65536"),
		"mtu beyond integers":     response("16000", "1e300"),
		"length without contents": "CDTunnel\xff\xff{",
	} {
		body, err := readFrame(strings.NewReader(in))
		if err == nil {
			var got terms
			got, err = decodeResponse(body)
			if err == nil || got != (terms{}) {
				t.Errorf("%s: %+v, %v", name, got, err)
				continue
			}
		}
		var e *HandshakeError
		if !errors.As(err, &e) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v is not a HandshakeError", name, err)
		}
	}
	for name, in := range map[string]string{
		"a response": goldenResponse, "mtu negative": frame(`{"mtu":-5}`), "no JSON": frame("mtu"),
		"mtu a string": frame(`{"mtu":"big"}`),
	} {
		body, err := readFrame(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		var e *HandshakeError
		if q, err := decodeRequest(body); !errors.As(err, &e) || q != (request{}) {
			t.Errorf("request, %s: %+v, %v", name, q, err)
		}
	}
	for n := range len(goldenResponse) {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if body, err := readFrame(strings.NewReader(goldenResponse[:n])); err != want ||
			body != nil {
			t.Errorf("the first %d bytes: %q, %v; want %v", n, body, err, want)
		}
	}
}

func frame(body string) string {
	return magic + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
}

// What devices may leave out or add.
func TestResponseLenient(t *testing.T) {
	t.Parallel()
	got, err := decodeResponse([]byte(
		`{"clientParameters":{"address":"fd00::2","dns":[]},"serverAddress":"fd00::1","serverRSDPort":1,"quality":{"a":1}}`,
	))
	want := terms{
		host: netip.MustParsePrefix("fd00::2/64"), device: netip.MustParseAddr("fd00::1"),
		rsdPort: 1, mtu: defaultMTU,
	}
	if err != nil || got != want {
		t.Errorf("decodeResponse = %+v, %v; want %+v", got, err, want)
	}
	for mask, want := range map[string]int{
		"ffff:ffff:ffff:ffff::": 64, "ffff:ffff:ffff::": 48, "fe00::": 7,
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe": 127,
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": 128,
	} {
		if n, err := prefixLength(mask); err != nil || n != want {
			t.Errorf("prefixLength(%s) = %d, %v; want %d", mask, n, err, want)
		}
	}
}

func TestGrant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ wish, most, want int }{
		{16000, 16000, 16000}, {65535, 16000, 16000}, {0, 16000, 1500}, {1, 16000, 1280},
		{1420, 1400, 1400}, {9000, 1000, 1280},
	} {
		if got := grant(c.wish, c.most); got != c.want {
			t.Errorf("grant(%d, %d) = %d, want %d", c.wish, c.most, got, c.want)
		}
	}
}

func TestPacketLength(t *testing.T) {
	t.Parallel()
	// The dummy that frida sends behind a large batch.
	dummy, _ := hex.DecodeString("6000000000003b01")
	dummy = append(dummy, make([]byte, 32)...)
	if n, err := packetLength(dummy); n != 40 || err != nil {
		t.Errorf("dummy: %d, %v", n, err)
	}
	if n, err := packetLength([]byte{0x6f, 0, 0, 0, 0xff, 0xff}); n != maxPacket || err != nil {
		t.Errorf("longest: %d, %v", n, err)
	}
	for _, first := range []byte{0x00, 0x45, 0x5f, 0x70, 'C', 0xff} {
		var e *PacketError
		if n, err := packetLength([]byte{first, 0, 0, 0, 0, 20}); n != 0 || !errors.As(err, &e) ||
			e.First != first {
			t.Errorf("% x: %d, %v", first, n, err)
		}
	}
}

// synPacket is a TCP packet with these flags and options and a right checksum.
func synPacket(flags byte, options []byte) []byte {
	for len(options)%4 != 0 {
		options = append(options, optionNop)
	}
	b := make([]byte, ipHeader+tcpHeader+len(options))
	b[0], b[6], b[7] = 0x60, protocolTCP, 64
	binary.BigEndian.PutUint16(b[4:], uint16(tcpHeader+len(options)))
	copy(b[8:], netip.MustParseAddr("fd00::1").AsSlice())
	copy(b[24:], netip.MustParseAddr("fd00::2").AsSlice())
	tcp := header.TCP(b[ipHeader:])
	tcp.Encode(&header.TCPFields{
		SrcPort: 58034, DstPort: 50000, SeqNum: 0xDEADBEEF, WindowSize: 0xFFFF,
		DataOffset: uint8(tcpHeader + len(options)), Flags: header.TCPFlags(flags),
	})
	copy(tcp[tcpHeader:], options)
	tcp.SetChecksum(0)
	tcp.SetChecksum(^sumTCP(b))
	return b
}

func TestClampMSS(t *testing.T) {
	t.Parallel()
	mss := func(v uint16) []byte {
		return binary.BigEndian.AppendUint16([]byte{optionMSS, optionMSSLen}, v)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	wscale, nop := []byte{3, 3, 7}, []byte{optionNop}
	for name, c := range map[string]struct{ in, want []byte }{
		"lowered":      {synPacket(0x02, mss(15940)), synPacket(0x02, mss(8132))},
		"in a SYN-ACK": {synPacket(0x12, mss(65535)), synPacket(0x12, mss(8132))},
		"after others": {
			synPacket(0x02, join(wscale, nop, mss(9000))),
			synPacket(0x02, join(wscale, nop, mss(8132))),
		},
		"at an odd place": {
			synPacket(0x02, join(wscale, mss(9000))), synPacket(0x02, join(wscale, mss(8132))),
		},
		"small enough": {synPacket(0x02, mss(8132)), synPacket(0x02, mss(8132))},
		"not a SYN":    {synPacket(0x10, mss(9000)), synPacket(0x10, mss(9000))},
		"behind the end": {
			synPacket(0x02, join([]byte{optionEnd}, mss(9000))),
			synPacket(0x02, join([]byte{optionEnd}, mss(9000))),
		},
		"no options": {synPacket(0x02, nil), synPacket(0x02, nil)},
		"length of zero": {
			synPacket(0x02, []byte{7, 0, 2, 4}), synPacket(0x02, []byte{7, 0, 2, 4}),
		},
		"longer than header": {
			synPacket(0x02, []byte{7, 200, 2, 4}), synPacket(0x02, []byte{7, 200, 2, 4}),
		},
		"cut": {synPacket(0x02, []byte{1, 1, 1, 2}), synPacket(0x02, []byte{1, 1, 1, 2})},
	} {
		clampMSS(c.in, 8132)
		if !bytes.Equal(c.in, c.want) {
			t.Errorf("%s:\n% x, want\n% x", name, c.in[ipHeader:], c.want[ipHeader:])
		}
	}
}

// The checksum is right for every value, wherever the option is.
func TestClampMSSChecksum(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		options := append(bytes.Repeat([]byte{optionNop}, r.IntN(3)), optionMSS, optionMSSLen,
			byte(r.Uint32()), byte(r.Uint32()))
		b := synPacket(0x02, options)
		most := uint16(r.Uint32())
		clampMSS(b, most)
		if sum := sumTCP(b); sum != 0xFFFF {
			t.Fatalf("clamped to %d: % x adds up to %04x", most, b, sum)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add([]byte(goldenRequest))
	f.Add([]byte(goldenResponse))
	f.Add([]byte(frame(`{"clientParameters":null,"serverRSDPort":1e2}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		body, err := readFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		if q, err := decodeRequest(body); err == nil && grant(q.MTU, MaxMTU) < minMTU {
			t.Fatalf("%q: granted %d", b, grant(q.MTU, MaxMTU))
		}
		got, err := decodeResponse(body)
		if err != nil {
			return
		}
		again, err := appendResponse(nil, got)
		if err != nil {
			t.Fatalf("%q: %+v cannot be written: %v", b, got, err)
		}
		back, err := decodeResponse(again[handshakeHeader:])
		if err != nil || !reflect.DeepEqual(back, got) {
			t.Fatalf("%q: %+v comes back as %+v, %v", b, got, back, err)
		}
	})
}

func FuzzClampMSS(f *testing.F) {
	f.Add(synPacket(0x02, []byte{2, 4, 62, 68}), uint16(8132))
	f.Add(synPacket(0x12, []byte{1, 2, 4, 62, 68}), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, most uint16) {
		before := bytes.Clone(b)
		clampMSS(b, most)
		changed := 0
		for i := range b {
			if b[i] != before[i] {
				changed++
			}
		}
		if changed > 4 || !bytes.Equal(b[:min(ipHeader, len(b))], before[:min(ipHeader, len(b))]) {
			t.Fatalf("% x becomes % x", before, b)
		}
		if len(b) >= ipHeader+tcpHeader && sumTCP(before) == 0xFFFF && sumTCP(b) != 0xFFFF {
			t.Fatalf("% x: the checksum breaks: % x", before, b)
		}
	})
}

func ExampleError() {
	fmt.Println(
		&Error{Op: "dial", Subject: "[fd6c:7a1e:52b3::1]:58034", Err: &downError{cause: io.EOF}},
	)
	// Output: tunnel: dial [fd6c:7a1e:52b3::1]:58034: the tunnel is down: EOF
}
