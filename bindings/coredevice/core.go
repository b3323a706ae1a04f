package coredevice

import (
	"context"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
)

// Core is the CoreDevice of scripts: apps and processes as the CoreDevice services
// describe them. Each call opens a new connection.
type Core struct{ dev *device.Device }

func core(d *device.Device) *Core {
	return device.Part(d, "core", func() *Core { return &Core{d} })
}

// App is the record of an app.
type App struct {
	BundleID  string   `lua:"bundle_id" doc:"identifier"`
	Name      string   `lua:"name" doc:"name on the home screen"`
	Version   string   `lua:"version" doc:"marketing version (CFBundleShortVersionString)"`
	Build     string   `lua:"build" doc:"build number (CFBundleVersion)"`
	Path      string   `lua:"path" doc:"bundle on the device"`
	Removable bool     `lua:"removable" doc:"whether the user can delete it"`
	Hidden    bool     `lua:"hidden" doc:"whether it is not on the home screen"`
	AppClip   bool     `lua:"app_clip" doc:"whether it is an app clip"`
	Developer bool     `lua:"developer" doc:"whether it is signed for development"`
	Container string   `lua:"container" doc:"data container, with containers = true"`
	Groups    []string `lua:"groups" doc:"app groups, with containers = true"`
}

// Process is the record of a process.
type Process struct {
	PID  int    `lua:"pid" doc:"process id"`
	Name string `lua:"name" doc:"short name; empty if the device does not tell"`
	Path string `lua:"path" doc:"executable; empty if the device does not tell"`
}

// Exit is the record of how a process ended.
type Exit struct {
	PID    int `lua:"pid" doc:"process id"`
	Signal int `lua:"signal" doc:"signal that ended it; 0 if the device tells of none"`
}

// Attributes is the record CoreAttributes: the description that a device gives of itself.
type Attributes struct {
	Name          string `lua:"name" doc:"name given by its owner"`
	OSVersion     string `lua:"os_version" doc:"version of iOS"`
	Build         string `lua:"build" doc:"build of iOS"`
	ProductType   string `lua:"product_type" doc:"model, such as iPhone15,2"`
	Marketing     string `lua:"marketing_name" doc:"model for people, such as iPhone 14 Pro"`
	Hardware      string `lua:"hardware_model" doc:"board, such as D73AP"`
	UDID          string `lua:"udid" doc:"unique device identifier"`
	Capacity      uint64 `lua:"capacity" doc:"bytes of storage"`
	CPU           string `lua:"cpu" doc:"architecture, such as arm64e"`
	BootState     string `lua:"boot_state" doc:"booted, or what else the device says"`
	DeveloperMode bool   `lua:"developer_mode" doc:"whether developer mode is on"`
}

// withApps runs f with a new connection to the service for apps.
func withApps(
	c *api.Call, d *device.Device, t device.Timeout,
	f func(context.Context, *coredevice.Apps) error,
) error {
	return device.With(c, d, t, coredevice.ConnectApps, f)
}

type appsOptions struct {
	device.Timeout
	All        bool `lua:"all" doc:"hidden and internal apps and app clips as well"`
	Containers bool `lua:"containers" doc:"tell containers and app groups, since iOS 26"`
}

func apps(c *api.Call, x *Core, o appsOptions) ([]*App, error) {
	filter := coredevice.AppFilter{Removable: true, Default: true}
	if o.All {
		filter = coredevice.AllApps
	}
	filter.Containers, filter.Groups = o.Containers, o.Containers
	out := []*App{}
	err := withApps(c, x.dev, o.Timeout, func(ctx context.Context, a *coredevice.Apps) error {
		list, err := a.List(ctx, filter)
		for _, i := range list {
			out = append(out, &App{
				BundleID: i.BundleID, Name: i.Name, Version: i.Version, Build: i.Build,
				Path: i.Path, Removable: i.Removable, Hidden: i.Hidden, AppClip: i.AppClip,
				Developer: i.Developer, Container: i.Container, Groups: i.Groups,
			})
		}
		return err
	})
	return out, err
}

