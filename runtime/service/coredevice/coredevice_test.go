package coredevice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// ofApps and ofInfo convert calls of clients to calls of the underlying Conn.
func ofApps(call servicetest.Call[*Apps]) servicetest.Call[*Conn] {
	return func(c *Conn, ctx context.Context) error { return call(&Apps{Conn: c}, ctx) }
}

func ofInfo(call servicetest.Call[*Info]) servicetest.Call[*Conn] {
	return func(c *Conn, ctx context.Context) error { return call(&Info{Conn: c}, ctx) }
}

var suite = servicetest.Suite[*Conn]{
	Name: AppService,
	Connect: func(ctx context.Context, o service.Opener) (*Conn, error) {
		return Connect(ctx, o, AppService)
	},
	Device: func(tb testing.TB) service.Handler {
		return newRig(tb, "ios26").dev.Handler(AppService)
	},
	Silent: &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error {
		for {
			if _, err := c.Receive(ctx); err != nil {
				return err
			}
		}
	}},
	Calls: servicetest.Calls[*Conn]{
		"list":      ofApps(servicetest.With((*Apps).ListOnce, AllApps)),
		"stream":    ofApps(servicetest.With((*Apps).StreamList, AllApps)),
		"processes": ofApps(servicetest.Value((*Apps).Processes)),
		"launch": ofApps(func(a *Apps, ctx context.Context) error {
			_, err := a.Launch(ctx, "x", LaunchOptions{})
			return err
		}),
		"spawn": ofApps(func(a *Apps, ctx context.Context) error {
			_, err := a.Spawn(ctx, "/x", LaunchOptions{})
			return err
		}),
		"signal": ofApps(func(a *Apps, ctx context.Context) error {
			_, err := a.Signal(ctx, 7, 9)
			return err
		}),
		"await":      ofApps(servicetest.With((*Apps).AwaitEnd, 7)),
		"roots":      ofApps(servicetest.With((*Apps).Roots, "/")),
		"attributes": ofInfo(servicetest.Value((*Info).Attributes)),
		"displays":   ofInfo(servicetest.Value((*Info).Displays)),
		"gestalt": ofInfo(func(i *Info, ctx context.Context) error {
			_, err := i.Gestalt(ctx, "x")
			return err
		}),
		"lock state": ofInfo(servicetest.Value((*Info).LockState)),
		"sysdiagnose": func(c *Conn, ctx context.Context) error {
			s, err := (&Diagnosis{Conn: c}).Sysdiagnose(ctx, SysdiagnoseOptions{})
			if err != nil {
				return err
			}
			defer s.Close()
			_, err = s.Copy(ctx, io.Discard)
			return err
		},
	},
	Typed: fuzztest.Typed[*Error],
}

func TestService(t *testing.T) { suite.Test(t) }

// rig is a virtual device and the connections of a test to it.
type rig struct {
	t     testing.TB
	phone *phone.Phone
	dev   *Device
}

func newRig(t testing.TB, profile string) *rig {
	p := phonetest.New(t, phone.Options{Profile: profile})
	return &rig{t: t, phone: p, dev: &Device{Phone: p}}
}

// Open connects to a service, as device.Device does.
func (r *rig) Open(_ context.Context, n service.Name) (net.Conn, error) {
	h := r.dev.Handler(n)
	if h == nil {
		return nil, fs.ErrNotExist
	}
	return servicetest.Conn(servicetest.Prompt(r.t), h), nil
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) apps() *Apps {
	r.t.Helper()
	a, err := ConnectApps(r.t.Context(), r)
	r.check(err)
	r.t.Cleanup(func() { closeTwice(r.t, a.Conn) })
	return a
}

func closeTwice(t testing.TB, c *Conn) {
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// host connects without the client of this package.
func (r *rig) host(n service.Name) *remotexpc.Conn {
	r.t.Helper()
	c, err := r.Open(r.t.Context(), n)
	r.check(err)
	x, err := remotexpc.Connect(r.t.Context(), c, remotexpc.Options{})
	r.check(err)
	r.t.Cleanup(func() { x.Close() })
	return x
}

// bubble runs a test with fake time. The test fails if a goroutine is left.
func bubble(t *testing.T, profile string, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t, profile)) })
}

