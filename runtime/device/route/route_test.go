package route

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"
)

// These are routes that devices have.
var (
	cable   = Known{"usb", Muxer, "usb usbmux"}
	air     = Known{"wifi", Muxer, "wifi usbmux"}
	network = Known{"wifi", Lockdown, "wifi lockdown"}
	remoted = Known{"usb", Remoted, "usb remoted"}
	pairing = Known{"wifi", Pairing, "wifi remotepairing"}
	others  = Known{"tunnel", RSD, "tunnel rsd"}
)

// lines writes a plan as "route method: reason" or "route method - why it is left out".
func lines(plan []Step) []string {
	var all []string
	for _, s := range plan {
		if s.Skip != "" {
			all = append(all, fmt.Sprintf("%d %s - %s", s.Route, s.Method, s.Skip))
		} else {
			all = append(all, fmt.Sprintf("%d %s: %s", s.Route, s.Method, s.Reason))
		}
	}
	return all
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("%s: lacks %q", what, want[i])
		case i >= len(want):
			t.Errorf("%s: has %q as well", what, got[i])
		case got[i] != want[i]:
			t.Errorf("%s: line %d is %q, want %q", what, i, got[i], want[i])
		}
	}
}

func TestService(t *testing.T) {
	const (
		onlyLockdown = "0 lockdown: the one route with lockdown"
		bestOf2      = "0 lockdown: the best of 2 routes with lockdown: a muxer before a network, " +
			"a cable before Wi-Fi"
		fallback = "-1 tunnel: lockdown does not offer the service"
	)
	both := Needs{Lockdown: true, Remote: true}
	developer := Needs{Lockdown: true, Remote: true, Developer: true}
	for _, c := range []struct {
		name    string
		version string
		routes  []Known
		needs   Needs
		want    []string
	}{
		{"old", "16.7", []Known{cable}, both, []string{onlyLockdown}},
		{"old developer", "16.7", []Known{cable}, developer, []string{onlyLockdown}},
		{"old remote", "16.7", []Known{cable}, Needs{Remote: true}, []string{
			"-1 tunnel - it came with iOS 17.0, the device has 16.7"}},
		{"new", "18.1", []Known{cable, network}, both, []string{bestOf2, fallback}},
		{"new developer", "18.1", []Known{cable}, developer, []string{
			"-1 tunnel: services for developers are in the tunnel since iOS 17.0"}},
		{"new developer without a remote name", "18.1", []Known{cable},
			Needs{Lockdown: true, Developer: true}, []string{onlyLockdown, fallback}},
		{"remote", "18.1", []Known{cable}, Needs{Remote: true}, []string{
			"-1 tunnel: lockdown does not have the service on any version"}},
		{"no lockdown", "18.1", []Known{pairing}, both, []string{
			"-1 tunnel: no route has lockdown"}},
		{"unknown version", "", []Known{cable}, both, []string{onlyLockdown, fallback}},
		{"nothing", "", nil, both, []string{"-1 tunnel: no route has lockdown"}},
	} {
		f := Facts{Version: c.version, Routes: c.routes}
		same(t, c.name, lines(Service(f, c.needs)), c.want)
	}
}

