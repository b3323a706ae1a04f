// Package tunnel gives scripts the routes to a device and the tunnels of iOS 17 and
// later. It tells which routes there are, why one was chosen, and which services a tunnel
// has. Scripts do not need it to use a service, because package device opens tunnels when
// they are needed.
package tunnel

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/raw"
	core "github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/rsd"
)

// Route is the record of a route to a device.
type Route struct {
	Kind       string `lua:"kind" doc:"usb, wifi, or tunnel for one that others made"`
	Via        string `lua:"via" doc:"usbmux, lockdown, remoted, remotepairing or rsd"`
	Address    string `lua:"address" doc:"of the muxer, or host:port"`
	Use        string `lua:"use" doc:"services, tunnel, both or spare"`
	How        string `lua:"how" doc:"which tunnel it is or would be; empty when there can be none"`
	Up         bool   `lua:"up" doc:"whether the tunnel is there now"`
	Generation int    `lua:"generation" doc:"which of the device's tunnels it is, from 1"`
	Why        string `lua:"why" doc:"why the route is used as it is"`
}

// Service is the record of a service in a tunnel.
type Service struct {
	Name        string   `lua:"name" doc:"name in the list"`
	Port        int      `lua:"port" doc:"where it listens"`
	Transport   string   `lua:"transport" doc:"xpc, checkin (lockdown's services) or raw"`
	Entitlement string   `lua:"entitlement" doc:"what a program needs to use it"`
	Version     int      `lua:"version" doc:"version of the service, 0 when it has none"`
	Features    []string `lua:"features" doc:"what a CoreDevice service can do"`
}

func routes(_ *api.Call, d *device.Device) []*Route {
	out := []*Route{}
	for _, r := range d.Routes() {
		at := cmp.Or(r.Route.Address, r.Route.Muxer)
		out = append(out, &Route{
			Kind: r.Route.Kind, Via: string(r.Route.Via), Address: at, Use: r.Use, How: r.How,
			Up: r.Up, Generation: r.Generation, Why: r.Why,
		})
	}
	return out
}

type options struct {
	device.Timeout
	Protocol string `lua:"protocol" doc:"tcp or quic; what the device has when left out"`
	Route    string `lua:"route" doc:"usb or wifi; the best when left out"`
	Kernel   bool   `lua:"kernel" doc:"make it a network interface (Linux, CAP_NET_ADMIN)"`
}

// open is dev:tunnel.
func open(c *api.Call, d *device.Device, o options) (t *core.Tunnel, err error) {
	if o.Protocol == "auto" {
		o.Protocol = ""
	}
	if !slices.Contains([]string{"", "tcp", "quic"}, o.Protocol) {
		return nil, c.ArgError(1, "protocol is tcp or quic, not %q", o.Protocol)
	}
	if !slices.Contains([]string{"", "usb", "wifi"}, o.Route) {
		return nil, c.ArgError(1, "route is usb or wifi, not %q", o.Route)
	}
	wanted := core.TunnelOptions{Protocol: o.Protocol, Route: o.Route, Kernel: o.Kernel}
	err = d.Do(c, o.Timeout, func(ctx context.Context) error {
		t, err = d.Tunnel(ctx, wanted)
		return err
	})
	if err == nil && o.Kernel && t.Interface == "" {
		err := host.Errorf("unsupported", "no network interface can be made of the tunnel")
		return nil, err.WithHint(
			"without the option kernel it ends in this process, which needs no rights")
	}
	return t, err
}

// transports maps the transports of services to the names that scripts see.
var transports = map[rsd.Transport]string{
	rsd.RemoteXPC: "xpc", rsd.Checkin: "checkin", rsd.Raw: "raw",
}

type refreshOptions struct {
	device.Timeout
	Refresh bool `lua:"refresh" doc:"read the list from the device again"`
}

