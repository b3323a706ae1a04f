// Package devicetest installs everything that imdlua offers to scripts in the Lua host
// of a test: the script library and the device API.
package devicetest

import (
	"testing"

	"github.com/imdlua/imdlua/bindings"
	binddevice "github.com/imdlua/imdlua/bindings/device"
	bindvirtual "github.com/imdlua/imdlua/bindings/virtual"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/stdlib"
)

// Install installs the script library and the device API in h. Scripts see the devices
// of finder, and control the virtual devices of vh.
func Install(t testing.TB, h *host.Host, finder *device.Finder, vh *virtual.Host) {
	t.Helper()
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	env := &bindings.Env{
		Device:  binddevice.Env{Finder: func() (*device.Finder, error) { return finder, nil }},
		Virtual: bindvirtual.Env{Host: func() (*virtual.Host, error) { return vh, nil }},
	}
	if err := bindings.Install(h, env); err != nil {
		t.Fatal(err)
	}
}
