package virtual_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// route makes a device that can be reached over one route only.
type route struct {
	name     string
	profiles []string
	via      device.Via // the only kind of route; "" is RSD that is given by address
	tunnel   string     // what the tunnel must be; "" = there is none
	options  device.TunnelOptions
	shows    virtual.NetworkOptions
}

const (
	proxy = "CoreDeviceProxy"
	quic  = "remote pairing, QUIC"
	tcp   = "remote pairing, TLS-PSK"
)

var allRoutes = []route{
	{name: "lockdown", profiles: []string{"ios16"}, via: device.ViaMuxer},
	{
		name: "wifi", profiles: []string{"ios16", "ios18"}, via: device.ViaLockdown,
		shows: virtual.NetworkOptions{Wifi: true},
	},
	{
		name: "proxy", profiles: []string{"ios17", "ios18", "ios26", "ios27"}, via: device.ViaMuxer,
		tunnel: proxy,
	},
	{name: "quic", profiles: []string{"ios17.2", "ios17"}, via: device.ViaRemoted, tunnel: quic},
	{name: "tcp", profiles: []string{"ios18", "ios26"}, via: device.ViaRemoted, tunnel: tcp},
	{
		name: "asked tcp", profiles: []string{"ios17.2"}, via: device.ViaRemoted, tunnel: tcp,
		options: device.TunnelOptions{Protocol: "tcp"},
	},
	{
		name: "wifi pairing", profiles: []string{"ios17.2", "ios26"}, via: device.ViaPairing,
		tunnel: "remote pairing", shows: virtual.NetworkOptions{Wifi: true},
	},
	{
		name: "address", profiles: []string{"ios17", "ios26", "ios27"}, tunnel: "list of services",
		shows: virtual.NetworkOptions{Trusted: true},
	},
}

// only returns a device that is reached over the route alone.
func (r route) only(t *testing.T, profile string) (*device.Device, *virtual.Machine) {
	t.Helper()
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: profile}}})
	m := h.Devices()[0]
	ctx := virtualtest.Context(t)
	var at *virtual.Presence
	if r.shows != (virtual.NetworkOptions{}) {
		var err error
		at, err = m.Show(r.shows)
		if err != nil {
			t.Fatal(err)
		}
	}
	// The next search must not find other routes.
	browser := &choosy{host: h}
	f := virtualtest.Finder(t, h, device.Options{Browser: browser})
	if r.via == "" {
		d, err := f.At(ctx, device.DirectAt(netip.AddrPortFrom(at.Address(), at.Ports().Trusted)))
		if err != nil {
			t.Fatal(err)
		}
		return d, m
	}
	infos, err := f.List(ctx, device.Selector{Network: true})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if len(infos) != 1 {
		t.Fatalf("List = %v, want one device with all its routes", infos)
	}
	d := f.Device(infos[0])
	if r.via == device.ViaLockdown {
		if err := d.Pair(ctx); err != nil { // Wi-Fi is for hosts that are paired
			t.Fatal(err)
		}
	}
	browser.closed = true
	i := infos[0]
	i.Routes = slices.DeleteFunc(slices.Clone(i.Routes),
		func(x device.Route) bool { return x.Via != r.via })
	if len(i.Routes) != 1 {
		t.Fatalf("routes of %s: %v, want one by %s", i, infos[0].Routes, r.via)
	}
	d.Close()
	return f.Device(i), m
}

// choosy is a source of devices that can be stopped.
type choosy struct {
	host   *virtual.Host
	closed bool
}

func (c *choosy) Browse(ctx context.Context, q bonjour.Query) ([]bonjour.Instance, error) {
	if c.closed {
		return nil, nil
	}
	return c.host.Browse(ctx, q)
}

func TestRoutes(t *testing.T) {
	for _, r := range allRoutes {
		for _, profile := range r.profiles {
			t.Run(strings.ReplaceAll(r.name, " ", "_")+"/"+profile, func(t *testing.T) {
				t.Parallel()
				d, m := r.only(t, profile)
				ctx := virtualtest.Context(t)
				if r.options != (device.TunnelOptions{}) {
					if _, err := d.Tunnel(ctx, r.options); err != nil {
						t.Fatal(err)
					}
				}
				if v, err := d.Get(ctx, "", "ProductVersion"); r.tunnel != "remote pairing" &&
					(err != nil || v != m.Phone().Identity.Version) {
					t.Fatalf("ProductVersion = %v, %v; want %s", v, err, m.Phone().Identity.Version)
				}
				runs := 0
				for _, s := range services {
					if s.inside && r.tunnel == "" {
						continue
					}
					runs++
					t.Run(s.name, func(t *testing.T) {
						if err := s.use(ctx, d, m.Phone()); err != nil {
							t.Error(err)
						}
					})
				}
				tun := d.Tunneled()
				switch {
				case runs < 8:
					t.Errorf("%d services were tried", runs)
				case r.tunnel == "" && r.via == device.ViaMuxer && tun != nil:
					t.Errorf("there is a tunnel, %s", tun.How)
				case r.tunnel != "" && (tun == nil || !strings.HasPrefix(tun.How, r.tunnel)):
					t.Errorf("tunnel is %+v, want %s", tun, r.tunnel)
				}
			})
		}
	}
}
