package bindings_test

import (
	"strings"
	"testing"
)

// TestStreamsResume unplugs and restarts a device while three streams are open. The
// streams must go on, and the two logs must mark the gaps.
func TestStreamsResume(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ log_rate = -1, boot = 0.05 }
local dev = phone:device()
local log = dev:syslog{ match = "entry", level = "error", process = "SpringBoard", resume = 50 }
local text = dev:syslog_text()
local heard = dev:notifications("tick", "tock", { resume = 50 })
-- What is logged while the streams are away is lost: so it is said until it is heard.
local function say(n)
  local t = task.spawn(function()
    while true do
      phone:log("entry " .. n, { level = "error" })
      phone:post("tick")
      task.sleep(0.02)
    end
  end)
  local entry = log:find("entry " .. n)
  local line = text:find("entry " .. n)
  heard:next(30)
  t:cancel()
  return entry, line
end
local first = say(0)
print(first.gap, first.level, log.gaps, text.gaps, heard.gaps)
for n = 1, 4 do
  if n == 1 then
    phone:detach()
    phone:attach()
  else
    dev:restart{ wait = true }
  end
  local mark = log:find(function(e) return e.gap ~= nil end)
  local line = text:find("no connection")
  local said = mark.message:match("^no connection for %d+%.%d s$")
  print(mark.level, mark.process, said ~= nil, mark.gap > 0, line.level, line.gap > 0)
  say(n)
  -- A notification may still be there from before: its stream has resumed when it says so.
  while heard.gaps < n do phone:post("tock") heard:next(1) end
  print(log.gaps, text.gaps, heard.gaps)
end`)
	mark := "gap\t\ttrue\ttrue\tgap\ttrue\n"
	want := "nil\terror\t0\t0\t0\n" + mark + "1\t1\t1\n" + mark + "2\t2\t2\n" +
		mark + "3\t3\t3\n" + mark + "4\t4\t4\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestStreamsWaitForUnlock attaches a device that is locked, on which the log does not
// start. One stream waits until the device is unlocked, and the limit of the other one
// passes before.
func TestStreamsWaitForUnlock(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ log_rate = -1 }
local dev = phone:device()
local patient = dev:syslog{ match = "never", resume = 50 }
local hasty = dev:syslog_text{ resume = 2 }:filter(function() return false end)
phone:detach()
phone:lock()
phone:attach()
local ok, e = try(hasty.next, hasty, 30)
print(ok, e.code, hasty.gaps, patient.gaps)
phone:unlock()
print(patient:next(30).level, patient.gaps)`)
	if want := "false\tPasswordProtected\t0\t0\ngap\t1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStreamsGiveUp checks streams whose device does not come back, and wrong values of
// the option resume.
func TestStreamsGiveUp(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ log_rate = -1 }
local dev = phone:device()
local log = dev:syslog{ match = "never", resume = 0.3 }
local heard = dev:notifications("x", { resume = 0.3 })
phone:detach()
for _, s in ipairs{ log, heard } do
  local ok, e = try(s.next, s, 30)
  print(ok, e.code, e.device == dev.udid, s.gaps)
end
for _, f in ipairs{
  function() dev:syslog{ resume = "long" } end,
  function() dev:syslog{ resume = -1 } end,
  function() dev:notifications("a", { resum = 1 }) end,
  function() dev:notifications("a", {}, "b") end,
  function() dev:notifications{ resume = 1 } end,
} do
  local ok, e = try(f)
  print(ok, e.code)
end
phone:attach()
local waiting = dev:syslog{ match = "never" }
phone:detach()
waiting:close() -- at once, although the device stays away
print(waiting)`)
	want := strings.Repeat("false\tdisconnected\ttrue\t0\n", 2) +
		strings.Repeat("false\targument\n", 5) + "Stream<syslog, 0 read, 0 dropped>\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
