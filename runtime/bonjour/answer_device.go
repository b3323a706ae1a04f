package bonjour

import (
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"
)

// wantsUnicast is the bit in a question's class by which a client asks for a unicast
// answer (RFC 6762, 5.4).
const wantsUnicast = 0x8000

// reply is an answer to a question, sent to the client or to the group.
type reply struct {
	message []byte
	unicast bool
}

// group has the records of one message.
type group struct {
	answer, extra []dns.RR
	unicast       bool
}

// respond answers a message that was received on an interface. A question from a port
// other than 5353 is from a plain DNS client (legacy). Each instance is sent in a
// message of its own, because hashicorp/mdns reads one instance of a message.
//
// The responder omits the rules of RFC 6762 for crowded networks on purpose. It neither
// delays answers nor omits those that it sent less than a second ago, because clients
// that ask once and listen for a second must find the virtual device. It does not probe
// for names. They are the names of the devices, and "ncm" belongs to no single device.
func (z *zone) respond(b []byte, legacy bool, l link) []reply {
	q, ok := unpack(b)
	if !ok || q.Response || q.Opcode != dns.OpcodeQuery {
		return nil
	}
	known := knownAnswers(&q, legacy)
	seen := map[string]bool{}
	var groups []group
	for _, question := range q.Question[:min(len(q.Question), maxQuestions)] {
		labels, ok := parseName(question.Name)
		class := question.Qclass &^ wantsUnicast
		if !ok || class != dns.ClassINET && class != dns.ClassANY {
			continue
		}
		key := nameKey(labels)
		if once := key +
			string([]byte{byte(question.Qtype >> 8), byte(question.Qtype)}); seen[once] {
			continue
		} else {
			seen[once] = true
		}
		for _, g := range z.answer(key, question.Qtype, l, known, legacy) {
			g.unicast = legacy || question.Qclass&wantsUnicast != 0
			groups = append(groups, g)
		}
	}
	var replies []reply
	for _, g := range groups[:min(len(groups), maxReplies)] {
		m, err := g.pack(&q, legacy)
		if err != nil {
			continue
		}
		if !legacy {
			replies = append(replies, reply{message: m})
		}
		if g.unicast {
			own := slices.Clone(m)
			binary.BigEndian.PutUint16(own, q.Id)
			replies = append(replies, reply{message: own, unicast: true})
		}
	}
	return replies
}

// knownAnswers returns the PTR records that the client has and that need not be sent
// again (RFC 6762, 7.1), by owner and target.
func knownAnswers(q *dns.Msg, legacy bool) map[string]bool {
	known := map[string]bool{}
	if legacy {
		return known
	}
	for _, rr := range q.Answer {
		ptr, ok := rr.(*dns.PTR)
		if !ok || ptr.Hdr.Ttl < serviceTTL/2 {
			continue
		}
		owner, ok1 := parseName(ptr.Hdr.Name)
		target, ok2 := parseName(ptr.Ptr)
		if ok1 && ok2 {
			known[nameKey(owner)+"\x00"+nameKey(target)] = true
		}
	}
	return known
}

// answer returns the records for one question.
func (z *zone) answer(key string, kind uint16, l link, known map[string]bool, legacy bool) []group {
	wants := func(k uint16) bool { return kind == k || kind == dns.TypeANY }
	if key == metaKey && wants(dns.TypePTR) {
		return z.types(l, known)
	}
	var groups []group
	host := false
	for n := range z.offers {
		o := &z.offers[n]
		named := o.typeKey == key || o.nameKey == key || o.hostKey == key
		if !named || !o.on(l) {
			continue
		}
		host = host || o.hostKey == key
		switch {
		case o.typeKey == key && wants(dns.TypePTR) && !known[key+"\x00"+o.nameKey]:
			all := z.announcement(o, l)
			groups = append(groups, group{answer: all[:1], extra: all[1:]})
		case o.nameKey == key:
			g := group{}
			if wants(dns.TypeSRV) {
				g.answer, g.extra = append(g.answer, o.srv()), z.hostRecords(o.hostKey, l)
			}
			if wants(dns.TypeTXT) {
				g.answer = append(g.answer, o.txt())
			}
			groups = append(groups, g.orNone(o.name, legacy, dns.TypeTXT, dns.TypeSRV)...)
		}
	}
	if host {
		groups = append(groups, z.hostAnswer(key, wants, l, legacy)...)
	}
	return groups
}

// types returns the list of types, in one message.
func (z *zone) types(l link, known map[string]bool) []group {
	var g group
	var told []string
	for n := range z.offers {
		o := &z.offers[n]
		if o.on(l) && !slices.Contains(told, o.typeKey) && !known[metaKey+"\x00"+o.typeKey] {
			told = append(told, o.typeKey)
			g.answer = append(g.answer,
				&dns.PTR{Hdr: header(metaQuery, dns.TypePTR, serviceTTL), Ptr: o.typeName})
		}
	}
	if g.answer == nil {
		return nil
	}
	return []group{g}
}

// hostAnswer returns a host's addresses of the requested family, and those of the other
// family as additional records.
func (z *zone) hostAnswer(key string, wants func(uint16) bool, l link, legacy bool) []group {
	var g group
	var kinds []uint16
	name := ""
	for _, rr := range z.hostRecords(key, l) {
		h := rr.Header()
		name = h.Name
		if !slices.Contains(kinds, h.Rrtype) {
			kinds = append(kinds, h.Rrtype)
		}
		if wants(h.Rrtype) {
			g.answer = append(g.answer, rr)
		} else {
			g.extra = append(g.extra, rr)
		}
	}
	return g.orNone(name, legacy, kinds...)
}

// orNone returns the group. If the group has no answer, it returns a record that lists
// the types of records of the name (RFC 6762, 6.1). Without that record, resolvers wait
// for the other family of addresses.
func (g group) orNone(name string, legacy bool, kinds ...uint16) []group {
	if len(g.answer) > 0 {
		return []group{g}
	}
	if legacy {
		return nil
	}
	return []group{{answer: []dns.RR{
		&dns.NSEC{Hdr: unique(name, dns.TypeNSEC, hostTTL), NextDomain: name, TypeBitMap: kinds},
	}}}
}

// pack encodes the message. A message to the group has no question and no id. A message
// to a plain DNS client has the form of a DNS server's.
func (g group) pack(q *dns.Msg, legacy bool) ([]byte, error) {
	m := dns.Msg{Compress: true, Answer: g.answer, Extra: g.extra}
	m.Response, m.Authoritative = true, true
	if legacy {
		m.Id, m.Question = q.Id, q.Question
		for _, rr := range slices.Concat(g.answer, g.extra) {
			h := rr.Header()
			h.Class &^= cacheFlush
			h.Ttl = min(h.Ttl, legacyTTL)
		}
	}
	return m.Pack()
}

// pack encodes an unsolicited message of records. goodbye sets their lifetime to 0.
func pack(records []dns.RR, goodbye bool) ([]byte, error) {
	if goodbye {
		for _, rr := range records {
			rr.Header().Ttl = 0
		}
	}
	return group{answer: records}.pack(nil, false)
}
