// Package scripts holds the recipes. Its test runs each of them against a new virtual device and
// compares the output with its golden file.
//
//	go test ./scripts            checks
//	go test ./scripts -update    writes the golden files
package scripts

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest/devicetest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

var update = flag.Bool("update", false, "write the golden files")

// arguments holds the arguments of recipes that are run with some.
var arguments = map[string][]string{
	"list_rsd_services.lua": {"--filter", "com.apple.instruments"},
	"measure_app.lua":       {"--to", "$TMP/measure.csv", "--samples", "4", "--interval", "0.02"},
	"play_route.lua":        {"--speed", "60"},
	"pull_photos.lua":       {"--to", "$TMP/photos", "--pattern", "DCIM/**/*.JPG"},
	"run_on_many.lua":       {"--virtual", "2"},
	"stream_app_output.lua": {"--lines", "2"},
	"take_screenshot.lua":   {"--to", "$TMP/screen.png"},
}

// target is a device that recipes run against, with the route to it.
type target struct {
	profile string
	rsd     bool // whether only the address of the list of services is known, as with --rsd
}

func (g target) String() string {
	if g.rsd {
		return g.profile + ".rsd"
	}
	return g.profile
}

// usual is the target of every recipe.
var usual = target{profile: "ios17"}

// others are the targets of recipes that use developer services, which are reached through lockdown
// with an image, a tunnel by remote pairing, a tunnel by CoreDeviceProxy, and the tunnel of another
// program.
var others = []target{
	{profile: "ios16"}, {profile: "ios17.2"}, {profile: "ios26"}, {profile: "ios17", rsd: true},
}

// targets returns the targets of a recipe.
func targets(source string) []target {
	if strings.Contains(source, "developer disk image") || strings.Contains(source, "dev.tunnel") {
		return append([]target{usual}, others...)
	}
	return []target{usual}
}

// finder returns a finder of the device of h.
func (g target) finder(t *testing.T, h *virtual.Host) *device.Finder {
	t.Helper()
	o := device.Options{}
	if g.rsd {
		p, err := h.Devices()[0].Show(
			virtual.NetworkOptions{Address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Trusted: true},
		)
		if err != nil {
			t.Fatal(err)
		}
		at := device.DirectAt(netip.AddrPortFrom(p.Address(), p.Ports().Trusted))
		o.Direct = func(context.Context) ([]device.Direct, error) {
			return []device.Direct{at}, nil
		}
	}
	return virtualtest.Finder(t, h, o)
}

// run runs a script against a new virtual device and returns its output.
func run(t *testing.T, g target, name, source string, args []string) (stdout string, err error) {
	t.Helper()
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: g.profile}}})
	finder := g.finder(t, h)
	var out, errs bytes.Buffer
	lua := host.New(host.Options{Stdout: &out, Stderr: &errs, Args: args})
	defer lua.Close()
	devicetest.Install(t, lua, finder, h)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err = lua.Run(ctx, name, source)
	if errs.Len() > 0 {
		t.Logf("standard error:\n%s", errs.String())
	}
	if err != nil {
		var report bytes.Buffer
		lua.Report(&report, err)
		t.Logf("%s", report.String())
	}
	return out.String(), err
}

// golden returns the output that a recipe must have: that of the usual target, unless there is a
// file for the target.
func golden(t *testing.T, recipe string, g target) string {
	t.Helper()
	own := filepath.Join("testdata", recipe+"."+g.String()+".golden")
	b, err := os.ReadFile(own)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = os.ReadFile(filepath.Join("testdata", recipe+".golden"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// write stores the output of a recipe. If the output is that of the usual target, it removes the
// file for the target.
func write(t *testing.T, recipe string, g target, got string) {
	t.Helper()
	name := filepath.Join("testdata", recipe+".golden")
	if g != usual {
		name = filepath.Join("testdata", recipe+"."+g.String()+".golden")
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if golden(t, recipe, g) == got {
			return
		}
	}
	if err := os.WriteFile(name, []byte(got), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("*.lua")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 8 {
		t.Fatalf("the recipes are %q, want 8 or more", files)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		recipe, source := strings.TrimSuffix(file, ".lua"), string(b)
		t.Run(recipe, func(t *testing.T) {
			t.Parallel()
			for _, g := range targets(source) {
				t.Run(g.String(), func(t *testing.T) {
					tmp := t.TempDir()
					args := make([]string, len(arguments[file]))
					for i, a := range arguments[file] {
						args[i] = strings.ReplaceAll(a, "$TMP", tmp)
					}
					got, err := run(t, g, file, source, args)
					if err != nil {
						t.Fatal(err)
					}
					if *update {
						write(t, recipe, g, got)
					}
					if want := golden(t, recipe, g); got != want {
						t.Errorf("printed\n%s\nwant\n%s", got, want)
					}
				})
			}
		})
	}
}

// TestHeaders checks that every recipe has a header, from which a list of recipes can be made
// without running them, and at most 60 lines.
func TestHeaders(t *testing.T) {
	files, _ := filepath.Glob("*.lua")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if !strings.HasPrefix(text, "#!/usr/bin/env imdlua\n--- ") {
			t.Errorf("%s does not begin with its #! line and a summary", file)
		}
		for _, tag := range []string{"recipe", "needs", "permissions", "example"} {
			if !regexp.MustCompile(`(?m)^---@` + tag + ` \S`).MatchString(text) {
				t.Errorf("%s has no ---@%s", file, tag)
			}
		}
		if n := strings.Count(text, "\n"); n > 60 {
			t.Errorf("%s has %d lines, a recipe has at most 60", file, n)
		}
	}
}
