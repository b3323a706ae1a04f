package tunnel

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	protocolFragment = 44
	protocolICMP6    = 58
)

// icmpPacket returns an ICMPv6 message with its checksum.
func icmpPacket(from, to netip.Addr, message []byte) []byte {
	p := ip(from, to, protocolICMP6, message)
	sum := checksum.Checksum(p[8:ipHeader], checksum.Combine(uint16(len(message)), protocolICMP6))
	binary.BigEndian.PutUint16(p[ipHeader+2:], ^checksum.Checksum(p[ipHeader:], sum))
	return p
}

// syn returns a SYN between two ports.
func syn(from, to netip.Addr, source, port uint16) []byte {
	return tcpPacket(from, to, source, port, flagSYN, 0, 0, nil)
}

// tcpPacket returns a segment with its checksum.
func tcpPacket(
	from, to netip.Addr, source, port uint16, flags byte, sequence, ack uint32, data []byte,
) []byte {
	p := ip(from, to, protocolTCP, make([]byte, tcpHeader, tcpHeader+len(data)))
	h := p[ipHeader:]
	binary.BigEndian.PutUint16(h, source)
	binary.BigEndian.PutUint16(h[2:], port)
	binary.BigEndian.PutUint32(h[tcpSequence:], sequence)
	binary.BigEndian.PutUint32(h[tcpAck:], ack)
	h[tcpOffset], h[tcpFlags] = tcpHeader/4<<4, flags
	binary.BigEndian.PutUint16(h[tcpWindow:], 0xFFFF)
	p = append(p, data...)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-ipHeader))
	binary.BigEndian.PutUint16(p[ipHeader+tcpChecksum:], ^sumTCP(p))
	return p
}

// flood is a kind of packets that a peer sends very often. n counts the packets.
type flood struct {
	count  int
	packet func(from, to netip.Addr, n int) []byte
}

var stranger = netip.MustParseAddr("fd00::7777")

// floods are the packets that a peer can send without a connection.
var floods = map[string]flood{
	"SYNs never finished": {2000, func(from, to netip.Addr, n int) []byte {
		return syn(from, to, uint16(1024+n), uint16(portEcho+n%2))
	}},
	"SYNs from many": {2000, func(from, to netip.Addr, n int) []byte {
		return syn(many(n), to, 1024, portEcho)
	}},
	"closed ports": {10_000, func(from, to netip.Addr, n int) []byte {
		return syn(from, to, uint16(n), 1)
	}},
	"pings": {10_000, func(from, to netip.Addr, n int) []byte {
		return icmpPacket(from, to, []byte{128, 0, 0, 0, 0, 0, 0, 0})
	}},
	"packets to others": {10_000, func(from, to netip.Addr, n int) []byte {
		return syn(from, many(n), 1024, portEcho)
	}},
	"longest packets": {500, func(from, to netip.Addr, n int) []byte {
		return ip(from, many(n), protocolTCP, make([]byte, maxPacket-ipHeader))
	}},
	"fragments": {8000, func(from, to netip.Addr, n int) []byte {
		b := make([]byte, 1208)
		b[0], b[3] = protocolTCP, 1 // more follow
		binary.BigEndian.PutUint32(b[4:], uint32(n))
		return ip(from, to, protocolFragment, b)
	}},
	"neighbours": {10_000, func(from, to netip.Addr, n int) []byte {
		b := make([]byte, 32)
		b[0] = 135 // a solicitation, with the sender's link address
		copy(b[8:], to.AsSlice())
		b[24], b[25] = 1, 1
		return icmpPacket(many(n), to, b)
	}},
	"routers": {2000, func(from, to netip.Addr, n int) []byte {
		b := make([]byte, 48)
		b[0], b[4], b[6] = 134, 64, 0xFF // an advertisement of a default route and a network
		b[16], b[17], b[18], b[19] = 3, 4, 64, 0xC0
		copy(b[20:24], "\xff\xff\xff\xff")
		copy(b[24:28], "\xff\xff\xff\xff")
		copy(b[32:], many(n).AsSlice())
		return icmpPacket(netip.MustParseAddr("fe80::1"), netip.IPv6LinkLocalAllNodes(), b)
	}},
	"too big": {2000, func(from, to netip.Addr, n int) []byte {
		b := make([]byte, 8, 8+ipHeader+tcpHeader)
		b[0] = 2 // a packet is too big for an MTU of nothing
		return icmpPacket(from, to, append(b, syn(to, from, portEcho, uint16(n))...))
	}},
}

