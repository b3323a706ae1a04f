package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/imdlua/imdlua/runtime/virtual"
)

// networkFlags are the flags for addresses of virtual devices beside usbmux.
type networkFlags struct {
	network, trusted string
	bonjour          bool
}

// show serves the devices at the addresses of the flags, and returns the lines to print.
func (f *networkFlags) show(h *virtual.Host) (string, error) {
	if f.bonjour && f.network == "" {
		return "", usageError("--bonjour can only be used with --network")
	}
	var b strings.Builder
	if f.network != "" {
		at, err := netip.ParseAddr(f.network)
		if err != nil {
			return "", usageError("--network takes an IP address, not %q", f.network)
		}
		for _, m := range h.Devices() {
			p, err := m.Show(virtual.NetworkOptions{
				Address: at, Ethernet: true, Wifi: true, Announce: f.bonjour,
			})
			if err != nil {
				return "", err
			}
			ports := p.Ports()
			fmt.Fprintf(&b, "network %s %s lockdown %d", m.UDID(), at, ports.Lockdown)
			if ports.Pairing != 0 {
				fmt.Fprintf(&b, " remotepairing %d rsd %d", ports.Pairing, ports.Untrusted)
			}
			b.WriteByte('\n')
			at = next(at)
		}
	}
	if f.trusted != "" {
		host, port, err := addressAndPort(f.trusted)
		if err != nil {
			return "", usageError("--trusted takes an IP address with or without a port, not %q",
				f.trusted)
		}
		for _, m := range h.Devices() {
			p, err := m.Show(
				virtual.NetworkOptions{Address: host, Trusted: true, TrustedPort: port},
			)
			if err != nil {
				return "", err
			}
			n := p.Ports().Trusted
			if n == 0 {
				return "", usageError(
					"--trusted is for iOS 17 and later: older versions have no tunnels",
				)
			}
			fmt.Fprintf(&b, "rsd %s %s %d\n", m.UDID(), host, n)
			port = 0
		}
	}
	return b.String(), nil
}

func next(a netip.Addr) netip.Addr { return a.WithZone("").Next().WithZone(a.Zone()) }

func addressAndPort(text string) (netip.Addr, uint16, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr(), at.Port(), nil
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return a, 0, err
}
