// Package scripts holds the recipes; its test runs every one of them against a
// fresh virtual device and compares what it prints with its golden file.
//
//	go test ./scripts            checks
//	go test ./scripts -update    writes the golden files
package scripts

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/bindings"
	binddevice "github.com/imdlua/imdlua/bindings/device"
	bindvirtual "github.com/imdlua/imdlua/bindings/virtual"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
	"github.com/imdlua/imdlua/stdlib"
)

var update = flag.Bool("update", false, "write the golden files")

// arguments that a recipe is run with; none for the others.
var arguments = map[string][]string{
	"measure_app.lua":       {"--to", "$TMP/measure.csv", "--samples", "4", "--interval", "0.02"},
	"play_route.lua":        {"--speed", "60"},
	"pull_photos.lua":       {"--to", "$TMP/photos", "--pattern", "DCIM/**/*.JPG"},
	"run_on_many.lua":       {"--virtual", "2"},
	"stream_app_output.lua": {"--lines", "2"},
	"take_screenshot.lua":   {"--to", "$TMP/screen.png"},
}

// profiles of the devices for recipes that need another than ios17.
var profiles = map[string]string{
	"launch_app.lua": "ios16", "take_screenshot.lua": "ios16", // developer services over lockdown
}

// run runs a script against a fresh virtual device and returns its output.
func run(t *testing.T, name, source string, args []string) (stdout string, err error) {
	t.Helper()
	h := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: cmp.Or(profiles[name], "ios17")}}})
	finder := virtualtest.Finder(t, h, device.Options{})
	var out, errs bytes.Buffer
	lua := host.New(host.Options{Stdout: &out, Stderr: &errs, Args: args})
	defer lua.Close()
	stdlib.Install(lua)
	env := &bindings.Env{
		Device:  binddevice.Env{Finder: func() (*device.Finder, error) { return finder, nil }},
		Virtual: bindvirtual.Env{Host: func() (*virtual.Host, error) { return h, nil }},
	}
	if err := bindings.Install(lua, env); err != nil {
		t.Fatal(err)
	}
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

func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("*.lua")
	if err != nil || len(files) < 8 {
		t.Fatalf("recipes: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".lua"), func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tmp := t.TempDir()
			args := make([]string, len(arguments[file]))
			for i, a := range arguments[file] {
				args[i] = strings.ReplaceAll(a, "$TMP", tmp)
			}
			got, err := run(t, file, string(source), args)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", strings.TrimSuffix(file, ".lua")+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("printed\n%s\nwant\n%s", got, want)
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
