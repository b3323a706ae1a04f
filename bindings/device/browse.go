package device

import (
	"context"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Advertised is the record BonjourService.
type Advertised struct {
	Name      string            `lua:"name" doc:"name of the instance"`
	Type      string            `lua:"type" doc:"such as _apple-mobdev2._tcp"`
	Host      string            `lua:"host" doc:"name of the host"`
	Port      int               `lua:"port" doc:"as advertised; lockdown over Wi-Fi is at 62078"`
	Addresses []string          `lua:"addresses" doc:"of the host, the best first"`
	Interface string            `lua:"interface" doc:"of this computer, on which it was found"`
	TXT       map[string]string `lua:"txt" doc:"its TXT record; values may be binary"`
}

type browseOptions struct {
	Type       string        `lua:"type" doc:"such as rsd or _airplay._tcp; all four by default"`
	Interfaces []string      `lua:"interfaces" doc:"names of interfaces; all when left out"`
	Timeout    time.Duration `lua:"timeout" doc:"seconds to listen" default:"3"`
}

// devicesTypes are the types that device.browse asks for if none is named.
var devicesTypes = []bonjour.Type{
	bonjour.Mobdev2, bonjour.Remoted, bonjour.RemotePairing, bonjour.ManualPairing,
}

// browseSlack is how much longer than its timeout a browse may take.
const browseSlack = 10 * time.Second

func (r *Registry) browse(c *api.Call, o browseOptions) ([]*Advertised, error) {
	types := devicesTypes
	if o.Type != "" {
		t, err := bonjour.ParseType(o.Type)
		if err != nil {
			return nil, c.ArgError(1, "type is mobdev2, rsd, remotepairing, manual-pairing or "+
				"one such as _airplay._tcp, not %q", o.Type)
		}
		types = []bonjour.Type{t}
	}
	if o.Timeout < 0 {
		return nil, c.ArgError(1, "timeout must have an end")
	}
	if err := allow(c, ""); err != nil {
		return nil, err
	}
	q := bonjour.Query{Timeout: max(o.Timeout, 1), Interfaces: o.Interfaces}
	lists := make([][]bonjour.Instance, len(types))
	err := c.Timeout(o.Timeout + browseSlack).TryBlock(func(ctx context.Context) error {
		finder, err := r.env.Finder()
		if err != nil {
			return err
		}
		return browseAll(ctx, finder, q, types, lists)
	})
	if err != nil {
		return nil, err
	}
	out := []*Advertised{}
	for _, list := range lists {
		for _, i := range list {
			out = append(out, advertised(i))
		}
	}
	return out, nil
}

// browseAll asks for all types at the same time. It returns the first error.
func browseAll(
	ctx context.Context, f *device.Finder, q bonjour.Query, types []bonjour.Type,
	lists [][]bonjour.Instance,
) error {
	errs := make([]error, len(types))
	var wg sync.WaitGroup
	for n, t := range types {
		q := q
		q.Type = t
		wg.Go(func() { lists[n], errs[n] = f.Browse(ctx, q) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func advertised(i bonjour.Instance) *Advertised {
	a := &Advertised{
		Name: i.Name, Type: string(i.Type), Host: i.Host, Port: int(i.Port),
		Interface: i.Interface, TXT: i.TXT, Addresses: []string{},
	}
	if a.TXT == nil {
		a.TXT = map[string]string{}
	}
	for _, ip := range i.Addresses {
		a.Addresses = append(a.Addresses, ip.String())
	}
	return a
}

func browseFunc(r *Registry) *api.Func {
	return api.Function("browse", "Lists what devices advertise on the network by Bonjour: "+
		"mobdev2 (lockdown over Wi-Fi), rsd (services on the network interface of the cable), "+
		"remotepairing (tunnels over Wi-Fi) and manual-pairing (devices that show a PIN).",
		"opts?", r.browse,
		api.ParamDoc("opts", "type, interfaces, timeout"),
		api.Checks(host.AccessDevice),
		api.Returns("BonjourService[] services"),
		api.Raises("no_interface", "timeout"),
		api.Perm("read"),
		api.Example(`for _, s in ipairs(device.browse{ type = "rsd", timeout = 1 }) do
  print(s.name, s.interface, s.addresses[1], s.port)
end`))
}