// fake connects to a device that answers every message by calling answer.
func fake(t testing.TB, answer func(c *remotexpc.Conn, m *remotexpc.Message) error) *Conn {
	t.Helper()
	x := &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error {
		for {
			m, err := c.Receive(ctx)
			if err != nil {
				return err
			}
			if err := answer(c, m); err != nil {
				return nil
			}
		}
	}}
	conn, err := New(t.Context(), servicetest.Conn(t, x), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// replies connects to a device that sends the same reply to every message.
func replies(t testing.TB, body xpc.Dict) *Conn {
	return fake(t, func(c *remotexpc.Conn, m *remotexpc.Message) error {
		return c.Reply(context.Background(), m, body)
	})
}

func output(v any) xpc.Dict { return xpc.Dict{{Key: keyOutput, Value: v}} }

func TestConnect(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		for _, n := range []service.Name{AppService, OpenStdIOSocket, DeviceInfo, Diagnostics} {
			if !n.NeedsDDI {
				t.Errorf("service %+v does not need the developer image", n)
			}
			if n.Lockdown != "" {
				t.Errorf("service %+v is one of lockdown", n)
			}
			if n.Checkin {
				t.Errorf("service %+v has a check-in", n)
			}
			if r.dev.Handler(n) == nil {
				t.Errorf("service %+v has no handler", n)
			}
		}
		if h := r.dev.Handler(service.Name{Remote: "com.apple.afc.shim.remote"}); h != nil {
			t.Errorf("there is a handler for AFC: %v", h)
		}
		_, err := Connect(t.Context(), r, service.Name{Remote: "com.apple.x"})
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Connect: %v, want fs.ErrNotExist", err)
		}
		if want := `coredevice: connect "com.apple.x": file does not exist`; err == nil ||
			err.Error() != want {
			t.Errorf("Connect: %v, want %s", err, want)
		}
		// The host closes the connection before it is set up.
		c, d := linktest.Pipe()
		d.Close()
		if _, err := New(t.Context(), c, Options{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("New = %v", err)
		}
		// The device does not answer.
		c, d = linktest.Pipe()
		defer d.Close()
		if _, err := New(t.Context(), c, Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("New = %v", err)
		}
	})
}

func TestInvoke(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		a := r.apps()
		for _, feature := range []string{"listprocesses", FeaturePrefix + "listprocesses"} {
			v, err := a.Invoke(t.Context(), feature, nil)
			d, _ := v.(xpc.Dict)
			if err != nil {
				t.Errorf("Invoke(%q): %v", feature, err)
			}
			if list, ok := d.Array(keyProcessTokens); !ok || len(list) < 20 {
				t.Errorf("Invoke(%q) = %v, want at least 20 processes", feature, v)
			}
		}
		_, err := a.Invoke(t.Context(), "fetchappicons", nil)
		want := `coredevice: fetchappicons: Action 'com.apple.coredevice.feature.fetchappicons' is not implemented. (CoreDevice.ActionError 2)`
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Fatalf("error %v, want errors.ErrUnsupported", err)
		}
		if err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%v is not an *Error", err)
		}
		if e.Op != "fetchappicons" {
			t.Errorf("operation %q, want fetchappicons", e.Op)
		}
		if e.Domain != DomainAction {
			t.Errorf("refused by the domain %s, want %s", e.Domain, DomainAction)
		}
		if e.Code != 2 {
			t.Errorf("refused with the code %d, want 2", e.Code)
		}
		if e.Description == "" {
			t.Errorf("error %+v has no description", e)
		}
		if _, err := a.Act(t.Context(), "getuserinterfacestyle", nil); !errors.Is(err,
			errors.ErrUnsupported) {
			t.Errorf("Act = %v", err)
		}
		if _, err := a.InvokeAction(t.Context(), "capturescreenshot", "capturescreenshot",
			nil); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("InvokeAction = %v", err)
		}
	})
}

// TestTurns makes many invocations at the same time, and one whose context ends.
func TestTurns(t *testing.T) {
	bubble(t, "", func(t *testing.T, _ *rig) {
		hold := make(chan struct{})
		busy := 0
		c := fake(t, func(c *remotexpc.Conn, m *remotexpc.Message) error {
			busy++
			if busy > 1 {
				t.Error("invocations overlap")
			}
			<-hold
			busy--
			i, err := DecodeInvocation(m.Body)
			if err != nil {
				return err
			}
			return c.Reply(t.Context(), m, output(short(i.name())))
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Invoke(ctx, "first", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Invoke = %v", err)
		}
		results := make(chan error)
		for i := range 8 {
			go func() {
				name := fmt.Sprint("f", i)
				v, err := c.Invoke(t.Context(), name, nil)
				if v != name && err == nil {
					err = fmt.Errorf("output %v, want %s", v, name)
				}
				results <- err
			}()
		}
		close(hold)
		for range 8 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		// A call without a deadline gets one.
		hold = make(chan struct{})
		defer close(hold)
		begin := time.Now()
		_, err := c.Invoke(t.Context(), "slow", nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Invoke: %v, want DeadlineExceeded", err)
		}
		if passed := time.Since(begin); passed != invokeTimeout {
			t.Errorf("Invoke took %v, want %v", passed, invokeTimeout)
		}
		c.Close()
		if _, err := c.Invoke(t.Context(), "late", nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Invoke = %v", err)
		}
	})
}

// TestLeaves uses a device that closes the connection instead of answering.
func TestLeaves(t *testing.T) {
	bubble(t, "", func(t *testing.T, _ *rig) {
		c := fake(t, func(*remotexpc.Conn, *remotexpc.Message) error { return net.ErrClosed })
		_, err := c.Invoke(t.Context(), "x", nil)
		want := "coredevice: x: remotexpc: call: connection closed by peer"
		if !errors.Is(err, net.ErrClosed) {
			t.Fatalf("error %v, want net.ErrClosed", err)
		}
		if err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		c = fake(t, func(*remotexpc.Conn, *remotexpc.Message) error { return net.ErrClosed })
		if err := c.Stream(t.Context(), "x", nil, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Stream = %v", err)
		}
	})
}
