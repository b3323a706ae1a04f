package coredevice

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/service"
)

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
			if !errors.As(err, &e) {
				t.Errorf("%s(%v) = %v, want an *Error", c.feature, c.input, err)
				continue
			}
			if !errors.Is(err, c.is) {
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
		if err != nil {
			t.Errorf("Call: %v", err)
		}
		if !ok {
			t.Errorf("answer %v, want an error", d)
		}
		if code, _ := e.Int("code"); code != actionFailed {
			t.Errorf("answer with the code %d, want %d", code, actionFailed)
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
				err := call()
				if !errors.Is(err, ErrProtocol) {
					t.Errorf("%v: %s: %v, want ErrProtocol", body, name, err)
					continue
				}
				if n := strings.Count(err.Error(), "coredevice: "); n != 1 {
					t.Errorf("%v: %s: %v names the package %d times", body, name, err, n)
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
		if err != nil {
			t.Fatalf("Launch: %v", err)
		}
		if p.PID != 7 {
			t.Errorf("Launch = process %d, want 7", p.PID)
		}
		if p.Path != "" {
			t.Errorf("Launch = path %q, want none", p.Path)
		}
		if p.Name() != "" {
			t.Errorf("Launch = name %q, want none", p.Name())
		}
		list, err := (&Apps{c}).Processes(ctx)
		if err != nil {
			t.Fatalf("Processes: %v", err)
		}
		if len(list) != 1 {
			t.Fatalf("Processes = %+v, want one", list)
		}
		if !reflect.DeepEqual(list[0].Raw, token) {
			t.Errorf("Processes = %v, want %v", list[0].Raw, token)
		}
		s, err := (&Apps{c}).Signal(ctx, 7, 15)
		if err != nil {
			t.Fatalf("Signal: %v", err)
		}
		if s.Process.PID != 7 {
			t.Errorf("Signal = process %d, want 7", s.Process.PID)
		}
		if s.Signal != 15 {
			t.Errorf("Signal = signal %d, want 15", s.Signal)
		}
		if !s.Time.IsZero() {
			t.Errorf("Signal = time %v, want none", s.Time)
		}
		e, err := (&Apps{c}).AwaitEnd(ctx, 7)
		if err != nil {
			t.Fatalf("AwaitEnd: %v", err)
		}
		if e.Process.PID != 7 {
			t.Errorf("AwaitEnd = process %d, want 7", e.Process.PID)
		}
		if e.Signal != 0 {
			t.Errorf("AwaitEnd = signal %d, want none", e.Signal)
		}
		d, err := (&Info{c}).Displays(ctx)
		if err != nil {
			t.Fatalf("Displays: %v", err)
		}
		if len(d.List) != 1 {
			t.Fatalf("Displays = %+v, want one", d.List)
		}
		if d.List[0].Width != 0 {
			t.Errorf("the display is %v wide, want 0", d.List[0].Width)
		}
		a, err := (&Info{c}).Attributes(ctx)
		if err != nil {
			t.Fatalf("Attributes: %v", err)
		}
		if a.Name != "" {
			t.Errorf("Attributes = name %q, want none", a.Name)
		}
		if a.Raw == nil {
			t.Errorf("Attributes = %+v without what the device sent", a)
		}
		lock, err := (&Info{c}).LockState(ctx)
		if err != nil {
			t.Fatalf("LockState: %v", err)
		}
		if !lock.PasscodeRequired {
			t.Errorf("LockState = %+v, want a passcode", lock)
		}
		if lock.UnlockedSinceBoot {
			t.Errorf("LockState = %+v, want a device that was not unlocked", lock)
		}
	})
}
