package bindings_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// TestTransferStops ends transfers early: by an error of the progress function, by the
// time limit, and by cancelling their task. Each transfer must have ended before the
// script goes on, and the connection must still be usable.
func TestTransferStops(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start()
local files = phone:device().files
local dir = fs.temp_dir()
local source = path.join(dir, "source")
fs.write(source, ("x"):rep(32 * 1024 * 1024))
files:push(source, "Downloads/big")
local function broken() error("enough") end
local function slow() task.sleep(0.01) end
local function usable() assert(files:exists("DCIM")) end
for _, transfer in ipairs{
  function(o) files:pull("Downloads/big", path.join(dir, "a"), o) end,
  function(o) files:push(source, "Downloads/b", o) end,
} do
  local ok, e = try(transfer, { progress = broken, piece = 65536 })
  print(ok, tostring(e):match("enough"))
  usable()
  ok, e = try(transfer, { progress = slow, piece = 4096, timeout = 0.01 })
  print(ok, e.code)
  usable()
  local begun = task.event()
  local t = task.spawn(transfer, { progress = function() begun:set() end, piece = 4096 })
  begun:wait()
  t:cancel()
  ok, e = try(t.join, t, 10)
  print(ok, e.code)
  usable()
end
for f in files:walk("Downloads") do
  assert(f.name ~= "b" and not f.name:find("^%.imdlua"), f.name)
end
for f in fs.walk(dir) do assert(f.name == "source", f.name) end`)
	want := "false\tenough\nfalse\ttimeout\nfalse\tcancelled\n"
	if got != want+want {
		t.Errorf("got\n%s\nwant\n%s", got, want+want)
	}
}

// TestPartialResults interrupts calls that use many files at random positions. The device
// closes the connection or stops sending. A call must return the complete result or an
// error, and every file that it leaves must be complete.
func TestPartialResults(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 3))
	offsets := func(n int) string {
		var out []string
		for range n {
			out = append(out, strconv.Itoa(r.IntN(5000)))
		}
		return strings.Join(out, ", ")
	}
	closes, stalls := 20, 6
	if testing.Short() {
		closes, stalls = 3, 1
	}
	fill := strings.NewReplacer("CLOSES", offsets(closes), "STALLS", offsets(stalls))
	got := run(t, fill.Replace(`
local virtual = require "imd.virtual"
local dir = fs.temp_dir()
fs.mkdir(path.join(dir, "up"))
for i = 1, 9 do fs.write(path.join(dir, "up", "f" .. i), ("x"):rep(i * 100)) end
local back = path.join(dir, "back")
local function paths(list)
  local out = {}
  for f in list do out[#out + 1] = f.path end
  assert(#list.skipped == 0)
  return table.concat(out, " ")
end
local calls = {
  walk = function(files, o) return paths(files:walk("DCIM", o)) end,
  glob = function(files, o) return paths(files:glob("DCIM/**/*.{JPG,HEIC}", o)) end,
  list = function(files, o) return #files:list("DCIM/100APPLE", o) end,
  pull = function(files, o)
    if o then o = { idle_timeout = o.timeout } end
    return files:pull("Downloads", back, o).bytes
  end,
  push = function(files, o)
    if o then o = { idle_timeout = o.timeout } end
    return files:push(path.join(dir, "up"), "Downloads/up", o).bytes
  end,
}
local scale = { pull = 120 } -- what goes over the connection is longer
local sizes
local function clean()
  local out = {}
  if not fs.exists(back) then return out end
  for f in fs.walk(back) do out[f.name] = f.size end
  fs.remove(back, { recursive = true })
  return out
end
local quick = { stall = { timeout = 0.2 } }
local function check(kind, name, after, want)
  after = after * (scale[name] or 1)
  local phone = virtual.start()
  phone:fault("com.apple.afc", kind, { after = after })
  local ok, got = try(calls[name], phone:device().files, quick[kind])
  local codes = { close = "disconnected", stall = "timeout" }
  if ok and got ~= want or not ok and got.code ~= codes[kind] then
    error(("%s, %s after %d: %s"):format(name, kind, after, tostring(got)))
  end
  for file, size in pairs(clean()) do
    if size ~= sizes[file] then error(("%s: %d bytes after %d"):format(file, size, after)) end
  end
  phone:close()
end
for _, name in ipairs{ "pull", "walk", "glob", "list", "push" } do
  local phone = virtual.start()
  local want = calls[name](phone:device().files, {})
  phone:close()
  sizes = sizes or clean()
  for _, after in ipairs{ CLOSES } do check("close", name, after, want) end
  for _, after in ipairs{ STALLS } do check("stall", name, after, want) end
end
print("done")`))
	if got != "done\n" {
		t.Error(got)
	}
}

// TestSkippedIsTold checks that results report a directory that the device refuses to
// list, and the links that were copied.
func TestSkippedIsTold(t *testing.T) {
	h, _, out := newHostWith(t, host.Options{})
	runOn(t, h, out, skippedScript)
	want := strings.Repeat("/PhotoData/UBF\taccess_denied\tpermission denied\n", 3) +
		"0\t0\n1\tBooks/x/sub/link\t../a.txt\tlink\n1\tBooks/x/sub/link\t../a.txt\tfile\nalpha\n"
	if err := h.Close(); err != nil { // the warnings are written after it at the latest
		t.Fatal(err)
	}
	got := out.String()
	for _, call := range []string{"walk", "glob", "pull"} {
		warning := "warning: Files:" + call + ": 1 left out, see skipped in the result; " +
			"the first is \"/PhotoData/UBF\" (access_denied)\n"
		if n := strings.Count(got, warning); n != 1 {
			t.Errorf("%d times, want once: %s", n, warning)
		}
		got = strings.Replace(got, warning, "", 1)
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

const skippedScript = `
local files = device().files
local dir = fs.temp_dir()
local function show(skipped)
  for s in skipped do print(s.path, s.code, s.message:match("permission denied")) end
end
show(files:walk("/PhotoData").skipped)
show(files:glob("/PhotoData/**/*").skipped)
show(files:pull("/PhotoData", path.join(dir, "data")).skipped)
print(#files:glob("/DCIM/*").skipped, #files:list("/PhotoData").skipped)
files:mkdir("Books/x/sub")
files:write("Books/x/a.txt", "alpha")
files:symlink("../a.txt", "Books/x/sub/link")
local got = files:pull("Books/x", path.join(dir, "x"))
print(#got.links, got.links[1].path, got.links[1].target, got.links[1].kind)
got = files:pull("Books/x/sub/link", path.join(dir, "file"))
print(#got.links, got.links[1].path, got.links[1].target, got.links[1].kind)
print(fs.read(path.join(dir, "file")))
`
