package virtual_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/location"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
	"github.com/imdlua/imdlua/runtime/service/crashreportcopymobile"
	"github.com/imdlua/imdlua/runtime/service/crashreportmover"
	"github.com/imdlua/imdlua/runtime/service/diagnosticsrelay"
	"github.com/imdlua/imdlua/runtime/service/dtsimulatelocation"
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

// use is a call of a service whose result shows that it comes from the phone.
type use struct {
	name   string
	inside bool // there are routes without it: outside of tunnels it may be absent
	// channel is the channel of Instruments that is used.
	channel string
	use     func(ctx context.Context, o service.Opener, p *phone.Phone) error
}

// want returns an error unless the condition holds.
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
		b, err := p.Media.ReadFile("route.txt")
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
		return errors.Join(err, want(len(list) == len(p.Processes.List()),
			"%d processes, the phone has %d", len(list), len(p.Processes.List())))
	}},
	{name: "diagnostics_relay",
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			p.Power.SetBattery(41, false)
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
			heard := p.Notifications.Observe()
			defer heard.Close()
			heard.Add("com.example.route")
			c, err := notificationproxy.Connect(ctx, o)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Observe(ctx, "com.example.route"); err != nil {
				return err
			}
			if err := c.Post(ctx, "com.example.route"); err != nil {
				return err
			}
			if _, err := c.Next(ctx); err != nil {
				return err
			}
			name, err := heard.Next(ctx)
			return errors.Join(err, want(name == "com.example.route", "the phone heard %q", name))
		}},
	{name: "insecure_notification_proxy",
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			c, err := notificationproxy.ConnectInsecure(ctx, o)
			if err != nil {
				return err
			}
			defer c.Close()
			const passes = "com.apple.mobile.lockdown.request_pair"
			if err := c.Observe(ctx, passes); err != nil {
				return err
			}
			if err := c.Post(ctx, passes); err != nil {
				return err
			}
			name, err := c.Next(ctx)
			return errors.Join(err, want(name == passes, "heard %q", name))
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
	{name: "dt.simulatelocation",
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			gone := p.Identity.VersionNumber() >= 1700
			c, err := dtsimulatelocation.Connect(ctx, o)
			if err != nil && gone && !errors.Is(err, errNotOpened) {
				return nil // only Instruments simulates the location since iOS 17
			}
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.SetLocation(ctx, 8.5, 4.25); err != nil {
				return err
			}
			// The device does not answer.
			for {
				at, _ := p.Location.Place()
				if at == (location.Place{Latitude: 8.5, Longitude: 4.25}) {
					break
				}
				if ctx.Err() != nil {
					return fmt.Errorf("the phone is at %v", at)
				}
				runtime.Gosched()
			}
			p.Location.Clear()
			return want(!gone, "iOS %s has the service", p.Identity.Version)
		}},
	instruments("screenshot", dvt.ChannelScreenshot, func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		b, err := s.Screenshot(ctx)
		return errors.Join(err,
			want(bytes.HasPrefix(b, []byte("\x89PNG")), "no picture: % x", b[:min(8, len(b))]))
	}),
	instruments("deviceinfo", dvt.ChannelDeviceInfo, func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		list, err := s.Processes(ctx)
		return errors.Join(err, want(len(list) == len(p.Processes.List()),
			"%d processes, the phone has %d", len(list), len(p.Processes.List())))
	}),
	instruments("processcontrol", dvt.ChannelProcessControl, func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		pid, err := s.Launch(ctx, "com.example.shop", dvt.LaunchOptions{})
		if err != nil {
			return err
		}
		if front, ok := p.Processes.Front(); !ok || front.PID != pid {
			return fmt.Errorf("in front is %+v, not %d", front, pid)
		}
		return s.Kill(ctx, pid)
	}),
	instruments("applications", dvt.ChannelApplications, func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		list, err := s.Applications(ctx, nil)
		return errors.Join(err, want(len(list) > 0, "no app"))
	}),
	instruments("location", dvt.ChannelLocation, func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		if err := s.SetLocation(ctx, 12.5, -3.25); err != nil {
			return err
		}
		at, simulated := p.Location.Place()
		return errors.Join(want(simulated && at == location.Place{Latitude: 12.5, Longitude: -3.25},
			"the phone is at %v", at), s.ClearLocation(ctx))
	}),
	instruments("conditions", dvt.ChannelConditions, func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		list, err := s.Conditions(ctx)
		return errors.Join(
			err,
			want(len(list) == len(p.Conditions.List()), "%d conditions", len(list)),
		)
	}),
	instruments("sysmontap", dvt.ChannelSysmon, func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		m, err := s.Sysmon(ctx, dvt.SysmonConfig{})
		if err != nil {
			return err
		}
		defer m.Close()
		_, err = m.Next(ctx)
		return err
	}),
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
		if front, ok := p.Processes.Front(); !ok || front.PID != run.PID {
			return fmt.Errorf("in front is %+v, not %d", front, run.PID)
		}
		list, err := c.Processes(ctx)
		if err != nil {
			return err
		}
		if _, err := c.Signal(ctx, run.PID, processes.SIGKILL); err != nil {
			return err
		}
		return want(len(list) == len(p.Processes.List())+1,
			"%d processes, the phone has %d and the app", len(list), len(p.Processes.List()))
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
	instruments("notifications", dvt.ChannelNotifications, func(
		ctx context.Context, s *dvt.Session, p *phone.Phone,
	) error {
		n, err := s.Notifications(ctx, dvt.NotificationOptions{Apps: true})
		if err != nil {
			return err
		}
		defer n.Close()
		if _, err := p.Processes.Launch("com.example.shop"); err != nil {
			return err
		}
		_, err = n.Next(ctx)
		return err
	}),
}

