package bonjour

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// browse collects what the queries of a Browse find.
type browse struct {
	links  []link // all of the machine
	askers []asker
	found  map[instanceKey]*Instance
	worked bool  // a query did
	err    error // of the first query that did not
}

// instanceKey has the name in lower case.
type instanceKey struct{ name, link string }

// add takes the outcome of a query and tells whether something was found.
func (b *browse) add(o outcome) bool {
	switch {
	case o.done:
		return false
	case o.err != nil:
		b.err = cmp.Or(b.err, o.err)
		return false
	}
	b.worked = true
	added := false
	for _, i := range o.found {
		if l, ok := b.heardOn(i, o.asker); ok {
			i.Interface = l
			b.merge(i)
			added = true
		}
	}
	return added
}

// heardOn says by which interface an instance was heard, and whether the query
// wants it. The library listens to the group on the system's default interface
// as well (and on Linux on every interface where another program does), so that
// an answer to a query on one interface may belong to another.
func (b *browse) heardOn(i Instance, a asker) (string, bool) {
	wanted := func(name string) (string, bool) {
		return name, slices.ContainsFunc(b.askers, func(a asker) bool { return a.Name == name })
	}
	if i.Interface != "" {
		return wanted(i.Interface) // the zone of an IPv6 packet: certain
	}
	for _, ip := range i.Addresses {
		if !ip.Is4() || a.holds(ip) {
			continue
		}
		if at := slices.IndexFunc(b.links, func(l link) bool { return l.holds(ip) }); at >= 0 {
			return wanted(b.links[at].Name)
		}
	}
	return a.Name, true
}

// merge adds an instance to those found. The newest TXT, port and host count;
// addresses add up.
func (b *browse) merge(i Instance) {
	key := instanceKey{strings.ToLower(i.Name), i.Interface}
	old := b.found[key]
	if old == nil {
		if len(b.found) >= maxInstances {
			return
		}
		old = &Instance{}
		b.found[key] = old
	}
	all := old.Addresses
	for _, ip := range i.Addresses {
		if ip.IsUnspecified() || ip.IsMulticast() || len(all) >= maxAddresses {
			continue
		}
		if ip.Is6() && ip.IsLinkLocalUnicast() {
			ip = ip.WithZone(i.Interface)
		}
		if !slices.Contains(all, ip) {
			all = append(all, ip)
		}
	}
	*old = i
	old.Addresses = all
}

// list is a copy of what was found, sorted.
func (b *browse) list() []Instance {
	var all []Instance
	for key, i := range b.found {
		if len(i.Addresses) == 0 {
			continue
		}
		c := i.clone()
		at := slices.IndexFunc(b.links, func(l link) bool { return l.Name == key.link })
		slices.SortFunc(c.Addresses, func(x, y netip.Addr) int {
			return cmp.Or(cmp.Compare(b.rank(c.Type, x, at), b.rank(c.Type, y, at)), x.Compare(y))
		})
		all = append(all, c)
	}
	sortInstances(all)
	return all
}

// rank says how promising an address is for a connection by the interface: what
// is in its subnet, then what is on every link, then what needs a router.
// remoted listens on link-local IPv6 addresses only.
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
