package bindings_test

import (
	"bytes"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// TestReach finds a device by each option that says how it is reached.
func TestReach(t *testing.T) {
	t.Parallel()
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ name = "Shelf", profile = "ios18" }
local at = phone:show{ wifi = true }
local place = at.address .. ":" .. at.lockdown_port
local first = device{ name = "Shelf" }
first:pair()
local dev = device{ address = place }
print(dev.udid == phone.udid, dev.transport, dev == first, dev == device{ address = place })
print(dev:get("SerialNumber") == first:get("SerialNumber"), dev.files:exists("DCIM"))
print(#dev:routes(), dev:routes()[1].via, dev:tunnel().up)
print(device{ address = place, name = "Sh*", os = ">=18" } == dev, #devices{ address = place })
print(device.wait{ address = place, timeout = 30 } == dev)
print(#devices{ address = place, name = "other" })
local wifi = device{ name = "Shelf", transport = "wifi" }
print(wifi.transport, wifi:routes()[1].via, wifi == device{ name = "Shelf", transport = "wifi" })
print(device{ name = "Shelf", transport = "usb" }.transport)
print(#devices{ transport = "tunnel" })
local mac = first:get("WiFiAddress")
print(device{ udid = mac } == first, device{ udid = mac:upper() } == first)
for _, o in ipairs{
  { address = place, name = "other" }, { address = "127.0.0.1:1" }, { address = "a b" },
  { address = place, usbmux = "127.0.0.1:1" }, { address = place, transport = "usb" },
  { transport = "air" }, { usbmux = "nowhere" }, { usbmux = "127.0.0.1:1" },
} do
  local ok, e = try(device, o)
  print(ok, e.code)
end`)
	want := `true	wifi	false	true
true	true
1	lockdown	true
true	1
true
0
wifi	lockdown	true
usb
0
true	true
false	no_device
false	no_device
false	argument
false	argument
false	argument
false	argument
false	argument
false	no_muxer
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestReachUnpaired uses a device that trusts no computer.
func TestReachUnpaired(t *testing.T) {
	t.Parallel()
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ name = "Shelf", trust = "never" }
local at = phone:show{ wifi = true }
local place = at.address .. ":" .. at.lockdown_port
for _, dev in ipairs{
  device{ name = "Shelf", pair = false }, device{ address = place, pair = false },
} do
  print(dev:get("ProductVersion") == tostring(dev.version), dev:values().SerialNumber)
  print(dev:paired(), #dev:pair_records())
  for _, f in ipairs{
    function() dev:get("SerialNumber") end,
    function() dev:battery() end,
    function() dev:pair() end,
    function() dev:pair{ remote = true } end,
  } do
    local ok, e = try(f)
    print(ok, e.code)
  end
end
local dev = device{ address = place }
for _, f in ipairs{
  function() dev:get("ProductVersion") end, function() dev:battery() end,
  function() dev:pair{ timeout = 5 } end,
} do
  local ok, e = try(f)
  print(e.code, e.hint:match("over USB first"))
end
-- A device that has forgotten this computer.
local paired = virtual.start{ name = "Table" }
at = paired:show{ wifi = true }
paired:device():pair()
local far = device{ address = at.address .. ":" .. at.lockdown_port }
print(far:battery().percent > 0)
paired:forget_hosts()
local again = device{ address = at.address .. ":" .. at.lockdown_port, pair = false }
print(again:get("DeviceName"))
local ok, e = try(again.battery, again)
print(e.code, e.hint:match("over USB first"))`)
	each := "true\tnil\nfalse\t0\nfalse\tGetProhibited\nfalse\tnot_paired\nfalse\tno_pair\n" +
		"false\tno_pair\n"
	want := each + each + "not_paired\tover USB first\nnot_paired\tover USB first\n" +
		"PairingProhibitedOverThisConnection\tover USB first\ntrue\nTable\n" +
		"InvalidHostID\tover USB first\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBrowseBinding lists what virtual devices advertise.
func TestBrowseBinding(t *testing.T) {
	t.Parallel()
	got := run(t, `
local eventually = require "imd.eventually"
local virtual = require "imd.virtual"
local phone = virtual.start{ name = "Shelf", profile = "ios18" }
local at = phone:show{ wifi = true }
local dev = phone:device()
dev:pair()
local function count(o)
  local found = 0
  for _, s in ipairs(device.browse(o)) do
    if s.addresses[1] == at.address and s.host == "Shelf.local" then found = found + 1 end
  end
  return found
end
print(count(), count{ type = "mobdev2" }, count{ type = "_remotepairing._tcp", timeout = 0 })
print(device.browse{ type = "remotepairing" }[1].txt.name)
print(dev:wifi_connections())
dev:set_wifi_connections(false)
eventually(function() return count{ type = "mobdev2" } == 0 end)
print(dev:wifi_connections(), count{ type = "remotepairing" })
dev:set_wifi_connections(true)
eventually(function() return count{ type = "mobdev2" } == 1 end)
for _, o in ipairs{ { type = "printers" }, { timeout = math.huge }, { timeout = -1 } } do
  local ok, e = try(device.browse, o)
  print(ok, e.code)
end`)
	want := "3\t1\t1\nShelf\ntrue\nfalse\t1\n" + strings.Repeat("false\targument\n", 3)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestPairRecordsShowNoKeys prints all that scripts see of pair records.
func TestPairRecordsShowNoKeys(t *testing.T) {
	t.Parallel()
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ name = "Shelf", profile = "ios17.2" }
local at = phone:show{ wifi = true }
local dev = phone:device()
dev:pair()
print(device.pair_remote(at.address .. ":" .. at.pairing_port).udid == dev.udid)
dev:pair{ remote = true }
for _, r in ipairs(dev:pair_records()) do
  print(r.kind, r.udid == dev.udid, #r.host_id > 30, r.escrow, r.device_key, r.error)
end
print(#device.pair_records())
dev:unpair{ remote = true }
dev:unpair()
print(#dev:pair_records(), select(2, try(dev.unpair, dev, { remote = true })).code)
dev:pair()
print(json.encode(dev:pair_records()), tostring(dev:pair_records()[1]))`)
	want := "true\nlockdown\ttrue\ttrue\ttrue\ttrue\t\nremote\ttrue\ttrue\ttrue\ttrue\t\n2\n" +
		"0\tnot_paired\n"
	rest, ok := strings.CutPrefix(got, want)
	if !ok {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	secret := regexp.MustCompile(`(?i)BEGIN|private|certificate`).FindString(rest)
	if secret != "" {
		t.Errorf("%q is in what scripts see:\n%s", secret, rest)
	}
}

// TestTunnelClose closes a tunnel. The next call makes another.
func TestTunnelClose(t *testing.T) {
	t.Parallel()
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start()
local dev = phone:device()
local tun = dev:tunnel()
tun:close()
tun:close()
print(tun.up, select(2, try(tun.services, tun, { refresh = true })).code)
print(#dev:processes() > 20, dev:tunnel().generation, dev:tunnel().up)`)
	if want := "false\tdisconnected\ntrue\t2\ttrue\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTunneldArguments makes objects for programs that keep tunnels where there are none.
func TestTunneldArguments(t *testing.T) {
	t.Parallel()
	got := run(t, `
print(device.tunneld("http://127.0.0.1:1/").address, device.tunneld("127.0.0.1:1").address)
print(device.tunneld().address, device.tunneld{ token = "x" }.address)
local shared = device.tunneld("http://127.0.0.1:1")
for _, f in ipairs{
  function() shared:devices() end, function() shared:tunnels() end,
  function() shared:device("x", { timeout = 5 }) end, function() device.tunneld("nowhere") end,
  function() device.tunneld("https://127.0.0.1:1") end, function() device.tunneld(":1") end,
} do
  local ok, e = try(f)
  print(ok, e.code)
end`)
	want := "127.0.0.1:1\t127.0.0.1:1\n127.0.0.1:49151\t127.0.0.1:49151\n" +
		strings.Repeat("false\tno_device\n", 3) + strings.Repeat("false\targument\n", 3)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestOptionsAfterNames gives options to methods of values after any number of names.
func TestOptionsAfterNames(t *testing.T) {
	t.Parallel()
	got := run(t, `
local dev = device()
local domain = "com.apple.mobile.battery"
print(dev:get("DeviceName", { timeout = 20 }), dev:get(domain, { timeout = 20 }).HasBattery)
print(dev:get(domain, "HasBattery", { timeout = 20 }), dev:get("DeviceName", nil, { timeout = 20 }))
print(dev:values({ timeout = 20 }).DeviceName, dev:values(domain, { timeout = 20 }).HasBattery)
dev:set("DeviceName", "One", { timeout = 20 })
print(dev:get("DeviceName"))
dev:set("com.apple.international", "Locale", "de_DE", { timeout = 20 })
print(dev:get("com.apple.international", "Locale"))
for _, f in ipairs{
  function() dev:get("DeviceName", { timeuot = 2 }) end,
  function() dev:get("DeviceName", { timeout = 0 }) end,
  function() dev:get("DeviceName", "HasBattery", { timeout = "x" }) end,
  function() dev:set("DeviceName", "One", { timeout = 0 }) end,
  function() dev:set("DeviceName", "One", { timeuot = 2 }) end,
  function() dev:set("com.apple.international", "Locale", {}) end,
  function() dev:set("a", "b", "c", "d") end,
  function() dev:set("a") end,
  function() dev:remove("com.apple.international", "Locale", { timeout = 0 }) end,
  function() dev:get({ timeout = 2 }) end,
} do
  local ok, e = try(f)
  print(ok, e.code)
end`)
	want := `Virtual iPhone	true
true	Virtual iPhone
Virtual iPhone	true
One
de_DE
false	argument
false	timeout
false	argument
false	timeout
false	argument
false	SetProhibited
false	argument
false	argument
false	timeout
false	argument
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// untimed has the methods of devices that need no timeout, with the reason.
var untimed = map[string]string{
	"routes":  "it does not wait",
	"forward": "it only listens; connections to the device come later",
	"help":    "it prints a text",
	"set":     "its last argument, which TestOptionsAfterNames tests",

	"notifications": "its options may follow any number of names",
	"dvt_call":      "all its arguments are those of the method that is called",
}

// TestEveryMethodHasTimeout checks that every method of a device has the option timeout.
func TestEveryMethodHasTimeout(t *testing.T) {
	t.Parallel()
	h, _, _ := newHost(t)
	stubs := api.Registry(h).Stubs()
	methods := regexp.MustCompile(`(?m)^function Device:(\w+)\(`).FindAllStringSubmatch(stubs, -1)
	if len(methods) < 50 {
		t.Fatalf("found %d methods in the stubs, want 50 or more", len(methods))
	}
	found := map[string]bool{}
	for _, m := range methods {
		name := m[1]
		found[name] = true
		class := "Device" + camel(name) + "Options"
		_, options, ok := strings.Cut(stubs, "---@class "+class+"\n")
		options, _, _ = strings.Cut(options, "\n\n")
		has := ok && strings.Contains(options, "---@field timeout")
		if !has && untimed[name] == "" {
			t.Errorf("dev:%s has no option timeout", name)
		}
		if has && untimed[name] != "" {
			t.Errorf("dev:%s has the option timeout: delete its line in untimed", name)
		}
	}
	for name := range untimed {
		if !found[name] {
			t.Errorf("there is no method dev:%s: delete its line in untimed", name)
		}
	}
}

func camel(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

var dumped = regexp.MustCompile(`(?m)^[0-9a-f]{8}  ((?:[0-9a-f]{2} +)+)\|`)

// bytesOf returns the bytes that hexdump has shown of one direction.
func bytesOf(t *testing.T, output, direction string) []byte {
	t.Helper()
	var all []byte
	on := false
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "-> ") || strings.HasPrefix(line, "<- ") {
			on = strings.HasPrefix(line, direction)
		}
		m := dumped.FindStringSubmatch(line)
		if !on || m == nil {
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(m[1]), ""))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// TestHexdumpShowsEveryByte compares what hexdump shows with what an echo sends back: the
// lengths of property lists, and what calls that fail have read.
func TestHexdumpShowsEveryByte(t *testing.T) {
	t.Parallel()
	h, _, out := newHost(t)
	runOn(t, h, out, `
local virtual = require "imd.virtual"
local conn = virtual.start{ echo = 7 }:device():connect(7)
conn:hexdump(true)
conn:send("abc")
conn:recv(3)
conn:call{ a = 1 }
conn:send_plist({ b = 2 }, { endian = "le", binary = true })
conn:recv_plist{ endian = "le" }
conn:send("\0\0\0\5junk!")
try(conn.recv_plist, conn)
conn:send("rest")
try(conn.recv, conn, 9, { timeout = 0.5 })
conn:recv(4)
conn:hexdump(false)
conn:send("unseen")
conn:recv(6)`)
	sent, received := bytesOf(t, out.String(), "-> "), bytesOf(t, out.String(), "<- ")
	if !bytes.Equal(sent, received) {
		t.Errorf("it shows as sent\n%s\nand as received\n%s", hex.Dump(sent), hex.Dump(received))
	}
	parts := []string{"abc", "<?xml", "bplist00", "\x00\x00\x00\x05junk!rest"}
	at := make([]int, len(parts))
	for n, part := range parts {
		at[n] = bytes.Index(sent, []byte(part))
		if at[n] < 0 {
			t.Errorf("it does not show %q:\n%s", part, hex.Dump(sent))
		}
	}
	if !slices.IsSorted(at) {
		t.Errorf("the parts are at %d, want them in order", at)
	}
	if at[1] != len("abc")+4 {
		t.Errorf("%d bytes are between abc and the property list, want its length",
			at[1]-len("abc"))
	}
	if bytes.Contains(received, []byte("unseen")) {
		t.Error("it shows bytes after it was switched off")
	}
}
