package coredevice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"reflect"
	"slices"
	"strings"
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
	return servicetest.Conn(r.t, h), nil
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
			if !n.NeedsDDI || n.Lockdown != "" || n.Checkin || r.dev.Handler(n) == nil {
				t.Errorf("service %+v", n)
			}
		}
		if h := r.dev.Handler(service.Name{Remote: "com.apple.afc.shim.remote"}); h != nil {
			t.Errorf("there is a handler for AFC: %v", h)
		}
		_, err := Connect(t.Context(), r, service.Name{Remote: "com.apple.x"})
		if !errors.Is(err, fs.ErrNotExist) ||
			err.Error() != `coredevice: connect "com.apple.x": file does not exist` {
			t.Errorf("Connect = %v", err)
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
			if list, ok := d.Array(keyProcessTokens); !ok || len(list) < 20 || err != nil {
				t.Errorf("Invoke(%q) = %v, %v", feature, v, err)
			}
		}
		_, err := a.Invoke(t.Context(), "fetchappicons", nil)
		want := `coredevice: fetchappicons: Action 'com.apple.coredevice.feature.fetchappicons' is not implemented. (CoreDevice.ActionError 2)`
		if !errors.Is(err, errors.ErrUnsupported) || err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%v is not an *Error", err)
		}
		if e.Op != "fetchappicons" {
			t.Errorf("operation %q, want fetchappicons", e.Op)
		}
		if e.Domain != DomainAction || e.Code != 2 {
			t.Errorf("refused with %s %d, want %s 2", e.Domain, e.Code, DomainAction)
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
		if _, err := c.Invoke(t.Context(), "slow", nil); !errors.Is(err,
			context.DeadlineExceeded) || time.Since(begin) != invokeTimeout {
			t.Errorf("Invoke = %v after %v", err, time.Since(begin))
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
		if want := "coredevice: x: remotexpc: call: connection closed by peer"; !errors.Is(err,
			net.ErrClosed) || err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		c = fake(t, func(*remotexpc.Conn, *remotexpc.Message) error { return net.ErrClosed })
		if err := c.Stream(t.Context(), "x", nil, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Stream = %v", err)
		}
	})
}