func TestTunnel(t *testing.T) {
	const (
		proxy  = " CoreDeviceProxy: it needs nothing but the pairing of lockdown"
		noQUIC = " remote pairing, TLS-PSK: iOS 18.2 ended QUIC"
		quic   = " remote pairing, QUIC: before iOS 18.2 Apple's programs use it"
		psk    = " remote pairing, TLS-PSK: where UDP does not pass"
		no172  = " CoreDeviceProxy - iOS 17.2 has it from 17.4 on"
	)
	all := []Known{others, cable, network, remoted, pairing}
	for _, c := range []struct {
		name string
		f    Facts
		want []string
		none string // what NoTunnel says, if all steps are left out
	}{
		{"ios16", Facts{Version: "16.7", Routes: []Known{cable}},
			[]string{"0  - iOS 16.7 has no tunnels"}, "iOS 16.7 has none, they came with 17.0"},
		{"ios17.2", Facts{Version: "17.2", Routes: []Known{cable}},
			[]string{"0" + no172}, "iOS 17.2 has them on the cable's network interface and on " +
				"Wi-Fi alone, and it was not found there"},
		{"ios17.2 with networks", Facts{Version: "17.2", Routes: []Known{cable, remoted, pairing}},
			[]string{"0" + no172, "1" + quic, "1" + psk, "2" + quic, "2" + psk}, ""},
		{"ios26", Facts{Version: "26.1", Routes: all}, []string{
			"0 list of services: another program has made the device reachable",
			"1" + proxy, "2" + proxy, "3" + noQUIC, "4" + noQUIC}, ""},
		{"unknown", Facts{Routes: []Known{pairing}}, []string{
			"0 remote pairing, TLS-PSK: every version has it",
			"0 remote pairing, QUIC: the device did not say what version it has"}, ""},
		{"wifi", Facts{Version: "17.5", Kind: "wifi", Routes: []Known{cable, air}},
			[]string{"0  - wifi was asked for", "1" + proxy}, ""},
		{"wifi that is not there", Facts{Version: "17.5", Kind: "wifi", Routes: []Known{cable}},
			[]string{"0  - wifi was asked for"}, "no route by wifi reaches it"},
		{"quic", Facts{Version: "17.5", Protocol: "quic", Routes: []Known{cable}},
			[]string{"0 CoreDeviceProxy - QUIC was asked for"},
			"CoreDeviceProxy not tried: QUIC was asked for"},
		{"quic by pairing", Facts{Version: "18.5", Protocol: "quic", Routes: []Known{pairing}},
			[]string{"0 remote pairing, QUIC: QUIC was asked for"}, ""},
		{"tcp by pairing", Facts{Version: "17.2", Protocol: "tcp", Routes: []Known{pairing}},
			[]string{"0 remote pairing, TLS-PSK: TCP was asked for"}, ""},
		{"nothing", Facts{Version: "18.0"}, nil, "no route reaches it"},
	} {
		plan := Tunnel(c.f)
		same(t, c.name, lines(plan), c.want)
		tried := slices.ContainsFunc(plan, func(s Step) bool { return s.Skip == "" })
		if tried {
			continue
		}
		if got := NoTunnel(c.f); got != c.none {
			t.Errorf("%s: NoTunnel = %q, want %q", c.name, got, c.none)
		}
	}
}

func TestReport(t *testing.T) {
	f := Facts{Version: "17.5", Routes: []Known{cable, network, pairing}}
	planned := Report(f)
	f.Failed = []Failed{
		{0, Proxy, "connection refused"}, {2, QUIC, "no answer"}, {2, PSK, "also none"},
	}
	failed := Report(f)
	f.Tunnel = &Up{Route: 1, How: Proxy, Generation: 3, Took: 250 * time.Millisecond}
	up := Report(f)
	const best = "the best of 2 routes with lockdown: a muxer before a network, a cable " +
		"before Wi-Fi; "
	for _, c := range []struct {
		name string
		rows []Row
		want []Row
	}{
		{"planned", planned, []Row{
			{"services, tunnel", Proxy, false, 0, best + "a tunnel is made when first needed"},
			{"spare", Proxy, false, 0,
				"services go over usb usbmux; a tunnel would be on usb usbmux"},
			{"spare", QUIC, false, 0, "a tunnel would be on usb usbmux"},
		}},
		{"failed", failed, []Row{
			{"services", Proxy, false, 0, best + "no tunnel: connection refused"},
			{"tunnel", Proxy, false, 0,
				"services go over usb usbmux; a tunnel is made when first needed"},
			{"spare", PSK, false, 0, "no tunnel: also none"},
		}},
		{"up", up, []Row{
			{"services", Proxy, false, 0, best + "no tunnel: connection refused"},
			{"tunnel", Proxy, true, 3, "services go over usb usbmux; tunnel 3 took 250 ms"},
			{"spare", PSK, false, 0, "no tunnel: also none"},
		}},
	} {
		for i, want := range c.want {
			if c.rows[i] != want {
				t.Errorf("%s: row %d\n got %+v\nwant %+v", c.name, i, c.rows[i], want)
			}
		}
	}
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"17", "17.0.0", 0}, {"17.10", "17.9", 1}, {"9.3.5", "10", -1}, {"16.7.2", "16.7.11", -1}} {
		got := CompareVersions(c.a, c.b)
		if cmp.Compare(got, 0) != c.want {
			t.Errorf("CompareVersions(%s, %s) = %d, want the sign of %d", c.a, c.b, got, c.want)
		}
	}
}
