package dvt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

var suite = servicetest.Suite[*Session]{
	Name: Service,
	Connect: func(ctx context.Context, o service.Opener) (*Session, error) {
		return Connect(ctx, o, Options{})
	},
	Device: func(tb testing.TB) service.Handler {
		p := phonetest.New(tb, phone.Options{})
		return &Device{Phone: p}
	},
	Calls: servicetest.Calls[*Session]{
		"applications": servicetest.With((*Session).Applications, nil),
		"attributes":   servicetest.Value((*Session).ProcessAttributes),
		"capabilities": servicetest.Value((*Session).Capabilities),
		"conditions":   servicetest.Value((*Session).Conditions),
		"directory":    servicetest.With((*Session).ListDirectory, "/"),
		"exec name":    servicetest.With((*Session).ExecName, 7),
		"hardware":     servicetest.Value((*Session).HardwareInformation),
		"kernel":       servicetest.Value((*Session).KernelName),
		"kill":         func(s *Session, ctx context.Context) error { return s.Kill(ctx, 7) },
		"launch": func(s *Session, ctx context.Context) error {
			_, err := s.Launch(ctx, "x", LaunchOptions{})
			return err
		},
		"limits": servicetest.With((*Session).DisableMemoryLimits, 7),
		"location": func(s *Session, ctx context.Context) error {
			return s.SetLocation(ctx, 1, 2)
		},
		"mach time":   servicetest.Value((*Session).MachTime),
		"network":     servicetest.Value((*Session).NetworkInformation),
		"pid":         servicetest.With((*Session).PIDOf, "x"),
		"processes":   servicetest.Value((*Session).Processes),
		"running":     servicetest.With((*Session).IsRunning, 7),
		"screenshot":  servicetest.Value((*Session).Screenshot),
		"system":      servicetest.Value((*Session).SystemInformation),
		"trace codes": servicetest.Value((*Session).TraceCodes),
		"user":        servicetest.With((*Session).UserName, 7),
	},
	Typed: fuzztest.Typed[*Error],
}

func TestService(t *testing.T) { suite.Test(t) }

// rig is a session with a virtual device.
type rig struct {
	*Session
	t     testing.TB
	phone *phone.Phone
	dev   *Device
}