func services(c *api.Call, t *core.Tunnel, o refreshOptions) ([]*Service, error) {
	if o.Refresh {
		if err := c.Timeout(o.Timeout.Timeout).TryBlock(t.List().Refresh); err != nil {
			return nil, withDevice(t, "list services", err)
		}
	}
	all := t.List().Peer().Services
	out := []*Service{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		out = append(out, &Service{
			Name: name, Port: int(s.Port), Transport: transports[s.Transport()],
			Entitlement: s.Entitlement, Version: int(s.Version),
			Features: append([]string{}, s.Features...),
		})
	}
	return out, nil
}

// info returns the properties of the device in the list of services.
func info(_ *api.Call, t *core.Tunnel) map[string]any {
	out := map[string]any{}
	for _, p := range t.List().Peer().Properties.Dict {
		out[p.Key] = p.Value
	}
	return out
}

// withDevice adds the operation and the device of a tunnel to an error.
func withDevice(t *core.Tunnel, op string, err error) error {
	if err == nil {
		return nil
	}
	return &core.Error{UDID: t.List().Peer().Properties.UDID(), Op: op, Err: err}
}

func connect(
	c *api.Call, t *core.Tunnel, port uint16, o device.Timeout,
) (api.Opened[*raw.Connection], error) {
	if port == 0 {
		return api.Opened[*raw.Connection]{}, c.ArgError(1, "a port is between 1 and 65535")
	}
	udid := t.List().Peer().Properties.UDID()
	dial := func(ctx context.Context) (*raw.Connection, error) {
		nc, err := t.Dial(ctx, port)
		if err != nil {
			return nil, err
		}
		return raw.NewConnection(fmt.Sprintf("port %d", port), udid, nc), nil
	}
	conn, err := api.Open(c.Timeout(o.Timeout), dial)
	return conn, withDevice(t, fmt.Sprintf("connect to port %d", port), err)
}

func closeTunnel(c *api.Call, t *core.Tunnel) error {
	return c.TryBlock(func(context.Context) error { return t.Close() })
}

// class declares Tunnel.
func class() *api.Class {
	c := api.NewClass[*core.Tunnel]("Tunnel", "The tunnel of a device, which all tasks share. "+
		"When it goes down, by a lost cable or a restart, calls in it raise `disconnected`; the "+
		"next call of the device makes another one.")
	c.Var = "tun"
	c.String = func(t *core.Tunnel) string {
		return fmt.Sprintf("Tunnel<%d, %s on %s>", t.Generation, t.How, t.Route)
	}
	const tun = "local tun = device():tunnel()\n"
	c.Fields = []*api.Field{
		api.Property("generation", "which of the device's tunnels it is, from 1",
			func(t *core.Tunnel) int { return t.Generation }),
		api.Property("protocol", "tcp, quic, or rsd for one that others made",
			func(t *core.Tunnel) string { return t.Protocol }),
		api.Property("how", "what it runs through: CoreDeviceProxy, or remote pairing with QUIC "+
			"or TLS-PSK",
			func(t *core.Tunnel) string { return t.How }),
		api.Property("address", "of the device inside; empty for one that others made",
			func(t *core.Tunnel) string {
				if !t.Address.IsValid() {
					return ""
				}
				return t.Address.String()
			}),
		api.Property("rsd_port", "port of the list of services",
			func(t *core.Tunnel) int { return int(t.RSDPort) }),
		api.Property("mtu", "largest packet, 0 for one that others made",
			func(t *core.Tunnel) int { return t.MTU }),
		api.Property("interface", "network interface of this computer; empty for a tunnel in this "+
			"process",
			func(t *core.Tunnel) string { return t.Interface }),
		api.Property("took", "seconds until the list of services was read",
			func(t *core.Tunnel) float64 { return t.Took.Seconds() }),
		api.Property("up", "whether it is there",
			func(t *core.Tunnel) bool { return t.Err() == nil }),
	}
	raises := api.Raises("timeout", "disconnected")
	c.Methods = []*api.Func{
		api.Method("services", "Lists the services in the tunnel by name.",
			"opts?", services,
			api.ParamDoc("opts", "refresh, timeout"),
			raises,
			api.Returns("RSDService[] services"),
			api.Perm("read"),
			api.Example(tun+`for _, s in ipairs(tun:services()) do
  print(s.name, s.port, s.transport)
end`)),
		api.Method("info", "Returns what the device says of itself in its list of services.",
			"", info,
			api.Returns("table properties"),
			api.Perm("read"),
			api.Example(tun+"print(tun:info().ProductType)")),
		api.Method("connect", "Connects to a TCP port of the device inside the tunnel.",
			"port opts?", connect,
			api.ParamDoc("port", "1 to 65535"),
			api.ParamDoc("opts", "timeout"),
			raises,
			api.Returns("Connection svc"),
			api.Perm("raw"),
			api.Example(tun+`local conn = tun:connect(tun.rsd_port)
conn:close()`)),
		api.Method("close", "Ends the tunnel for all tasks. The next call of the device that needs "+
			"one makes another.",
			"", closeTunnel,
			api.Perm("control"),
			api.Example(tun+`tun:close()
print(tun.up)`)),
	}
	return c
}

