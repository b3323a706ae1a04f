package bonjour

import (
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"
)

// wantsUnicast is the bit of a question's class by which a client asks for an
// answer to itself (RFC 6762, 5.4).
const wantsUnicast = 0x8000

// reply is one message that answers: to who asked, or to the group.
type reply struct {
	message []byte
	unicast bool
}

// group is the records of one message.
type group struct {
	answer, extra []dns.RR
	unicast       bool
}

// respond answers a message that came by an interface. A question from another
// port than 5353 is from a plain DNS client (legacy). Instances are answered in
// a message each: clients in use (hashicorp/mdns among them) read one instance
// of a message.
//
// The rules of RFC 6762 for a crowded network are left out on purpose: answers
// are neither delayed nor withheld because they were sent less than a second
// ago, since clients that ask once and listen for a second must find the
// virtual device. Names are not probed for: they are the devices' own, and
// "ncm" is no one's alone.
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

// knownAnswers are the PTR records that the client has and need not hear again
// (RFC 6762, 7.1), by owner and target.
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

// answer is what there is to say to one question.
func (z *zone) answer(key string, kind uint16, l link, known map[string]bool, legacy bool) []group {
	wants := func(k uint16) bool { return kind == k || kind == dns.TypeANY }
	if key == metaKey && wants(dns.TypePTR) {
		return z.types(l, known)
	}
	var groups []group
	host := false
	for n := range z.offers {
		o := &z.offers[n]
		if o.typeKey != key && o.nameKey != key && o.hostKey != key || !o.on(l) {
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

// types answers which types there are, in one message.
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

// hostAnswer tells a host's addresses of the family that is asked for, and
// those of the other beside.
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

// orNone is the group, or when it answers nothing a record that says which
// kinds the name has (RFC 6762, 6.1): without it resolvers wait for the other
// family of addresses.
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

// pack makes the message. One to the group has no question and no number; one
// to a plain DNS client looks like that of any DNS server.
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

// pack makes an unasked message of records; goodbye ends their life.
func pack(records []dns.RR, goodbye bool) ([]byte, error) {
	if goodbye {
		for _, rr := range records {
			rr.Header().Ttl = 0
		}
	}
	return group{answer: records}.pack(nil, false)
}