// instruments returns a use of a channel of Instruments.
func instruments(
	name, channel string, f func(context.Context, *dvt.Session, *phone.Phone) error,
) use {
	return use{
		name: "dvt " + name, channel: channel,
		use: func(ctx context.Context, o service.Opener, p *phone.Phone) error {
			s, err := dvt.Connect(ctx, o, dvt.Options{})
			if err != nil {
				return err
			}
			defer s.Close()
			return f(ctx, s, p)
		},
	}
}

// errNotOpened is the error of each Open of a recorder.
var errNotOpened = errors.New("not opened")

// recorder is an Opener that records the names of services and opens none.
type recorder struct{ names []service.Name }

func (r *recorder) Open(_ context.Context, n service.Name) (net.Conn, error) {
	r.names = append(r.names, n)
	return nil, errNotOpened
}

// opens returns the names of the services that u opens.
func (u use) opens(t *testing.T, p *phone.Phone) []string {
	t.Helper()
	var r recorder
	if err := u.use(virtualtest.Context(t), &r, p); !errors.Is(err, errNotOpened) {
		t.Errorf("%s: %v, want the error of the opener", u.name, err)
	}
	var names []string
	for _, n := range r.names {
		names = append(names, n.String())
	}
	return names
}

// usedByRoutes are services that make up the routes of TestRoutes.
var usedByRoutes = []string{
	"com.apple.internal.devicecompute.CoreDeviceProxy",
	"com.apple.dt.remotepairingdeviced.lockdown",
	"com.apple.internal.dt.coredevice.untrusted.tunnelservice",
	"com.apple.mobile.lockdown.remote.trusted",
	"com.apple.mobile.lockdown.remote.untrusted",
}

// TestServicesHaveUses finds services of the catalogue that TestRoutes does not try.
func TestServicesHaveUses(t *testing.T) {
	p, err := phone.New(phone.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range services {
		names = append(names, s.opens(t, p)...)
	}
	for _, channel := range dvt.Channels() {
		if !slices.ContainsFunc(services, func(s use) bool { return s.channel == channel }) {
			t.Errorf("%s is in channels.go of dvt, but not in services of uses_test.go", channel)
		}
	}
	used := append(names, usedByRoutes...)
	for _, name := range virtual.Services() {
		if !slices.Contains(used, name) {
			t.Errorf("%s is in catalog.go, but not in services of uses_test.go", name)
		}
	}
}