func newRig(t testing.TB, profile string) *rig {
	p := phonetest.New(t, phone.Options{Profile: profile})
	r := &rig{t: t, phone: p, dev: &Device{Phone: p}}
	r.Session = New(r.dial(), Options{})
	t.Cleanup(func() {
		for range 2 {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// dial opens another connection to the device.
func (r *rig) dial() net.Conn { return servicetest.Conn(servicetest.Prompt(r.t), r.dev) }

// host opens a channel without the client of this package.
func (r *rig) host(identifier string, o dtx.Options) *dtx.Channel {
	r.t.Helper()
	c := dtx.New(r.dial(), o)
	r.t.Cleanup(func() { c.Close() })
	ch, err := c.Open(r.t.Context(), identifier, dtx.ChannelOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return ch
}

// bubble runs a test with fake time. The test fails if a goroutine is left.
func bubble(t *testing.T, profile string, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t, profile)) })
}

// fake returns a session with a device that has the given channels.
func fake(t testing.TB, channels map[string]dtx.Handler) *Session {
	t.Helper()
	server := dtx.Server{Channels: map[string]func(*dtx.Channel) dtx.Handler{}}
	for id, h := range channels {
		server.Channels[id] = func(*dtx.Channel) dtx.Handler { return h }
	}
	return connectTo(t, &server, Options{})
}

// connectTo returns a client that is connected to the device side h.
func connectTo(t testing.TB, h service.Handler, o Options) *Session {
	t.Helper()
	s := New(servicetest.Conn(t, h), o)
	t.Cleanup(func() { s.Close() })
	return s
}

// wantEvent checks the result of a read that must return an event with this selector.
func wantEvent(t *testing.T, in *dtx.Incoming, err error, selector string) {
	t.Helper()
	if err != nil {
		t.Fatalf("no event %s: %v", selector, err)
	}
	if in.Type != dtx.Dispatch {
		t.Fatalf("type %v, want %v", in.Type, dtx.Dispatch)
	}
	if in.Selector != selector {
		t.Fatalf("selector %s, want %s", in.Selector, selector)
	}
	if in.ExpectsReply {
		t.Fatalf("%s expects a reply", selector)
	}
}

// answer returns a handler that gives the same answer to every call.
func answer(v any) dtx.Handler {
	return dtx.HandlerFunc(func(context.Context, *dtx.Incoming) (any, error) { return v, nil })
}

func TestSession(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		caps, err := r.Capabilities(ctx)
		if err != nil {
			t.Errorf("Capabilities: %v", err)
		}
		if n, ok := caps.Int(ChannelScreenshot); n != 1 || !ok {
			t.Errorf("%s has the version %d, %v, want 1", ChannelScreenshot, n, ok)
		}
		if n, _ := caps.Int("com.apple.instruments.target.user-page-size"); n != 16384 {
			t.Errorf("page size %d", n)
		}
		v, err := r.Call(ctx, ChannelDeviceInfo, "machKernelName")
		if err != nil {
			t.Errorf("machKernelName: %v", err)
		} else if v != "/mach.release.t8120" {
			t.Errorf("machKernelName = %q, want %q", v, "/mach.release.t8120")
		}
		// All calls share one channel.
		var wg sync.WaitGroup
		first, err := r.Channel(ctx, ChannelConditions)
		for range 8 {
			wg.Go(func() {
				ch, err := r.Channel(ctx, ChannelConditions)
				if err != nil {
					t.Errorf("Channel: %v", err)
				} else if ch != first {
					t.Errorf("Channel opens a second channel %v", ch)
				}
			})
		}
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		// A channel that was closed is opened again.
		if err := first.Close(ctx); err != nil {
			t.Fatal(err)
		}
		second, err := r.Channel(ctx, ChannelConditions)
		if err != nil {
			t.Errorf("Channel after Close: %v", err)
		} else if second == first {
			t.Error("Channel after Close returns the closed channel")
		} else if second.Code() == first.Code() {
			t.Errorf("the new channel has the code %d of the closed one", second.Code())
		}
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		const unknown = " - it does not respond to the selector (DTXMessage 1)"
		for _, c := range []struct {
			channel, selector string
			args              []any
			want              string
			is                error
		}{
			{
				"com.example.none", "x", nil,
				`dvt: call "x": open channel com.example.none: Unable to find a service for channel 'com.example.none' (DTXMessage 1)`,
				errors.ErrUnsupported,
			},
			{
				ChannelDeviceInfo, "none", nil,
				`dvt: call "none": call none: Unable to invoke 'none'` + unknown,
				errors.ErrUnsupported,
			},
			{
				services + "networking", "startMonitoring", nil,
				`dvt: call "startMonitoring": open channel ` + services + `networking: ` +
					`Unable to find a service for channel '` + services + `networking' ` +
					`(DTXMessage 1)`,
				errors.ErrUnsupported,
			},
			{ChannelProcessControl, selLaunch, []any{"", "x"}, `dvt: call "` + selLaunch +
				`": call ` + selLaunch + `: '` + selLaunch +
				`' does not take these arguments (DTXMessage 1)`, dtx.ErrRemote},
		} {
			_, err := r.Call(ctx, c.channel, c.selector, c.args...)
			if err == nil {
				t.Fatalf("%s %s: no error, want %s", c.channel, c.selector, c.want)
			}
			if err.Error() != c.want {
				t.Errorf("%s %s: %v, want %s", c.channel, c.selector, err, c.want)
			}
			if !errors.Is(err, c.is) {
				t.Errorf("%s %s: %v does not match %v", c.channel, c.selector, err, c.is)
			}
			if errors.Is(err, errors.ErrUnsupported) != (c.is == errors.ErrUnsupported) {
				t.Errorf("%v matches ErrUnsupported: %v, want the opposite", err,
					errors.Is(err, errors.ErrUnsupported))
			}
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v matches fs.ErrNotExist", err)
			}
			if e, ok := err.(*Error); !ok {
				t.Errorf("%#v is not an *Error", err)
			} else if e.Remote() == nil {
				t.Errorf("%v has no error of the device", err)
			} else if e.Remote().Domain != dtx.Domain {
				t.Errorf("%v has the domain %q, want %q", err, e.Remote().Domain, dtx.Domain)
			}
		}
		for selector, channel := range map[string]string{
			selListDir: ChannelDeviceInfo, selExecName: ChannelDeviceInfo,
			selIsRunning: ChannelDeviceInfo, selUserName: ChannelDeviceInfo,
			selKill: ChannelProcessControl, selSignal: ChannelProcessControl,
			selPIDOf: ChannelProcessControl, selObserve: ChannelProcessControl,
			selNoLimits: ChannelProcessControl, selConfig: ChannelSysmon,
			selAppNotes: ChannelNotifications,
			"simulateLocationWithLatitude:longitude:":            ChannelLocation,
			"enableConditionWithIdentifier:profileIdentifier:":   ChannelConditions,
			"disableConditionWithIdentifier:":                    ChannelConditions,
			"installedApplicationsMatching:registerUpdateToken:": ChannelApplications,
		} {
			for _, args := range [][]any{{[]any{}, nskeyed.Null{}}, {nskeyed.UUID{}}} {
				if v, err := r.Call(ctx, channel, selector, args...); v != nil {
					t.Errorf("%s %v = %v, want nil", selector, args, v)
				} else if !strings.Contains(fmt.Sprint(err), "does not take these arguments") {
					t.Errorf("%s %v: %v, want a refusal of the arguments", selector, args, err)
				}
			}
		}
	})
}

