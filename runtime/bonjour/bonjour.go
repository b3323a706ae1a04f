package bonjour

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Type is a kind of service, "_apple-mobdev2._tcp".
type Type string

// The types of Apple's devices.
const (
	Mobdev2       Type = "_apple-mobdev2._tcp"
	Remoted       Type = "_remoted._tcp"
	RemotePairing Type = "_remotepairing._tcp"
	ManualPairing Type = "_remotepairing-manual-pairing._tcp"
)

// typeNames are what people call the types.
var typeNames = map[string]Type{
	"mobdev2":        Mobdev2,
	"rsd":            Remoted,
	"remoted":        Remoted,
	"remotepairing":  RemotePairing,
	"manual-pairing": ManualPairing,
}

// ParseType takes mobdev2, rsd (or remoted), remotepairing, manual-pairing, or
// a full type such as "_airplay._tcp", with or without ".local" and in any
// case. Other text is an Error with ErrInvalid.
func ParseType(name string) (Type, error) {
	low := strings.ToLower(name)
	if t, ok := typeNames[low]; ok {
		return t, nil
	}
	t := Type(strings.TrimSuffix(strings.TrimSuffix(low, "."), "."+domain))
	if !t.valid() {
		return "", &Error{Op: "parse type", Subject: fmt.Sprintf("%q", name), Err: ErrInvalid}
	}
	return t, nil
}

// valid reports whether t is two labels as DNS-SD wants them. Their length is not
// held to the 15 bytes of RFC 6335: Apple's are longer.
func (t Type) valid() bool {
	labels, ok := parseName(string(t))
	if !ok || len(labels) != 2 || formatName(labels...) != string(t)+"." {
		return false
	}
	return len(labels[0]) > 1 && labels[0][0] == '_' && (labels[1] == "_tcp" || labels[1] == "_udp")
}

// labels are those of t in the domain.
func (t Type) labels() []string { return append(strings.Split(string(t), "."), domain) }

// Instance is a service that was found on one interface. The same device found
// on two interfaces is two instances, and so is one name that two senders tell
// different things of.
type Instance struct {
	// Name is the instance's own label, without escapes:
	// "5c:52:84:0a:1b:2c@fe80::5e52:84ff:fe0a:1b2c-supportsRP-24".
	Name string
	Type Type
	// Host is "Some-iPhone.local", without the last dot.
	Host string
	// Port is as advertised; that of Mobdev2 is of no use, see Endpoints.
	Port uint16
	// Addresses are the host's, the most promising first. Link-local IPv6
	// addresses have their zone.
	Addresses []netip.Addr
	// Interface is the name of the interface it was heard on.
	Interface string
	// TXT has keys as they were sent; see Text. Values may be binary.
	TXT map[string]string
	// Sender is the address that told of it, the zero Addr if that is not known.
	// It need not be one of Addresses: programs may advertise for others.
	Sender netip.Addr
}

// Text returns the value of a key of the TXT record in any case, and whether
// the record has the key.
func (i Instance) Text(key string) (string, bool) {
	if v, ok := i.TXT[key]; ok {
		return v, true
	}
	for _, k := range slices.Sorted(maps.Keys(i.TXT)) {
		if strings.EqualFold(k, key) {
			return i.TXT[k], true
		}
	}
	return "", false
}

// Endpoints are the addresses to dial, the most promising first. The port is
// the advertised one, except that lockdownd listens on LockdownPort where
// Mobdev2Port is told: a relay or a virtual device may tell the truth.
func (i Instance) Endpoints() []netip.AddrPort {
	port := i.Port
	if i.Type == Mobdev2 && (port == Mobdev2Port || port == 0) {
		port = LockdownPort
	}
	all := make([]netip.AddrPort, len(i.Addresses))
	for n, a := range i.Addresses {
		all[n] = netip.AddrPortFrom(a, port)
	}
	return all
}

func (i Instance) clone() Instance {
	i.Addresses = slices.Clone(i.Addresses)
	i.TXT = maps.Clone(i.TXT)
	return i
}

// DefaultTimeout is how long a browse listens when its Query does not say.
const DefaultTimeout = 3 * time.Second

// Query says what to browse for.
type Query struct {
	Type Type
	// Timeout is how long to listen; 0 is DefaultTimeout. A browse without
	// Early lasts that long.
	Timeout time.Duration
	// Interfaces are names of interfaces; nil is all that are up and can
	// multicast.
	Interfaces []string
	// NoIPv4 and NoIPv6 keep the browse from asking over that family.
	// Addresses of both are found over either.
	NoIPv4, NoIPv6 bool
	// Loopback adds the loopback interface when Interfaces is nil.
	Loopback bool
	// Early, when not nil, is called with all that was found so far whenever
	// something was; true ends the browse.
	Early func([]Instance) bool
}

// Browser finds services.
type Browser interface {
	// Browse returns what it found, sorted by name and interface; nothing
	// found is not an error. When ctx ends it returns at once with ctx's error.
	Browse(ctx context.Context, q Query) ([]Instance, error)
}

// Static is a Browser that finds a fixed list: in tests, and where multicast is
// blocked and addresses are given by hand.
type Static []Instance

// Browse returns the instances of the query's type and interfaces at once. An
// instance without an interface is on all of them.
func (s Static) Browse(ctx context.Context, q Query) ([]Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Op: "browse", Subject: string(q.Type), Err: err}
	}
	var found []Instance
	for _, i := range s {
		here := q.Interfaces == nil || i.Interface == "" ||
			slices.Contains(q.Interfaces, i.Interface)
		if here && strings.EqualFold(string(i.Type), string(q.Type)) {
			found = append(found, i.clone())
		}
	}
	sortInstances(found)
	return found, nil
}

func sortInstances(all []Instance) {
	slices.SortStableFunc(all, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Interface, b.Interface),
			a.Sender.Compare(b.Sender))
	})
}
