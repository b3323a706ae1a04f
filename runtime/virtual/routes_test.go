package virtual_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
	"github.com/imdlua/imdlua/runtime/service/crashreportcopymobile"
	"github.com/imdlua/imdlua/runtime/service/crashreportmover"
	"github.com/imdlua/imdlua/runtime/service/diagnosticsrelay"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/service/heartbeat"
	"github.com/imdlua/imdlua/runtime/service/housearrest"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/service/mobileimagemounter"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
	"github.com/imdlua/imdlua/runtime/service/syslogrelay"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// route is a way to a device, with nothing else beside it.
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
		name: "proxy", profiles: []string{"ios17", "ios18", "ios26"}, via: device.ViaMuxer,
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
		name: "address", profiles: []string{"ios17", "ios26"}, tunnel: "list of services",
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
		if at, err = m.Show(r.shows); err != nil {
			t.Fatal(err)
		}
	}
	// What is not looked for later would be found again and used.
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
	if err != nil || len(infos) != 1 {
		t.Fatalf("List = %v, %v; want one device with all its routes", infos, err)
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

// choosy stops finding anything.
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
					(err != nil || v != m.Phone().ProductVersion()) {
					t.Fatalf("ProductVersion = %v, %v; want %s", v, err, m.Phone().ProductVersion())
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

// use is a service and something that shows it is the phone's.
type use struct {
	name   string
	inside bool // there are routes without it: outside of tunnels it may be absent
	use    func(ctx context.Context, o service.Opener, p *phone.Phone) error
}

// want makes an error unless it holds.
func want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

var services = []use{
	{name: "afc", use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
		c, err := afc.Connect(ctx, o)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.WriteFile(ctx, "route.txt", []byte("there and back")); err != nil {
			return err
		}
		b, err := p.Media().ReadFile("route.txt")
		return errors.Join(err, want(string(b) == "there and back", "the phone has %q", b))
	}},
	{name: "house_arrest", use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
		c, err := housearrest.VendContainer(ctx, o, "com.example.shop")
		if err != nil {
			return err
		}
		defer c.Close()
		list, err := c.ReadDir(ctx, "/")
		return errors.Join(err,
			want(slices.Contains(list, "Documents"), "the container holds %v", list))
	}},
	{name: "crashreportmover",
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			c, err := crashreportmover.Connect(ctx, o)
			if err != nil {
				return err
			}
			defer c.Close()
			return c.Flush(ctx)
		}},
	{name: "crashreportcopymobile",
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			c, err := crashreportcopymobile.Connect(ctx, o)
			if err != nil {
				return err
			}
			defer c.Close()
			list, _, err := crashreportcopymobile.Reports(ctx, c)
			return errors.Join(err, want(len(list) > 0, "no report"))
		}},
	{name: "syslog_relay", use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
		c, err := syslogrelay.Connect(ctx, o)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Next(ctx)
		return err
	}},
	{name: "os_trace_relay", use: func(
		ctx context.Context, o service.Opener, p *phone.Phone,
	) error {
		c, err := ostracerelay.Connect(ctx, o)
		if err != nil {
			return err
		}
		defer c.Close()
		list, err := c.PidList(ctx)
		return errors.Join(err, want(len(list) == len(p.Processes()),
			"%d processes, the phone has %d", len(list), len(p.Processes())))
	}},
	{name: "diagnostics_relay",
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			p.SetBattery(41, false)
			c, err := diagnosticsrelay.Connect(ctx, o)
			if err != nil {
				return err
			}
			defer c.Close()
			b, err := c.Battery(ctx)
			if err != nil {
				return err
			}
			return want(b.Percent == 41, "battery is at %d", b.Percent)
		}},
	{name: "notification_proxy",
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			heard := p.ObserveNotifications()
			defer heard.Close()
			heard.Add("com.example.route")
			c, err := notificationproxy.Connect(ctx, o)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Post(ctx, "com.example.route"); err != nil {
				return err
			}
			name, err := heard.Next(ctx)
			return errors.Join(err, want(name == "com.example.route", "the phone heard %q", name))
		}},
	{name: "heartbeat", use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
		c, err := heartbeat.Connect(ctx, o)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Beat(ctx)
		return err
	}},
	{name: "installation_proxy", use: func(
		ctx context.Context, o service.Opener, p *phone.Phone,
	) error {
		c, err := installationproxy.Connect(ctx, o)
		if err != nil {
			return err
		}
		defer c.Close()
		a, err := c.App(ctx, "com.example.shop")
		return errors.Join(err, want(a != nil && a.BundleID == "com.example.shop", "app is %+v", a))
	}},
	{name: "mobile_image_mounter",
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			c, err := mobileimagemounter.Connect(ctx, o)
			if err != nil {
				return err
			}
			defer c.Close()
			on, err := c.DeveloperMode(ctx)
			return errors.Join(err, want(on, "developer mode is off"))
		}},
	{name: "dvt screenshot", use: withDVT(func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		b, err := s.Screenshot(ctx)
		return errors.Join(err,
			want(bytes.HasPrefix(b, []byte("\x89PNG")), "no picture: % x", b[:min(8, len(b))]))
	})},
	{name: "dvt deviceinfo", use: withDVT(func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		list, err := s.Processes(ctx)
		return errors.Join(err, want(len(list) == len(p.Processes()),
			"%d processes, the phone has %d", len(list), len(p.Processes())))
	})},
	{name: "dvt processcontrol",
		use: withDVT(func(ctx context.Context, s *dvt.Session, p *phone.Phone) error {
			pid, err := s.Launch(ctx, "com.example.shop", dvt.LaunchOptions{})
			if err != nil {
				return err
			}
			if front, ok := p.FrontApp(); !ok || front.PID != pid {
				return fmt.Errorf("in front is %+v, not %d", front, pid)
			}
			return s.Kill(ctx, pid)
		})},
	{name: "dvt applications",
		use: withDVT(func(ctx context.Context, s *dvt.Session, p *phone.Phone) error {
			list, err := s.Applications(ctx, nil)
			return errors.Join(err, want(len(list) > 0, "no app"))
		})},
	{name: "dvt location", use: withDVT(func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		if err := s.SetLocation(ctx, 12.5, -3.25); err != nil {
			return err
		}
		at, simulated := p.Place()
		return errors.Join(want(simulated && at == phone.Place{Latitude: 12.5, Longitude: -3.25},
			"the phone is at %v", at), s.ClearLocation(ctx))
	})},
	{name: "dvt conditions", use: withDVT(func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		list, err := s.Conditions(ctx)
		return errors.Join(err, want(len(list) == len(p.Conditions()), "%d conditions", len(list)))
	})},
	{name: "dvt sysmontap",
		use: withDVT(func(ctx context.Context, s *dvt.Session, p *phone.Phone) error {
			m, err := s.Sysmon(ctx, dvt.SysmonConfig{})
			if err != nil {
				return err
			}
			defer m.Close()
			_, err = m.Next(ctx)
			return err
		})},
	{name: "appservice", inside: true, use: func(
		ctx context.Context, o service.Opener, p *phone.Phone,
	) error {
		c, err := coredevice.ConnectApps(ctx, o)
		if err != nil {
			return err
		}
		defer c.Close()
		run, err := c.Launch(ctx, "com.example.shop", coredevice.LaunchOptions{})
		if err != nil {
			return err
		}
		if front, ok := p.FrontApp(); !ok || front.PID != run.PID {
			return fmt.Errorf("in front is %+v, not %d", front, run.PID)
		}
		list, err := c.Processes(ctx)
		if err != nil {
			return err
		}
		if _, err := c.Signal(ctx, run.PID, phone.SIGKILL); err != nil {
			return err
		}
		return want(len(list) == len(p.Processes())+1, "%d processes, the phone has %d and the app",
			len(list), len(p.Processes()))
	}},
	{name: "coredevice deviceinfo", inside: true, use: func(
		ctx context.Context, o service.Opener, p *phone.Phone,
	) error {
		c, err := coredevice.ConnectInfo(ctx, o)
		if err != nil {
			return err
		}
		defer c.Close()
		displays, err := c.Displays(ctx)
		return errors.Join(err,
			want(displays != nil && len(displays.List) == 1, "displays are %+v", displays))
	}},
	{name: "diagnosticsservice", inside: true,
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			c, err := coredevice.ConnectDiagnosis(ctx, o)
			if err != nil {
				return err
			}
			defer c.Close()
			d, err := c.Sysdiagnose(ctx, coredevice.SysdiagnoseOptions{WithoutLogs: true})
			if err != nil {
				return err
			}
			defer d.Close()
			n, err := d.Copy(ctx, io.Discard)
			return errors.Join(err, want(n == d.Size && n > 0, "%d of %d bytes", n, d.Size))
		}},
	{name: "openstdiosocket", inside: true,
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			t, err := coredevice.OpenTerminal(ctx, o)
			if err != nil {
				return err
			}
			defer t.Close()
			return want(t.ID != xpc.UUID{}, "no identifier")
		}},
	{name: "dvt notifications",
		use: withDVT(func(ctx context.Context, s *dvt.Session, p *phone.Phone) error {
			n, err := s.Notifications(ctx, dvt.NotificationOptions{Apps: true})
			if err != nil {
				return err
			}
			defer n.Close()
			if _, err := p.Launch("com.example.shop"); err != nil {
				return err
			}
			_, err = n.Next(ctx)
			return err
		})},
}

func withDVT(
	f func(context.Context, *dvt.Session, *phone.Phone) error,
) func(context.Context, service.Opener, *phone.Phone) error {
	return func(ctx context.Context, o service.Opener, p *phone.Phone) error {
		s, err := dvt.Connect(ctx, o, dvt.Options{})
		if err != nil {
			return err
		}
		defer s.Close()
		return f(ctx, s, p)
	}
}
