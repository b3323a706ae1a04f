package bonjour

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// browse collects what a Browse receives.
type browse struct {
	kind    Type
	links   []link
	senders map[source]*sender
	total   int    // number of instances
	turn    uint64 // number of answers so far, by which the newest is known
	worked  bool   // whether a question was sent
	err     error  // error of the first question that was not sent
}

func newBrowse(kind Type, askers []asker) *browse {
	b := &browse{kind: kind, senders: map[source]*sender{}}
	for _, a := range askers {
		b.links = append(b.links, a.link)
	}
	return b
}

// source is a sender and the interface on which it was received.
type source struct {
	link    string
	address netip.Addr
}

// sender holds what one source has sent, by the key of the instance. It is kept
// separate for each source, because anybody who can send to the group can send records
// for any name.
type sender struct{ told map[string]*told }

// told is an instance as one sender describes it.
type told struct {
	name, host, hostKey string
	port                uint16            // 0 until an SRV record is received
	text                map[string]string // nil until a TXT record is received
	addresses           []netip.Addr
	turn                uint64 // number of the newest answer about it
}

// add takes an outcome and reports whether there may be a new instance.
func (b *browse) add(o outcome) bool {
	switch {
	case o.err != nil:
		b.err = cmp.Or(b.err, o.err)
		return false
	case o.asked:
		b.worked = true
		return false
	}
	b.turn++
	at := source{o.heard.link, o.heard.sender}
	s := b.senders[at]
	if s == nil {
		if len(b.senders) >= maxSenders {
			return false
		}
		s = &sender{told: map[string]*told{}}
		b.senders[at] = s
	}
	for _, f := range o.heard.facts {
		b.learn(s, f)
	}
	if len(s.told) == 0 {
		delete(b.senders, at)
	}
	return true
}

// learn adds a fact to what a sender has sent.
func (b *browse) learn(s *sender, f fact) {
	if f.kind == dns.TypeA {
		s.learnAddress(f, b.turn)
		return
	}
	i := s.told[f.key]
	if f.gone {
		if i != nil {
			b.drop(s, f.key)
		}
		return
	}
	if i == nil {
		if len(s.told) >= maxOfSender || b.total >= maxInstances && !b.makeRoom(len(s.told)) {
			return
		}
		i = &told{}
		s.told[f.key] = i
		b.total++
	}
	i.name, i.turn = f.name, b.turn
	switch f.kind {
	case dns.TypeSRV:
		if i.hostKey != f.hostKey {
			i.addresses = nil
		}
		i.host, i.hostKey, i.port = f.host, f.hostKey, f.port
	case dns.TypeTXT:
		i.text = f.text
	}
}

// learnAddress adds an address to the instances on a host. If the same packet has
// instances of the host, only those get the address, because one sender may send for
// several devices of one name. Otherwise all instances get it.
func (s *sender) learnAddress(f fact, turn uint64) {
	var all, here []*told
	for _, i := range s.told {
		if i.hostKey != f.key {
			continue
		}
		all = append(all, i)
		if i.turn == turn {
			here = append(here, i)
		}
	}
	if here != nil {
		all = here
	}
	for _, i := range all {
		at := slices.Index(i.addresses, f.address)
		switch {
		case f.gone && at >= 0:
			i.addresses = slices.Delete(i.addresses, at, at+1)
		case !f.gone && at < 0 && len(i.addresses) < maxAddresses:
			i.addresses = append(i.addresses, f.address)
		}
	}
}

func (b *browse) drop(s *sender, key string) {
	delete(s.told, key)
	b.total--
}

// makeRoom removes an instance of the sender that has the most, if that sender has more
// than the one that asks for room.
func (b *browse) makeRoom(has int) bool {
	var most *sender
	for _, s := range b.senders {
		if most == nil || len(s.told) > len(most.told) {
			most = s
		}
	}
	if most == nil || len(most.told) <= has+1 {
		return false
	}
	for key := range most.told {
		b.drop(most, key)
		return true
	}
	return false
}

