// Package coredevice gives scripts the CoreDevice services of iOS 17 and later: apps and
// processes, the screens, the state of the lock, a sysdiagnose archive, and the start of
// executables that are not apps. The method invoke of the class XPC reaches the other
// features of these services.
package coredevice

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
)

// Display is the record of a screen.
type Display struct {
	Name    string  `lua:"name" doc:"name of the panel"`
	ID      string  `lua:"id" doc:"unique identifier"`
	Primary bool    `lua:"primary" doc:"whether it is the main screen"`
	Width   float64 `lua:"width" doc:"pixels of the mode that is on"`
	Height  float64 `lua:"height" doc:"pixels of the mode that is on"`
	Scale   float64 `lua:"scale" doc:"pixels of a point"`
}

// Lock is the record of dev:lock_state().
type Lock struct {
	Locked   bool `lua:"locked" doc:"whether the passcode has to be entered now"`
	Unlocked bool `lua:"unlocked_since_boot" doc:"whether it was entered since the device booted"`
}

// withInfo runs f with a new connection to the service for information.
func withInfo(
	c *api.Call, d *device.Device, t device.Timeout,
	f func(context.Context, *coredevice.Info) error,
) error {
	return device.With(c, d, t, coredevice.ConnectInfo, f)
}

func displays(c *api.Call, d *device.Device, t device.Timeout) ([]*Display, error) {
	out := []*Display{}
	err := withInfo(c, d, t, func(ctx context.Context, info *coredevice.Info) error {
		all, err := info.Displays(ctx)
		if err != nil {
			return err
		}
		for _, s := range all.List {
			out = append(out, &Display{
				Name: s.Name, ID: s.UniqueID, Primary: s.Primary,
				Width: s.ModeWidth, Height: s.ModeHeight, Scale: s.Scale,
			})
		}
		return nil
	})
	return out, err
}

func lockState(c *api.Call, d *device.Device, t device.Timeout) (l *Lock, err error) {
	err = withInfo(c, d, t, func(ctx context.Context, info *coredevice.Info) error {
		state, err := info.LockState(ctx)
		if err == nil {
			l = &Lock{state.PasscodeRequired, state.UnlockedSinceBoot}
		}
		return err
	})
	return l, err
}

type sysdiagnoseOptions struct {
	device.Timeout
	device.Idle
	Logs bool `lua:"logs" doc:"include the whole log, which takes minutes" default:"true"`
}

func sysdiagnose(
	c *api.Call, d *device.Device, path string, o sysdiagnoseOptions,
) (n int64, err error) {
	if o.Timeout.Timeout == 0 {
		// A device takes minutes, and the service has its own time limit.
		o.Timeout.Timeout = api.NoTimeout
	}
	options := coredevice.SysdiagnoseOptions{WithoutLogs: !o.Logs}
	run := func(ctx context.Context, client *coredevice.Diagnosis) error {
		archive, err := client.Sysdiagnose(ctx, options)
		if err != nil {
			return err
		}
		defer archive.Close()
		archive.Idle = o.Limit()
		n, err = device.Store(ctx, path, func(w io.Writer) (int64, error) {
			return archive.Copy(ctx, w)
		})
		return err
	}
	err = device.With(c, d, o.Timeout, coredevice.ConnectDiagnosis, run)
	return n, err
}

type spawnOptions struct {
	device.Timeout
	Args []string          `lua:"args" doc:"arguments"`
	Env  map[string]string `lua:"env" doc:"further environment variables"`
}

func spawn(c *api.Call, d *device.Device, path string, o spawnOptions) (pid int, err error) {
	err = withApps(c, d, o.Timeout, func(ctx context.Context, a *coredevice.Apps) error {
		p, err := a.Spawn(ctx, path, coredevice.LaunchOptions{Args: o.Args, Env: o.Env})
		if err == nil {
			pid = p.PID
		}
		return err
	})
	return pid, err
}

// explain explains the errors of CoreDevice services, including those of `svc:invoke`.
var explain = device.Only[*coredevice.Error](device.Reasons(
	device.Reason{Err: fs.ErrNotExist, Code: "not_found"},
	device.Reason{Err: fs.ErrPermission, Code: "permission_denied"},
	device.Reason{Err: fs.ErrInvalid, Code: "invalid"},
	device.Reason{Err: coredevice.ErrLocked, Code: "locked"},
	device.Reason{Err: errors.ErrUnsupported, Code: "unsupported"},
))

// Family returns the members core, displays, lock_state, sysdiagnose and spawn of Device.
func Family() device.Family {
	opts := api.ParamDoc("opts", "timeout")
	return device.Family{
		Fields: []*api.Field{
			api.Property("core", "apps and processes as the CoreDevice services have them", core),
		},
		Classes: []*api.Class{coreClass()},
		Records: []*api.Record{
			api.NewRecord[App]("CoreApp", "An app, as CoreDevice describes it."),
			api.NewRecord[Process]("CoreProcess", "A process, as CoreDevice describes it."),
			api.NewRecord[Exit]("CoreExit", "How a process ended."),
			api.NewRecord[Attributes]("CoreAttributes", "What a device says of itself."),
			api.NewRecord[Display]("Display", "A screen of a device."),
			api.NewRecord[Lock]("LockState", "Whether a device is locked."),
		},
		Methods: []*api.Func{
			api.Method("displays", "Lists the screens of a device with iOS 17 or later.",
				"opts?", displays,
				opts,
				raises(),
				api.Returns("Display[] displays"),
				api.MinOS("17.0"),
				api.NeedsDDI(),
				api.Perm("read"),
				api.Example(`local screen = device():displays()[1]
print(screen.width, screen.height)`)),
			api.Method("lock_state", "Says whether a device with iOS 17 or later is locked.",
				"opts?", lockState,
				opts,
				raises("unsupported"),
				api.Returns("LockState state"),
				api.MinOS("17.0"),
				api.NeedsDDI(),
				api.Perm("read"),
				api.Example("print(device():lock_state().locked)")),
			api.Method("sysdiagnose", "Stores a sysdiagnose archive (tar.gz) of a device with iOS "+
				"17 or later. Returns its size. A phone takes minutes until it sends something; "+
				"there is no time limit for that unless you give one.",
				"path opts?", sysdiagnose,
				api.ParamDoc("path", "local file to write"),
				api.StringKind("path", "path"),
				api.Access("path", host.AccessWrite),
				api.ParamDoc("opts", "logs, timeout, idle_timeout"),
				raises(),
				api.Returns("integer bytes"),
				api.MinOS("17.0"),
				api.NeedsDDI(),
				api.Perm("read"),
				api.Example(`local file = path.join(fs.temp_dir(), "sysdiagnose.tar.gz")
print(device():sysdiagnose(file, { logs = false }) > 0)`)),
			api.Method("spawn", "Starts an executable of a device with iOS 17 or later that is "+
				"not an app. Returns its process id.",
				"path opts?", spawn,
				api.ParamDoc("path", "on the device"),
				api.ParamDoc("opts", "args, env, timeout"),
				raises("not_found", "permission_denied"),
				api.Returns("integer pid"),
				api.MinOS("17.0"),
				api.NeedsDDI(),
				api.Perm("control"),
				api.SeeAlso("Device:launch"),
				api.Example(`local dev = device()
print(dev:spawn("/usr/libexec/logd") > 0)`)),
		},
		Explain: explain,
	}
}
