// Package tunnel carries IPv6 between host and device, as iOS 17 and later
// require for most services, without help of the kernel: the packets of a
// tunnel end in a TCP stack inside this process, so nothing needs root, a
// driver or a network interface.
//
// Whatever the carrier is (CoreDeviceProxy over lockdown since 17.4, TLS with
// a pre-shared key since 18.2, QUIC from 17.0 to 18.1), it begins with one
// question and one answer, the CDTunnel handshake:
//
//	-> "CDTunnel" | u16 big-endian length | {"type":"clientHandshakeRequest","mtu":16000}
//	<- "CDTunnel" | u16 big-endian length | {"clientParameters":{"address":"fd6c:7a1e:52b3::2",
//	       "mtu":16000,"netmask":"ffff:ffff:ffff:ffff::"},"serverAddress":"fd6c:7a1e:52b3::1",
//	       "serverRSDPort":58034,"type":"serverHandshakeResponse"}
//	-> IPv6 packet, IPv6 packet ...
//	<- IPv6 packet, IPv6 packet ...
//
// On a stream the packets follow each other with no framing but their own
// length; on QUIC each is a DATAGRAM frame. Inside, the host dials the
// device's RSD port and from there on every service with ordinary TCP.
//
// Open is the host's side, Device the device's, for any net.Conn; DialQUIC and
// Device.ServeQUIC are the same over QUIC, OpenPSK and Device.ServePSK over TLS
// with a pre-shared key. Options.Kernel gives the packets to an interface of
// the operating system instead, which other programs can use as well.
//
// The stack sees large packets in both directions: what it sends is cut into
// segments on the way to the carrier (segment.go), what arrives is joined on
// the way to it (join.go). On the wire there are ordinary packets of at most
// 8192 bytes towards a device, each in a write, and so a TLS record, of its
// own.
package tunnel

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"net/netip"

	"github.com/imdlua/imdlua/runtime/link"
)

// LockdownService is the service of lockdown that is a tunnel, since iOS 17.4.
const LockdownService = "com.apple.internal.devicecompute.CoreDeviceProxy"

const (
	// magic begins every handshake frame; a u16 big-endian length and that
	// many bytes of JSON follow.
	magic = "CDTunnel"
	// handshakeHeader is the magic and the length.
	handshakeHeader = len(magic) + 2
	// maxHandshake is the longest JSON that the length can say.
	maxHandshake = 1<<16 - 1
	// maxResponse is the longest response that every client reads: some look
	// at the low byte of the length alone.
	maxResponse = 255

	typeRequest  = "clientHandshakeRequest"
	typeResponse = "serverHandshakeResponse"

	// MaxMTU is what both sides ask for and grant on streams. Larger packets
	// mean fewer of them: 16000 is six to ten times as fast as 1280.
	MaxMTU = 16000
	// QUICMTU is the same for QUIC, where a packet has to fit in a datagram.
	QUICMTU = 1400
	// minMTU is IPv6's own minimum.
	minMTU = 1280
	// defaultMTU is meant when a handshake does not say.
	defaultMTU = 1500

	// ipHeader is the fixed IPv6 header: u32 version, class and flow | u16
	// big-endian payload length | u8 next header | u8 hop limit | 16 bytes
	// source | 16 bytes destination.
	ipHeader = 40
	// maxPacket is the longest packet that the header's length can say.
	maxPacket = ipHeader + 1<<16 - 1
)

// request is what the host begins with.
type request struct {
	Type string `json:"type"`
	MTU  int    `json:"mtu"`
}

// response is the device's answer. The order of the fields is the device's.
type response struct {
	Client  clientParameters `json:"clientParameters"`
	Server  string           `json:"serverAddress"`
	RSDPort int              `json:"serverRSDPort"`
	Type    string           `json:"type"`
}

type clientParameters struct {
	Address string `json:"address"`
	MTU     int    `json:"mtu"`
	Netmask string `json:"netmask"`
}

// terms is what a handshake settled.
type terms struct {
	host    netip.Prefix // the host's address within the tunnel's network
	device  netip.Addr
	rsdPort uint16
	mtu     int
}

// appendFrame appends v as a handshake frame.
func appendFrame(b []byte, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(body) > maxHandshake {
		return nil, &HandshakeError{Reason: fmt.Sprintf("%d bytes do not fit", len(body))}
	}
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...), nil
}

