package bindings_test

import "testing"

// TestTransferStops ends transfers in the middle: by an error of the progress
// function, by the time limit, and by cancelling their task. Each is over before
// the script goes on. One that stops in the middle of a write costs the connection,
// and the next call opens another.
func TestTransferStops(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start()
local files = phone:device().files
local dir = fs.temp_dir()
local source = path.join(dir, "source")
fs.write(source, ("x"):rep(4 * 1024 * 1024))
files:push(source, "Downloads/big")
local function broken() error("enough") end
local function slow() task.sleep(0.01) end
local function usable()
  repeat until try(files.exists, files, "DCIM")
end
for _, transfer in ipairs{
  function(o) files:pull("Downloads/big", path.join(dir, "a"), o) end,
  function(o) files:push(source, "Downloads/b", o) end,
} do
  local ok, e = try(transfer, { progress = broken, piece = 65536 })
  print(ok, tostring(e):match("enough"))
  usable()
  ok, e = try(transfer, { progress = slow, piece = 4096, timeout = 0.05 })
  print(ok, e.code)
  usable()
  local begun = task.event()
  local t = task.spawn(transfer, { progress = function() begun:set() end, piece = 4096 })
  begun:wait()
  t:cancel()
  ok, e = try(t.join, t, 10)
  print(ok, e.code)
  usable()
end`)
	want := "false\tenough\nfalse\ttimeout\nfalse\tcancelled\n"
	if got != want+want {
		t.Errorf("got\n%s\nwant\n%s", got, want+want)
	}
}
