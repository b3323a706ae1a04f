package dvt_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/imdlua/imdlua/bindings"
	binddevice "github.com/imdlua/imdlua/bindings/device"
	bindvirtual "github.com/imdlua/imdlua/bindings/virtual"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
	"github.com/imdlua/imdlua/stdlib"
)

// script returns what runs Lua text with an iOS 16 device and returns what it
// printed, and the device.
func script(t *testing.T) (run func(source string) string, p *phone.Phone) {
	t.Helper()
	vh := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{Boot: 1, Phone: phone.Options{Profile: "ios16"}}})
	finder := virtualtest.Finder(t, vh, device.Options{})
	var out bytes.Buffer
	h := host.New(host.Options{Stdout: &out, Stderr: &out})
	t.Cleanup(func() { h.Close() })
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
	return func(source string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), virtualtest.Deadline)
		defer cancel()
		out.Reset()
		if err := h.Run(ctx, "test.lua", source); err != nil {
			var report bytes.Buffer
			h.Report(&report, err)
			t.Fatalf("%s\n%s", out.String(), report.String())
		}
		return out.String()
	}, vh.Devices()[0].Phone()
}

func run(t *testing.T, source string) string {
	t.Helper()
	f, _ := script(t)
	return f(source)
}

func check(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestScreenshot(t *testing.T) {
	got := run(t, `
local dev = device()
local file = path.join(fs.temp_dir(), "screen.png")
local png = dev:screenshot{ path = file }
print(png:string():sub(2, 4), fs.read(file) == png:string(), dev:screenshot():string():sub(2, 4))`)
	check(t, got, "PNG\ttrue\tPNG\n")
}

func TestProcesses(t *testing.T) {
	got := run(t, `
local dev = device()
local proc = dev:launch("com.example.shop", { args = { "-a", "b" }, env = { MODE = "test" }, kill = true, output = true })
local out = proc:output()
local name = dev:app("com.example.shop").executable
for _, line in ipairs(out:collect{ count = 4, seconds = 30 }) do print((line:gsub("^" .. name .. ": ", ""))) end
print(proc:alive(), out == proc:output())
local again = dev:launch("com.example.shop")
print(again.pid == proc.pid, again ~= proc)
proc:kill()
print(out:next(), proc:alive())

local still = dev:launch("com.example.shop", { suspended = true, output = true })
print(still:output():next(0))
still:resume()
print((still:output():find("launched", { timeout = 30 })) ~= nil)
still:signal(15)
print(still:alive())`)
	check(t, got, `launched with 2 arguments
argument 1: -a
argument 2: b
environment MODE=test
true	true
true	true
nil	false
nil
true
false
`)
}

func TestConditions(t *testing.T) {
	got := run(t, `
local dev = device()
local function active()
  for _, c in ipairs(dev:conditions()) do if c.active then return c.id, c.profile end end
end
dev:condition("SlowNetworkCondition", "SlowNetwork3GGood")
print(active())
dev:clear_condition()
print(active())
dev:clear_condition()`)
	check(t, got, "SlowNetworkCondition\tSlowNetwork3GGood\n\n")
}

func TestLocation(t *testing.T) {
	f, p := script(t)
	f("device():set_location(-33.8568, 151.2153)")
	if at, simulated := p.Place(); !simulated || at != (phone.Place{Latitude: -33.8568, Longitude: 151.2153}) {
		t.Errorf("the device is at %v, simulated %v", at, simulated)
	}
	f("device():clear_location()")
	if at, simulated := p.Place(); simulated {
		t.Errorf("the device is still at %v", at)
	}
}

func TestSysmon(t *testing.T) {
	got := run(t, `
local dev = device()
local stream = dev:sysmon{ interval = 0.01 }
local first, second = stream:next(30), stream:next(30)
local function of(sample)
  local last = -1
  for _, p in ipairs(sample.processes) do
    assert(p.pid > last)
    last = p.pid
  end
  for _, p in ipairs(sample.processes) do if p.name == "SpringBoard" then return p end end
end
print(of(first).pid == dev:process("SpringBoard").pid, of(first).cpu, of(second).cpu >= 0, of(second).memory > 0)
print(second.cpu >= 0, second.cpus > 0, second.system.physMemSize > 0, second.time >= first.time)`)
	check(t, got, "true\tnil\ttrue\ttrue\ntrue\ttrue\ttrue\ttrue\n")
}

func TestCallAnyMethod(t *testing.T) {
	got := run(t, `
local dev = device()
print(dev:dvt_call("deviceinfo", "isRunningPid:", dev:process("SpringBoard").pid))
print(dev:dvt_call("com.apple.instruments.server.services.deviceinfo", "systemInformation")._productType == dev.product_type)
print(type(dev:dvt_call("deviceinfo", "runningProcesses")[1].pid))
print(dev:dvt_call("processcontrol", "launchSuspendedProcessWithDevicePath:bundleIdentifier:environment:arguments:options:",
  "", "com.example.shop", { A = "1" }, array{ "x" }, { KillExisting = true }) > 0)`)
	check(t, got, "true\ntrue\nnumber\ntrue\n")
}

func TestErrors(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local dev = device()
local newer = virtual.start{ profile = "ios17" }:device()
dev:condition("ThermalCondition", "ThermalFair")
for _, f in ipairs{
  function() newer:screenshot() end,
  function() dev:launch("com.example.none") end,
  function() dev:launch("com.example.none", { output = true }) end,
  function() dev:kill(99999) end,
  function() dev:kill(1) end,
  function() dev:launch("com.example.shop"):signal(99) end,
  function() dev:condition("None", "None") end,
  function() dev:condition("SlowNetworkCondition", "SlowNetwork3GGood") end,
  function() dev:dvt_call("deviceinfo", "noSuchMethod") end,
  function() dev:dvt_call("noSuchChannel", "noSuchMethod") end,
  function() dev:launch("com.example.shop"):output() end,
  function() dev:set_location(91, 0) end,
  function() dev:set_location(0, 0 / 0) end,
  function() dev:sysmon{ interval = math.huge } end,
} do
  local ok, e = try(f)
  print(ok, e.code, e.device ~= nil)
end`)
	check(t, got, `false	InvalidService	true
false	not_found	true
false	not_found	true
false	not_found	true
false	permission_denied	true
false	invalid	true
false	not_found	true
false	condition_active	true
false	unsupported	true
false	unsupported	true
false	not_observed	false
false	argument	false
false	argument	false
false	argument	false
`)
}

// TestSessionComesBack unplugs a device: its streams end in an error, and the
// next call opens another session.
func TestSessionComesBack(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ profile = "ios16" }
local dev = phone:device()
local samples = dev:sysmon{ interval = 3600 }
local output = dev:launch("com.example.shop", { output = true, suspended = true, kill = true }):output()
dev:condition("ThermalCondition", "ThermalFair")
phone:detach()
for _, s in ipairs{ samples:filter(function() return false end), output } do
  local ok, e = try(s.next, s, 30)
  print(ok, e and e.code, e and e.device == dev.udid)
end
phone:attach()
print(#dev:screenshot() > 0)`)
	check(t, got, "false\tdisconnected\ttrue\nfalse\tdisconnected\ttrue\ntrue\n")
}
