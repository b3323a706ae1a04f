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
	"strings"
	"testing"
	"testing/iotest"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// The bytes are those of docs/protocols. Hosts of iOS 17 send this request, and a device
// sends this response.
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

// wantTerms checks what decodeResponse makes of a response.
func wantTerms(t *testing.T, body []byte, want terms) {
	t.Helper()
	got, err := decodeResponse(body)
	if err != nil {
		t.Errorf("decodeResponse(%s): %v", body, err)
	}
	if got != want {
		t.Errorf("decodeResponse(%s) = %+v, want %+v", body, got, want)
	}
}

func TestHandshakeGolden(t *testing.T) {
	t.Parallel()
	asked, err := appendRequest(nil, 16000)
	if err != nil {
		t.Errorf("appendRequest: %v", err)
	}
	if string(asked) != goldenRequest {
		t.Errorf("request %q, want %q", asked, goldenRequest)
	}
	response, err := appendResponse(nil, goldenTerms)
	if err != nil {
		t.Errorf("appendResponse: %v", err)
	}
	if string(response) != goldenResponse {
		t.Errorf("response %q, want %q", response, goldenResponse)
	}
	// The response arrives byte by byte, and the first packet follows.
	r := iotest.OneByteReader(strings.NewReader(goldenResponse + "packet"))
	body, err := readFrame(r)
	if err != nil {
		t.Fatal(err)
	}
	wantTerms(t, body, goldenTerms)
	if rest, _ := io.ReadAll(r); string(rest) != "packet" {
		t.Errorf("behind the handshake %q, want the packet", rest)
	}
	body, err = readFrame(strings.NewReader(goldenRequest))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRequest(body)
	if err != nil {
		t.Errorf("decodeRequest: %v", err)
	}
	if want := (request{Type: typeRequest, MTU: 16000}); got != want {
		t.Errorf("decodeRequest = %+v, want %+v", got, want)
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
	if err != nil {
		t.Fatal(err)
	}
	if b[8] != 0 {
		t.Errorf("the length field % x of the response does not fit in one byte", b[8:10])
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
			if got != (terms{}) {
				t.Errorf("%s: terms %+v, want none", name, got)
			}
			if err == nil {
				t.Errorf("%s: decodeResponse succeeds", name)
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
		q, err := decodeRequest(body)
		if !errors.As(err, &e) {
			t.Errorf("request, %s: %v, want a HandshakeError", name, err)
		}
		if q != (request{}) {
			t.Errorf("request, %s: %+v, want none", name, q)
		}
	}
	for n := range len(goldenResponse) {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		body, err := readFrame(strings.NewReader(goldenResponse[:n]))
		if err != want {
			t.Errorf("the first %d bytes: %v, want %v", n, err, want)
		}
		if body != nil {
			t.Errorf("the first %d bytes: body %q, want none", n, body)
		}
	}
}

func frame(body string) string {
	return magic + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
}

// TestResponseLenient has responses in which a device leaves fields out or adds some.
func TestResponseLenient(t *testing.T) {
	t.Parallel()
	body := `{"clientParameters":{"address":"fd00::2","dns":[]},"serverAddress":"fd00::1","serverRSDPort":1,"quality":{"a":1}}`
	wantTerms(t, []byte(body), terms{
		host: netip.MustParsePrefix("fd00::2/64"), device: netip.MustParseAddr("fd00::1"),
		rsdPort: 1, mtu: defaultMTU,
	})
	for mask, want := range map[string]int{
		"ffff:ffff:ffff:ffff::": 64, "ffff:ffff:ffff::": 48, "fe00::": 7,
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe": 127,
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": 128,
	} {
		if n, err := prefixLength(mask); err != nil {
			t.Errorf("prefixLength(%s): %v", mask, err)
		} else if n != want {
			t.Errorf("prefixLength(%s) = %d, want %d", mask, n, want)
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
	wantPacket(t, "dummy", dummy)
	n, err := packetLength([]byte{0x6f, 0, 0, 0, 0xff, 0xff})
	if err != nil {
		t.Errorf("the longest packet: %v", err)
	}
	if n != maxPacket {
		t.Errorf("the longest packet has %d bytes, want %d", n, maxPacket)
	}
	for _, first := range []byte{0x00, 0x45, 0x5f, 0x70, 'C', 0xff} {
		n, err := packetLength([]byte{first, 0, 0, 0, 0, 20})
		if n != 0 {
			t.Errorf("%#x: length %d, want 0", first, n)
		}
		var e *PacketError
		if !errors.As(err, &e) {
			t.Errorf("%#x: %v, want a PacketError", first, err)
		} else if e.First != first {
			t.Errorf("%#x: the PacketError has the byte %#x", first, e.First)
		}
	}
}

// synPacket returns a TCP packet with these flags and options and a valid checksum.
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

// The checksum must be valid for every value, wherever the option is.
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
		if err != nil {
			t.Fatalf("%q: %+v cannot be read back: %v", b, got, err)
		}
		if back != got {
			t.Fatalf("%q: %+v comes back as %+v", b, got, back)
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
		if changed > 4 {
			t.Fatalf("% x becomes % x: %d bytes are changed", before, b, changed)
		}
		if n := min(ipHeader, len(b)); !bytes.Equal(b[:n], before[:n]) {
			t.Fatalf("% x becomes % x: the IP header is changed", before, b)
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
