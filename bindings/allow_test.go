package bindings_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// gate records the permissions that a script asks for while the gate is armed. It
// refuses one of them.
type gate struct {
	vh  *virtual.Host
	dir string

	mu     sync.Mutex
	armed  bool
	asked  []string
	refuse string // the question that is refused
}

var port = regexp.MustCompile(`:\d{4,5}$`)

// question returns the form in which the tests write an access. It replaces
// identifiers, ports and the folder of the test, which are different in each run.
func (g *gate) question(a host.Access, value string) string {
	for i, m := range g.vh.Devices() {
		if value == m.UDID() {
			value = "UDID" + string(rune('1'+i))
		}
	}
	value = port.ReplaceAllString(value, ":PORT")
	value = strings.Replace(value, g.dir, "DIR", 1)
	return strings.TrimSpace(string(a) + " " + value)
}

func (g *gate) allow(a host.Access, value string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.armed {
		return nil
	}
	q := g.question(a, value)
	g.asked = append(g.asked, q)
	if q == g.refuse {
		return host.Errorf("permission", "%s is refused", q)
	}
	return nil
}

func (g *gate) arm(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = on
}

// allowances holds scripts that use a device, a file or the network. DIR stands for a
// folder.
var allowances = []struct {
	name, begin, act string
	asks             []string // questions of act in their order; each is refused once
}{
	{"device", ``, `device()`, []string{"device", "device UDID1"}},
	{"devices", ``, `devices()`, []string{"device", "device UDID1"}},
	{"device.wait", ``, `device.wait{ timeout = 20 }`, []string{"device", "device UDID1"}},
	{"device.watch", ``, `device.watch()`, []string{"device"}},
	{
		"device of a virtual one", `local phone = virtual.start()`, `phone:device()`,
		[]string{"device UDID2"},
	},
	{
		"device.rsd", `local at = virtual.start():show{ trusted = true }`,
		`device.rsd(at.address, at.trusted_port)`,
		[]string{"device", "net 127.0.0.1:PORT", "device UDID2"},
	},
	{
		"device at an address", `local at = virtual.start():show{ wifi = true }`,
		`device{ address = at.address .. ":" .. at.lockdown_port }`,
		[]string{"device", "net 127.0.0.1:PORT", "device UDID2"},
	},
	{
		"device.pair_remote", `local at = virtual.start():show{ wifi = true }`,
		`device.pair_remote(at.address .. ":" .. at.pairing_port)`,
		[]string{"device", "net 127.0.0.1:PORT"},
	},
	{"device.browse", ``, `device.browse{ timeout = 0.1 }`, []string{"device"}},
	{"device.pair_records", ``, `device.pair_records()`, []string{"device"}},
	{"device.tunneld", ``, `device.tunneld("127.0.0.1:49151")`, []string{"net 127.0.0.1:PORT"}},
	{
		"pull", `device().files:write("Downloads/a", "x") local files = device().files`,
		`files:pull("Downloads/a", "DIR/b")`, []string{"write DIR/b"},
	},
	{
		"pull into a folder",
		`device().files:write("Downloads/a", "x") local files = device().files`,
		`files:pull("Downloads/a", "DIR/")`, []string{"write DIR/", "write DIR/a"},
	},
	{
		"push", `fs.write("DIR/a", "x") local files = device().files`,
		`files:push("DIR/a", "Downloads/a")`, []string{"read DIR/a"},
	},
	{
		"log_archive", `local dev = device()`,
		`dev:log_archive("DIR/log.tar")`, []string{"write DIR/log.tar"},
	},
	{
		"sysdiagnose", `local dev = virtual.start{ profile = "ios18" }:device()`,
		`dev:sysdiagnose("DIR/s.tar.gz", { logs = false })`, []string{"write DIR/s.tar.gz"},
	},
	{
		"screenshot", `local dev = virtual.start{ profile = "ios16" }:device()`,
		`dev:screenshot{ path = "DIR/s.png" }`, []string{"write DIR/s.png"},
	},
	{
		"play_gpx", `local dev = virtual.start{ profile = "ios16" }:device()
fs.write("DIR/walk.gpx", [[<gpx><wpt lat="1" lon="2"/></gpx>]])`,
		`dev:play_gpx("DIR/walk.gpx")`, []string{"read DIR/walk.gpx"},
	},
	{
		"forward", `local dev = device()`,
		`dev:forward{ remote_port = 62078 }`, []string{"net 127.0.0.1:0"},
	},
	{
		"forward at an address", `local dev = device()`,
		`dev:forward{ remote_port = 62078, address = "0.0.0.0" }`, []string{"net 0.0.0.0:0"},
	},
	{
		"show", `local phone = virtual.start()`,
		`phone:show{ wifi = true }`, []string{"net 127.0.0.1"},
	},
	{"start on a network", ``, `virtual.start{ wifi = true }`, []string{"net 127.0.0.1"}},
}

// TestAllow checks that scripts ask before they use something, and that nothing stays
// open after a refusal.
func TestAllow(t *testing.T) {
	for _, a := range allowances {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			asked, got := permitted(t, a.begin, a.act, "")
			if got != "true\tnil\n" {
				t.Errorf("allowed: got %q, want no error", got)
			}
			if !slices.Equal(asked, a.asks) {
				t.Errorf("asked for %q, want %q", asked, a.asks)
			}
			for n, refuse := range a.asks {
				asked, got := permitted(t, a.begin, a.act, refuse)
				if want := "false\tpermission\n"; got != want {
					t.Errorf("without %s: got %q, want %q", refuse, got, want)
				}
				if !slices.Equal(asked, a.asks[:n+1]) {
					t.Errorf("without %s: asked for %q, want %q", refuse, asked, a.asks[:n+1])
				}
			}
		})
	}
}

// permitted runs begin and then act, and arms the gate for act. It returns what act
// asked for, and what the script printed about its success. It checks that a refusal
// leaves no file and no open object.
func permitted(t *testing.T, begin, act, refuse string) (asked []string, got string) {
	t.Helper()
	g := &gate{refuse: refuse, dir: t.TempDir()}
	h, vh, out := newHostWith(t, host.Options{Allow: g.allow})
	g.vh = vh
	before, after := 0, 0
	count := func() int { return openHandles(api.Registry(h)) + files(t, g.dir) }
	arm := func(_ *api.Call, on bool) {
		g.arm(on)
		if on {
			before = count()
		} else {
			after = count()
		}
	}
	m := &api.Module{Name: "test_arm", Flat: true, Doc: "Control of the gate.", Perm: "none"}
	m.Funcs = []*api.Func{
		api.Function("arm", "Arms or disarms the gate.", "on", arm),
	}
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	runOn(t, h, out, strings.ReplaceAll(`
local virtual = require "imd.virtual"
`+begin+`
arm(true)
local ok, e = try(function() `+act+` end)
arm(false)
print(ok, e and e.code)`, "DIR", g.dir))
	if refuse != "" && before != after {
		t.Errorf("without %s: %d files and objects are open, want %d", refuse, after, before)
	}
	return g.asked, out.String()
}

// files counts the files of a folder.
func files(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestPullAsksForItsTarget pulls without a local path. The pull writes a file of the same
// name in the current folder and asks for that.
func TestPullAsksForItsTarget(t *testing.T) {
	t.Chdir(t.TempDir())
	begin := `local files = device().files files:write("Downloads/a", "x")`
	asked, got := permitted(t, begin, `files:pull("Downloads/a")`, "write a")
	if want := "false\tpermission\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []string{"write a"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	if n := files(t, "."); n != 0 {
		t.Errorf("%d files were written", n)
	}
}
