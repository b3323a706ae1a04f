package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/bindings/device"
	core "github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/tunneld"
)

// Tunneld is the Tunneld of scripts: a program that keeps tunnels and lists them.
type Tunneld struct {
	client   tunneld.Client
	registry *device.Registry
}

// SharedTunnel is the record of a tunnel that another program keeps.
type SharedTunnel struct {
	UDID      string `lua:"udid" doc:"unique device identifier"`
	Address   string `lua:"address" doc:"at which the device is dialled"`
	Port      int    `lua:"port" doc:"of the list of services"`
	Interface string `lua:"interface" doc:"how the tunnel was made; empty when the program is silent"`
	API       string `lua:"api" doc:"pymobiledevice3, go-ios or appium: which API the program has"`
}

type tunneldOptions struct {
	Token string `lua:"token" doc:"what the tunneld on another computer asks for"`
}

// tunneldFunc is the function device.tunneld.
type tunneldFunc func(*api.Call, *string, tunneldOptions) (*Tunneld, error)

// tunneldAt returns the function that makes a Tunneld. It does not connect.
func tunneldAt(r *device.Registry) tunneldFunc {
	return func(c *api.Call, address *string, o tunneldOptions) (*Tunneld, error) {
		at := tunneld.PythonAddress
		if address != nil {
			at = strings.TrimSuffix(strings.TrimPrefix(*address, "http://"), "/")
		}
		name, port, err := net.SplitHostPort(at)
		n, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || bad != nil || n == 0 || name == "" || strings.ContainsAny(name, " /") {
			return nil, c.ArgError(1, "http://HOST:PORT is expected, not %q", at)
		}
		if err := c.Allow(host.AccessHost, at); err != nil {
			return nil, err
		}
		client := tunneld.Client{
			Address: at, Token: o.Token, Logger: c.Host().Options().Logger,
		}
		return &Tunneld{client: client, registry: r}, nil
	}
}

// list returns the tunnels of the program.
func (t *Tunneld) list(ctx context.Context) ([]tunneld.Entry, error) {
	list, err := t.client.List(ctx)
	return list, tunneldError(err)
}

// direct returns the lists of services in the tunnels of the program.
func (t *Tunneld) direct(ctx context.Context) ([]core.Direct, error) {
	list, err := t.list(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]core.Direct, len(list))
	for n, e := range list {
		out[n] = core.Direct{
			Name:    string(e.API) + " " + t.client.Address,
			Address: netip.AddrPortFrom(e.Address, e.RSDPort).String(),
			Port:    e.RSDPort, Dial: e.Dial,
		}
	}
	return out, nil
}

// tunneldError explains why a tunneld does not answer or refuses.
func tunneldError(err error) error {
	var dial *net.OpError
	e := &host.Error{Cause: err}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Hint = "unauthorized", "give the token of that tunneld: { token = \"...\" }"
	case errors.As(err, &dial) && dial.Op == "dial":
		e.Code, e.Hint = "no_device", "start one with `imdlua tunneld`, or give its address"
	default:
		return err
	}
	e.Message = err.Error()
	return e
}

func tunnels(c *api.Call, t *Tunneld, o device.Timeout) ([]*SharedTunnel, error) {
	var list []tunneld.Entry
	err := c.Timeout(o.Timeout).TryBlock(func(ctx context.Context) (err error) {
		list, err = t.list(ctx)
		return err
	})
	out := []*SharedTunnel{}
	for _, e := range list {
		out = append(out, &SharedTunnel{
			UDID: e.UDID, Address: e.Address.String(), Port: int(e.RSDPort),
			Interface: e.Interface, API: string(e.API),
		})
	}
	return out, err
}

// devices returns the devices to which the program keeps tunnels. They stay usable when
// the program makes a tunnel again.
func devices(c *api.Call, t *Tunneld, o device.Timeout) ([]*device.Device, error) {
	return t.registry.Through(c, "tunneld "+t.client.Address+" "+t.client.Token, t.direct, o)
}

// oneDevice returns the device with a UDID. It asks the program to make a tunnel if it has
// none.
func oneDevice(
	c *api.Call, t *Tunneld, udid string, o device.Timeout,
) (*device.Device, error) {
	err := c.Timeout(o.Timeout).TryBlock(func(ctx context.Context) error {
		list, err := t.list(ctx)
		has := slices.ContainsFunc(list,
			func(e tunneld.Entry) bool { return tunneld.SameUDID(e.UDID, udid) })
		if err != nil || has {
			return err
		}
		_, err = t.client.Start(ctx, udid)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = &core.Error{
			UDID: udid, Op: "open tunnel", Err: fmt.Errorf("%w: %w", core.ErrNotFound, err),
		}
	}
	if err != nil {
		return nil, err
	}
	all, err := devices(c, t, o)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if tunneld.SameUDID(d.UDID(), udid) {
			return d, nil
		}
	}
	return nil, &core.Error{UDID: udid, Op: "find in the tunnels", Err: core.ErrNotFound}
}

// tunneldClass declares Tunneld.
func tunneldClass() *api.Class {
	c := api.NewClass[*Tunneld]("Tunneld", "A program that keeps tunnels to devices and lists them "+
		"over HTTP: `imdlua tunneld`, pymobiledevice3, go-ios or appium.")
	c.Var = "shared"
	c.String = func(t *Tunneld) string { return "Tunneld<" + t.client.Address + ">" }
	c.Fields = []*api.Field{
		api.Property("address", "HOST:PORT of the program",
			func(t *Tunneld) string { return t.client.Address }),
	}
	const shared = "local shared = device.tunneld(\"http://127.0.0.1:49151\")\n"
	opts := api.ParamDoc("opts", "timeout")
	raises := api.Raises("no_device", "unauthorized", "timeout", "protocol")
	c.Methods = []*api.Func{
		api.Method("devices", "Returns the devices to which the program keeps tunnels.",
			"opts?", devices,
			opts,
			raises,
			api.Checks(host.AccessDevice),
			api.Returns("Device[] devices"),
			api.Perm("read"),
			api.Example(shared+`local ok, all = try(shared.devices, shared)
print(ok and #all or all.code)`)),
		api.Method("device", "Returns the device with an identifier. The program is asked for a "+
			"tunnel if it has none.",
			"udid opts?", oneDevice,
			api.ParamDoc("udid", "unique device identifier"),
			opts,
			raises,
			api.Checks(host.AccessDevice),
			api.Returns("Device dev"),
			api.Perm("read"),
			api.Example(shared+`local ok, dev = try(shared.device, shared, "00008110-000A1B2C3D4E5F60")
print(ok and dev.name or dev.code)`)),
		api.Method("tunnels", "Lists the tunnels as the program describes them.",
			"opts?", tunnels,
			opts,
			raises,
			api.Returns("SharedTunnel[] tunnels"),
			api.Perm("read"),
			api.Example(shared+`local ok, all = try(shared.tunnels, shared)
print(ok and #all or all.code)`)),
	}
	return c
}

// finding declares device.tunneld.
func finding(r *device.Registry) *api.Func {
	return api.Function("tunneld", "Returns the program at an address that keeps tunnels, such as "+
		"`imdlua tunneld`. It is asked when its methods are called.",
		"address? opts?", tunneldAt(r),
		api.ParamDoc("address", "http://HOST:PORT; http://127.0.0.1:49151 when left out"),
		api.ParamDoc("opts", "token"),
		api.Checks(host.AccessHost),
		api.Returns("Tunneld shared"),
		api.Perm("read"),
		api.Example(`local shared = device.tunneld("http://127.0.0.1:49151")
print(shared.address)`))
}
