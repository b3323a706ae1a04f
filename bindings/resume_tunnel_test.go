package bindings_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/hosttest/devicetest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// overTunnel reads the log and the load of a device. The device is unplugged once, comes
// back at another address, and restarts three times.
const overTunnel = `
local phone = require("imd.virtual").list()[1]
local dev = device()
local log = dev:syslog{ match = "entry", process = "SpringBoard", resume = 50 }
local load = dev:sysmon{ interval = 0.02, resume = 50 }
-- What is logged while the stream is away is lost: so it is said until it is heard.
local function hear(n)
  local speaker = task.spawn(function()
    while true do phone:log("entry " .. n) task.sleep(0.02) end
  end)
  local entry = log:find("entry " .. n)
  speaker:cancel()
  return entry.message
end
local function where() return tostring(dev:tunnel()):match(" on (.*)>$") end
local first, begun = dev:tunnel(), where()
local generation = first.generation
print(first.how, generation, hear(0), log.gaps, load.gaps)
for n = 1, 4 do
  if n == 1 then replug() else phone:restart() end
  local mark = log:find(function(e) return e.gap ~= nil end)
  while load.gaps < n do load:next(30) end
  print(mark.level, mark.gap > 0, hear(n), log.gaps, load.gaps)
  local now = dev:tunnel().generation
  print(now > generation, n > 1 or begun:find("usbmux") ~= nil or where() ~= begun)
  generation = now
end`

// TestStreamsResumeInTunnel runs a script over each kind of tunnel. With remoted and rsd
// there is no lockdown outside of the tunnel, so that the log is read in the tunnel as
// well.
func TestStreamsResumeInTunnel(t *testing.T) {
	for _, w := range []struct {
		profile, via, how string
	}{
		{"ios17.2", "remoted", "remote pairing, QUIC"},
		{"ios26", "remoted", "remote pairing, TLS-PSK"},
		{"ios17", "rsd", "list of services"},
		{"ios17", "usbmux", "CoreDeviceProxy"},
	} {
		t.Run(w.profile+" "+w.via, func(t *testing.T) {
			t.Parallel()
			options := virtual.Options{
				Boot: 1, Phone: phone.Options{Profile: w.profile, LogRate: -1},
			}
			vh := virtualtest.Host(t, virtual.HostOptions{Device: options})
			cable := &cable{machine: vh.Devices()[0]}
			cable.options.Ethernet = w.via == "remoted"
			cable.options.Trusted = w.via == "rsd"
			if err := cable.show(); err != nil {
				t.Fatal(err)
			}
			o := device.Options{Browser: vh}
			switch w.via {
			case "rsd":
				o = device.Options{Direct: cable.direct}
			case "usbmux":
				mux, err := usbmux.New(usbmux.Options{Dial: vh.Dial})
				if err != nil {
					t.Fatal(err)
				}
				o.Muxers = []*usbmux.Client{mux}
			}
			got := runOver(t, vh, o, overTunnel,
				api.Function("replug", "Moves the device to another address.", "", cable.replug))
			want := fmt.Sprintf("%s\t1\tentry 0\t0\t0\n", w.how)
			for n := 1; n <= 4; n++ {
				want += fmt.Sprintf("gap\ttrue\tentry %d\t%d\t%d\ntrue\ttrue\n", n, n, n)
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// cable connects a virtual device to a network of this computer.
type cable struct {
	machine *virtual.Machine
	options virtual.NetworkOptions

	mu       sync.Mutex
	presence *virtual.Presence
}

// second returns a local address that is not 127.0.0.1.
func second() string {
	if runtime.GOOS == "linux" {
		return "127.0.0.2" // IPv6 may be disabled
	}
	return "::1"
}

// show connects the device to the network, with another address after the first time.
func (c *cable) show() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := "127.0.0.1"
	if c.presence != nil {
		at = second()
	}
	c.options.Address = netip.MustParseAddr(at)
	c.presence, err = c.machine.Show(c.options)
	return err
}

func (c *cable) place() *virtual.Presence {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.presence
}

// replug unplugs the device and connects it again at another address.
func (c *cable) replug(*api.Call) error {
	c.machine.Detach()
	c.place().Close()
	if err := c.machine.Replug(); err != nil {
		return err
	}
	return c.show()
}

// direct returns the address of the device's list of services, as a program that keeps
// tunnels would.
func (c *cable) direct(context.Context) ([]device.Direct, error) {
	p := c.place()
	port := p.Ports().Trusted
	if port == 0 {
		return nil, nil // the device is unplugged
	}
	return []device.Direct{device.DirectAt(netip.AddrPortFrom(p.Address(), port))}, nil
}

// runOver runs Lua text with the devices that a Finder with the options o finds, and with
// the function f.
func runOver(t *testing.T, vh *virtual.Host, o device.Options, source string, f *api.Func) string {
	t.Helper()
	finder := device.NewFinder(o)
	t.Cleanup(func() { finder.Close() })
	var out bytes.Buffer
	h := host.New(host.Options{Stdout: &out, Stderr: &out})
	t.Cleanup(func() { h.Close() })
	devicetest.Install(t, h, finder, vh)
	m := &api.Module{Name: "test_controls", Flat: true, Doc: "Controls.", Perm: "none"}
	m.Funcs = []*api.Func{f}
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), virtualtest.Deadline)
	defer cancel()
	if err := h.Run(ctx, "test.lua", source); err != nil {
		var report strings.Builder
		h.Report(&report, err)
		t.Fatalf("%s\n%s", out.String(), report.String())
	}
	return out.String()
}