// TestRefusals sends each service requests that it refuses, and compares the values in
// the messages.
func TestRefusals(t *testing.T) {
	bubble(t, "ios26", func(t *testing.T, r *rig) {
		pids := func(n any) xpc.Dict { return xpc.Dict{{Key: keyPID, Value: n}} }
		filter := AllApps.input()
		launchInput := func(id string, options xpc.Dict) xpc.Dict {
			return xpc.Dict{{
				Key:   keySpecifier,
				Value: xpc.Dict{{Key: keyBundleID, Value: xpc.Dict{{Key: "_0", Value: id}}}},
			}, {Key: keyOptions, Value: options}}
		}
		for _, c := range []struct {
			service service.Name
			feature string
			input   any
			want    string // domain, code and the text of the innermost error
			is      error
		}{
			{
				AppService, "nosuchthing", nil,
				"CoreDevice.ActionError 2 Action 'com.apple.coredevice.feature.nosuchthing' is not implemented.",
				errors.ErrUnsupported,
			},
			{
				AppService, "com.example.listapps", nil,
				"CoreDevice.ActionError 2 Action 'com.example.listapps' is not implemented.",
				errors.ErrUnsupported,
			},
			{
				AppService, featDeviceInfo, nil,
				"CoreDevice.ActionError 2 Action 'com.apple.coredevice.feature.getdeviceinfo' is not implemented.",
				errors.ErrUnsupported,
			},
			{
				AppService, featListApps, filter[:7],
				"NSCocoaErrorDomain 4865 Expected to find key includeContainerPaths.",
				fs.ErrInvalid,
			},
			{
				AppService, featListApps, xpc.Null{},
				"NSCocoaErrorDomain 4865 Expected to find key includeAppClips.", fs.ErrInvalid,
			},
			{
				AppService, featStreamApps, filter,
				"NSCocoaErrorDomain 4865 Expected to find key streamProxy.", fs.ErrInvalid,
			},
			{
				AppService, featStreamApps, wrapStream(filter[1:], xpc.UUID{1}),
				"NSCocoaErrorDomain 4865 Expected to find key includeAppClips.", fs.ErrInvalid,
			},
			{AppService, featStreamProcess, xpc.Dict{
				{Key: keyActualInput, Value: xpc.Dict{}}, {Key: keyProxy, Value: xpc.Dict{}},
			}, "NSCocoaErrorDomain 4865 Expected to find key sideChannel.", fs.ErrInvalid},
			{
				AppService, featLaunch, xpc.Dict{},
				"NSCocoaErrorDomain 4865 Expected to find key applicationSpecifier.", fs.ErrInvalid,
			},
			{
				AppService, featLaunch,
				launchInput("com.x", xpc.Dict{{Key: keyArguments, Value: []any{true}}}),
				"NSCocoaErrorDomain 4864 Expected to decode Array<String> for key arguments.",
				fs.ErrInvalid,
			},
			{
				AppService, featLaunch,
				launchInput("com.x",
					xpc.Dict{{Key: keyEnvironment, Value: xpc.Dict{{Key: "A", Value: int64(1)}}}}),
				"NSCocoaErrorDomain 4864 Expected to decode Dictionary<String, String> for key environmentVariables.",
				fs.ErrInvalid,
			},
			{
				AppService, featLaunch,
				launchInput("com.x", xpc.Dict{{Key: keyPlatform, Value: []byte("x")}}),
				"NSCocoaErrorDomain 4864 Expected to decode property list for key platformSpecificOptions.",
				fs.ErrInvalid,
			},
			{
				AppService, featLaunch,
				launchInput("com.x", xpc.Dict{{Key: keyStopped, Value: "no"}}),
				"NSCocoaErrorDomain 4864 Expected to decode Bool for key startStopped.",
				fs.ErrInvalid,
			},
			{
				AppService, featLaunch, launchInput("com.example.nothere", xpc.Dict{}),
				`com.apple.dt.CoreDeviceError 10002 The operation couldn’t be completed. Application "com.example.nothere" is unknown to FrontBoard.`,
				fs.ErrNotExist,
			},
			{
				AppService, featSpawn, xpc.Dict{{Key: keyExecutableAt, Value: "/x"}},
				"NSCocoaErrorDomain 4864 Expected to decode Dictionary for key executableItem.",
				fs.ErrInvalid,
			},
			{
				AppService, featSignal,
				xpc.Dict{
					{Key: keyProcess, Value: pids(int64(77777))}, {Key: keySignal, Value: int64(9)},
				},
				"NSPOSIXErrorDomain 3 The operation couldn’t be completed. No such process",
				fs.ErrNotExist,
			},
			{
				AppService, featSignal,
				xpc.Dict{
					{Key: keyProcess, Value: pids(int64(1))}, {Key: keySignal, Value: int64(9)},
				},
				"NSPOSIXErrorDomain 1 The operation couldn’t be completed. Operation not permitted",
				fs.ErrPermission,
			},
			{
				AppService, featSignal,
				xpc.Dict{
					{Key: keyProcess, Value: pids(int64(1))}, {Key: keySignal, Value: int64(32)},
				},
				"NSPOSIXErrorDomain 22 The operation couldn’t be completed. Invalid argument",
				fs.ErrInvalid,
			},
			{
				AppService, featSignal,
				xpc.Dict{
					{Key: keyProcess, Value: pids(int64(1) << 40)},
					{Key: keySignal, Value: int64(9)},
				},
				"NSCocoaErrorDomain 4864 Expected to decode Int32 for key processIdentifier.",
				fs.ErrInvalid,
			},
			{
				AppService, featSignal, xpc.Dict{{Key: keyProcess, Value: xpc.Dict{}}},
				"NSCocoaErrorDomain 4865 Expected to find key processIdentifier.", fs.ErrInvalid,
			},
			{
				AppService, featMemoryWarning,
				xpc.Dict{{Key: keyProcess, Value: pids(int64(77777))}},
				"NSPOSIXErrorDomain 3 The operation couldn’t be completed. No such process",
				fs.ErrNotExist,
			},
			{
				AppService, featMonitor,
				xpc.Dict{{Key: keyProcessToken, Value: pids(int64(77777))}},
				"NSPOSIXErrorDomain 3 The operation couldn’t be completed. No such process",
				fs.ErrNotExist,
			},
			{
				AppService, featUninstall,
				xpc.Dict{{Key: keyBundleID, Value: "com.example.nothere"}},
				`CoreDevice.ActionError 3 The application "com.example.nothere" is not installed.`,
				fs.ErrNotExist,
			},
			{
				AppService, featUninstall,
				xpc.Dict{{Key: keyBundleID, Value: "com.apple.mobilesafari"}},
				`CoreDevice.ActionError 3 Removing the application "com.apple.mobilesafari" is not allowed.`,
				fs.ErrPermission,
			},
			{
				AppService, featUninstall, nil,
				"NSCocoaErrorDomain 4865 Expected to find key bundleIdentifier.", fs.ErrInvalid,
			},
			{
				AppService, featListRoots,
				xpc.Dict{{Key: "rootPoint", Value: xpc.Dict{{Key: keyRelative, Value: "/"}}}},
				"CoreDevice.ActionError 5 Roots are not available on this device.",
				fs.ErrPermission,
			},
			{
				AppService, featReboot,
				xpc.Dict{{Key: "rebootStyle", Value: xpc.Dict{{Key: "half", Value: xpc.Dict{}}}}},
				"NSCocoaErrorDomain 4865 Expected to find key full.", fs.ErrInvalid,
			},
			{
				DeviceInfo, featGestalt, nil, "NSCocoaErrorDomain 4865 Expected to find key keys.",
				fs.ErrInvalid,
			},
			{
				DeviceInfo, featGestalt, xpc.Dict{{Key: keyKeys, Value: []any{"ProductType"}}},
				"CoreDevice.ActionError 5 Querying MobileGestalt is not permitted on this device.",
				fs.ErrPermission,
			},
			{
				Diagnostics, featSysdiagnose, xpc.Dict{{Key: keyOptions, Value: xpc.Dict{}}},
				"NSCocoaErrorDomain 4865 Expected to find key isDryRun.", fs.ErrInvalid,
			},
		} {
			conn, err := Connect(t.Context(), r, c.service)
			r.check(err)
			_, err = conn.Invoke(t.Context(), c.feature, c.input)
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, c.is) {
				t.Errorf("%s(%v) = %v, want %v", c.feature, c.input, err, c.is)
				continue
			}
			text := e.innermost()
			if text == "" {
				text = e.Description
			}
			if got := fmt.Sprintf("%s %d %s", e.Domain, e.Code, text); got != c.want {
				t.Errorf("%s(%v) refused with %q, want %q", c.feature, c.input, got, c.want)
			}
			// The connection stays usable after a refusal.
			if _, err := conn.Invoke(t.Context(), "again", nil); !errors.Is(err,
				errors.ErrUnsupported) {
				t.Errorf("%s: then %v", c.feature, err)
			}
			closeTwice(t, conn)
		}
	})
}

