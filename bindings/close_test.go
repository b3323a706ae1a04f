package bindings_test

import (
	"strings"
	"testing"
)

// closing describes how TestClose tests a class: it opens an object x and calls methods
// of x that wait.
type closing struct {
	class string
	begin string   // statements that make the variables that open uses
	open  string   // an expression
	waits []string // calls that wait; none if no method waits
}

var closings = []closing{
	{
		class: "Stream",
		begin: `local dev = virtual.start{ log_rate = -1 }:device()`,
		open:  `dev:syslog{ match = "never said" }`,
		waits: []string{
			`x:next()`, `x:find("never said")`, `x:collect{ count = 1 }`,
			`x:filter(function() return true end):next()`,
		},
	},
	{
		class: "Connection",
		begin: `local dev = virtual.start{ echo = 7 }:device()`,
		open:  `dev:connect(7)`,
		waits: []string{`x:recv()`, `x:recv(5)`, `x:recv_until("|")`, `x:recv_plist()`},
	},
	{
		class: "Forward",
		begin: `local dev = device()`,
		open:  `dev:forward{ remote_port = 62078 }`,
	},
	{
		class: "RemoteFile",
		begin: `
local phone = virtual.start()
phone:fault("com.apple.afc", "late", { delay = 0.05 })
local files = phone:device().files
files:write("Downloads/a", "hello")`,
		open:  `files:open("Downloads/a", "r+")`,
		waits: []string{`x:read(5)`, `x:write("x")`, `x:seek(1)`},
	},
	{
		class: "DVT",
		begin: `
local phone = virtual.start{ profile = "ios16" }
local dev = phone:device()
phone:fault("com.apple.instruments.server.services.deviceinfo", "mute")`,
		open:  `dev:dvt()`,
		waits: []string{`x:call("deviceinfo", "runningProcesses")`},
	},
	{
		class: "DVTChannel",
		begin: `
local phone = virtual.start{ profile = "ios16" }
local dvt = phone:device():dvt()
phone:fault("com.apple.instruments.server.services.deviceinfo", "mute")`,
		open:  `dvt:channel("deviceinfo")`,
		waits: []string{`x:call("runningProcesses")`, `x:events():next()`},
	},
	{
		class: "XPC",
		begin: `
local phone = virtual.start()
local dev = phone:device()
local service = "com.apple.coredevice.deviceinfo"`,
		open:  `(function() phone:clear_faults() return dev:xpc(service) end)()`,
		waits: []string{`x:recv()`, `phone:fault(service, "stall") x:invoke("getlockstate")`},
	},
	{
		class: "VirtualDevice",
		begin: ``,
		open:  `virtual.start()`,
		waits: []string{`x:fault("lockdown", "stall") x:device()`},
	},
}

// closeWhile closes an object twice while a task calls a method that waits. It pauses
// before the close, longer in each round, so that the call begins before the close in
// some rounds and after it in others. The call must end in the same way in all rounds.
const closeWhile = `
for round = 0, 2 do
  local x = OPEN
  local waiter = task.spawn(function()
    return try(function() WAIT end)
  end)
  if round > 0 then task.sleep(0.01 * round) end
  x:close()
  x:close()
  local ok, e = waiter:join(10)
  if ok then error("the call ended without an error") end
  if e.code ~= "closed" then error(e) end
  ok, e = try(function() WAIT end)
  if ok or e.code ~= "closed" then error(e) end
end`

// TestClose closes an object of each class twice, and while a call waits in it.
func TestClose(t *testing.T) {
	h, _, _ := newHost(t)
	have := map[string]bool{}
	for _, c := range closings {
		have[c.class] = true
		begin := "local virtual = require \"imd.virtual\"\n" + c.begin
		t.Run(c.class+" twice", func(t *testing.T) {
			t.Parallel()
			run(t, begin+"\nlocal x = "+c.open+"\nx:close()\nx:close()")
		})
		for _, wait := range c.waits {
			t.Run(c.class+" "+wait, func(t *testing.T) {
				t.Parallel()
				run(t, begin+strings.NewReplacer("OPEN", c.open, "WAIT", wait).Replace(closeWhile))
			})
		}
	}
	for name, c := range ownClasses(h) {
		if c.Closer && !have[name] {
			t.Errorf("%s can be closed: add it to closings of bindings/close_test.go", name)
		}
	}
}

// TestCloseEndsLoop closes a stream while a task loops over it, and another one while its
// method on calls a function. Both tasks must end without an error.
func TestCloseEndsLoop(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ log_rate = -1 }
local stream = phone:device():syslog{ match = "entry" }
local begun = task.event()
local loop = task.spawn(function()
  for _ in stream do begun:set() end
  return "over"
end)
phone:log("entry")
begun:wait()
stream:close()
print(loop:join(10))
stream = phone:device():syslog{ match = "entry" }
begun:clear()
loop = stream:on(function() begun:set() end)
phone:log("entry")
begun:wait()
stream:close()
loop:join(10)
-- A filtered stream and its source are closed together.
stream = phone:device():syslog{ match = "entry" }
local part = stream:filter(function() return true end)
part:close()
local ok, e = try(stream.next, stream)
print(ok, e.code)`)
	if want := "over\nfalse\tclosed\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