// rsdFunc is the function device.rsd.
type rsdFunc func(*api.Call, string, uint16, device.Timeout) (*device.Device, error)

// atAddress returns the function that finds a device by the address of its list of services.
func atAddress(r *device.Registry) rsdFunc {
	return func(c *api.Call, host string, port uint16, o device.Timeout) (*device.Device, error) {
		host = strings.Trim(host, "[]")
		if host == "" || strings.ContainsAny(host, " /") {
			return nil, c.ArgError(1, "%q is not a host name", host)
		}
		if port == 0 {
			return nil, c.ArgError(2, "a port is between 1 and 65535")
		}
		return r.At(c, core.DirectTo(host, port), o)
	}
}

// Family returns the methods routes and tunnel of Device, and the functions device.rsd and
// device.tunneld.
func Family(r *device.Registry) device.Family {
	raises := api.Raises("timeout", "not_paired", "no_tunnel", "disconnected")
	return device.Family{
		Classes: []*api.Class{class(), tunneldClass()},
		Records: []*api.Record{
			api.NewRecord[Route]("Route", "A route to a device and what it is used for."),
			api.NewRecord[Service]("RSDService", "A service in a tunnel."),
			api.NewRecord[SharedTunnel]("SharedTunnel", "A tunnel that another program keeps."),
		},
		Methods: []*api.Func{
			api.Method("routes", "Lists the routes to the device that are known, best first: what "+
				"each is used for and why.",
				"", routes,
				api.Returns("Route[] routes"),
				api.Perm("read"),
				api.Example(`for _, r in ipairs(device():routes()) do
  print(r.kind, r.via, r.use, r.why)
end`)),
			api.Method("tunnel", "Returns the device's tunnel, making one when there is none. "+
				"Options that the present one does not fulfil end it and make another.",
				"opts?", open,
				api.ParamDoc("opts", "which tunnel, timeout"),
				raises,
				api.Returns("Tunnel tun"),
				api.Perm("read"),
				api.SeeAlso("Device:routes"),
				api.Example(`local tun = device():tunnel()
print(tun.how, tun.address, tun.rsd_port)`)),
		},
		Finding: []*api.Func{
			finding(r),
			api.Function("rsd", "Returns the device whose list of services (RSD) is at an "+
				"address: of a tunnel that another program keeps, or of `imdlua virtual "+
				"--trusted`. No other route is used.",
				"host port opts?", atAddress(r),
				api.Checks(host.AccessHost, host.AccessDevice),
				api.ParamDoc("host", "name or IP address"),
				api.ParamDoc("port", "of the list"),
				api.ParamDoc("opts", "timeout"),
				api.Raises("timeout", "disconnected"),
				api.Returns("Device dev"),
				api.Perm("read"),
				api.Example(`local virtual = require "imd.virtual"
local at = virtual.start():show{ trusted = true }
print(device.rsd(at.address, at.trusted_port).version)`)),
		},
	}
}