// TestBare sends messages that are not invocations.
func TestBare(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		x := r.host(DeviceInfo)
		d, err := x.Call(t.Context(), xpc.Dict{{Key: "Cmd", Value: "CreateSession"}})
		e, ok := d.Dict(keyError)
		if code, _ := e.Int("code"); code != actionFailed || !ok || err != nil {
			t.Errorf("answer %v, %v", d, err)
		}
		if _, ok := d.Get(keyOutput); ok {
			t.Errorf("a refusal has an output: %v", d)
		}
	})
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n       service.Name
		version string
		count   int
		streams bool
	}{
		{AppService, "17.5.1", 10, false}, {AppService, "18.5", 10, false},
		{AppService, "26.0", 12, true}, {AppService, "27", 12, true},
		{DeviceInfo, "17.0", 4, false}, {Diagnostics, "17.0", 1, false},
		{OpenStdIOSocket, "26.1", 0, false},
	} {
		got := Features(c.n, c.version)
		if len(got) != c.count {
			t.Errorf("Features(%s, %s) = %v, want %d features", c.n, c.version, got, c.count)
		}
		if streams := slices.Contains(got, FeaturePrefix+featStreamApps); streams != c.streams {
			t.Errorf("Features(%s, %s) has streams: %v", c.n, c.version, streams)
		}
		if !slices.IsSorted(got) {
			t.Errorf("Features(%s, %s) = %v is not sorted", c.n, c.version, got)
		}
	}
}

