// Package scripts holds the recipes; its test runs every one of them against a
// fresh virtual device and compares what it prints with its golden file.
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

// arguments that a recipe is run with; none for the others.
var arguments = map[string][]string{
	"list_rsd_services.lua": {"--filter", "com.apple.instruments"},
	"measure_app.lua":       {"--to", "$TMP/measure.csv", "--samples", "4", "--interval", "0.02"},
	"play_route.lua":        {"--speed", "60"},
	"pull_photos.lua":       {"--to", "$TMP/photos", "--pattern", "DCIM/**/*.JPG"},
	"run_on_many.lua":       {"--virtual", "2"},
	"stream_app_output.lua": {"--lines", "2"},
	"take_screenshot.lua":   {"--to", "$TMP/screen.png"},
}

// way is a device that recipes run against, and the route to it.
type way struct {
	profile string
	rsd     bool // by nothing but the address of its list of services, as with --rsd
}

func (w way) String() string {
	if w.rsd {
		return w.profile + ".rsd"
	}
	return w.profile
}

// usual is the way for every recipe.
var usual = way{profile: "ios17"}

// others are the ways where developer services are somewhere else: lockdown with
// an image, a tunnel by remote pairing, one by CoreDeviceProxy, somebody else's.
var others = []way{
	{profile: "ios16"}, {profile: "ios17.2"}, {profile: "ios26"}, {profile: "ios17", rsd: true},
}

// ways says which ways a recipe is run on.
func ways(source string) []way {
	if strings.Contains(source, "developer disk image") || strings.Contains(source, "dev.tunnel") {
		return append([]way{usual}, others...)
	}
	return []way{usual}
}

// finder finds the one device of h.
func (w way) finder(t *testing.T, h *virtual.Host) *device.Finder {
	t.Helper()
	o := device.Options{}
	if w.rsd {
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

// run runs a script against a fresh virtual device and returns its output.
func run(t *testing.T, w way, name, source string, args []string) (stdout string, err error) {
	t.Helper()
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: w.profile}}})
	finder := w.finder(t, h)
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

// golden returns what a recipe must print: what it prints on the usual way,
// unless there is a file for the way.
func golden(t *testing.T, recipe string, w way) string {
	t.Helper()
	own := filepath.Join("testdata", recipe+"."+w.String()+".golden")
	b, err := os.ReadFile(own)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = os.ReadFile(filepath.Join("testdata", recipe+".golden"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// write stores what a recipe has printed; a file for a way that prints the same
// as the usual one is removed.
func write(t *testing.T, recipe string, w way, got string) {
	t.Helper()
	name := filepath.Join("testdata", recipe+".golden")
	if w != usual {
		name = filepath.Join("testdata", recipe+"."+w.String()+".golden")
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if golden(t, recipe, w) == got {
			return
		}
	}
	if err := os.WriteFile(name, []byte(got), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("*.lua")
	if err != nil || len(files) < 8 {
		t.Fatalf("recipes: %v, %v", files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		recipe, source := strings.TrimSuffix(file, ".lua"), string(b)
		t.Run(recipe, func(t *testing.T) {
			t.Parallel()
			for _, w := range ways(source) {
				t.Run(w.String(), func(t *testing.T) {
					tmp := t.TempDir()
					args := make([]string, len(arguments[file]))
					for i, a := range arguments[file] {
						args[i] = strings.ReplaceAll(a, "$TMP", tmp)
					}
					got, err := run(t, w, file, source, args)
					if err != nil {
						t.Fatal(err)
					}
					if *update {
						write(t, recipe, w, got)
					}
					if want := golden(t, recipe, w); got != want {
						t.Errorf("printed\n%s\nwant\n%s", got, want)
					}
				})
			}
		})
	}
}

// TestHeaders holds every recipe to its header, so that a list of recipes can
// be made without running them, and to a size that can be read at a glance.
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
