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

// Type is a type of service, such as "_apple-mobdev2._tcp".
type Type string

// The types of services of Apple's devices.
const (
	Mobdev2       Type = "_apple-mobdev2._tcp"
	Remoted       Type = "_remoted._tcp"
	RemotePairing Type = "_remotepairing._tcp"
	ManualPairing Type = "_remotepairing-manual-pairing._tcp"
)

// typeNames are the short names of the types.
var typeNames = map[string]Type{
	"mobdev2":        Mobdev2,
	"rsd":            Remoted,
	"remoted":        Remoted,
	"remotepairing":  RemotePairing,
	"manual-pairing": ManualPairing,
}

// ParseType returns the type for one of the names mobdev2, rsd (or remoted),
// remotepairing and manual-pairing, or for a full type such as "_airplay._tcp", with or
// without ".local" and in any case. For any other text it returns an Error with
// ErrInvalid.
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

// valid reports whether t has two labels in the form of DNS-SD. They may be longer than
// the 15 bytes of RFC 6335, because Apple's are.
func (t Type) valid() bool {
	labels, ok := parseName(string(t))
	if !ok || len(labels) != 2 || formatName(labels...) != string(t)+"." {
		return false
	}
	return len(labels[0]) > 1 && labels[0][0] == '_' && (labels[1] == "_tcp" || labels[1] == "_udp")
}

// labels returns the labels of t in the domain.
func (t Type) labels() []string { return append(strings.Split(string(t), "."), domain) }

// Instance is a service that was found on one interface. A device that is found on two
// interfaces has two instances. If two senders send different records of the same name,
// there are two instances, too.
type Instance struct {
	// Name is the instance's own label without escapes, such as
	// "5c:52:84:0a:1b:2c@fe80::5e52:84ff:fe0a:1b2c-supportsRP-24".
	Name string
	Type Type
	// Host is the host's name without the last dot, such as "Some-iPhone.local".
	Host string
	// Port is the advertised port. That of Mobdev2 cannot be dialled; see Endpoints.
	Port uint16
	// Addresses are the host's addresses. The one that is most likely to work comes
	// first. Link-local IPv6 addresses have their zone.
	Addresses []netip.Addr
	// Interface is the name of the interface on which it was found.
	Interface string
	// TXT is the TXT record with its keys as sent; see Text. Values may be binary.
	TXT map[string]string
	// Sender is the address of its sender, or the zero Addr if that is not known. It
	// may be different from Addresses, because programs may advertise for others.
	Sender netip.Addr
}

// Text returns the value of a key of the TXT record and whether the record has the key.
// It ignores the case of keys.
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

// Endpoints returns the addresses to dial. The one that is most likely to work comes
// first. The port is the advertised one. If that is Mobdev2Port, it is replaced by
// LockdownPort, on which lockdownd listens. A relay or a virtual device may advertise
// its actual port.
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

// DefaultTimeout is the timeout of a Query that has none.
const DefaultTimeout = 3 * time.Second

// Query describes a search for services.
type Query struct {
	Type Type
	// Timeout is how long to listen; 0 means DefaultTimeout. A browse without Early
	// always takes that long.
	Timeout time.Duration
	// Interfaces are names of interfaces. nil means all that are up and can multicast.
	Interfaces []string
	// NoIPv4 and NoIPv6 exclude a family of addresses for the questions. Addresses of
	// both families are found over either.
	NoIPv4, NoIPv6 bool
	// Loopback adds the loopback interface if Interfaces is nil.
	Loopback bool
	// Early, if not nil, is called with all instances found so far whenever there are
	// new ones. The browse ends when it returns true.
	Early func([]Instance) bool
}

// Browser finds services.
type Browser interface {
	// Browse returns the instances that it found, sorted by name and interface. It is
	// not an error if there are none. When ctx ends, Browse returns its error at once.
	Browse(ctx context.Context, q Query) ([]Instance, error)
}

// Static is a Browser that returns a fixed list. It is for tests, and for networks that
// block multicast, where addresses are given by the user.
type Static []Instance

// Browse returns the instances of the query's type and interfaces at once. An instance
// without an interface matches every interface.
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
