// Package route plans how a device is reached. Its functions are pure: from what is
// known of a device they make an ordered list of steps, each with the reason why it
// stands there or is left out.
//
//	Service(facts, needs) -> lockdown on usbmux, then the tunnel
//	Tunnel(facts)         -> usbmux: CoreDeviceProxy (left out: iOS 17.2 has it from 17.4 on),
//	                         remoted: remote pairing, QUIC
//	Report(facts)         -> one row for each route: its use and why
//
// Package device carries the steps out. What iOS versions have is from Apple's
// releases: tunnels since 17.0, CoreDeviceProxy since 17.4, no QUIC since 18.2.
package route

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Via is what a route begins with.
type Via string

// The kinds of beginnings, best first.
const (
	// RSD is a list of services that the tunnel of another program, or none at
	// all, makes reachable.
	RSD Via = "rsd"
	// Muxer is a muxer: lockdown and every port of the device.
	Muxer Via = "usbmux"
	// Lockdown is lockdown over TCP, as devices on a Wi-Fi network have it.
	Lockdown Via = "lockdown"
	// Remoted is the list of services for hosts that are not paired, on the
	// network interface that the USB cable makes since iOS 17. Remote pairing
	// and tunnels are behind it.
	Remoted Via = "remoted"
	// Pairing is remote pairing over TCP, on a Wi-Fi network.
	Pairing Via = "remotepairing"
)

// Vias lists the beginnings, best first.
var Vias = []Via{RSD, Muxer, Lockdown, Remoted, Pairing}

// HasLockdown reports whether lockdownd answers at the end of such a route.
func (v Via) HasLockdown() bool { return v == Muxer || v == Lockdown }

// HasPairing reports whether remote pairing answers there.
func (v Via) HasPairing() bool { return v == Remoted || v == Pairing }

// The iOS versions with which ways came and went.
const (
	TunnelsSince = "17.0" // services for developers are in tunnels
	ProxySince   = "17.4" // CoreDeviceProxy over lockdown
	TCPSince     = "18.2" // no QUIC any more
)

// Known is a route to the device.
type Known struct {
	Kind string // "usb", "wifi" or "tunnel"
	Via  Via
	Name string // as messages name it
}

// Up is the tunnel that a device has.
type Up struct {
	Route      int // index into Facts.Routes
	How        Means
	Generation int
	Took       time.Duration
}

// Failed is an attempt to make a tunnel that failed.
type Failed struct {
	Route  int
	How    Means
	Reason string
}

// Facts are what is known of a device.
type Facts struct {
	Version string  // of iOS; "" if the device did not say
	Routes  []Known // best first

	// Kind and Protocol are what was asked for of the tunnel: "usb" or "wifi",
	// "tcp" or "quic"; "" is any.
	Kind, Protocol string

	Tunnel *Up      // nil if there is none
	Failed []Failed // attempts of the last time that a tunnel was made
}

// Since reports whether the device has at least this version of iOS. A device that
// did not say what it has counts as new.
func (f Facts) Since(version string) bool {
	return f.Version == "" || CompareVersions(f.Version, version) >= 0
}

// lockdown returns the best route with lockdown, or -1.
func (f Facts) lockdown() int {
	for i, r := range f.Routes {
		if r.Via.HasLockdown() {
			return i
		}
	}
	return -1
}

// Means is how a step reaches what it is for.
type Means = string

// The means of steps. Those of tunnels are shown to users.
const (
	ByLockdown Means = "lockdown"
	InTunnel   Means = "tunnel"

	Listed Means = "list of services"
	Proxy  Means = "CoreDeviceProxy"
	QUIC   Means = "remote pairing, QUIC"
	PSK    Means = "remote pairing, TLS-PSK"
)

// Step is one thing to try.
type Step struct {
	Route  int // index into Facts.Routes; -1 where the tunnel's own plan says it
	Means  Means
	Skip   string // why the step is left out; "" if it is tried
	Reason string // why it stands at this place
}

// Needs is what a service says of itself.
type Needs struct {
	Lockdown  bool // it has a name in lockdown
	Remote    bool // it has a name in lists of services
	Developer bool // it belongs to the developer image
}