func process(p coredevice.Process) *Process {
	return &Process{PID: p.PID, Name: p.Name(), Path: p.Path}
}

func processes(c *api.Call, x *Core, t device.Timeout) ([]*Process, error) {
	out := []*Process{}
	err := withApps(c, x.dev, t, func(ctx context.Context, a *coredevice.Apps) error {
		list, err := a.Processes(ctx)
		for _, p := range list {
			out = append(out, process(p))
		}
		return err
	})
	return out, err
}

type launchOptions struct {
	device.Timeout
	Args       []string          `lua:"args" doc:"arguments of the app"`
	Env        map[string]string `lua:"env" doc:"further environment variables"`
	Kill       bool              `lua:"kill" doc:"end an instance that runs, and start anew"`
	Suspended  bool              `lua:"suspended" doc:"stop before the first instruction"`
	Background bool              `lua:"background" doc:"leave the app that is in front there"`
}

func (o launchOptions) options() coredevice.LaunchOptions {
	return coredevice.LaunchOptions{
		Args: o.Args, Env: o.Env, TerminateExisting: o.Kill, Suspended: o.Suspended,
		Background: o.Background,
	}
}

func launch(c *api.Call, x *Core, bundleID string, o launchOptions) (p *Process, err error) {
	err = withApps(c, x.dev, o.Timeout, func(ctx context.Context, a *coredevice.Apps) error {
		started, err := a.Launch(ctx, bundleID, o.options())
		if err == nil {
			p = process(*started)
		}
		return err
	})
	return p, err
}

func signal(c *api.Call, x *Core, pid, number int, t device.Timeout) error {
	return withApps(c, x.dev, t, func(ctx context.Context, a *coredevice.Apps) error {
		_, err := a.Signal(ctx, pid, number)
		return err
	})
}

func warnMemory(c *api.Call, x *Core, pid int, t device.Timeout) error {
	return withApps(c, x.dev, t, func(ctx context.Context, a *coredevice.Apps) error {
		return a.WarnMemory(ctx, pid)
	})
}

func awaitExit(c *api.Call, x *Core, pid int, t device.Timeout) (e *Exit, err error) {
	err = withApps(c, x.dev, t, func(ctx context.Context, a *coredevice.Apps) error {
		end, err := a.AwaitEnd(ctx, pid)
		if err == nil {
			e = &Exit{PID: end.Process.PID, Signal: end.Signal}
		}
		return err
	})
	return e, err
}

func uninstall(c *api.Call, x *Core, bundleID string, t device.Timeout) error {
	return withApps(c, x.dev, t, func(ctx context.Context, a *coredevice.Apps) error {
		return a.Uninstall(ctx, bundleID)
	})
}

type restartOptions struct {
	device.Timeout
	Userspace bool `lua:"userspace" doc:"restart everything but the kernel"`
}

func restart(c *api.Call, x *Core, o restartOptions) error {
	style := coredevice.RebootFull
	if o.Userspace {
		style = coredevice.RebootUserspace
	}
	return withApps(c, x.dev, o.Timeout, func(ctx context.Context, a *coredevice.Apps) error {
		return a.Reboot(ctx, style)
	})
}

func attributes(c *api.Call, x *Core, t device.Timeout) (out *Attributes, err error) {
	err = withInfo(c, x.dev, t, func(ctx context.Context, info *coredevice.Info) error {
		a, err := info.Attributes(ctx)
		if err == nil {
			out = &Attributes{
				Name: a.Name, OSVersion: a.OSVersion, Build: a.Build,
				ProductType: a.ProductType, Marketing: a.MarketingName,
				Hardware: a.HardwareModel, UDID: a.UDID, Capacity: a.Capacity, CPU: a.CPU,
				BootState: a.BootState, DeveloperMode: a.DeveloperMode,
			}
		}
		return err
	})
	return out, err
}