// TestBudget opens as many channels as a session allows.
func TestBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		s := New(r.dial(), Options{MaxChannels: 2})
		defer s.Close()
		ctx := t.Context()
		ch, err := s.Open(ctx, ChannelSysmon, dtx.ChannelOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(ctx, "com.example.none", dtx.ChannelOptions{}); !errors.Is(err,
			errors.ErrUnsupported) {
			t.Errorf("unknown channel: %v", err)
		}
		if _, err := s.Screenshot(ctx); err != nil {
			t.Error(err)
		}
		if _, err := s.KernelName(ctx); !errors.Is(err, ErrTooManyChannels) {
			t.Errorf("third channel: %v", err)
		}
		if err := ch.Close(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := s.KernelName(ctx); err != nil {
			t.Errorf("after a channel was closed: %v", err)
		}
	})
}

// opener is a service.Opener for tests of Connect.
type opener struct {
	conns map[service.Name]net.Conn
	err   error
	asked []service.Name
}

func (o *opener) Open(_ context.Context, n service.Name) (net.Conn, error) {
	o.asked = append(o.asked, n)
	if c := o.conns[n]; c != nil {
		return c, nil
	}
	return nil, o.err
}

func TestConnect(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		missing := fmt.Errorf("service: %w", fs.ErrNotExist)
		for _, c := range []struct {
			has   service.Name
			err   error
			asked int
			want  error
		}{
			{Service, missing, 1, nil},
			{OldService, missing, 2, nil},
			{service.Name{}, missing, 2, fs.ErrNotExist},
			{OldService, context.DeadlineExceeded, 1, context.DeadlineExceeded},
		} {
			o := &opener{err: c.err, conns: map[service.Name]net.Conn{c.has: r.dial()}}
			s, err := Connect(ctx, o, Options{})
			if !errors.Is(err, c.want) {
				t.Errorf("with %v: %v, want %v", c.has, err, c.want)
			}
			if (s == nil) != (err != nil) {
				t.Errorf("with %v: session %v beside the error %v", c.has, s, err)
			}
			if len(o.asked) != c.asked {
				t.Errorf("with %v: asked %d times, want %d", c.has, len(o.asked), c.asked)
			} else if o.asked[0] != Service {
				t.Errorf("with %v: asked for %v, want %v", c.has, o.asked[0], Service)
			}
			if s != nil {
				if _, err := s.KernelName(ctx); err != nil {
					t.Error(err)
				}
				s.Close()
			}
		}
		if !Service.NeedsDDI {
			t.Error("Service does not need a developer disk image")
		}
		if Service.Remote != "com.apple.instruments.dtservicehub" {
			t.Errorf("Service.Remote = %q, want %q", Service.Remote,
				"com.apple.instruments.dtservicehub")
		}
		if Service.Checkin {
			t.Error("Service.Checkin is set")
		}
		if !OldService.HandshakeOnlyTLS {
			t.Error("OldService uses TLS after the handshake")
		}
	})
}

