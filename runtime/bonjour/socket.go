package bonjour

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

var (
	groupIPv4 = netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 251}), Port)
	groupIPv6 = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xFF, 1: 2, 15: 0xFB}), Port)
)

// writeLimit bounds the wait for room in the socket's buffer.
const writeLimit = time.Second

// packet is what a wire has received. index is 0 and to is invalid if the operating
// system does not report them.
type packet struct {
	body  []byte
	from  netip.AddrPort
	to    netip.Addr
	index int // index of the interface
}

// wire sends and receives multicast DNS of one family of addresses on some interfaces.
// Tests use one without sockets.
type wire interface {
	read(b []byte) (packet, error)
	// multicast sends to the group on an interface. send sends to an address.
	multicast(b []byte, l link) error
	send(b []byte, to netip.AddrPort) error
	Close() error
}

// socket is a wire with one UDP socket. Those of listen share port 5353 with other
// programs, and are members of the group on each of their interfaces.
type socket struct {
	conn net.PacketConn
	v4   *ipv4.PacketConn // either v4 or v6 is set
	v6   *ipv6.PacketConn
	// mu is held while the interface for multicast is selected and used, because some
	// systems cannot select it for each packet.
	mu sync.Mutex
}

// listen opens the socket of a family and joins the group on the interfaces that have
// an address of it. It returns these interfaces.
func listen(ctx context.Context, v6 bool, links []link) (*socket, []link, error) {
	// If the address is that of a group, package net binds the port on all addresses
	// and sets the options that allow sharing it. It does not join a group.
	group := groupIPv4
	if v6 {
		group = groupIPv6
	}
	s, err := openSocket(ctx, v6, group)
	if err != nil {
		return nil, nil, err
	}
	var joined []link
	for _, l := range links {
		if !l.has(v6) {
			continue
		}
		if e := s.join(l.Interface); e != nil {
			err = errors.Join(err, e)
			continue
		}
		joined = append(joined, l)
	}
	if joined == nil {
		s.Close()
		if err == nil {
			err = ErrNoInterface
		}
		return nil, nil, err
	}
	return s, joined, nil
}

// openSocket opens a socket of a family at an address.
func openSocket(ctx context.Context, v6 bool, at netip.AddrPort) (*socket, error) {
	network := "udp4"
	if v6 {
		network = "udp6"
	}
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, network, at.String())
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn}
	if v6 {
		s.v6 = ipv6.NewPacketConn(conn)
	} else {
		s.v4 = ipv4.NewPacketConn(conn)
	}
	s.options()
	return s, nil
}

// anyPort is a port that the system chooses, on all addresses.
func anyPort(v6 bool) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// options sets socket options, none of which is required. Without the control messages
// the interface is derived from the sender's address. Only strict clients check the hop
// limit.
func (s *socket) options() {
	if s.v6 != nil {
		_ = s.v6.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true)
		_ = s.v6.SetMulticastLoopback(true)
		_ = s.v6.SetMulticastHopLimit(255)
		_ = s.v6.SetHopLimit(255)
		return
	}
	_ = s.v4.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true)
	_ = s.v4.SetMulticastLoopback(true)
	_ = s.v4.SetMulticastTTL(255)
	_ = s.v4.SetTTL(255)
}

func (s *socket) join(i *net.Interface) error {
	if s.v6 != nil {
		return s.v6.JoinGroup(i, net.UDPAddrFromAddrPort(groupIPv6))
	}
	return s.v4.JoinGroup(i, net.UDPAddrFromAddrPort(groupIPv4))
}

func (s *socket) read(b []byte) (packet, error) {
	var p packet
	var n int
	var source net.Addr
	var to net.IP
	var err error
	if s.v6 != nil {
		var cm *ipv6.ControlMessage
		n, cm, source, err = s.v6.ReadFrom(b)
		if cm != nil {
			p.index, to = cm.IfIndex, cm.Dst
		}
	} else {
		var cm *ipv4.ControlMessage
		n, cm, source, err = s.v4.ReadFrom(b)
		if cm != nil {
			p.index, to = cm.IfIndex, cm.Dst
		}
	}
	if err != nil {
		return packet{}, err
	}
	if u, ok := source.(*net.UDPAddr); ok {
		p.from = u.AddrPort()
		p.from = netip.AddrPortFrom(p.from.Addr().Unmap(), p.from.Port())
	}
	if a, ok := netip.AddrFromSlice(to); ok {
		p.to = a.Unmap()
	}
	p.body = b[:n]
	return p, nil
}

func (s *socket) multicast(b []byte, l link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.v6 != nil {
		if err := s.v6.SetMulticastInterface(l.Interface); err != nil {
			return err
		}
		return s.send(b, netip.AddrPortFrom(groupIPv6.Addr().WithZone(l.Name), Port))
	}
	if err := s.v4.SetMulticastInterface(l.Interface); err != nil {
		return err
	}
	if l.loopback() {
		return s.sendFrom(b, l, groupIPv4)
	}
	return s.send(b, groupIPv4)
}

// sendFrom sends over IPv4 with an address of the interface as the source. Without it
// Linux gives packets to a group on the loopback interface the address of another
// interface, to which the answers are then sent.
func (s *socket) sendFrom(b []byte, l link, to netip.AddrPort) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	cm := &ipv4.ControlMessage{IfIndex: l.Index}
	for _, p := range l.prefixes {
		if p.Addr().Is4() {
			cm.Src = p.Addr().AsSlice()
			break
		}
	}
	_, err := s.v4.WriteTo(b, cm, net.UDPAddrFromAddrPort(to)) // Windows ignores cm
	return err
}

func (s *socket) send(b []byte, to netip.AddrPort) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	_, err := s.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return err
}

func (s *socket) Close() error { return s.conn.Close() }
