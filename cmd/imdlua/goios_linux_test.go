package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestGoIOSThroughTunneld runs go-ios as a client of imdlua tunneld: its commands for
// iOS 17 and later use the tunnels that tunneld keeps.
func TestGoIOSThroughTunneld(t *testing.T) {
	t.Parallel()
	path := virtualtest.GoIOS(t)
	for _, profile := range []string{"ios17", "ios26"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			mux, udids := serve(t, "--profile", profile)
			p, python, goios := tunneldOf(t, mux, 1)
			reachable(t, python, udids)
			ios := goIOSAt(t, path, mux, goios)
			ios("pair")

			var tunnels []struct{ UDID string }
			decode(t, ios("tunnel", "ls"), &tunnels)
			if len(tunnels) != 1 {
				t.Fatalf("tunnel ls has %d tunnels, want 1", len(tunnels))
			}
			if tunnels[0].UDID != udids[0] {
				t.Errorf("tunnel ls has %s, want %s", tunnels[0].UDID, udids[0])
			}
			var services map[string]any
			decode(t, ios("rsd", "ls"), &services)
			if services["com.apple.instruments.dtservicehub"] == nil {
				t.Errorf("rsd ls lacks the service of Instruments: %v", services)
			}
			ios("launch", "com.example.shop")
			var list []struct {
				Name string
				Pid  int
			}
			decode(t, ios("ps"), &list)
			var lines []string
			for _, q := range list {
				if q.Pid == 0 {
					continue // the kernel, which has another name in the log
				}
				lines = append(lines, fmt.Sprintf("%d %s\n", q.Pid, q.Name))
			}
			slices.Sort(lines)
			newProgram(t, "--usbmux", mux, "-e", `
local lines = {}
for _, p in ipairs(device():processes()) do
  if p.pid ~= 0 then lines[#lines + 1] = p.pid .. " " .. p.name end
end
table.sort(lines)
for _, line in ipairs(lines) do print(line) end`).prints(t, strings.Join(lines, ""))

			p.interrupt(t)
		})
	}
}

// goIOSAt returns a function that runs a command of go-ios, which must succeed, and
// returns its output. The command sees the devices of a muxer and the tunnels of a tunneld.
func goIOSAt(t *testing.T, path, mux, tunneld string) func(args ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(tunneld)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	home := t.TempDir()
	return func(args ...string) string {
		t.Helper()
		c := exec.CommandContext(ctx, path, args...)
		c.Dir = home
		c.Env = []string{
			"HOME=" + home, "USBMUXD_SOCKET_ADDRESS=" + mux, "GO_IOS_AGENT_HOST=" + host,
			"GO_IOS_AGENT_PORT=" + port,
		}
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Run(); err != nil {
			t.Fatalf("ios %q: %v\n%s%s", args, err, &out, &errs)
		}
		return out.String()
	}
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}
