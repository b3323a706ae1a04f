package bindings_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/bindings"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/hosttest/devicetest"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// newHost returns a Lua host with all modules, the muxer with one virtual device, and
// the output of scripts.
func newHost(t testing.TB) (*host.Host, *virtual.Host, *bytes.Buffer) {
	t.Helper()
	return newHostWith(t, host.Options{})
}

// newHostWith is newHost with options. It replaces their Stdout and Stderr.
func newHostWith(t testing.TB, o host.Options) (*host.Host, *virtual.Host, *bytes.Buffer) {
	t.Helper()
	l := devicetest.New(t, devicetest.Options{Host: o})
	return l.Host, l.Virtual, l.Output
}

// run runs Lua text and returns what it printed. The test fails if the script fails.
func run(t *testing.T, source string) string {
	t.Helper()
	return devicetest.Run(t, source, devicetest.Options{})
}

// runOn runs Lua text on a host. The test fails if the script fails.
func runOn(t *testing.T, h *host.Host, out *bytes.Buffer, source string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), virtualtest.Deadline)
	defer cancel()
	err := h.Run(ctx, "test.lua", source)
	if err == nil {
		return
	}
	var report bytes.Buffer
	h.Report(&report, err)
	t.Fatalf("%s\n%s", out.String(), report.String())
}

// ownModules returns the modules of h that belong to the device API.
func ownModules(h *host.Host) []*api.Module {
	own, _ := bindings.Modules(&bindings.Env{})
	names := map[string]bool{}
	for _, m := range own {
		names[m.Name] = true
	}
	return slices.DeleteFunc(api.Registry(h).Modules(), func(m *api.Module) bool {
		return !names[m.Name]
	})
}

// ownClasses returns the classes of the device API by name.
func ownClasses(h *host.Host) map[string]*api.Class {
	out := map[string]*api.Class{}
	for _, m := range ownModules(h) {
		for _, c := range m.Classes {
			out[c.Name] = c
		}
	}
	return out
}

func TestDeclarations(t *testing.T) {
	h, _, _ := newHost(t)
	for _, err := range api.Registry(h).Lint() {
		t.Error(err)
	}
}

// TestExamples runs every example of the device API with a new virtual device, so that
// the documentation has no example that fails.
func TestExamples(t *testing.T) {
	h, _, _ := newHost(t)
	names := map[string]bool{}
	for _, m := range ownModules(h) {
		names[m.Name] = true
		for _, c := range m.Classes {
			names[c.Name] = true
		}
	}
	n := 0
	for _, e := range api.Registry(h).Examples() {
		owner, _, _ := strings.Cut(strings.NewReplacer(":", ".").Replace(e.Name), ".")
		if !names[owner] {
			continue
		}
		n++
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			// Examples of VirtualDevice start a second device.
			run(t, e.Source)
		})
	}
	if n < 60 {
		t.Errorf("only %d examples were run", n)
	}
}