// TestDeadlines makes calls to a device that never answers.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		later := dtx.HandlerFunc(
			func(context.Context, *dtx.Incoming) (any, error) { return nil, dtx.ErrLater },
		)
		s := fake(t, map[string]dtx.Handler{
			ChannelScreenshot: later, ChannelProcessControl: later, ChannelNotifications: later,
			ChannelSysmon: later,
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := s.Screenshot(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Screenshot: %v, want %v", err, context.DeadlineExceeded)
		} else if time.Since(begun) != time.Second {
			t.Errorf("Screenshot ended after %v, want 1s", time.Since(begun))
		}
		for name, call := range map[string]func() error{
			"screenshot": func() error { _, err := s.Screenshot(t.Context()); return err },
			"launch": func() error {
				_, err := s.Start(t.Context(), "x",
					LaunchOptions{})
				return err
			},
			"observe": func() error { _, err := s.Observe(t.Context(), 5); return err },
			"listen": func() error {
				_, err := s.Notifications(t.Context(),
					NotificationOptions{Apps: true})
				return err
			},
			"sample": func() error {
				_, err := s.Sysmon(t.Context(),
					SysmonConfig{Processes: []string{}, System: []string{}})
				return err
			},
		} {
			begun = time.Now()
			if err := call(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v, want %v", name, err, context.DeadlineExceeded)
			} else if time.Since(begun) != callTimeout {
				t.Errorf("%s ended after %v, want %v", name, time.Since(begun), callTimeout)
			}
		}
		// The end of the session ends calls that wait.
		go func() { time.Sleep(time.Second); s.Close() }()
		if _, err := s.Screenshot(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := s.KernelName(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("KernelName after Close: %v, want %v", err, net.ErrClosed)
		} else if !errors.Is(s.Err(), net.ErrClosed) {
			t.Errorf("Err after Close: %v, want %v", s.Err(), net.ErrClosed)
		}
		<-s.Done()
	})
}

// TestServeEnds ends the device side while calls and streams are active.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		c, served := servicetest.Dial(ctx, t, &Device{Phone: p, Hold: 200 * time.Millisecond})
		s := New(c, Options{})
		defer s.Close()
		m, err := s.Sysmon(ctx, SysmonConfig{})
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.Notifications(ctx, NotificationOptions{Apps: true, Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		proc, err := s.Start(ctx, "com.example.shop", LaunchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetLocation(ctx, 1, 2); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v, want %v", err, context.Canceled)
		} else if !strings.HasPrefix(err.Error(), "dvt: serve: ") {
			t.Errorf("Serve: %v, want the prefix dvt: serve:", err)
		}
		if _, simulated := p.Location.Place(); simulated {
			t.Error("the simulation outlives the connection")
		}
		for name, next := range map[string]func() error{
			"samples": func() error { _, err := m.Next(t.Context()); return err },
			"news":    func() error { _, err := n.Next(t.Context()); return err },
			"output":  func() error { _, err := proc.Next(t.Context()); return err },
		} {
			for err = error(nil); err == nil; {
				err = next()
			}
			if !errors.Is(err, dtx.ErrPeerClosed) {
				t.Errorf("%s end with %v", name, err)
			}
		}
		for _, c := range []interface{ Close() error }{m, n, proc, m} {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
}
