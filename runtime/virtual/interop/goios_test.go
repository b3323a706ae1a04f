//go:build linux

package interop

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// goIOS runs commands of go-ios against the phone of a rig.
type goIOS struct {
	*rig
	path   string
	tunnel bool // the phone has tunnels, and an agent of go-ios keeps one
}

// in returns g for a subtest.
func (g *goIOS) in(t *testing.T) *goIOS {
	r := *g.rig
	r.T, r.dir = t, t.TempDir()
	return &goIOS{&r, g.path, g.tunnel}
}

// prints runs a command and decodes the JSON that it prints.
func (g *goIOS) prints(into any, args ...string) {
	g.Helper()
	out := g.output(g.path, args...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		g.Fatalf("ios %q printed %q: %v", args, out, err)
	}
}

// logs runs a command and returns the record of its log that has the message.
func (g *goIOS) logs(message string, args ...string) map[string]any {
	g.Helper()
	got := g.run(g.path, args...)
	if got.code != 0 {
		g.Fatalf("ios %q: exit status %d: %s", args, got.code, got.err)
	}
	return g.record(got.err, message)
}

// record returns the first record of a log that has the message.
func (g *goIOS) record(log, message string) map[string]any {
	g.Helper()
	for line := range strings.Lines(log) {
		var r map[string]any
		err := json.Unmarshal([]byte(line), &r)
		if err == nil && r["msg"] == message {
			return r
		}
	}
	g.Fatalf("%q is not in the log of go-ios:\n%s", message, log)
	return nil
}

// follow starts a command that runs until it is interrupted. Its log comes with its
// output.
func (g *goIOS) follow(args ...string) *process {
	g.Helper()
	return g.launch(g.command("sh",
		append([]string{"-c", `exec "$0" "$@" 2>&1`, g.path}, args...)...))
}

// interrupt sends SIGINT to a command of go-ios and waits for its end. The exit status
// says nothing, because its reading goroutines may see the end of the connection first.
func (g *goIOS) interrupt(p *process) {
	g.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		g.Fatal(err)
	}
	p.wait()
}

// end ends a command whose end the phone does not notice in any other way.
func (g *goIOS) end(p *process) {
	g.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		g.Fatal(err)
	}
	p.wait()
}

// eventually waits until the phone is in a state that the program does not report.
func (r *rig) eventually(what string, holds func() bool) {
	r.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			r.Fatalf("%s: this did not happen", what)
		}
	}
}

// portPair returns a port of the loopback interface that is free, as is the next one. The
// ports are below those that the kernel chooses.
func portPair(t *testing.T) int {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", net.JoinHostPort("localhost", strconv.Itoa(port)))
		if err != nil {
			return false
		}
		l.Close()
		return true
	}
	for range 100 {
		port := 20_000 + rand.IntN(10_000)
		if free(port) && free(port+1) {
			return port
		}
	}
	t.Fatal("no two free ports in a row between 20000 and 30000")
	return 0
}

// startAgent starts the agent of go-ios and waits until it has a tunnel to the phone. Its
// network stack is in user space, which needs no permissions.
func (g *goIOS) startAgent() {
	g.Helper()
	port := strconv.Itoa(portPair(g.T))
	g.env = append(g.env, "GO_IOS_AGENT_PORT="+port)
	p := g.follow("tunnel", "start", "--userspace")
	client := &http.Client{Timeout: 5 * time.Second}
	up := func() bool {
		r, err := client.Get("http://127.0.0.1:" + port + "/tunnel/" + g.phone().Identity.UDID)
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !up() {
		select {
		case line, ok := <-p.lines:
			p.seen = append(p.seen, line)
			if !ok || strings.Contains(line, "failed") {
				g.Fatalf("ios tunnel start: %s", strings.Join(p.seen, "\n"))
			}
		case <-tick.C:
		case <-g.ctx.Done():
			g.Fatalf("ios tunnel start made no tunnel: %s", strings.Join(p.seen, "\n"))
		}
	}
}

// TestGoIOS runs go-ios as a client of the virtual device. Up to iOS 16 it uses lockdown,
// later also a tunnel of its own.
func TestGoIOS(t *testing.T) {
	t.Parallel()
	path := virtualtest.GoIOS(t)
	for _, profile := range []string{"ios16", "ios17", "ios26"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			g := &goIOS{
				rig: plug(t, virtual.HostOptions{Device: virtual.Options{
					Boot: 1, Phone: phone.Options{Profile: profile},
				}}),
				path: path, tunnel: profile != "ios16",
			}
			udid := g.phone().Identity.UDID
			g.logs("Successfully paired "+udid, "pair")
			if g.tunnel {
				g.startAgent()
			} else {
				g.env = append(g.env, "GO_IOS_AGENT_PORT=1") // nothing listens there
			}
			t.Run("commands", func(t *testing.T) {
				for _, c := range goIOSCommands {
					once := c.usbmux && profile == "ios17"
					if c.off != "" || once || c.tunnel && !g.tunnel {
						continue
					}
					t.Run(c.names[0], func(t *testing.T) {
						t.Parallel()
						c.run(g.in(t))
					})
				}
			})
			// What follows disturbs other commands: the home screen restarts, then the phone.
			g.setLanguage()
			actions := make(chan power.Action, 8)
			g.phone().Power.OnAction(func(a power.Action) { actions <- a })
			g.logs("ok", "reboot")
			select {
			case a := <-actions:
				if a != power.Restart {
					t.Errorf("the phone was told %v, want restart", a)
				}
			case <-g.ctx.Done():
				t.Error("the phone was not restarted")
			}
		})
	}
}

// TestForeignPage compares docs/foreign.md with the commands of go-ios that TestGoIOS
// runs.
func TestForeignPage(t *testing.T) {
	t.Parallel()
	rows := virtualtest.ForeignRows(t, "../../../docs/foreign.md")
	tested := []string{"pair", "tunnel start", "lang --setlang", "reboot"}
	for _, c := range goIOSCommands {
		tested = append(tested, c.names...)
	}
	for _, name := range tested {
		found := false
		for _, r := range rows {
			found = found || r.Runs("ios "+name)
		}
		if !found {
			t.Errorf("docs/foreign.md has no row for ios %s", name)
		}
	}
	for _, r := range rows {
		found := !strings.HasPrefix(r.Command, "ios ")
		for _, name := range tested {
			found = found || r.Runs("ios "+name)
		}
		if !found {
			t.Errorf("docs/foreign.md has a row for %s, which TestGoIOS does not run", r.Command)
		}
	}
	for _, name := range testedTools {
		found := false
		for _, r := range rows {
			found = found || r.Runs(name)
		}
		if !found {
			t.Errorf("docs/foreign.md has no row for %s", name)
		}
	}
}

// testedTools are the programs of Debian packages that the tests of this package run
// against the virtual device.
var testedTools = []string{
	"idevice_id", "ideviceinfo", "idevicename", "idevicedate", "idevicepair", "ideviceinstaller",
	"idevicediagnostics", "idevicesyslog", "idevicecrashreport", "idevicenotificationproxy",
	"ideviceimagemounter", "ifuse", "iproxy", "inetcat",
}

// sameText compares what go-ios says with the value of the phone.
func (g *goIOS) sameText(what string, got, want any) {
	g.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		g.Errorf("%s: go-ios says %v, the phone %v", what, got, want)
	}
}