func appendRequest(b []byte, mtu int) ([]byte, error) {
	return appendFrame(b, request{Type: typeRequest, MTU: mtu})
}

func appendResponse(b []byte, t terms) ([]byte, error) {
	start := len(b)
	b, err := appendFrame(b, response{
		Client: clientParameters{
			Address: t.host.Addr().String(), MTU: t.mtu, Netmask: netmask(t.host.Bits()),
		},
		Server:  t.device.String(),
		RSDPort: int(t.rsdPort),
		Type:    typeResponse,
	})
	if err != nil {
		return nil, err
	}
	if n := len(b) - start - handshakeHeader; n > maxResponse {
		return nil, &HandshakeError{
			Reason: fmt.Sprintf("response of %d bytes is over the limit of %d", n, maxResponse),
		}
	}
	return b, nil
}

// readFrame reads one handshake frame and returns its JSON. It takes no byte
// more than the frame has.
func readFrame(r io.Reader) ([]byte, error) {
	var h [handshakeHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	if string(h[:len(magic)]) != magic {
		return nil, &HandshakeError{
			Reason: fmt.Sprintf("starts with % x, not with %s", h[:len(magic)], magic),
		}
	}
	return link.ReadN(r, int(binary.BigEndian.Uint16(h[len(magic):])), nil)
}

func decodeRequest(body []byte) (request, error) {
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		return request{}, &HandshakeError{Reason: "request", Err: err}
	}
	if q.Type != "" && q.Type != typeRequest {
		return request{}, &HandshakeError{
			Reason: fmt.Sprintf("type %q where %s was expected", link.Clip(q.Type), typeRequest),
		}
	}
	if q.MTU < 0 {
		return request{}, &HandshakeError{Reason: fmt.Sprintf("mtu %d", q.MTU)}
	}
	return q, nil
}

func decodeResponse(body []byte) (terms, error) {
	var p response
	if err := json.Unmarshal(body, &p); err != nil {
		return terms{}, &HandshakeError{Reason: "response", Err: err}
	}
	if p.Type != "" && p.Type != typeResponse {
		return terms{}, &HandshakeError{
			Reason: fmt.Sprintf("type %q where %s was expected", link.Clip(p.Type), typeResponse),
		}
	}
	device, err := tunnelAddress("serverAddress", p.Server)
	if err != nil {
		return terms{}, err
	}
	host, err := tunnelAddress("clientParameters.address", p.Client.Address)
	if err != nil {
		return terms{}, err
	}
	if host == device {
		return terms{}, &HandshakeError{Reason: fmt.Sprintf("both sides have the address %s", host)}
	}
	length, err := prefixLength(p.Client.Netmask)
	if err != nil {
		return terms{}, err
	}
	if p.RSDPort < 1 || p.RSDPort > 1<<16-1 {
		return terms{}, &HandshakeError{Reason: fmt.Sprintf("serverRSDPort %d", p.RSDPort)}
	}
	t := terms{
		host: netip.PrefixFrom(host, length), device: device, rsdPort: uint16(p.RSDPort),
		mtu: p.Client.MTU,
	}
	if t.mtu == 0 {
		t.mtu = defaultMTU
	}
	if t.mtu < minMTU || t.mtu > 1<<16-1 {
		return terms{}, &HandshakeError{Reason: fmt.Sprintf("mtu %d", t.mtu)}
	}
	return t, nil
}

// tunnelAddress parses an address that a host can use inside a tunnel: IPv6,
// of one machine, without a zone.
func tunnelAddress(field, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, &HandshakeError{Reason: field, Err: err}
	}
	if !a.Is6() || a.Is4In6() || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() ||
		a.IsLoopback() {
		return netip.Addr{}, &HandshakeError{
			Reason: fmt.Sprintf("%s %q is not the address of a tunnel", field, link.Clip(s)),
		}
	}
	return a, nil
}

func netmask(length int) string {
	p, _ := netip.AddrFrom16([16]byte([]byte(ones))).Prefix(length)
	return p.Addr().String()
}

// ones is an address of ones alone.
const ones = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

