package bindings_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/hosttest/devicetest"
)

// TestWatchEvents unplugs a device. The events name the route and what routes are left.
func TestWatchEvents(t *testing.T) {
	t.Parallel()
	got := devicetest.Run(t, `
local virtual = require "imd.virtual"
local phone = virtual.list()[1]
local function show(e)
  print(e.event, e.info.name ~= "", e.info.transport, e.route.kind, e.route.via, e.route.id > 0,
    #e.routes)
end
local events = device.watch()
show(events:next(30))
phone:detach()
show(events:next(30))
phone:attach()
show(events:next(30))
local late = device.watch()
show(late:next(30))
print(late:next(0))`, devicetest.Options{})
	want := "attached\ttrue\tusb\tusb\tusbmux\ttrue\t1\n" +
		"detached\ttrue\tusb\tusb\tusbmux\ttrue\t0\n" +
		"attached\ttrue\tusb\tusb\tusbmux\ttrue\t1\n" +
		"attached\ttrue\tusb\tusb\tusbmux\ttrue\t1\nnil\n"
	if got != want {
		t.Errorf("the script printed\n%s, want\n%s", got, want)
	}
}

// TestWatchAtOnce has a device whose lockdownd never answers. With at_once its attachment
// is reported, and another device is described meanwhile.
func TestWatchAtOnce(t *testing.T) {
	t.Parallel()
	got := devicetest.Run(t, `
local virtual = require "imd.virtual"
local hung = virtual.start()
hung:fault("lockdown", "stall")
hung:detach()
hung:attach()
local events = device.watch{ at_once = true }
local attached, described = {}, nil
repeat
  local e = events:next(30)
  if e.event == "attached" then attached[e.info.udid] = true end
  if e.info.name ~= "" then described = e.info.udid end
until described and attached[hung.udid]
print(described ~= hung.udid)`, devicetest.Options{})
	if want := "true\n"; got != want {
		t.Errorf("the script printed %q, want %q", got, want)
	}
}
