package tunnel

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// gsoReserve is subtracted from GSOMaxSize by gVisor before it fills a packet with
	// payload.
	gsoReserve = header.TCPTotalHeaderMaximumSize + 1
	// gsoLimit is the largest payload of a packet of the stack, by the u16 length in
	// its header.
	gsoLimit = 1<<16 - 1 - gsoReserve
	// tcpOptions is the space that the stack reserves for options in every segment.
	tcpOptions = 40
)

// gsoSize returns the size of the packets that the stack makes. It is a multiple of
// full segments, because a remainder would be sent as a small packet after every few
// large ones, and would cost as much as they do.
func gsoSize(mss int) uint32 {
	payload := min(mss-tcpOptions, gsoLimit)
	return uint32(gsoLimit/payload*payload + gsoReserve)
}

// piece is the part of a packet that is sent in one piece: the complete packet, or the
// share of its payload that fits into a segment.
type piece struct {
	packet   *stack.PacketBuffer
	from, to int // of the payload
}

// cut returns the piece of a packet's payload that begins at from.
func cut(p *stack.PacketBuffer, from int) piece {
	end := p.Data().Size()
	if mss := int(p.GSOOptions.MSS); p.GSOOptions.Type != stack.GSONone && mss > 0 {
		return piece{packet: p, from: from, to: min(from+mss, end)}
	}
	return piece{packet: p, from: from, to: end}
}

// last reports whether the piece is the last one of its packet.
func (c piece) last() bool { return c.to == c.packet.Data().Size() }

// size returns the number of bytes of the piece as a packet.
func (c piece) size() int { return c.packet.HeaderSize() + c.to - c.from }

// append appends the piece as a packet of its own.
func (c piece) append(b []byte) []byte {
	start, headers := len(b), c.packet.HeaderSize()
	b = appendRange(b, c.packet, 0, headers)
	b = appendRange(b, c.packet, headers+c.from, headers+c.to)
	if o := &c.packet.GSOOptions; o.Type != stack.GSONone && o.NeedsCsum {
		finishTCP(b[start:], uint32(c.from), c.last())
	}
	return b
}

// appendRange appends a range of the bytes of a packet.
func appendRange(b []byte, p *stack.PacketBuffer, from, to int) []byte {
	views, skip := p.AsViewList()
	from, to = from+skip, to+skip
	for v := views.Front(); v != nil && to > 0; v = v.Next() {
		s := v.AsSlice()
		if from < len(s) {
			b = append(b, s[max(from, 0):min(to, len(s))]...)
		}
		from, to = from-len(s), to-len(s)
	}
	return b
}

// finishTCP completes a TCP packet that has the headers of a larger one and a share of
// its payload, beginning at from. It sets the checksum.
func finishTCP(packet []byte, from uint32, last bool) {
	binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-ipHeader))
	tcp := packet[ipHeader:]
	if from > 0 {
		binary.BigEndian.PutUint32(tcp[tcpSequence:],
			binary.BigEndian.Uint32(tcp[tcpSequence:])+from)
	}
	if !last {
		tcp[tcpFlags] &^= flagFIN | flagPSH
	}
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], 0)
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], ^sumTCP(packet))
}

// sumTCP returns the sum over a TCP packet without extension headers and its pseudo
// header. All its bits are set if the checksum is correct.
func sumTCP(packet []byte) uint16 {
	return checksum.Checksum(packet[ipHeader:], pseudoSum(packet, len(packet)))
}

// pseudoSum returns the sum over the pseudo header of a TCP packet of n bytes.
func pseudoSum(h []byte, n int) uint16 {
	return checksum.Checksum(h[8:ipHeader], checksum.Combine(uint16(n-ipHeader), protocolTCP))
}
