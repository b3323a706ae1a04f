// Package apps gives scripts the installed apps of a device, from the service
// com.apple.mobile.installation_proxy, and its running processes, from the service
// com.apple.os_trace_relay.
package apps

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
)

// App is the record of an installed app.
type App struct {
	BundleID       string     `lua:"bundle_id" doc:"identifier, such as com.example.shop"`
	Name           string     `lua:"name" doc:"name under the icon"`
	Version        string     `lua:"version" doc:"marketing version (CFBundleShortVersionString)"`
	Build          string     `lua:"build" doc:"build number (CFBundleVersion)"`
	Kind           string     `lua:"kind" doc:"user, system or hidden"`
	Path           string     `lua:"path" doc:"bundle on the device"`
	Container      string     `lua:"container" doc:"data container on the device"`
	Executable     string     `lua:"executable" doc:"executable, as in processes and logs"`
	FileSharing    bool       `lua:"file_sharing" doc:"whether any computer may read its Documents"`
	SignerIdentity string     `lua:"signer" doc:"who signed it"`
	Attributes     plist.Dict `lua:"attributes" doc:"everything that the device told"`
}

func record(a installationproxy.App) *App {
	return &App{
		BundleID: a.BundleID, Name: a.Name, Version: a.ShortVersion, Build: a.Version,
		Kind: strings.ToLower(a.Type), Path: a.Path, Container: a.Container,
		Executable: a.Executable, FileSharing: a.FileSharing,
		SignerIdentity: a.SignerIdentity, Attributes: a.Attributes,
	}
}

// Process is the record of a running process.
type Process struct {
	PID  int    `lua:"pid" doc:"process id"`
	Name string `lua:"name" doc:"short name"`
}

type listOptions struct {
	device.Timeout
	Kind  string `lua:"kind" doc:"user, system or any" default:"any"`
	Match string `lua:"match" doc:"part of, or pattern for, name or bundle id"`
}

// kinds maps the kinds of apps that scripts ask for to the names that the service uses.
var kinds = map[string]string{
	"user": "User", "system": "System", "hidden": "Hidden", "any": "Any", "": "Any",
}

func list(c *api.Call, d *device.Device, o listOptions) ([]*App, error) {
	kind, ok := kinds[o.Kind]
	if !ok {
		return nil, c.ArgError(1, "unknown kind %q (known: user, system, hidden, any)", o.Kind)
	}
	var found []installationproxy.App
	err := with(c, d, o.Timeout, func(ctx context.Context, client *proxy) (err error) {
		found, err = client.Browse(ctx, installationproxy.Options{Type: kind})
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]*App, 0, len(found))
	for _, a := range found {
		if matches(o.Match, a.Name) || matches(o.Match, a.BundleID) {
			out = append(out, record(a))
		}
	}
	slices.SortFunc(out, func(a, b *App) int { return strings.Compare(a.BundleID, b.BundleID) })
	return out, nil
}

// matches reports whether s matches pattern or, if pattern has no special characters,
// contains it in any case of letters.
func matches(pattern, s string) bool {
	if strings.ContainsAny(pattern, "*?[") {
		ok, _ := path.Match(pattern, s)
		return ok
	}
	return strings.Contains(strings.ToLower(s), strings.ToLower(pattern))
}

func one(c *api.Call, d *device.Device, id string, t device.Timeout) (r *App, err error) {
	err = with(c, d, t, func(ctx context.Context, client *proxy) error {
		a, err := client.App(ctx, id)
		if err == nil && a != nil {
			r = record(*a)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return r, err
}

type proxy = installationproxy.Client

// with runs f with a new connection to the service.
func with(
	c *api.Call, d *device.Device, t device.Timeout, f func(context.Context, *proxy) error,
) error {
	return device.With(c, d, t, installationproxy.Connect, f)
}

func processes(c *api.Call, d *device.Device, t device.Timeout) ([]*Process, error) {
	var found []ostracerelay.Process
	list := func(ctx context.Context, client *ostracerelay.Client) (err error) {
		found, err = client.PidList(ctx)
		return err
	}
	err := device.With(c, d, t, ostracerelay.Connect, list)
	if err != nil {
		return nil, err
	}
	out := make([]*Process, len(found))
	for i, p := range found {
		out[i] = &Process{p.PID, p.Name}
	}
	return out, nil
}

func process(c *api.Call, d *device.Device, name string, t device.Timeout) (*Process, error) {
	all, err := processes(c, d, t)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, nil
}

type capabilityOptions struct {
	device.Timeout
	Names []string `lua:"names" doc:"names of UIRequiredDeviceCapabilities"`
}

func capable(c *api.Call, d *device.Device, o capabilityOptions) (has bool, err error) {
	err = with(c, d, o.Timeout, func(ctx context.Context, client *proxy) (err error) {
		has, err = client.CheckCapabilities(ctx, o.Names...)
		return err
	})
	return has, err
}

// Family returns the methods apps, app, has_capabilities, processes and process of Device.
func Family() device.Family {
	raises := api.Raises("timeout", "not_paired", "disconnected")
	opts := api.ParamDoc("opts", "timeout")
	return device.Family{
		Records: []*api.Record{
			api.NewRecord[App]("App", "An installed app."),
			api.NewRecord[Process]("Process", "A running process."),
		},
		Methods: []*api.Func{
			api.Method("apps", "Lists the installed apps, sorted by bundle id.",
				"opts?", list,
				api.ParamDoc("opts", "which apps, timeout"),
				raises,
				api.Returns("App[] apps"),
				api.Perm("read"),
				api.Example(`local dev = device()
for _, app in ipairs(dev:apps{ kind = "user" }) do print(app.bundle_id, app.version) end`)),
			api.Method("app", "Looks up one app. Returns nil when it is not installed.",
				"bundle_id opts?", one,
				api.ParamDoc("bundle_id", "of the app"),
				api.StringKind("bundle_id", "bundle_id"),
				opts,
				raises,
				api.Returns("App? app"),
				api.Perm("read"),
				api.Example(`local dev = device()
local app = dev:app("com.apple.mobilesafari")
if app then print(app.name) end`)),
			api.Method("has_capabilities", "Says whether the device has all the capabilities that "+
				"an app requires in its Info.plist.",
				"opts", capable,
				api.ParamDoc("opts", "names, timeout"),
				raises,
				api.Returns("boolean has"),
				api.Perm("read"),
				api.Example(`local dev = device()
print(dev:has_capabilities{ names = { "arm64", "telephony" } })`)),
			api.Method("processes", "Lists the processes that can log, sorted by pid.",
				"opts?", processes,
				opts,
				raises,
				api.Returns("Process[] processes"),
				api.Perm("read"),
				api.Example(`local dev = device()
print(#dev:processes())`)),
			api.Method("process", "Finds a running process by its short name. Returns nil when "+
				"there is none.",
				"name opts?", process,
				api.ParamDoc("name", "short name, such as SpringBoard"),
				opts,
				raises,
				api.Returns("Process? process"),
				api.Perm("read"),
				api.Example(`local dev = device()
print(dev:process("SpringBoard").pid)`)),
		},
	}
}
