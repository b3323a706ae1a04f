package tunnel

import (
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// batchSize is how many bytes of packets a device puts into one write: as many
// as a TLS record holds.
const batchSize = 16 << 10

// inside is a stack in this process as the end of a tunnel.
type inside struct {
	*Stack
	peer   netip.Addr // the only address that packets come from
	filter func(
		head []byte, size int,
	) bool // may change the headers or drop a packet that arrives; nil = all pass
	verify bool // look at the checksums of what arrives
	batch  int  // bytes of packets that share a write; 0 = one packet
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

// wanted reports whether the stack is given a packet.
func (s *inside) wanted(head, body *buffer.View) bool {
	h := head.AsSlice()
	switch {
	case netip.AddrFrom16([16]byte(h[8:24])) != s.peer,
		netip.AddrFrom16([16]byte(h[24:40])) != s.addr:
		// A tunnel has two ends and nobody else in it: there are no routers, no
		// neighbours, and no connections of others for a peer to speak for.
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
			return net.ErrClosed // somebody called fail
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

// sound reports whether the checksum of a TCP packet is right.
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