// Service plans how a service is opened. Lockdown is asked first, because that route
// is the shortest; the tunnel has what lockdown does not offer and, since iOS 17,
// everything for developers. A plan whose only step is left out says why the service
// cannot be reached.
func Service(f Facts, n Needs) []Step {
	best, tunnels := f.lockdown(), f.Since(TunnelsSince)
	inTunnel := func(reason string) Step {
		return Step{Route: -1, Means: InTunnel, Reason: reason}
	}
	var reason string
	switch {
	case best < 0:
		reason = "no route has lockdown"
	case !n.Lockdown:
		reason = "lockdown does not have the service on any version"
	case n.Developer && n.Remote && tunnels:
		reason = "services for developers are in the tunnel since iOS " + TunnelsSince
	default:
		plan := []Step{{Route: best, Means: ByLockdown, Reason: f.whyLockdown()}}
		if tunnels {
			plan = append(plan, inTunnel("lockdown does not offer the service"))
		}
		return plan
	}
	s := inTunnel(reason)
	if !tunnels {
		s.Skip = fmt.Sprintf("it came with iOS %s, the device has %s", TunnelsSince, f.Version)
	}
	return []Step{s}
}

// whyLockdown says why the best route with lockdown is the best.
func (f Facts) whyLockdown() string {
	n := 0
	for _, r := range f.Routes {
		if r.Via.HasLockdown() {
			n++
		}
	}
	if n == 1 {
		return "the one route with lockdown"
	}
	return fmt.Sprintf("the best of %d routes with lockdown: a muxer before a network, "+
		"a cable before Wi-Fi", n)
}

// Tunnel plans how a tunnel is made: what each route allows, in the order of the
// routes. Steps that are left out are in the plan as well.
func Tunnel(f Facts) []Step {
	var plan []Step
	for i := range f.Routes {
		for _, s := range f.ways(i) {
			s.Route = i
			plan = append(plan, s)
		}
	}
	return plan
}

// ways lists what one route allows, best first.
func (f Facts) ways(i int) []Step {
	r := f.Routes[i]
	switch {
	case !f.Since(TunnelsSince):
		return []Step{{Skip: fmt.Sprintf("iOS %s has no tunnels", f.Version)}}
	case f.Kind != "" && f.Kind != r.Kind:
		return []Step{{Skip: f.Kind + " was asked for"}}
	case r.Via == RSD:
		return []Step{{Means: Listed, Reason: "another program has made the device reachable"}}
	case r.Via.HasLockdown():
		return []Step{f.proxy()}
	}
	tcp, quic := Step{Means: PSK}, Step{Means: QUIC}
	switch {
	case f.Protocol == "tcp":
		tcp.Reason = "TCP was asked for"
		return []Step{tcp}
	case f.Protocol == "quic":
		quic.Reason = "QUIC was asked for"
		return []Step{quic}
	case f.Version == "":
		tcp.Reason = "every version has it"
		quic.Reason = "the device did not say what version it has"
		return []Step{tcp, quic}
	case f.Since(TCPSince):
		tcp.Reason = "iOS " + TCPSince + " ended QUIC"
		return []Step{tcp}
	}
	quic.Reason = "before iOS " + TCPSince + " Apple's programs use it"
	tcp.Reason = "where UDP does not pass"
	return []Step{quic, tcp}
}

// proxy is the tunnel that lockdown starts.
func (f Facts) proxy() Step {
	s := Step{Means: Proxy}
	switch {
	case !f.Since(ProxySince):
		s.Skip = fmt.Sprintf("iOS %s has it from %s on", f.Version, ProxySince)
	case f.Protocol == "quic":
		s.Skip = "QUIC was asked for"
	default:
		s.Reason = "it needs nothing but the pairing of lockdown"
	}
	return s
}

// NoTunnel says why a plan for a tunnel has no step to try.
func NoTunnel(f Facts) string {
	plan := Tunnel(f)
	network, asked := false, false
	for _, r := range f.Routes {
		network = network || r.Via.HasPairing()
		asked = asked || r.Kind == f.Kind
	}
	switch {
	case !f.Since(TunnelsSince):
		return fmt.Sprintf("iOS %s has none, they came with %s", f.Version, TunnelsSince)
	case f.Kind != "" && !asked:
		return fmt.Sprintf("no route by %s reaches it", f.Kind)
	case !f.Since(ProxySince) && !network:
		return fmt.Sprintf("iOS %s has them on the cable's network interface and on Wi-Fi "+
			"alone, and it was not found there", f.Version)
	case len(plan) == 0:
		return "no route reaches it"
	}
	last := plan[len(plan)-1]
	return strings.TrimSpace(last.Means + " not tried: " + last.Skip)
}

// CompareVersions compares dotted version numbers; missing parts count as 0.
func CompareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		var m, n int
		if i < len(x) {
			m, _ = strconv.Atoi(x[i])
		}
		if i < len(y) {
			n, _ = strconv.Atoi(y[i])
		}
		if m != n {
			return m - n
		}
	}
	return 0
}
