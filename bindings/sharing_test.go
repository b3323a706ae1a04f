package bindings_test

import (
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// twoTasks is the beginning of the scripts of TestSharing. The Lua function two calls fn
// in two tasks at once. The arguments of fn are the number of the task and a function
// take, which fn calls with each text that it got. When both tasks have ended, each text
// of want must have been taken exactly once.
const twoTasks = `
local virtual = require "imd.virtual"
local function two(want, fn)
  local got = {}
  local function take(text) got[#got + 1] = text end
  local tasks = {}
  for k = 1, 2 do tasks[k] = task.spawn(fn, k, take) end
  for _, t in ipairs(tasks) do t:join() end
  table.sort(got)
  table.sort(want)
  local function short(v) return tostring(v):sub(1, 20) end
  for i = 1, math.max(#got, #want) do
    if got[i] ~= want[i] then
      error(("value %d is %s, want %s"):format(i, short(got[i]), short(want[i])))
    end
  end
end
local function numbered(n)
  local out = {}
  for i = 1, n do out[i] = ("entry %04d"):format(i) end
  return out
end
`

// sharing holds scripts in which two tasks use one object of a class at once. name says
// how they use it.
var sharing = []struct{ class, name, source string }{
	{"Stream", "next", `
local phone = virtual.start{ log_rate = -1 }
local stream = phone:device():syslog{ match = "entry" }
local want = numbered(200)
for _, text in ipairs(want) do phone:log(text) end
two(want, function(_, take)
  for _ = 1, 100 do take(stream:next(30).message) end
end)`},
	{"Stream", "loop over a filter", `
local phone = virtual.start{ log_rate = -1 }
local all = phone:device():syslog{ match = "entry" }
local stream = all:filter(function(e) return e.message:find("7") ~= nil end)
local want, left = {}, 0
for _, text in ipairs(numbered(200)) do
  phone:log(text)
  if text:find("7") then want[#want + 1] = text end
end
left = #want
two(want, function(_, take)
  if left == 0 then return end
  for e in stream do
    take(e.message)
    left = left - 1
    if left == 0 then
      stream:close()
      break
    end
  end
end)`},
	{"Files", "read", `
local files = device().files
local want = {}
for n = 1, 8 do
  want[n] = tostring(n):rep(300000)
  files:write("Downloads/" .. n, want[n])
end
two(want, function(k, take)
  for n = k, 8, 2 do take(files:read("Downloads/" .. n):string()) end
end)`},
	{"RemoteFile", "short reads", `
local files, want = device().files, numbered(400)
files:write("Downloads/r", table.concat(want))
local file = files:open("Downloads/r")
two(want, function(_, take)
  while true do
    local b = file:read(10)
    if not b then return end
    take(b:string())
  end
end)`},
	// A read of this length takes several requests.
	{"RemoteFile", "long reads", `
local files, want = device().files, {}
for n = 1, 4 do want[n] = tostring(n):rep(5 * 1024 * 1024) end
files:write("Downloads/r", table.concat(want))
local file = files:open("Downloads/r")
two(want, function(_, take)
  for _ = 1, 2 do take(file:read(5 * 1024 * 1024):string()) end
end)`},
	{"RemoteFile", "writes", `
local files, want = device().files, {}
for n = 1, 4 do want[n] = tostring(n):rep(3 * 1024 * 1024) end
local file = files:open("Downloads/r", "w")
local unordered = { unpack(want) }
two({}, function(k) for n = k, 4, 2 do file:write(unordered[n]) end end)
file:close()
file = files:open("Downloads/r")
two(want, function(_, take)
  for _ = 1, 2 do take(file:read(3 * 1024 * 1024):string()) end
end)`},
	{"Connection", "recv", `
local conn = virtual.start{ echo = 7 }:device():connect(7)
local want = numbered(200)
two(want, function(k, take)
  for n = k, 200, 2 do
    conn:send(("entry %04d"):format(n))
    take(conn:recv(10):string())
  end
end)`},
	{"Connection", "call", `
local svc = device():service("com.apple.mobile.diagnostics_relay")
two({}, function(k)
  local request, key = "GasGauge", "GasGauge"
  if k == 2 then request, key = "WiFi", "WiFi" end
  for _ = 1, 200 do
    local answer = svc:call{ Request = request }
    if not answer.Diagnostics[key] then error(request .. " got the answer of another call") end
  end
end)`},
	{"DVT", "call", `
local dvt = virtual.start{ profile = "ios16" }:device():dvt()
two({}, function(k)
  local pid, want = 1, true
  if k == 2 then pid, want = 999999, false end
  for _ = 1, 20 do
    if dvt:call("deviceinfo", "isRunningPid:", pid) ~= want then error("wrong answer") end
  end
end)`},
	{"DVTChannel", "call", `
local ch = virtual.start{ profile = "ios16" }:device():dvt():channel("deviceinfo")
two({}, function(k)
  local pid, want = 1, true
  if k == 2 then pid, want = 999999, false end
  for _ = 1, 20 do
    if ch:call("isRunningPid:", pid) ~= want then error("wrong answer") end
  end
end)`},
	{"XPC", "invoke", `
local svc = device():xpc("com.apple.coredevice.deviceinfo")
two({}, function(k)
  local feature, key = "getlockstate", "passcodeRequired"
  if k == 2 then feature, key = "getdisplayinfo", "displays" end
  for _ = 1, 20 do
    if svc:invoke(feature)[key] == nil then error(feature .. " got the answer of another call") end
  end
end)`},
}

// TestSharing runs the scripts of sharing, which must include every class that values are
// read from. With the race detector it also finds accesses without a lock.
func TestSharing(t *testing.T) {
	h, _, _ := newHost(t)
	have := map[string]bool{}
	for _, s := range sharing {
		have[s.class] = true
		t.Run(s.class+" "+s.name, func(t *testing.T) {
			t.Parallel()
			run(t, twoTasks+s.source)
		})
	}
	for name, c := range ownClasses(h) {
		if readFrom(c) && !have[name] {
			t.Errorf("%s is read from: add it to sharing of bindings/sharing_test.go", name)
		}
	}
}

// readFrom reports whether tasks can take values from objects of c.
func readFrom(c *api.Class) bool {
	return c.Next != nil || slices.ContainsFunc(c.Methods, func(f *api.Func) bool {
		return f.Name == "next" || f.Name == "read"
	})
}
