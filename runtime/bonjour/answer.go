package bonjour

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Limits of what a browse accepts from one sender.
const (
	// maxHeard bounds the bytes that are read from a sender between two questions. 256
	// services need a tenth of it.
	maxHeard = 1 << 20
	// maxSenders bounds the number of senders whose bytes are counted.
	maxSenders = 1024
	// maxOfSender bounds the instances that are kept of a sender.
	maxOfSender = 256
	// maxTextHeard bounds the bytes of a TXT record.
	maxTextHeard = 4096
)

// shares counts the bytes of each sender in a round, up to limit.
type shares struct {
	limit int
	round int64
	taken map[netip.Addr]int
}

// take reports whether a sender may send n more bytes, and counts them.
func (s *shares) take(sender netip.Addr, n int, round int64) bool {
	if s.taken == nil || s.round != round {
		s.round, s.taken = round, map[netip.Addr]int{}
	}
	had, known := s.taken[sender]
	if !known && len(s.taken) >= maxSenders || had+n > s.limit {
		return false
	}
	s.taken[sender] = had + n
	return true
}

// unpack decodes a message. It refuses a message with fewer records than its header
// states.
func unpack(b []byte) (m dns.Msg, ok bool) {
	if len(b) < headerSize || len(b) > maxPacket || m.Unpack(b) != nil {
		return m, false
	}
	for n, has := range []int{len(m.Question), len(m.Answer), len(m.Ns), len(m.Extra)} {
		if has != int(binary.BigEndian.Uint16(b[4+2*n:])) {
			return m, false
		}
	}
	return m, true
}

// spend uses up the share of a sender in this round.
func (s *shares) spend(sender netip.Addr) {
	if _, known := s.taken[sender]; known {
		s.taken[sender] = s.limit
	}
}

// answer is what a sender has sent in one packet.
type answer struct {
	link   string
	sender netip.Addr
	facts  []fact
}

// fact is one record of an answer. Facts about a service have key and name. Facts about
// a host have key and address.
type fact struct {
	kind    uint16 // dns.TypePTR (only if gone), TypeSRV, TypeTXT, or TypeA for both families
	key     string // of the instance or the host, see nameKey
	gone    bool   // the lifetime has ended
	name    string
	host    string
	hostKey string
	port    uint16
	text    map[string]string
	address netip.Addr
}

// facts decodes a packet. It returns nil if the packet is not an answer, or has nothing
// about the asker's type. Facts about services come first.
func (a asker) facts(b []byte) []fact {
	m, ok := unpack(b)
	if !ok || !m.Response || m.Opcode != dns.OpcodeQuery {
		return nil
	}
	kind := nameKey(a.kind.labels())
	var services, hosts []fact
	for _, rr := range slices.Concat(m.Answer, m.Extra) {
		if rr.Header().Class&^cacheFlush != dns.ClassINET {
			continue
		}
		f, ok := a.fact(rr, kind)
		switch {
		case !ok:
		case f.kind == dns.TypeA:
			hosts = append(hosts, f)
		default:
			services = append(services, f)
		}
	}
	return append(services, hosts...)
}

// fact decodes a record. kind is the key of the type.
func (a asker) fact(rr dns.RR, kind string) (f fact, ok bool) {
	h := rr.Header()
	f.gone = h.Ttl == 0
	owner := h.Name
	switch rr := rr.(type) {
	case *dns.PTR:
		f.kind, owner = dns.TypePTR, rr.Ptr
		if of, ok := parseName(h.Name); !ok || nameKey(of) != kind || !f.gone {
			return f, false
		}
	case *dns.SRV:
		f.kind, f.port = dns.TypeSRV, rr.Port
		host, ok := parseName(rr.Target)
		if !ok || f.port == 0 && !f.gone {
			return f, false
		}
		f.host, f.hostKey = strings.Join(host, "."), nameKey(host)
	case *dns.TXT:
		f.kind = dns.TypeTXT
		f.text, ok = heardText(rr.Txt)
		if !ok || f.gone {
			return f, false // an instance is removed by the goodbye of its PTR or SRV
		}
	case *dns.A:
		f.address, _ = netip.AddrFromSlice(rr.A)
		return f.ofHost(h.Name, a.plausible(f.address.Unmap()))
	case *dns.AAAA:
		f.address, _ = netip.AddrFromSlice(rr.AAAA)
		return f.ofHost(h.Name, f.address.Is6() && a.plausible(f.address))
	default:
		return f, false
	}
	labels, ok := parseName(owner)
	if !ok || len(labels) != 4 || nameKey(labels[1:]) != kind {
		return f, false
	}
	f.name, f.key = labels[0], nameKey(labels)
	return f, true
}

// ofHost returns a fact about a host's address.
func (f fact) ofHost(owner string, plausible bool) (fact, bool) {
	labels, ok := parseName(owner)
	f.kind, f.key, f.address = dns.TypeA, nameKey(labels), f.address.Unmap()
	return f, ok && plausible
}

// heardText is parseText with limits.
func heardText(fields []string) (map[string]string, bool) {
	total := 0
	for _, s := range fields {
		total += len(s)
	}
	if total > maxTextHeard {
		return nil, false
	}
	return parseText(fields), true
}

// plausible reports whether a device on the asker's interface can have an address. A
// device on the network cannot have a loopback address.
func (a asker) plausible(ip netip.Addr) bool {
	switch {
	case !ip.IsValid(), ip.IsUnspecified(), ip.IsMulticast(), ip.Is4In6():
		return false
	case ip.IsLoopback():
		return a.loopback()
	case ip.Is4():
		first := ip.As4()[0]
		return first != 0 && first < 240 // 0/8 is this network, and 240/4 is reserved
	}
	return true
}
