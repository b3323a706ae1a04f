package device

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/device/route"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// Via is the first part of a route.
type Via = route.Via

// The values of Via, best first. Package route describes them.
const (
	ViaRSD      = route.RSD
	ViaMuxer    = route.Muxer
	ViaLockdown = route.Lockdown
	ViaRemoted  = route.Remoted
	ViaPairing  = route.Pairing
)

// Route is a way to reach a device.
type Route struct {
	Kind     string // "usb", "wifi" or "tunnel"
	Via      Via
	Muxer    string // address of the muxer; "" if there is none
	DeviceID uint32 // the muxer's number for the device
	Address  string // host:port on the network; "" behind a muxer
	Name     string // name of a route that another program made; "" otherwise

	mux      *usbmux.Client
	host     netip.Addr // set if the route is on the network
	port     uint16     // the port of what Via names
	dial     rsd.DialFunc
	instance string // the Bonjour instance and its interface, if it was found by that
}

// String returns a description of the route for users.
func (r Route) String() string {
	at := r.Muxer
	if at == "" {
		at = r.Address
	}
	return strings.TrimSpace(r.Kind + " " + string(r.Via) + " " + at)
}

// hasLockdown reports whether lockdownd answers at the end of the route.
func (r Route) hasLockdown() bool { return r.Via.HasLockdown() }

// network reports whether the route was found on a network, which does not report its
// end.
func (r Route) network() bool {
	return r.Via == ViaLockdown || r.Via.HasPairing()
}

// listed reports whether the route leads to a list of services that can be reached
// directly.
func (r Route) listed() bool { return r.Via == ViaRSD }

// same reports whether two routes are the same.
func (r Route) same(o Route) bool {
	return r.Via == o.Via && r.Muxer == o.Muxer && r.DeviceID == o.DeviceID &&
		r.Address == o.Address
}

// connect opens a connection to a port of the device.
func (r Route) connect(ctx context.Context, port uint16) (net.Conn, error) {
	if r.mux != nil {
		return r.mux.Connect(ctx, r.DeviceID, port)
	}
	if port == lockdown.Port && r.Via == ViaLockdown {
		port = r.port
	}
	return r.dial(ctx, port)
}

func muxerRoute(m *usbmux.Client, e usbmux.Entry) Route {
	kind := "usb"
	if e.ConnectionType != usbmux.USB {
		kind = "wifi"
	}
	return Route{Kind: kind, Via: ViaMuxer, Muxer: m.Address(), DeviceID: e.DeviceID, mux: m}
}

// networkRoute returns a route to a host on a network. A link-local address is dialled
// on its own interface, for every port.
func networkRoute(kind string, via Via, at netip.AddrPort) Route {
	host := at.Addr()
	return Route{
		Kind: kind, Via: via, Address: at.String(), host: host, port: at.Port(),
		dial: dialHost(host.String()),
	}
}

// dialHost dials ports of a host.
func dialHost(host string) rsd.DialFunc {
	return func(ctx context.Context, port uint16) (net.Conn, error) {
		d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
		}}
		return d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	}
}

// sortRoutes sorts the best route first, by Via and then by Kind, in which a cable
// comes before Wi-Fi.
func sortRoutes(routes []Route) {
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(
			cmp.Compare(slices.Index(route.Vias, a.Via), slices.Index(route.Vias, b.Via)),
			strings.Compare(a.Kind, b.Kind), // tunnel < usb < wifi
		)
	})
}

// lockdown returns the best route that has lockdown at its end.
func (i Info) lockdown() (Route, bool) {
	n := slices.IndexFunc(i.Routes, Route.hasLockdown)
	if n < 0 {
		return Route{}, false
	}
	return i.Routes[n], true
}

// merge adds the devices that were found on the network to those of the muxers.
func merge(infos, found []Info) []Info {
	for _, f := range found {
		n := slices.IndexFunc(infos, func(i Info) bool { return i.UDID == f.UDID })
		if n < 0 {
			infos = append(infos, f)
			continue
		}
		infos[n].Routes = addRoutes(infos[n].Routes, f.Routes)
		if infos[n].Version == "" && f.Version != "" {
			f.Routes = infos[n].Routes
			infos[n] = f
		}
	}
	return infos
}

// addRoutes returns the routes of both lists, sorted and without duplicates.
func addRoutes(routes, more []Route) []Route {
	routes = slices.Clone(routes)
	for _, r := range more {
		if !slices.ContainsFunc(routes, r.same) {
			routes = append(routes, r)
		}
	}
	sortRoutes(routes)
	return routes
}

// since reports whether the device has at least this version of iOS. It is true if the
// version is not known.
func (i Info) since(version string) bool { return route.Facts{Version: i.Version}.Since(version) }

// facts returns what route.Service and route.Tunnel plan from.
func (i Info) facts(o TunnelOptions) route.Facts {
	f := route.Facts{Version: i.Version, Kind: o.Route, Protocol: o.Protocol}
	for _, r := range i.Routes {
		f.Routes = append(f.Routes, route.Known{Kind: r.Kind, Via: r.Via, Name: r.String()})
	}
	return f
}

// muxed returns the routes behind muxers, which keep pair records.
func (i Info) muxed() []Route {
	return slices.DeleteFunc(slices.Clone(i.Routes), func(r Route) bool { return r.mux == nil })
}