// prefixLength turns a netmask into the length that it stands for; a missing
// one is /64, as on every device.
func prefixLength(mask string) (int, error) {
	if mask == "" {
		return 64, nil
	}
	a, err := netip.ParseAddr(mask)
	if err != nil {
		return 0, &HandshakeError{Reason: "clientParameters.netmask", Err: err}
	}
	b := a.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	n := bits.LeadingZeros64(^hi)
	if n == 64 {
		n += bits.LeadingZeros64(^lo)
	}
	if !a.Is6() || n == 0 || netmask(n) != a.String() {
		return 0, &HandshakeError{
			Reason: fmt.Sprintf("clientParameters.netmask %q", link.Clip(mask)),
		}
	}
	return n, nil
}

// private says why a kernel must not be given the addresses of a tunnel, nil if it
// may. An interface takes over the connections of every program to its network, so
// the device must not name a network that belongs to anyone else: only the unique
// local addresses of one /64.
func (t terms) private() error {
	if !t.host.Addr().IsPrivate() || t.host.Bits() < 64 || !t.host.Contains(t.device) {
		return &HandshakeError{
			Reason: fmt.Sprintf("%s and %s are not of one private network", t.host, t.device),
		}
	}
	return nil
}

// grant is the MTU that a device answers a wish with.
func grant(wish, most int) int {
	if wish == 0 {
		wish = defaultMTU
	}
	return max(min(wish, most), minMTU)
}

// packetLength returns how long the packet is that begins with these
// ipHeader bytes.
func packetLength(h []byte) (int, error) {
	if h[0]>>4 != 6 {
		return 0, &PacketError{First: h[0]}
	}
	return ipHeader + int(binary.BigEndian.Uint16(h[4:])), nil
}

const (
	protocolTCP = 6
	// tcpHeader is the fixed TCP header: u16 ports | u32 sequence | u32
	// acknowledgement | u8 offset in words << 4 | u8 flags | u16 window | u16
	// checksum | u16 urgent.
	tcpHeader    = 20
	tcpSequence  = 4
	tcpAck       = 8
	tcpOffset    = 12
	tcpFlags     = 13
	tcpWindow    = 14
	tcpChecksum  = 16
	flagFIN      = 0x01
	flagSYN      = 0x02
	flagPSH      = 0x08
	flagACK      = 0x10
	optionEnd    = 0
	optionNop    = 1
	optionMSS    = 2
	optionMSSLen = 4
)

// headersLength returns how many bytes of a packet are headers: all of TCP's
// when that is what it carries.
func headersLength(packet []byte) int {
	if packet[6] != protocolTCP || len(packet) < ipHeader+tcpHeader {
		return ipHeader
	}
	return min(ipHeader+max(int(packet[ipHeader+tcpOffset]>>4)*4, tcpHeader), len(packet))
}

// clampMSS lowers the segment size that a TCP SYN asks for, and keeps the
// checksum right. Everything else it leaves alone.
func clampMSS(packet []byte, most uint16) {
	if len(packet) < ipHeader+tcpHeader || packet[6] != protocolTCP {
		return
	}
	tcp := packet[ipHeader:]
	end := int(tcp[tcpOffset]>>4) * 4
	if tcp[tcpFlags]&flagSYN == 0 || end < tcpHeader || end > len(tcp) {
		return
	}
	for i := tcpHeader; i < end; {
		switch tcp[i] {
		case optionEnd:
			return
		case optionNop:
			i++
			continue
		}
		if i+1 >= end || tcp[i+1] < 2 || i+int(tcp[i+1]) > end {
			return
		}
		if tcp[i] == optionMSS && tcp[i+1] == optionMSSLen {
			if old := binary.BigEndian.Uint16(tcp[i+2:]); old > most {
				replace16(tcp, i+2, most)
			}
			return
		}
		i += int(tcp[i+1])
	}
}

// replace16 writes v at offset i of a TCP header and brings the checksum up to
// date (RFC 1624). A value at an odd offset counts with its bytes swapped.
func replace16(tcp []byte, i int, v uint16) {
	old := binary.BigEndian.Uint16(tcp[i:])
	binary.BigEndian.PutUint16(tcp[i:], v)
	if i%2 == 1 {
		old, v = bits.ReverseBytes16(old), bits.ReverseBytes16(v)
	}
	sum := uint32(^binary.BigEndian.Uint16(tcp[tcpChecksum:])) + uint32(^old) + uint32(v)
	sum = sum&0xFFFF + sum>>16
	sum = sum&0xFFFF + sum>>16
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], ^uint16(sum))
}
