package dvt_test

import (
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/hosttest/devicetest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/location"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// script returns a function that runs Lua text with an iOS 16 device and returns
// what it printed, and the device. The Lua function simulated reports whether the
// device simulates its location.
func script(t *testing.T) (run func(source string) string, p *phone.Phone) {
	t.Helper()
	l := devicetest.New(t, devicetest.Options{
		Device: virtual.Options{Phone: phone.Options{Profile: "ios16"}},
	})
	p = l.Virtual.Devices()[0].Phone()
	l.Host.SetGlobal("simulated", l.Host.L().NewFunction(func(L *lua.LState) int {
		_, simulated := p.Location.Place()
		L.Push(lua.LBool(simulated))
		return 1
	}))
	return l.Run, p
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
local options = { args = { "-a", "b" }, env = { MODE = "test" }, kill = true, output = true }
local proc = dev:launch("com.example.shop", options)
local out = proc:output()
local name = dev:app("com.example.shop").executable
for _, line in ipairs(out:collect{ count = 4, seconds = 30 }) do
  print((line:gsub("^" .. name .. ": ", "")))
end
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
  for _, c in ipairs(dev:conditions()) do if c.active then return c.id, c.level end end
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
	at, simulated := p.Location.Place()
	if !simulated {
		t.Error("the place is not simulated")
	}
	if want := (location.Place{Latitude: -33.8568, Longitude: 151.2153}); at != want {
		t.Errorf("the device is at %v, want %v", at, want)
	}
	f("device():clear_location()")
	if at, simulated := p.Location.Place(); simulated {
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
print(of(first).pid == dev:process("SpringBoard").pid, of(first).cpu)
print(of(second).cpu >= 0, of(second).memory > 0)
print(second.cpu >= 0, second.cpus > 0, second.system.physMemSize > 0, second.time >= first.time)`)
	check(t, got, "true\tnil\ntrue\ttrue\ntrue\ttrue\ttrue\ttrue\n")
}

func TestCallAnyMethod(t *testing.T) {
	got := run(t, `
local dev = device()
print(dev:dvt_call("deviceinfo", "isRunningPid:", dev:process("SpringBoard").pid))
local long = "com.apple.instruments.server.services.deviceinfo"
print(dev:dvt_call(long, "systemInformation")._productType == dev.product_type)
print(type(dev:dvt_call("deviceinfo", "runningProcesses")[1].pid))
local launch = "launchSuspendedProcessWithDevicePath:bundleIdentifier:environment:"
  .. "arguments:options:"
print(dev:dvt_call("processcontrol", launch,
  "", "com.example.shop", { A = "1" }, array{ "x" }, { KillExisting = true }) > 0)`)
	check(t, got, "true\ntrue\nnumber\ntrue\n")
}

func TestErrors(t *testing.T) {
	got := run(t, `
local dev = device()
dev:condition("ThermalCondition", "ThermalFair")
for _, f in ipairs{
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
	check(t, got, `false	not_found	true
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

// TestSessionComesBack unplugs a device. Streams that do not resume must end with an
// error, and the next call must open another session.
func TestSessionComesBack(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ profile = "ios16" }
local dev = phone:device()
local samples = dev:sysmon{ interval = 3600, resume = false }
local options = { output = true, suspended = true, kill = true }
local output = dev:launch("com.example.shop", options):output()
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

// TestDVT calls methods of the server, opens channels, reads their events, and checks
// that a channel is closed with its DVT.
func TestDVT(t *testing.T) {
	got := run(t, `
local dev = device()
local dvt = dev:dvt()
print(dvt:call("deviceinfo", "isRunningPid:", dev:process("SpringBoard").pid))
print(dvt:call("deviceinfo", "nameForUID:", 501))
print(dvt:capabilities()["com.apple.instruments.server.services.deviceinfo"])
print(table.concat(dvt:selectors("screenshot"), " "))
print(#dvt:selectors("none"), #dvt:selectors().deviceinfo > 5)

local ch = dvt:channel("mobilenotifications")
ch:send("setApplicationStateNotificationsEnabled:", true)
local events = ch:events()
local first = events:next(30)
print(first.selector, #first.args, first.args[1].displayID ~= nil, first.value)
dev:launch("com.example.shop", { kill = true })
local function front(e)
  local app = e.args[1]
  return app.displayID == "com.example.shop" and app.state_description == "Foreground Running"
end
local e = events:find(front, { timeout = 30 })
print(e.args[1].execName ~= "", events == ch:events())
events:close()
print(ch:events() ~= events, ch:call("setMemoryNotificationsEnabled:", false))
ch:close()

local kept
with(dev:dvt(), function(other)
  kept = other:channel("deviceinfo")
  print(kept:call("isRunningPid:", 1), kept.name, kept, other ~= dvt)
end)
local tap = dvt:channel("sysmontap")
tap:call("setConfig:", {
  ur = 100, bm = 0, procAttrs = array{ "pid" }, sysAttrs = array{}, cpuUsage = true,
  sampleInterval = 1e8,
})
tap:send("start")
local said, rows
repeat
  local value = tap:events():next(30).value
  if value["$class"] then
    said = value["$class"] .. " " .. value["DTTapMessagePlist"].k
  elseif value[1] then
    rows = true
  end
until said and rows
print(said)
print(pcall(function() kept:call("isRunningPid:", 1) end))`)
	want := `true
mobile
1
takeScreenshot
0	true
applicationStateNotification:	1	true	nil
true	true
true	nil
true	com.apple.instruments.server.services.deviceinfo	DVTChannel<deviceinfo>	true
DTSysmonTapMessage 0
false	test.lua:47: DVTChannel is closed (its scope ended) (closed)
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestDVTLost ends the session while a channel is open. Calls and events of the channel
// must fail, and the next call of the DVT must open another session.
func TestDVTLost(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.list()[1]
local dev = phone:device()
local dvt = dev:dvt()
local ch = dvt:channel("deviceinfo")
local events = ch:events()
phone:detach()
local ok, e = try(events.next, events, 30)
print(ok, e.code, e.device == dev.udid)
ok, e = try(ch.call, ch, "isRunningPid:", 1)
print(ok, e.code)
phone:attach()
print(dvt:call("deviceinfo", "isRunningPid:", 1))
print(dvt:channel("deviceinfo"):call("isRunningPid:", 1))
for _, f in ipairs{
  function() dvt:call("nothing", "x") end,
  function() dvt:channel("nothing") end,
  function() dvt:call("deviceinfo", "nothing") end,
  function() local all = {} for i = 1, 70 do all[i] = dvt:channel("deviceinfo") end end,
} do
  ok, e = try(f)
  print(ok, e.code)
end`)
	check(t, got, "false\tdisconnected\ttrue\nfalse\tdisconnected\ntrue\ntrue\n"+
		"false\tunsupported\nfalse\tunsupported\nfalse\tunsupported\nfalse\ttoo_many_channels\n")
}

// TestSysmonResumes unplugs the device while a stream of samples is open.
func TestSysmonResumes(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.list()[1]
local dev = phone:device()
local stream = dev:sysmon{ interval = 0.01 }
print(#stream:next(30).processes > 0, stream.gaps)
for n = 1, 2 do
  phone:detach()
  phone:attach()
  while stream.gaps < n do stream:next(30) end
  print(#stream:next(30).processes > 0, stream.gaps)
end
local short = dev:sysmon{ interval = 0.01, resume = false }
phone:detach()
local ok, e
repeat ok, e = try(short.next, short, 30) until not ok
print(ok, e.code)`)
	check(t, got, "true\t0\ntrue\t1\ntrue\t2\nfalse\tdisconnected\n")
}

// TestPlayGPX plays GPX files. One run reaches the end, one is cancelled, one times out,
// and the others fail because of wrong options or files. The simulation must end in each
// case.
func TestPlayGPX(t *testing.T) {
	f, _ := script(t)
	got := f(`
local dev = device()
dev:set_location(1, 2)
dev:play_gpx("testdata/walk.gpx", { speed = 1000 })
print(simulated())
local travel = task.spawn(function()
  dev:play_gpx("testdata/walk.gpx", { loop = true, speed = 0.001 })
end)
while not simulated() do task.sleep(0.01) end
travel:cancel()
local ok, e = try(travel.join, travel)
print(ok, e.code, simulated())
ok, e = try(dev.play_gpx, dev, "testdata/walk.gpx", { loop = true, timeout = 0.2 })
print(ok, e.code, simulated())
for _, o in ipairs{ { speed = 0 }, { pace = -1 }, { speed = 0/0 } } do
  ok, e = try(dev.play_gpx, dev, "testdata/walk.gpx", o)
  print(ok, e.code)
end
for _, file in ipairs{ "testdata/none.gpx", "dvt_test.go" } do
  ok, e = try(dev.play_gpx, dev, file)
  print(ok, e.code)
end`)
	check(t, got, `false
false	cancelled	false
false	timeout	false
false	argument
false	argument
false	argument
false	not_found
false	decode
`)
}

// TestResumesInTunnel unplugs and restarts a device whose services are inside a tunnel.
// Streams must resume, and calls must succeed, in the next tunnel.
func TestResumesInTunnel(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ profile = "ios17", boot = 0.05 }
local dev = phone:device()
local stream, log = dev:sysmon{ interval = 0.01 }, dev:syslog()
local dvt = dev:dvt()
local ch = dvt:channel("deviceinfo")
print(#stream:next(30).processes > 0, ch:call("isRunningPid:", 1))
for n = 1, 3 do
  if n < 3 then
    phone:detach()
    phone:attach()
  else
    dev:restart{ wait = true }
  end
  while stream.gaps < n do stream:next(30) end
  print(#stream:next(30).processes > 0, stream.gaps, dvt:call("deviceinfo", "isRunningPid:", 1))
  print(log:find("no connection").gap > 0, log.gaps)
end
local ok, e = try(ch.call, ch, "isRunningPid:", 1)
print(ok, e.code)`)
	check(t, got, "true\ttrue\ntrue\t1\ttrue\ntrue\t1\ntrue\t2\ttrue\ntrue\t2\n"+
		"true\t3\ttrue\ntrue\t3\nfalse\tdisconnected\n")
}
