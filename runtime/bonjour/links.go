package bonjour

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// maxLinks bounds the interfaces of one browse or advertisement. Machines that run
// containers have hundreds, and each requires sockets.
const maxLinks = 32

// link is a network interface with its addresses at the time when it was listed.
type link struct {
	*net.Interface
	// prefixes are the addresses with the length of their subnet, without zones.
	prefixes []netip.Prefix
}

func newLink(i *net.Interface) (link, error) {
	l := link{Interface: i}
	addresses, err := i.Addrs()
	if err != nil {
		return l, err
	}
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		if !ok {
			continue
		}
		ip = ip.Unmap()
		if ip.Is4() && len(n.Mask) == net.IPv6len {
			bits -= 96
		}
		if p := netip.PrefixFrom(ip, bits); p.IsValid() {
			l.prefixes = append(l.prefixes, p)
		}
	}
	return l, nil
}

// has reports whether the interface has an address of the family.
func (l link) has(v6 bool) bool {
	return slices.ContainsFunc(l.prefixes,
		func(p netip.Prefix) bool { return p.Addr().Is6() == v6 })
}

// holds reports whether an address is in one of the interface's subnets.
func (l link) holds(a netip.Addr) bool {
	if a.Zone() != "" && a.Zone() != l.Name {
		return false
	}
	a = a.WithZone("")
	return slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (l link) loopback() bool { return l.Flags&net.FlagLoopback != 0 }

// localLinks returns all interfaces that are up and have an address.
func localLinks() ([]link, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var links []link
	for n := range interfaces {
		if interfaces[n].Flags&net.FlagUp == 0 {
			continue
		}
		l, err := newLink(&interfaces[n])
		if err == nil && len(l.prefixes) > 0 {
			links = append(links, l)
		}
	}
	return links, nil
}

// chooseLinks returns the named interfaces, all of which must exist. If names is nil,
// it returns all that can multicast. These include the loopback interface only if
// loopback is true; on Linux it can multicast although it does not have the flag.
func chooseLinks(all []link, names []string, loopback bool) ([]link, error) {
	var chosen []link
	for _, name := range names {
		at := slices.IndexFunc(all, func(l link) bool { return l.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("%s: %w", name, ErrNoInterface)
		}
		if !slices.ContainsFunc(chosen, func(l link) bool { return l.Name == name }) {
			chosen = append(chosen, all[at])
		}
	}
	for _, l := range all {
		switch {
		case names != nil:
		case l.loopback():
			if loopback {
				chosen = append(chosen, l)
			}
		case l.Flags&net.FlagMulticast != 0:
			chosen = append(chosen, l)
		}
	}
	if len(chosen) == 0 {
		return nil, ErrNoInterface
	}
	return chosen[:min(len(chosen), maxLinks)], nil
}
