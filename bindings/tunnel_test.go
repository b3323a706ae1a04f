package bindings_test

import (
	"strings"
	"testing"
)

// TestRoutesAndTunnels runs one script with each profile and checks the routes and the
// tunnel that it prints.
func TestRoutesAndTunnels(t *testing.T) {
	const script = `
local virtual = require "imd.virtual"
local dev = virtual.start{ profile = PROFILE }:device()
local ok, tun = try(dev.tunnel, dev)
print(ok and tun.how or tun.code, ok and tun.protocol, ok and tun.generation)
for _, r in ipairs(dev:routes()) do print(r.kind, r.via, r.use, r.up, r.generation, r.how) end
if ok then
  print(tun.up, tun.rsd_port > 0, tun.mtu >= 1280, tun.interface == "", tun.took > 0)
  print(tun.address:find("::1$") ~= nil, tun:info().OSVersion == tostring(dev.version))
  print(dev:tunnel() == tun, dev:tunnel{ protocol = "auto" } == tun)
  print(tostring(tun):match("^Tunnel<1, .* on usb "))
  local all = tun:services()
  print(#all > 40, #tun:services{ refresh = true } == #all, all[1].name < all[#all].name)
  local conn = tun:connect(tun.rsd_port)
  print(conn) conn:close()
  local ok, e = try(tun.connect, tun, 9)
  print(ok, e.code)
end`
	const inside = "true\ttrue\ttrue\ttrue\ttrue\ntrue\ttrue\ntrue\ttrue\n" +
		"%H on usb \ntrue\ttrue\ttrue\n"
	const overProxy = "CoreDeviceProxy\ttcp\t1\n" +
		"usb\tusbmux\tservices, tunnel\ttrue\t1\tCoreDeviceProxy\n"
	for profile, want := range map[string]string{
		"ios16": "no_tunnel\tfalse\tfalse\nusb\tusbmux\tservices\tfalse\t0\t\n",
		"ios17.2": "remote pairing, QUIC\tquic\t1\n" +
			"usb\tusbmux\tservices\tfalse\t0\tCoreDeviceProxy\n" +
			"usb\tremoted\ttunnel\ttrue\t1\tremote pairing, QUIC\n",
		"ios17": overProxy,
		"ios26": overProxy,
		"ios27": overProxy,
	} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			got := run(t, strings.ReplaceAll(script, "PROFILE", `"`+profile+`"`))
			if profile != "ios16" {
				how, _, _ := strings.Cut(want, "\t")
				want += strings.ReplaceAll(inside, "%H", "Tunnel<1, "+how)
			}
			rest, ok := strings.CutPrefix(got, want)
			if !ok {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if profile == "ios16" {
				return
			}
			if !strings.HasPrefix(rest, "Connection<") {
				t.Errorf("connect gave %q, want a Connection", rest)
			}
			if !strings.HasSuffix(rest, "\nfalse\trefused\n") {
				t.Errorf("connect to a closed port gave %q, want refused", rest)
			}
		})
	}
}

// TestTunnelChoices checks options with which the current tunnel is replaced, and options
// that no route fulfils.
func TestTunnelChoices(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local eventually = require "imd.eventually"
local phone = virtual.start()
local dev = phone:device()
local first = dev:tunnel()
local quic = dev:tunnel{ protocol = "quic" }
print(first.up, quic.how, quic.generation, dev:tunnel() == quic)
local ok, e = try(first.services, first, { refresh = true })
print(ok, e.code)
print(dev:tunnel{ protocol = "tcp", route = "usb" }.generation)
eventually(function() return phone.tunnels == 1 end)
print(select(2, try(phone.tunnel_fault, phone, { drop_over = -1 })).code)
local wrong = { { route = "wifi" }, { protocol = "udp" }, { route = "air" }, { kernel = "yes" } }
for _, o in ipairs(wrong) do
  local ok, e = try(dev.tunnel, dev, o)
  print(ok, e.code)
end
-- One that was cut is replaced by the next call.
local before = dev:tunnel()
print(phone:drop_tunnels() > 0, #dev:processes() > 20)
eventually(function() return not before.up end)
print(dev:tunnel().generation > before.generation)
phone:tunnel_fault{ refuse_listener = true }
ok, e = try(dev.tunnel, dev, { protocol = "quic" })
print(ok, e.code, #e.hint > 0)`)
	want := `false	remote pairing, QUIC	2	true
false	disconnected
3
argument
false	no_tunnel
false	argument
false	argument
false	argument
true	true
true
false	no_tunnel	true
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestDeviceRSD uses a device that is reached only by the address of its list of services.
func TestDeviceRSD(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
local phone = virtual.start{ profile = "ios18", name = "Shelf" }
local at = phone:show{ trusted = true }
local dev = device.rsd(at.address, at.trusted_port)
print(dev.udid == phone.udid, dev.name, dev.transport)
print(#dev:routes(), dev:routes()[1].via, dev ~= phone:device())
print(dev.files:exists("DCIM"), #dev:apps() > 5, #dev:screenshot() > 1000)
print(dev:get("DeviceName"), dev:battery().percent > 0)
print(dev:tunnel().protocol, dev:tunnel().mtu, dev:tunnel().address == "")
print(device.rsd("localhost", at.trusted_port).name)
for _, a in ipairs{
  { "no where", 5 }, { at.address, 0 }, { at.address, 70000 }, { at.address, 1 }, { "[::1]", 1 },
} do
  local ok, e = try(device.rsd, a[1], a[2])
  print(ok, e.code)
end
phone:detach()
local ok, e = try(dev.battery, dev, { timeout = 10 })
print(ok, e.code, e.device == dev.udid)`)
	want := `true	Shelf	tunnel
1	rsd	true
true	true	true
Shelf	true
rsd	0	true
Shelf
false	argument
false	argument
false	argument
false	no_device
false	no_device
false	disconnected	true
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestVirtualLists starts devices with each rule for the hosts of a list of services.
func TestVirtualLists(t *testing.T) {
	t.Parallel()
	got := run(t, `local virtual = require "imd.virtual"
for _, lists in ipairs{ "version", "single", "many" } do
  local phone = virtual.start{ lists = lists }
  local at = phone:show{ trusted = true }
  local dev = device.rsd(at.address, at.trusted_port)
  print(lists, dev:tunnel().generation, #dev.files:list("/") > 0)
end
print(select(2, try(virtual.start, { lists = "both" })).code)`)
	want := "version\t1\ttrue\nsingle\t1\ttrue\nmany\t1\ttrue\nargument\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
