package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
)

// maxResolved bounds the addresses of a name that are tried.
const maxResolved = 8

// ParseAddress splits the address of a device on a network into its host and its port,
// which is lockdown's if the address has none:
//
//	192.168.2.7  192.168.2.7:62078  fe80::1%en0  [fe80::1%en0]:62078  ana.local
func ParseAddress(s string) (host string, port uint16, err error) {
	host, port = s, lockdown.Port
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	if before, after, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(after, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("port %q is not between 1 and 65535", after)
		}
		host, port = before, uint16(n)
	}
	_, notIP := netip.ParseAddr(host)
	if host == "" || strings.ContainsAny(host, " /\\[]\x00") ||
		strings.Contains(host, ":") && notIP != nil {
		return "", 0, fmt.Errorf("%q is not a host name or an IP address", s)
	}
	return host, port, nil
}

// AtAddress returns the device whose lockdown answers at an address; see ParseAddress.
// The Device is separate from those that List finds. It uses no routes to other hosts.
// Calls for the same device and address return the same Device. A muxer is not needed,
// but is asked for the pair record if there is one.
func (f *Finder) AtAddress(ctx context.Context, address string) (*Device, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	info, err := f.askAddress(ctx, address)
	if err == nil && info.UDID == "" {
		err = errors.New("lockdown does not say whose it is")
	}
	if err != nil {
		return nil, &Error{Op: "ask lockdown at " + address, Err: err}
	}
	r := info.Routes[0]
	key := info.UDID + " at " + r.Address
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.known[key]
	if d == nil {
		d = newDevice(f, info)
		d.key, d.pinned = key, r.host
		f.known[key] = d
		return d, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	info.Routes = addRoutes(info.Routes, d.info.Routes)
	d.info = info
	return d, nil
}

// WaitAddress waits until a device that matches answers at an address.
func (f *Finder) WaitAddress(ctx context.Context, address string, s Selector) (*Device, error) {
	for {
		ask, cancel := context.WithTimeout(ctx, describeTimeout)
		d, err := f.AtAddress(ask, address)
		cancel()
		if err == nil && s.Matches(d.Info()) {
			return d, nil
		}
		if ended := link.Sleep(ctx, readyPause); ended != nil {
			return nil, &Error{UDID: s.UDID, Op: "wait", Err: ended}
		}
	}
}

// askAddress returns which device answers at an address. If a name has several
// addresses, it asks one after the other.
func (f *Finder) askAddress(ctx context.Context, address string) (Info, error) {
	host, port, err := ParseAddress(address)
	if err != nil {
		return Info{}, err
	}
	all, err := resolve(ctx, host)
	if err != nil {
		return Info{}, err
	}
	err = ErrNotFound
	for n, ip := range all[:min(len(all), maxResolved)] {
		ask, cancel := ctx, context.CancelFunc(func() {})
		if n < len(all)-1 {
			ask, cancel = context.WithTimeout(ctx, identifyTime)
		}
		at := netip.AddrPortFrom(ip.Unmap(), port)
		var info Info
		info, err = f.askRoute(ask, networkRoute("wifi", ViaLockdown, at))
		cancel()
		if err == nil {
			return info, nil
		}
	}
	return Info{}, err
}

// resolve returns the addresses of a host, which is a name or an address.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	ip, err := netip.ParseAddr(host)
	if err == nil {
		return []netip.Addr{ip}, nil
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return all, nil
}

// current looks up the current routes to the device.
func (d *Device) current(ctx context.Context) ([]Route, error) {
	was := d.Info()
	if !d.pinned.IsValid() {
		return d.finder.routes(ctx, was)
	}
	return d.finder.answering(ctx, was.Routes, was.UDID), nil
}

// elsewhere removes the routes to other hosts from those that a search has found for a
// Device of AtAddress.
func (d *Device) elsewhere(routes []Route) []Route {
	if !d.pinned.IsValid() {
		return routes
	}
	return slices.DeleteFunc(slices.Clone(routes),
		func(r Route) bool { return r.host != d.pinned })
}
