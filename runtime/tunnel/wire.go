// Package tunnel carries IPv6 between host and device, which iOS 17 and later require
// for most services. The packets of a tunnel end in a TCP stack inside this process, so
// that it needs no root, driver or network interface.
//
// The carrier is CoreDeviceProxy over lockdown (since iOS 17.4), TLS with a pre-shared
// key (since 18.2) or QUIC (17.0 to 18.1). On each of them the host sends one request
// and the device one response, the CDTunnel handshake:
//
//	-> "CDTunnel" | u16 big-endian length | {"type":"clientHandshakeRequest","mtu":16000}
//	<- "CDTunnel" | u16 big-endian length | {"clientParameters":{"address":"fd6c:7a1e:52b3::2",
//	       "mtu":16000,"netmask":"ffff:ffff:ffff:ffff::"},"serverAddress":"fd6c:7a1e:52b3::1",
//	       "serverRSDPort":58034,"type":"serverHandshakeResponse"}
//	-> IPv6 packet, IPv6 packet ...
//	<- IPv6 packet, IPv6 packet ...
//
// On a stream the packets follow each other without framing, as each states its own
// length. On QUIC each packet is a DATAGRAM frame. In the tunnel the host dials the
// device's RSD port and then every service by ordinary TCP.
//
// Open is the host side for any net.Conn, and Device is the device side. DialQUIC and
// Device.ServeQUIC are the same over QUIC, and OpenPSK and Device.ServePSK over TLS
// with a pre-shared key. With Options.Kernel the packets are passed to an interface of
// the operating system, which other programs can use as well.
//
// The stack works with large packets in both directions. What it sends is cut into
// segments before it goes to the carrier (segment.go). What arrives is joined before it
// goes to the stack (join.go). On the wire there are ordinary packets. Those to a
// device have at most 8192 bytes, and each has a write, and so a TLS record, of its
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

// LockdownService is the lockdown service that is a tunnel, since iOS 17.4.
const LockdownService = "com.apple.internal.devicecompute.CoreDeviceProxy"

const (
	// magic is the beginning of a handshake frame. It is followed by a u16 big-endian
	// length and as many bytes of JSON.
	magic = "CDTunnel"
	// handshakeHeader is the magic and the length.
	handshakeHeader = len(magic) + 2
	// maxHandshake is the largest value of the length.
	maxHandshake = 1<<16 - 1
	// maxResponse is the length of the longest response that every client can read.
	// Some use only the low byte of the length.
	maxResponse = 255

	typeRequest  = "clientHandshakeRequest"
	typeResponse = "serverHandshakeResponse"

	// MaxMTU is the MTU that both sides request and grant on streams. Larger packets
	// mean fewer packets: 16000 is six to ten times as fast as 1280.
	MaxMTU = 16000
	// QUICMTU is the MTU on QUIC, where a packet must fit into a datagram.
	QUICMTU = 1400
	// minMTU is the minimum MTU of IPv6.
	minMTU = 1280
	// defaultMTU is the MTU of a handshake that does not state one.
	defaultMTU = 1500

	// ipHeader is the fixed IPv6 header: u32 version, class and flow | u16
	// big-endian payload length | u8 next header | u8 hop limit | 16 bytes
	// source | 16 bytes destination.
	ipHeader = 40
	// maxPacket is the length of the longest packet, by the length in its header.
	maxPacket = ipHeader + 1<<16 - 1
)

// request is the host's part of the handshake.
type request struct {
	Type string `json:"type"`
	MTU  int    `json:"mtu"`
}

// response is the device's part of the handshake. The order of the fields is the
// device's.
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

// terms is the result of a handshake.
type terms struct {
	host    netip.Prefix // the host's address and the tunnel's network
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

// readFrame reads one handshake frame and returns its JSON. It reads no byte after the
// frame.
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

// tunnelAddress parses an address that a host can use inside a tunnel. It must be an
// IPv6 unicast address without a zone.
func tunnelAddress(field, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, &HandshakeError{Reason: field, Err: err}
	}
	usable := a.Is6() && !a.Is4In6() && a.Zone() == "" &&
		!a.IsMulticast() && !a.IsUnspecified() && !a.IsLoopback()
	if !usable {
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

// ones is an address in which all bits are set.
const ones = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

// prefixLength returns the prefix length of a netmask. If there is no netmask, it is
// 64, as on every device.
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

// private returns an error if a kernel must not be given the addresses of a tunnel. An
// interface takes the connections of all programs to its network, so that the device
// must not name a network of others. Only unique local addresses in one /64 are
// allowed.
func (t terms) private() error {
	if !t.host.Addr().IsPrivate() || t.host.Bits() < 64 || !t.host.Contains(t.device) {
		return &HandshakeError{
			Reason: fmt.Sprintf("%s and %s are not of one private network", t.host, t.device),
		}
	}
	return nil
}

// grant returns the MTU that a device grants for a requested one.
func grant(wish, most int) int {
	if wish == 0 {
		wish = defaultMTU
	}
	return max(min(wish, most), minMTU)
}

// packetLength returns the length of the packet that begins with these ipHeader bytes.
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

// headersLength returns the length of a packet's headers, including that of TCP if the
// packet carries TCP.
func headersLength(packet []byte) int {
	if packet[6] != protocolTCP || len(packet) < ipHeader+tcpHeader {
		return ipHeader
	}
	return min(ipHeader+max(int(packet[ipHeader+tcpOffset]>>4)*4, tcpHeader), len(packet))
}

// clampMSS lowers the segment size that a TCP SYN asks for to most, and updates the
// checksum. It does not change other packets.
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

// replace16 writes v at offset i of a TCP header and updates the checksum (RFC 1624). A
// value at an odd offset counts with its bytes swapped.
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
