package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// ears hear the Bonjour advertisements of a host of virtual devices, of some types only.
type ears struct {
	host  *virtual.Host
	types []bonjour.Type
}

func (e ears) Browse(ctx context.Context, q bonjour.Query) ([]bonjour.Instance, error) {
	if !slices.Contains(e.types, q.Type) {
		return nil, ctx.Err()
	}
	return e.host.Browse(ctx, q)
}

const (
	cable = bonjour.Remoted
	air   = bonjour.RemotePairing
	wifi  = bonjour.Mobdev2
)

// heard returns a device that advertises the given types only.
func heard(
	t *testing.T, profile string, o device.Options, types ...bonjour.Type,
) (*device.Device, *virtual.Machine) {
	t.Helper()
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: profile}}})
	m := h.Devices()[0]
	if slices.Contains(types, air) || slices.Contains(types, wifi) {
		if _, err := m.Show(virtual.NetworkOptions{Wifi: true}); err != nil {
			t.Fatal(err)
		}
	}
	o.Browser = ears{h, types}
	f := virtualtest.Finder(t, h, o)
	infos, err := f.List(virtualtest.Context(t), device.Selector{Network: true})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if len(infos) != 1 {
		t.Fatalf("List = %v, want one device with all its routes", infos)
	}
	return f.Device(infos[0]), m
}

// lines writes reports as "via: use | how | why", without addresses and times.
func lines(reports []device.RouteReport) []string {
	var all []string
	for _, r := range reports {
		why := r.Why
		for _, o := range reports {
			why = strings.ReplaceAll(why, o.Route.String(), string(o.Route.Via))
		}
		if before, _, ok := strings.Cut(why, " took "); ok {
			why = before
		}
		all = append(all, fmt.Sprintf("%s: %s | %s | %s", r.Route.Via, r.Use, r.How, why))
	}
	return all
}

var everything = []bonjour.Type{wifi, cable, air}

const (
	bestOf2 = "the best of 2 routes with lockdown: a muxer before a network, a cable before Wi-Fi"
	notYet  = "no tunnel: iOS 17.2.1 has it from 17.4 on"
	atNeed  = "a tunnel is made when first needed"
)