func TestErrorsNameDeviceServiceAndCode(t *testing.T) {
	got := run(t, `
local dev = device()
for _, f in ipairs{
  function() dev:service("com.example.none") end,
  function() dev.files:read("/no/such/file") end,
  function() dev.files:remove("DCIM") end,
  function() dev:app_files("com.example.none") end,
  function() dev:app_files("com.apple.mobilesafari", { docs = true }) end,
  function() dev:connect(9) end,
  function() dev:set("SerialNumber", "X") end,
  function() dev:diagnostics("MobileGestalt", { keys = { "ProductType" } }) end,
  function() dev:syslog{ level = "loud" } end,
  function() dev:syslog{ levle = "error" } end,
  function() dev:sysloog() end,
  function() dev.syslog{} end,
  function() return dev.udit end,
  function() dev:syslog{ match = "never said" }:find("never said", { timeout = 0.05 }) end,
  function() device{ udid = "none" } end,
  function() device{ os = "old" } end,
} do
  local ok, e = try(f)
  print(ok, e.code, e.device == dev.udid)
end`)
	want := strings.Join([]string{
		"false\tInvalidService\ttrue", "false\tnot_found\ttrue", "false\tnot_empty\ttrue",
		"false\tApplicationLookupFailed\ttrue", "false\tInstallationLookupFailed\ttrue",
		"false\trefused\ttrue",
		"false\tImmutableValue\ttrue", "false\tMobileGestaltDeprecated\ttrue",
		"false\targument\tfalse", "false\targument\tfalse", "false\tno_field\tfalse",
		"false\targument\tfalse", "false\tno_field\tfalse",
		"false\ttimeout\tfalse", "false\tno_device\tfalse", "false\targument\tfalse",
	}, "\n") + "\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCrashFiles(t *testing.T) {
	got := run(t, `
local n = 0
for f in device().crash_files:glob("**/*.ips") do n = n + 1 end
print(n > 5)`)
	if want := "true\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFilesGoBothWays(t *testing.T) {
	got := run(t, `
local dev = device()
local dir = fs.temp_dir()
fs.mkdir(path.join(dir, "tree/sub"))
fs.write(path.join(dir, "tree/a.txt"), "alpha")
fs.write(path.join(dir, "tree/sub/b.bin"), ("\0\255"):rep(700000))
local steps = 0
local function step() steps = steps + 1 end
local sent = dev.files:push(path.join(dir, "tree"), "Downloads/tree", { progress = step })
local back = dev.files:pull("Downloads/tree", path.join(dir, "back"))
print(sent.files, sent.bytes, back.files, back.bytes, steps > 0)
print(fs.read(path.join(dir, "back/sub/b.bin")) == ("\0\255"):rep(700000))
local names = {}
for f in dev.files:walk("Downloads/tree") do names[#names + 1] = f.path end
print(table.concat(names, " "))
local file = dev.files:open("Downloads/tree/a.txt", "r+")
file:seek(0, "end")
file:write("bet")
file:seek(0)
print(file:read(100):string(), file:read(1))
file:close()
dev.files:remove("Downloads/tree", { recursive = true })
print(dev.files:exists("Downloads/tree"), dev.files:stat("Downloads/tree"))`)
	want := "2\t1400005\t2\t1400005\ttrue\ntrue\n" +
		"Downloads/tree/a.txt Downloads/tree/sub Downloads/tree/sub/b.bin\n" +
		"alphabet\tnil\nfalse\tnil\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestVirtualList checks the list of virtual devices. close ends a device that the
// script started, but not a device that it did not start.
func TestVirtualList(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local mine = virtual.start()
local all = virtual.list()
print(#all, all[2] == mine)
all[1]:close()
print(#virtual.list(), virtual.list()[1].attached)
task.spawn(function() virtual.list() end):join()
print(#virtual.list(), virtual.list()[1].attached, mine.attached)
mine:close()
print(#virtual.list(), virtual.list()[1].attached)`)
	if want := "2\ttrue\n2\ttrue\n2\ttrue\ttrue\n1\ttrue\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestForwardAndEcho(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ echo = 7, name = "Echo" }
local dev = phone:device()
local conn = dev:connect(7)
conn:send("hello")
print(conn:recv(5):string())
local fwd = dev:forward{ remote_port = 7 }
print(fwd.local_port > 0, fwd.remote_port)`)
	if want := "hello\ntrue\t7\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestRawTasks checks that one task may read from a connection while another writes to
// it, and that a read that times out loses no bytes.
func TestRawTasks(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local conn = virtual.start{ echo = 7 }:device():connect(7)
local reader = task.spawn(function()
  local ok, e = try(conn.recv, conn, 6, { timeout = 0.3 })
  return e.code
end)
conn:send("abc")
print(reader:join())
conn:send("def|gh")
print(conn:recv_until("|"):string(), conn:recv(2):string())
conn:send_plist{ a = 1 }
print(conn:recv_plist().a)
conn:send("\255\255\255\255")
local ok, e = try(conn.recv_plist, conn)
print(e.code)`)
	if want := "timeout\nabcdef|\tgh\n1\nprotocol\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStreamsKeepUp reads three streams of each of 24 devices in one script. The script
// checks that it gets, or counts as dropped, every entry that was written.
func TestStreamsKeepUp(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phones = {}
for i = 1, 24 do phones[i] = virtual.start{ log_rate = -1, name = "Phone " .. i } end
local function count(stream, want)
  local n = 0
  while n < want do
    if not stream:next(120) then break end
    n = n + 1
  end
  return n
end
local tasks = {}
for i, phone in ipairs(phones) do
  local dev = phone:device()
  local text = dev:syslog_text():filter(function(l)
    return l.message:find("entry", 1, true) ~= nil
  end)
  for _, s in ipairs{ dev:syslog{ match = "entry" }, text, dev:notifications("tick") } do
    tasks[#tasks + 1] = task.spawn(function() return count(s, 40) + s.dropped end)
  end
end
for n = 1, 40 do
  for _, phone in ipairs(phones) do
    phone:log("entry " .. n)
    phone:post("tick")
  end
end
local total = 0
for _, t in ipairs(tasks) do total = total + t:join() end
print(total)`)
	if want := "2880\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestUnpluggedStreams checks that a stream that does not resume ends with an error when
// the device is unplugged, and not like a stream that has ended normally.
func TestUnpluggedStreams(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ log_rate = -1 }
local dev = phone:device()
local function none() return false end
local streams = {
  dev:syslog{ match = "never", resume = false },
  dev:syslog_text{ resume = 0 }:filter(none),
  dev:notifications("x", { resume = false }),
}
phone:detach()
for _, s in ipairs(streams) do
  local ok, e = try(s.next, s, 30)
  print(ok, e and e.code, e and e.device == dev.udid)
end
local ok, e = try(dev.battery, dev)
print(ok, e.code)
phone:attach()
print(dev:battery().percent)`)
	want := strings.Repeat("false\tdisconnected\ttrue\n", 3) + "false\tdevice_lost\n87\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRestartWaits(t *testing.T) {
	got := run(t, `
local dev = device()
local boot = dev:get("BootSessionID")
dev:restart{ wait = true }
print(dev:get("BootSessionID") ~= boot, dev.name)`)
	if want := "true\tVirtual iPhone\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestVersion uses the version of a device in every way that scripts can.
func TestVersion(t *testing.T) {
	t.Parallel()
	got := run(t, `
local dev, info = device(), nil
devices{ match = function(i) info = i return true end }
print(dev.version, dev.version:at_least("17.4"), "iOS " .. dev.version, ("%s|"):format(info.version))
print(dev.version == info.version, tostring(dev.version) == dev:get("ProductVersion"))
print(tostring(info):match("version=%S+"), json.encode(info):match('"version":%S-,'))
print(plist.encode({ dev.version }):match("<string>.-</string>"), info:totable().version)
print(#devices{ os = ">=17" }, select(2, try(function() return dev.version >= "17" end)))`)
	version := strings.Split(got, "\t")[0]
	want := strings.ReplaceAll("V\ttrue\tiOS V\tV|\ntrue\ttrue\n"+
		"version=\"V\",\t\"version\":\"V\",\n<string>V</string>\tV\n1\t", "V", version)
	if !strings.HasPrefix(got, want) {
		t.Errorf("printed %q, want %q at its beginning", got, want)
	}
	if !strings.Contains(got, `v:at_least("17.4")`) {
		t.Errorf("printed %q, want at_least in the error of the comparison", got)
	}
}
