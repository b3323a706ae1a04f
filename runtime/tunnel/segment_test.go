package tunnel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// segment returns a TCP packet with this payload, as it is on the wire.
func segment(seq uint32, flags byte, options string, payload []byte) []byte {
	tcp := make([]byte, tcpHeader, tcpHeader+len(options)+len(payload))
	binary.BigEndian.PutUint16(tcp, 1000)
	binary.BigEndian.PutUint16(tcp[2:], 2000)
	binary.BigEndian.PutUint32(tcp[tcpSequence:], seq)
	binary.BigEndian.PutUint32(tcp[tcpAck:], 7)
	tcp[tcpOffset] = byte(tcpHeader+len(options)) / 4 << 4
	tcp[tcpFlags] = flags
	binary.BigEndian.PutUint16(tcp[tcpWindow:], 500)
	b := ip(netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::1"), protocolTCP,
		append(append(tcp, options...), payload...))
	binary.BigEndian.PutUint16(b[ipHeader+tcpChecksum:], ^sumTCP(b))
	return b
}

// valid checks a checksum with the network stack's own function.
func valid(b []byte) bool {
	ip, tcp := header.IPv6(b), header.TCP(b[ipHeader:])
	data := tcp[tcp.DataOffset():]
	return tcp.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(),
		checksum.Checksum(data, 0), uint16(len(data)))
}

// large returns a packet as the stack passes it on to be cut.
func large(wire []byte, mss uint16) *stack.PacketBuffer {
	h := headersLength(wire)
	p := stack.NewPacketBuffer(
		stack.PacketBufferOptions{ReserveHeaderBytes: h, Payload: buffer.MakeWithData(wire[h:])},
	)
	copy(p.TransportHeader().Push(h-ipHeader), wire[ipHeader:h])
	copy(p.NetworkHeader().Push(ipHeader), wire[:ipHeader])
	p.GSOOptions = stack.GSO{Type: stack.GSOTCPv6, NeedsCsum: true, MSS: mss, L3HdrLen: ipHeader}
	return p
}

// Segments must have the bytes of the large packet, each with its own position, length
// and checksum, and PSH only in the last one.
func TestSegments(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 8091, 8092, 8093, 16184, 30_001, 60_000} {
		data := noise(n)
		p := large(segment(1<<32-10_000, flagACK|flagPSH, "\x01\x01\x08\x0aabcdefgh", data), 8092)
		o := newOutbox()
		o.push(p)
		var got []byte
		for from := 0; ; from += 8092 {
			batch := o.take(nil, 0)
			if len(batch) != 1 {
				t.Fatalf("%d bytes: %d pieces at once, want one", n, len(batch))
			}
			b := batch[0].append([]byte("before"))[len("before"):]
			last := n-from <= 8092
			if len(b) != batch[0].size() {
				t.Errorf("%d bytes, piece at %d: %d bytes, but its size is %d", n, from, len(b),
					batch[0].size())
			}
			if batch[0].last() != last {
				t.Errorf("%d bytes, piece at %d: last %v, want %v", n, from, !last, last)
			}
			if !valid(b) {
				t.Errorf("%d bytes, piece at %d: wrong checksum", n, from)
			}
			tcp := header.TCP(b[ipHeader:])
			if seq := tcp.SequenceNumber(); seq != 1<<32-10_000+uint32(from) {
				t.Errorf("%d bytes, piece at %d: sequence number %d", n, from, seq)
			}
			want := byte(flagACK)
			if last {
				want |= flagPSH
			}
			if got := byte(tcp.Flags()); got != want {
				t.Errorf("%d bytes, piece at %d: flags %#x, want %#x", n, from, got, want)
			}
			wantPacket(t, fmt.Sprintf("%d bytes, piece at %d", n, from), b)
			got = append(got, tcp[tcp.DataOffset():]...)
			batch[0].packet.DecRef()
			if last {
				break
			}
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%d bytes are cut into %d others", n, len(got))
		}
		if o.size != 0 {
			t.Errorf("%d bytes: %d remain", n, o.size)
		}
		if len(o.turns) != 0 {
			t.Errorf("%d bytes: %d turns remain", n, len(o.turns))
		}
		p.DecRef()
	}
}

// Connections must take turns after each segment, not after each large packet.
func TestTurns(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	bulk, small := large(segment(1, flagACK, "", noise(30_000)),
		8000), large(segment(1, flagACK, "", noise(10)), 8000)
	bulk.Hash, small.Hash = 1, 2
	o.push(bulk)
	o.push(small)
	batch := o.take(nil, 20_000)
	if len(batch) != 3 {
		t.Fatalf("%d pieces, want 3", len(batch))
	}
	for i, want := range []struct {
		packet *stack.PacketBuffer
		from   int
	}{{bulk, 0}, {small, 0}, {bulk, 8000}} {
		if batch[i].packet != want.packet {
			t.Errorf("piece %d is of the wrong packet", i)
		}
		if batch[i].from != want.from {
			t.Errorf("piece %d begins at %d, want %d", i, batch[i].from, want.from)
		}
	}
	o.close()
	if batch := o.take(nil, 0); len(batch) != 0 {
		t.Errorf("a closed outbox has %+v", batch)
	}
}

// A large packet must be cut into full segments without a small one at the end.
func TestGSOSize(t *testing.T) {
	t.Parallel()
	for _, mss := range []int{minMTU - 60, QUICMTU - 60, sendMSS, MaxMTU - 60, maxPacket - 60} {
		payload := int(gsoSize(mss)) - gsoReserve
		full := min(mss-tcpOptions, gsoLimit)
		if payload%full != 0 {
			t.Errorf("gsoSize(%d) leaves %d for the payload, want a multiple of %d", mss,
				payload, full)
		}
		if payload < full || payload > gsoLimit {
			t.Errorf("gsoSize(%d) leaves %d for the payload, want %d to %d", mss, payload, full,
				gsoLimit)
		}
		if payload+full <= gsoLimit {
			t.Errorf("gsoSize(%d) leaves %d for the payload, but one more segment fits", mss,
				payload)
		}
	}
}
