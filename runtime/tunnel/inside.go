package tunnel

import (
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// batchSize is how many bytes of packets a device sends in one write, which is as many
// as a TLS record holds.
const batchSize = 16 << 10

// inside is a stack in this process at the end of a tunnel.
type inside struct {
	*Stack
	peer   netip.Addr // the only source address of packets that is accepted
	filter func(
		head []byte, size int,
	) bool // may change the headers or drop a packet that arrives; nil = all pass
	verify bool // whether to check the checksums of packets that arrive
	batch  int  // bytes of packets in one write; 0 means one packet
}

func (s *inside) inbound(c carrier) error {
	in := joiner{deliver: s.link.deliver}
	defer in.close()
	for {
		head, body, more, err := c.receive()
		if err != nil {
			return err
		}
		if !s.wanted(head, body) {
			drop(head)
			drop(body)
			in.release()
			continue
		}
		in.add(head, body, more)
	}
}

// wanted reports whether the stack gets a packet.
func (s *inside) wanted(head, body *buffer.View) bool {
	h := head.AsSlice()
	switch {
	case netip.AddrFrom16([16]byte(h[8:24])) != s.peer,
		netip.AddrFrom16([16]byte(h[24:40])) != s.addr:
		// A tunnel has only two ends. It has no routers and no neighbours, and the peer
		// must not send packets for connections of others.
		return false
	case s.verify && !sound(head, body):
		return false
	}
	return s.filter == nil || s.filter(h, size(head)+size(body))
}

func (s *inside) outbound(c carrier) error {
	var batch []piece
	var b []byte
	most := max(s.batch, c.burst())
	for {
		batch = s.link.out.take(batch[:0], most)
		if len(batch) == 0 {
			return net.ErrClosed // fail has been called
		}
		b = b[:0]
		for _, p := range batch {
			b = p.append(b)
			p.packet.DecRef()
		}
		clear(batch)
		if err := c.send(b, s.batch); err != nil {
			return err
		}
	}
}

// sound reports whether the checksum of a TCP packet is correct.
func sound(head, body *buffer.View) bool {
	h := head.AsSlice()
	if h[6] != protocolTCP {
		return true
	}
	sum := checksum.Checksum(h[ipHeader:], pseudoSum(h, len(h)+size(body)))
	if body != nil {
		sum = checksum.Checksum(body.AsSlice(), sum)
	}
	return sum == 0xFFFF
}

func size(v *buffer.View) int {
	if v == nil {
		return 0
	}
	return v.Size()
}

func drop(v *buffer.View) {
	if v != nil {
		v.Release()
	}
}
