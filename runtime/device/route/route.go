// Package route plans how a device is reached. Its functions are pure. From what is
// known of a device they make an ordered list of steps. Each step has the reason for
// its place, or the reason why it is left out.
//
//	Service(facts, needs) -> lockdown on usbmux, then the tunnel
//	Tunnel(facts)         -> usbmux: CoreDeviceProxy (left out: iOS 17.2 has it from 17.4 on),
//	                         remoted: remote pairing, QUIC
//	Report(facts)         -> one row for each route: its use and why
//
// Package device carries out the steps. Which methods an iOS version has is known from
// Apple's releases: tunnels since 17.0, CoreDeviceProxy since 17.4, and no QUIC since
// 18.2.
package route

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Via is the first part of a route.
type Via string

// The values of Via, best first.
const (
	// RSD is a list of services that can be reached through another program's tunnel,
	// or without a tunnel.
	RSD Via = "rsd"
	// Muxer is a usbmux multiplexer, over which lockdown and every port can be reached.
	Muxer Via = "usbmux"
	// Lockdown is lockdown over TCP, on a Wi-Fi network.
	Lockdown Via = "lockdown"
	// Remoted is the list of services for hosts that are not paired. It is on the
	// network interface of the USB cable, which exists since iOS 17. Remote pairing and
	// tunnels are reached through it.
	Remoted Via = "remoted"
	// Pairing is remote pairing over TCP, on a Wi-Fi network.
	Pairing Via = "remotepairing"
)

// Vias lists the values of Via, best first.
var Vias = []Via{RSD, Muxer, Lockdown, Remoted, Pairing}

// HasLockdown reports whether lockdownd answers on such a route.
func (v Via) HasLockdown() bool { return v == Muxer || v == Lockdown }

// HasPairing reports whether remote pairing answers on such a route.
func (v Via) HasPairing() bool { return v == Remoted || v == Pairing }

// The iOS versions that added or removed a method.
const (
	TunnelsSince = "17.0" // developer services are in tunnels
	ProxySince   = "17.4" // CoreDeviceProxy over lockdown
	TCPSince     = "18.2" // no QUIC
)

// Known is a known route to the device.
type Known struct {
	Kind string // "usb", "wifi" or "tunnel"
	Via  Via
	Name string // name for messages
}

// Up is the tunnel that a device has.
type Up struct {
	Route      int // index into Facts.Routes
	How        Method
	Generation int
	Took       time.Duration
}

// Failed is an attempt to make a tunnel that failed.
type Failed struct {
	Route  int
	How    Method
	Reason string
}

// Facts are what is known of a device.
type Facts struct {
	Version string  // of iOS; "" if the device did not say
	Routes  []Known // best first

	// Kind and Protocol are the requested properties of the tunnel: "usb" or "wifi",
	// and "tcp" or "quic". "" means any.
	Kind, Protocol string

	Tunnel *Up      // nil if there is none
	Failed []Failed // attempts of the last time that a tunnel was to be made
}

// Since reports whether the device has at least this version of iOS. It is true if the
// version is not known.
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

// Method is how a step reaches the device or service.
type Method = string

// The methods of steps. Those of tunnels are shown to users.
const (
	ByLockdown Method = "lockdown"
	InTunnel   Method = "tunnel"

	Listed Method = "list of services"
	Proxy  Method = "CoreDeviceProxy"
	QUIC   Method = "remote pairing, QUIC"
	PSK    Method = "remote pairing, TLS-PSK"
)

// Step is one thing to try.
type Step struct {
	Route  int // index into Facts.Routes, or -1 if the tunnel's own plan decides
	Method Method
	Skip   string // why the step is left out; "" if it is tried
	Reason string // why it is at this place
}

// Needs are the properties of a service.
type Needs struct {
	Lockdown  bool // whether it has a name in lockdown
	Remote    bool // whether it has a name in lists of services
	Developer bool // whether it belongs to the developer image
}

// Service plans how a service is opened. Lockdown comes first, because its route is the
// shortest. The tunnel has the services that lockdown does not offer and, since iOS 17,
// all developer services. If the only step of a plan is left out, it has the reason why
// the service cannot be reached.
func Service(f Facts, n Needs) []Step {
	best, tunnels := f.lockdown(), f.Since(TunnelsSince)
	inTunnel := func(reason string) Step {
		return Step{Route: -1, Method: InTunnel, Reason: reason}
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
		plan := []Step{{Route: best, Method: ByLockdown, Reason: f.whyLockdown()}}
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

// whyLockdown returns why the best route with lockdown is the best.
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

// Tunnel plans how a tunnel is made. It lists the methods of each route, in the order
// of the routes. Steps that are left out are in the plan as well.
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

// ways returns the methods that one route allows, best first.
func (f Facts) ways(i int) []Step {
	r := f.Routes[i]
	switch {
	case !f.Since(TunnelsSince):
		return []Step{{Skip: fmt.Sprintf("iOS %s has no tunnels", f.Version)}}
	case f.Kind != "" && f.Kind != r.Kind:
		return []Step{{Skip: f.Kind + " was asked for"}}
	case r.Via == RSD:
		return []Step{{Method: Listed, Reason: "another program has made the device reachable"}}
	case r.Via.HasLockdown():
		return []Step{f.proxy()}
	}
	tcp, quic := Step{Method: PSK}, Step{Method: QUIC}
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

// proxy returns the step for lockdown's CoreDeviceProxy.
func (f Facts) proxy() Step {
	s := Step{Method: Proxy}
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

// NoTunnel returns why a plan for a tunnel has no step to try.
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
	return strings.TrimSpace(last.Method + " not tried: " + last.Skip)
}

// CompareVersions compares dotted version numbers. Missing parts count as 0.
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
