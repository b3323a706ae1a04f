// Package bindings lists the families of the device API for scripts and
// installs them. Each folder is one family and has the name that scripts use. A
// new family is added to the list in Modules.
package bindings

import (
	"github.com/imdlua/imdlua/bindings/apps"
	"github.com/imdlua/imdlua/bindings/coredevice"
	"github.com/imdlua/imdlua/bindings/crashes"
	"github.com/imdlua/imdlua/bindings/developer"
	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/dvt"
	"github.com/imdlua/imdlua/bindings/files"
	"github.com/imdlua/imdlua/bindings/logs"
	"github.com/imdlua/imdlua/bindings/notifications"
	"github.com/imdlua/imdlua/bindings/raw"
	"github.com/imdlua/imdlua/bindings/tunnel"
	"github.com/imdlua/imdlua/bindings/virtual"
	"github.com/imdlua/imdlua/bindings/xpc"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Env says where scripts find devices and virtual devices.
type Env struct {
	Device  device.Env
	Virtual virtual.Env
}

// Modules returns the modules of the device API and the function that maps errors
// of the protocol packages to the errors that scripts see.
func Modules(env *Env) ([]*api.Module, func(error) *host.Error) {
	devices := device.NewRegistry(&env.Device)
	families := []device.Family{
		files.Family(), logs.Family(), apps.Family(), notifications.Family(), raw.Family(),
		dvt.Family(), developer.Family(), tunnel.Family(devices), xpc.Family(),
		coredevice.Family(), crashes.Family(),
	}
	modules := append(device.Modules(devices, families),
		virtual.Module(&env.Virtual, devices), xpc.Module())
	return modules, device.MapError(families)
}

// Install makes the device API available to the scripts of h.
func Install(h *host.Host, env *Env) error {
	modules, mapError := Modules(env)
	h.MapError(mapError)
	return api.Install(h, modules...)
}