// TestWays checks which route is used for what, on each version of iOS and with each
// network, before and after the tunnel is made.
func TestWays(t *testing.T) {
	for _, c := range []struct {
		profile  string
		hears    []bonjour.Type
		options  device.TunnelOptions
		planned  []string
		tunneled []string // nil = there can be no tunnel
	}{
		{profile: "ios16", planned: []string{
			"usbmux: services |  | the one route with lockdown; iOS 16.7.2 has no tunnels"}},
		{profile: "ios16", hears: everything, planned: []string{
			"usbmux: services |  | " + bestOf2 + "; iOS 16.7.2 has no tunnels",
			"lockdown: spare |  | services go over usbmux; iOS 16.7.2 has no tunnels"}},

		{profile: "ios17.2", planned: []string{
			"usbmux: services | CoreDeviceProxy | the one route with lockdown; " + notYet}},
		{profile: "ios17.2", hears: []bonjour.Type{wifi}, planned: []string{
			"usbmux: services | CoreDeviceProxy | " + bestOf2 + "; " + notYet,
			"lockdown: spare | CoreDeviceProxy | services go over usbmux; " + notYet}},
		{profile: "ios17.2", hears: everything, planned: []string{
			"usbmux: services | CoreDeviceProxy | " + bestOf2 + "; " + notYet,
			"lockdown: spare | CoreDeviceProxy | services go over usbmux; " + notYet,
			"remoted: tunnel | remote pairing, QUIC | " + atNeed,
			"remotepairing: spare | remote pairing, QUIC | a tunnel would be on remoted",
		}, tunneled: []string{
			"usbmux: services | CoreDeviceProxy | " + bestOf2 + "; " + notYet,
			"lockdown: spare | CoreDeviceProxy | services go over usbmux; " + notYet,
			"remoted: tunnel | remote pairing, QUIC | tunnel 1",
			"remotepairing: spare |  | the tunnel is on remoted"}},
		{profile: "ios17.2", hears: []bonjour.Type{cable},
			options: device.TunnelOptions{Protocol: "tcp"}, planned: []string{
				"usbmux: services | CoreDeviceProxy | the one route with lockdown; " + notYet,
				"remoted: tunnel | remote pairing, QUIC | " + atNeed,
			}, tunneled: []string{
				"usbmux: services | CoreDeviceProxy | the one route with lockdown; " + notYet,
				"remoted: tunnel | remote pairing, TLS-PSK | tunnel 1"}},
		{profile: "ios17.2", hears: []bonjour.Type{cable, air},
			options: device.TunnelOptions{Route: "wifi"}, planned: []string{
				"usbmux: services | CoreDeviceProxy | the one route with lockdown; " + notYet,
				"remoted: tunnel | remote pairing, QUIC | " + atNeed,
				"remotepairing: spare | remote pairing, QUIC | a tunnel would be on remoted",
			}, tunneled: []string{
				"usbmux: services |  | the one route with lockdown; no tunnel: wifi was asked for",
				"remoted: spare |  | no tunnel: wifi was asked for",
				"remotepairing: tunnel | remote pairing, QUIC | tunnel 1"}},
		{profile: "ios17.2", hears: []bonjour.Type{cable},
			options: device.TunnelOptions{Route: "wifi"}, planned: []string{
				"usbmux: services | CoreDeviceProxy | the one route with lockdown; " + notYet,
				"remoted: tunnel | remote pairing, QUIC | " + atNeed}},

		{profile: "ios17", planned: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | the one route with lockdown; " + atNeed,
		}, tunneled: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | the one route with lockdown; tunnel 1"}},
		{profile: "ios17", hears: everything, planned: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | " + bestOf2 + "; " + atNeed,
			"lockdown: spare | CoreDeviceProxy | services go over usbmux; a tunnel would be on usbmux",
			"remoted: spare | remote pairing, QUIC | a tunnel would be on usbmux",
			"remotepairing: spare | remote pairing, QUIC | a tunnel would be on usbmux",
		}, tunneled: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | " + bestOf2 + "; tunnel 1",
			"lockdown: spare |  | services go over usbmux; the tunnel is on usbmux",
			"remoted: spare |  | the tunnel is on usbmux",
			"remotepairing: spare |  | the tunnel is on usbmux"}},
		{profile: "ios17", hears: []bonjour.Type{
			cable,
		}, options: device.TunnelOptions{Protocol: "quic"}, planned: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | the one route with lockdown; " + atNeed,
			"remoted: spare | remote pairing, QUIC | a tunnel would be on usbmux",
		}, tunneled: []string{
			"usbmux: services | CoreDeviceProxy | the one route with lockdown; no tunnel: QUIC was asked for",
			"remoted: tunnel | remote pairing, QUIC | tunnel 1"}},
		{profile: "ios17", hears: []bonjour.Type{
			wifi,
		}, options: device.TunnelOptions{Route: "wifi"}, planned: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | " + bestOf2 + "; " + atNeed,
			"lockdown: spare | CoreDeviceProxy | services go over usbmux; a tunnel would be on usbmux",
		}, tunneled: []string{
			"usbmux: services |  | " + bestOf2 + "; no tunnel: wifi was asked for",
			"lockdown: tunnel | CoreDeviceProxy | services go over usbmux; tunnel 1"}},

		{profile: "ios18", hears: everything, options: device.TunnelOptions{
			Route: "wifi",
		}, planned: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | " + bestOf2 + "; " + atNeed,
			"lockdown: spare | CoreDeviceProxy | services go over usbmux; a tunnel would be on usbmux",
			"remoted: spare | remote pairing, TLS-PSK | a tunnel would be on usbmux",
			"remotepairing: spare | remote pairing, TLS-PSK | a tunnel would be on usbmux",
		}, tunneled: []string{
			"usbmux: services |  | " + bestOf2 + "; no tunnel: wifi was asked for",
			"lockdown: tunnel | CoreDeviceProxy | services go over usbmux; tunnel 1",
			"remoted: spare |  | the tunnel is on lockdown",
			"remotepairing: spare |  | the tunnel is on lockdown"}},
		{profile: "ios18", options: device.TunnelOptions{Protocol: "quic"}, planned: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | the one route with lockdown; " + atNeed}},

		{profile: "ios26", hears: []bonjour.Type{
			cable, air,
		}, options: device.TunnelOptions{Route: "usb", Protocol: "tcp"}, planned: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | the one route with lockdown; " + atNeed,
			"remoted: spare | remote pairing, TLS-PSK | a tunnel would be on usbmux",
			"remotepairing: spare | remote pairing, TLS-PSK | a tunnel would be on usbmux",
		}, tunneled: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | the one route with lockdown; tunnel 1",
			"remoted: spare |  | the tunnel is on usbmux",
			"remotepairing: spare |  | the tunnel is on usbmux"}},
		{profile: "ios26", hears: []bonjour.Type{
			air,
		}, options: device.TunnelOptions{Route: "wifi"}, planned: []string{
			"usbmux: services, tunnel | CoreDeviceProxy | the one route with lockdown; " + atNeed,
			"remotepairing: spare | remote pairing, TLS-PSK | a tunnel would be on usbmux",
		}, tunneled: []string{
			"usbmux: services |  | the one route with lockdown; no tunnel: wifi was asked for",
			"remotepairing: tunnel | remote pairing, TLS-PSK | tunnel 1"}},
	} {
		name := fmt.Sprintf("%s/%d_heard,%s,%s", c.profile, len(c.hears), c.options.Protocol,
			c.options.Route)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := heard(t, c.profile, device.Options{}, c.hears...)
			if got := lines(d.Routes()); !slices.Equal(got, c.planned) {
				t.Errorf("planned:\n%s\nwant\n%s", strings.Join(got, "\n"),
					strings.Join(c.planned, "\n"))
			}
			tun, err := d.Tunnel(virtualtest.Context(t), c.options)
			if c.tunneled == nil {
				var e *device.Error
				if !errors.As(err, &e) {
					t.Errorf("Tunnel: %v, want a *device.Error", err)
				}
				if !errors.Is(err, device.ErrNoTunnel) {
					t.Errorf("Tunnel: %v, want ErrNoTunnel", err)
				}
				if tun != nil {
					t.Errorf("Tunnel = %v beside an error", tun)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := lines(d.Routes()); !slices.Equal(got, c.tunneled) {
				t.Errorf("with tunnel:\n%s\nwant\n%s", strings.Join(got, "\n"),
					strings.Join(c.tunneled, "\n"))
			}
		})
	}
}