// list returns the instances that were found, sorted.
func (b *browse) list() []Instance {
	type service struct {
		key, link, hostKey string
		port               uint16
	}
	type variant struct {
		Instance
		turn uint64
	}
	found := map[service][]variant{}
	for _, at := range slices.SortedFunc(maps.Keys(b.senders), source.compare) {
		s := b.senders[at]
		for key, i := range s.told {
			if i.port == 0 || i.text == nil || len(i.addresses) == 0 {
				continue
			}
			v := variant{Instance{Name: i.name, Type: b.kind, Host: i.host, Port: i.port,
				Addresses: slices.Clone(i.addresses), Interface: at.link,
				TXT: maps.Clone(i.text), Sender: at.address}, i.turn}
			of := service{key, at.link, i.hostKey, i.port}
			same := slices.IndexFunc(found[of], func(o variant) bool {
				return confirm(o.Instance, v.Instance)
			})
			if same < 0 {
				found[of] = append(found[of], v)
				continue
			}
			o := &found[of][same]
			o.Addresses = union(o.Addresses, v.Addresses)
			if v.turn > o.turn {
				o.TXT, o.Name, o.Host, o.turn = v.TXT, v.Name, v.Host, v.turn
			}
		}
	}
	var all []Instance
	for _, variants := range found {
		for _, v := range variants {
			b.arrange(&v.Instance)
			all = append(all, v.Instance)
		}
	}
	sortInstances(all)
	return all
}

func (s source) compare(o source) int {
	return cmp.Or(cmp.Compare(s.link, o.link), s.address.Compare(o.address))
}

// confirm reports whether two senders are the same device. They are if each has the
// address of the other among its own, or if both have the same addresses.
func confirm(a, b Instance) bool {
	has := func(i Instance, ip netip.Addr) bool {
		return slices.Contains(i.Addresses, ip.WithZone(""))
	}
	if has(a, b.Sender) && has(b, a.Sender) {
		return true
	}
	return len(a.Addresses) == len(b.Addresses) &&
		!slices.ContainsFunc(a.Addresses, func(ip netip.Addr) bool { return !has(b, ip) })
}

// union returns the addresses of both, up to maxAddresses.
func union(a, b []netip.Addr) []netip.Addr {
	for _, ip := range b {
		if len(a) < maxAddresses && !slices.Contains(a, ip) {
			a = append(a, ip)
		}
	}
	return a
}

// arrange sorts the addresses, best first, and adds the zone to link-local ones.
func (b *browse) arrange(i *Instance) {
	at := slices.IndexFunc(b.links, func(l link) bool { return l.Name == i.Interface })
	for n, ip := range i.Addresses {
		if ip.Is6() && ip.IsLinkLocalUnicast() {
			i.Addresses[n] = ip.WithZone(i.Interface)
		}
	}
	slices.SortFunc(i.Addresses, func(x, y netip.Addr) int {
		return cmp.Or(cmp.Compare(b.rank(i.Type, x, at), b.rank(i.Type, y, at)), x.Compare(y))
	})
}

// rank returns how likely it is that an address works over the interface. Addresses in
// its subnet come first, then link-local ones, then those that need a router. remoted
// listens on link-local IPv6 addresses only.
func (b *browse) rank(t Type, a netip.Addr, at int) int {
	onLink := at >= 0 && b.links[at].holds(a)
	switch {
	case t == Remoted && a.Is6() && a.IsLinkLocalUnicast():
		return -1
	case a.Is4() && onLink && !a.IsLinkLocalUnicast():
		return 0
	case a.Is6() && a.IsLinkLocalUnicast():
		return 2
	case a.Is6() && onLink:
		return 1
	case a.Is4() && onLink:
		return 3
	case a.Is6():
		return 4
	}
	return 5
}