// many returns the n-th address of a network.
func many(n int) netip.Addr {
	b := stranger.As16()
	binary.BigEndian.PutUint32(b[10:], uint32(n))
	return netip.AddrFrom16(b)
}

// floodMemory is how much memory one end of a tunnel may use because of a flood.
const floodMemory = 24 << 20

// TestFloods sends each flood to either end. The sender reads the answers or does not.
// Memory must be bounded, and a sender that reads must be able to use the tunnel
// afterwards.
func TestFloods(t *testing.T) {
	for name, f := range floods {
		t.Run(name, func(t *testing.T) {
			tun, toDevice, toHost := infiltrate(t)
			host, device := tun.LocalAddress(), tun.PeerAddress()
			before := heap()
			f.send(t, toDevice, host, device)
			f.send(t, toHost, device, host)
			data := noise(1 << 20)
			c := dial(t, tun, portEcho)
			go func() { c.Write(data); link.CloseWrite(c) }()
			check(t, c, data)
			taken(t, before)
		})
		t.Run(name+" unread", func(t *testing.T) {
			before := heap()
			c, own, result := rawHost(t)
			f.send(t, c, own.host.Addr(), own.device)
			taken(t, before)
			c.Close()
			if err := result(); err != nil {
				t.Errorf("Serve = %v", err)
			}
			before = heap()
			tun, c := rawDevice(t)
			f.send(t, c, tun.PeerAddress(), tun.LocalAddress())
			taken(t, before)
			tun.Close()
			c.Close()
			noneLeft(t)
		})
	}
}

func (f flood) send(t *testing.T, w io.Writer, from, to netip.Addr) {
	t.Helper()
	for n := range f.count {
		if _, err := w.Write(f.packet(from, to, n)); err != nil {
			t.Fatalf("packet %d: %v", n, err)
		}
	}
}

// taken fails the test if the heap has grown by more than one end may use.
func taken(t *testing.T, before int64) {
	t.Helper()
	if n := heap() - before; n > floodMemory {
		t.Errorf("%d MiB are taken, want at most %d", n>>20, floodMemory>>20)
	}
}

// TestOutboxMemory fills an outbox with small packets, such as answers to pings. They
// must use no more memory than its bound.
func TestOutboxMemory(t *testing.T) {
	before := heap()
	o := newOutbox()
	for n := 0; ; n++ {
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{
			ReserveHeaderBytes: ipHeader,
			Payload:            buffer.MakeWithData(make([]byte, 8)),
		})
		p.NetworkHeader().Push(ipHeader)
		p.Hash = uint32(n)
		ok := o.push(p)
		p.DecRef()
		if !ok {
			break
		}
	}
	if n := heap() - before; n > maxQueued+maxQueued/8 {
		t.Errorf("%d MiB are taken, want at most %d", n>>20, maxQueued>>20)
	}
	o.close()
}

// rawHost is a host that makes a tunnel to a device and reads no packets.
func rawHost(t *testing.T) (c net.Conn, own terms, result func() error) {
	t.Helper()
	a, b := link.Pipe()
	result = serve(&Device{Open: services, RSDPort: 1}, context.Background(), b)
	if _, err := io.WriteString(a, goldenRequest); err != nil {
		t.Fatal(err)
	}
	body, err := readFrame(a)
	if err != nil {
		t.Fatal(err)
	}
	own, err = decodeResponse(body)
	if err != nil {
		t.Fatal(err)
	}
	return a, own, result
}

// rawDevice is a device that answers the handshake of a host and reads no packets.
func rawDevice(t *testing.T) (*Tunnel, net.Conn) {
	t.Helper()
	a, b := link.Pipe()
	if _, err := io.WriteString(b, goldenResponse); err != nil {
		t.Fatal(err)
	}
	tun, err := Open(within(t), a, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tun, b
}