func TestHostile(t *testing.T) {
	bubble(t, "", func(t *testing.T, _ *rig) {
		ctx := t.Context()
		for _, body := range []xpc.Dict{
			{{Key: "x", Value: int64(1)}}, output("text"), output(int64(1)), output([]any{}),
			output(xpc.Null{}), output(xpc.Dict{}),
			output([]any{"text"}), output([]any{xpc.Dict{}, true}),
			output(xpc.Dict{{
				Key: keyProcessTokens, Value: []any{xpc.Dict{{Key: keyPID, Value: "1"}}},
			}, {Key: keyDisplays, Value: xpc.Dict{}},
				{Key: keyProcessToken, Value: xpc.Dict{{Key: keyPID, Value: uint64(1) << 63}}},
				{Key: keyPasscode, Value: int64(1)},
				{Key: keyTransfer, Value: xpc.Dict{{Key: keyLength, Value: uint64(1) << 62}}}}),
		} {
			c := replies(t, body)
			elements, isList := body[0].Value.([]any)
			if list, err := (&Apps{c}).ListOnce(ctx, AllApps); (err == nil) != (isList &&
				len(elements) == 0) {
				t.Errorf("%v: apps %v, %v", body, list, err)
			}
			for name, call := range map[string]func() error{
				"processes": func() error { _, err := (&Apps{c}).Processes(ctx); return err },
				"launch": func() error {
					_, err := (&Apps{c}).Launch(ctx, "com.x",
						LaunchOptions{})
					return err
				},
				"spawn": func() error {
					_, err := (&Apps{c}).Spawn(ctx, "/x",
						LaunchOptions{})
					return err
				},
				"displays": func() error { _, err := (&Info{c}).Displays(ctx); return err },
				"lock":     func() error { _, err := (&Info{c}).LockState(ctx); return err },
				"capture": func() error {
					_, err := (&Diagnosis{c}).Sysdiagnose(ctx,
						SysdiagnoseOptions{})
					return err
				},
			} {
				if err := call(); !errors.Is(err, ErrProtocol) ||
					strings.Count(err.Error(), "coredevice: ") != 1 {
					t.Errorf("%v: %s = %v", body, name, err)
				}
			}
		}
	})
}

// TestTolerant uses answers that lack all optional keys or have additional ones.
func TestTolerant(t *testing.T) {
	bubble(t, "", func(t *testing.T, _ *rig) {
		ctx := t.Context()
		extra := xpc.Pair{Key: "new", Value: []any{true}}
		token := xpc.Dict{{Key: keyPID, Value: uint64(7)}, extra}
		c := replies(t, output(xpc.Dict{extra, {Key: keyProcessToken, Value: token},
			{Key: keyProcess, Value: "7"}, {Key: keyPasscode, Value: true},
			{Key: keyProcessTokens, Value: []any{token}},
			{Key: keyDisplays, Value: []any{xpc.Dict{extra}}},
			{Key: keyScale, Value: int64(3)}}))
		p, err := (&Apps{c}).Launch(ctx, "com.x", LaunchOptions{})
		if err != nil || p.PID != 7 || p.Path != "" || p.Name() != "" {
			t.Errorf("Launch = %+v, %v", p, err)
		}
		if list, err := (&Apps{c}).Processes(ctx); err != nil || len(list) != 1 ||
			!reflect.DeepEqual(list[0].Raw, token) {
			t.Errorf("Processes = %+v, %v", list, err)
		}
		if s, err := (&Apps{c}).Signal(ctx, 7, 15); err != nil || s.Process.PID != 7 ||
			s.Signal != 15 || !s.Time.IsZero() {
			t.Errorf("Signal = %+v, %v", s, err)
		}
		if e, err := (&Apps{c}).AwaitEnd(ctx, 7); err != nil || e.Process.PID != 7 ||
			e.Signal != 0 {
			t.Errorf("AwaitEnd = %+v, %v", e, err)
		}
		if d, err := (&Info{c}).Displays(ctx); err != nil || len(d.List) != 1 ||
			d.List[0].Width != 0 {
			t.Errorf("Displays = %+v, %v", d, err)
		}
		if a, err := (&Info{c}).Attributes(ctx); err != nil || a.Name != "" || a.Raw == nil {
			t.Errorf("Attributes = %+v, %v", a, err)
		}
		if s, err := (&Info{c}).LockState(ctx); err != nil || !s.PasscodeRequired ||
			s.UnlockedSinceBoot {
			t.Errorf("LockState = %+v, %v", s, err)
		}
	})
}
