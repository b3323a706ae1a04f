package bonjour

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Service is a service to advertise.
type Service struct {
	// Name is the instance's label without escapes. It has at most 63 bytes.
	Name string
	Type Type
	// Host is the host's name. ".local" is added if it has one label.
	Host string
	Port uint16
	// Addresses are the host's IPv4 and IPv6 addresses. nil means those of the
	// interface. An address with a zone is sent on that interface only.
	Addresses []netip.Addr
	// Interface is the only interface on which the service is advertised. "" means all
	// interfaces of the advertisement.
	Interface string
	// TXT is the TXT record. Values may be binary. A key and its value have at most 254
	// bytes.
	TXT map[string]string
}

// maxServices bounds the services of an advertisement.
const maxServices = 256

// offer is a valid Service in the forms that messages need.
type offer struct {
	Service
	name, host       string // complete, in presentation form
	nameKey, hostKey string
	typeName         string
	typeKey          string
	text             []string
}

func newOffer(s Service) (offer, error) {
	bad := func(what string) error {
		return &Error{
			Op: "advertise", Subject: fmt.Sprintf("%q", s.Name),
			Err: fmt.Errorf("%w %s", ErrInvalid, what),
		}
	}
	if !s.Type.valid() {
		return offer{}, bad("type " + strconv.Quote(string(s.Type)))
	}
	host, ok := parseName(escapeHost(s.Host))
	if !ok {
		return offer{}, bad("host " + strconv.Quote(s.Host))
	}
	if len(host) == 1 {
		host = append(host, domain)
	}
	text, ok := formatText(s.TXT)
	if !ok {
		return offer{}, bad("TXT")
	}
	instance := append([]string{s.Name}, s.Type.labels()...)
	o := offer{Service: s, text: text, name: formatName(instance...), host: formatName(host...),
		typeName: formatName(s.Type.labels()...), typeKey: nameKey(s.Type.labels())}
	if _, ok := parseName(o.name); !ok {
		return offer{}, bad("name")
	}
	if slices.ContainsFunc(s.Addresses,
		func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() }) {
		return offer{}, bad("address")
	}
	o.nameKey, o.hostKey = nameKey(instance), nameKey(host)
	return o, nil
}

// escapeHost returns the presentation form of a host name, in which dots separate
// labels.
func escapeHost(host string) string {
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	return formatName(labels...)
}

// addresses returns the addresses of the offer on an interface.
func (o *offer) addresses(l link) []netip.Addr {
	var all []netip.Addr
	if o.Addresses == nil {
		for _, p := range l.prefixes {
			all = append(all, p.Addr())
		}
	}
	for _, a := range o.Addresses {
		if a.Zone() == "" || a.Zone() == l.Name {
			all = append(all, a.WithZone("").Unmap())
		}
	}
	return all
}

// on reports whether the offer is advertised on an interface.
func (o *offer) on(l link) bool {
	return (o.Interface == "" || o.Interface == l.Name) && len(o.addresses(l)) > 0
}

func header(name string, kind uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// cacheFlush marks a record that only this host has.
const cacheFlush = 0x8000

func unique(name string, kind uint16, ttl uint32) dns.RR_Header {
	h := header(name, kind, ttl)
	h.Class |= cacheFlush
	return h
}

func (o *offer) ptr() dns.RR {
	return &dns.PTR{Hdr: header(o.typeName, dns.TypePTR, serviceTTL), Ptr: o.name}
}

func (o *offer) srv() dns.RR {
	return &dns.SRV{Hdr: unique(o.name, dns.TypeSRV, hostTTL), Port: o.Port, Target: o.host}
}

func (o *offer) txt() dns.RR {
	return &dns.TXT{Hdr: unique(o.name, dns.TypeTXT, serviceTTL), Txt: o.text}
}

// zone is the content of an advertisement. It does not change.
type zone struct{ offers []offer }

func newZone(services []Service) (*zone, error) {
	if len(services) > maxServices {
		return nil, &Error{Op: "advertise", Err: fmt.Errorf("more than %d services", maxServices)}
	}
	z := &zone{}
	for _, s := range services {
		o, err := newOffer(s)
		if err != nil {
			return nil, err
		}
		z.offers = append(z.offers, o)
	}
	return z, nil
}

// hostRecords returns the address records of a host on an interface, for all its
// services. Records with the cache-flush bit must be sent together.
func (z *zone) hostRecords(key string, l link) []dns.RR {
	var records []dns.RR
	var seen []netip.Addr
	for n := range z.offers {
		o := &z.offers[n]
		if o.hostKey != key || !o.on(l) {
			continue
		}
		for _, a := range o.addresses(l) {
			if slices.Contains(seen, a) {
				continue
			}
			seen = append(seen, a)
			if a.Is4() {
				records = append(records,
					&dns.A{Hdr: unique(o.host, dns.TypeA, hostTTL), A: a.AsSlice()})
			} else {
				records = append(records,
					&dns.AAAA{Hdr: unique(o.host, dns.TypeAAAA, hostTTL), AAAA: a.AsSlice()})
			}
		}
	}
	slices.SortStableFunc(records,
		func(a, b dns.RR) int { return int(a.Header().Rrtype) - int(b.Header().Rrtype) })
	return records[:min(len(records), maxAddresses)]
}

// announcement returns all records of an offer on an interface.
func (z *zone) announcement(o *offer, l link) []dns.RR {
	return append([]dns.RR{o.ptr(), o.srv(), o.txt()}, z.hostRecords(o.hostKey, l)...)
}
