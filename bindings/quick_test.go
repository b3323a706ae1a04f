package bindings

import (
	"bytes"
	"context"
	"testing"

	binddevice "github.com/imdlua/imdlua/bindings/device"
	bindvirtual "github.com/imdlua/imdlua/bindings/virtual"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

func TestQuick(t *testing.T) {
	h := virtualtest.Host(t, virtual.HostOptions{})
	finder := virtualtest.Finder(t, h, device.Options{})
	var out, errs bytes.Buffer
	lua := host.New(host.Options{Stdout: &out, Stderr: &errs})
	defer lua.Close()
	env := &Env{
		Device:  binddevice.Env{Finder: func() (*device.Finder, error) { return finder, nil }},
		Virtual: bindvirtual.Env{Host: func() (*virtual.Host, error) { return h, nil }},
	}
	if err := Install(lua, env); err != nil {
		t.Fatal(err)
	}
	err := lua.Run(context.Background(), "q.lua", `
local dev = device()
print(dev, dev.name, dev.version, dev:get("TimeZone"))
print(dev:battery(), dev:storage())
print(#dev:apps{kind="user"}, dev:app("com.apple.mobilesafari"))
print(#dev:processes(), dev:process("SpringBoard"))
local n = 0
for f in dev.files:glob("DCIM/**/*.{JPG,HEIC}") do n = n + 1 end
print(n, dev.files)
dev.files:write("Downloads/x", "hello")
print(dev.files:read("Downloads/x"):string())
local heard = dev:notifications("x")
dev:post("x")
print(heard:next(5))
print(dev:syslog():next(5))
local svc = dev:service("com.apple.mobile.diagnostics_relay")
print(svc:call{Request="GasGauge"}.Status)
print(pcall(dev.service, dev, "nope"))
dev:service("nope")
`)
	t.Logf("%s\n%s", out.String(), errs.String())
	var report bytes.Buffer
	lua.Report(&report, err)
	t.Logf("%s", report.String())
}
