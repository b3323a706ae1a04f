package afc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestWalk(t *testing.T) {
	t.Parallel()
	f := tree(t)
	for i := range 100 { // more than statsInFlight
		must(t, f.WriteFile(fmt.Sprintf("/empty/%03d", i), nil))
	}
	must(t, f.Symlink("/", "/DCIM/root"))
	c := pair(t, f)
	walk := func(root string, fn func(file string) error) (out []string, err error) {
		err = c.Walk(ctx(t), root, func(file string, info Info, err error) error {
			if err != nil {
				file += "!"
			}
			if info.Name != path.Base(path.Join("/", file)) && err == nil {
				t.Errorf("%q is called %q", file, info.Name)
			}
			out = append(out, file)
			return fn(file)
		})
		return out, err
	}
	skip := func(name string, how error) func(string) error {
		return func(file string) error {
			if file == name {
				return how
			}
			return nil
		}
	}
	wantWalk := func(root string, fn func(file string) error, want ...string) {
		t.Helper()
		got, err := walk(root, fn)
		if err != nil {
			t.Errorf("Walk of %s: %v", root, err)
		} else if !slices.Equal(got, want) {
			t.Errorf("Walk of %s = %q, want %q", root, got, want)
		}
	}
	wantWalk(".", skip("empty", fs.SkipDir), ".", "DCIM", "DCIM/100APPLE",
		"DCIM/100APPLE/IMG_1.HEIC", "DCIM/b.txt", "DCIM/root", "empty", "link")
	wantWalk("/", skip("/DCIM/100APPLE/IMG_1.HEIC", fs.SkipAll),
		"/", "/DCIM", "/DCIM/100APPLE", "/DCIM/100APPLE/IMG_1.HEIC")
	wantWalk("/DCIM", skip("/DCIM/100APPLE/IMG_1.HEIC", fs.SkipDir),
		"/DCIM", "/DCIM/100APPLE", "/DCIM/100APPLE/IMG_1.HEIC", "/DCIM/b.txt", "/DCIM/root")
	if got, err := walk("/empty", skip("", nil)); err != nil {
		t.Errorf("Walk of /empty: %v", err)
	} else if len(got) != 101 {
		t.Errorf("Walk of /empty: %d names, want 101", len(got))
	} else if !slices.IsSorted(got) {
		t.Errorf("Walk of /empty is not sorted: %q", got)
	}
	wantWalk("/link", skip("", nil), "/link")
	wantWalk("/none", skip("", nil), "/none!")
	if _, err := walk("/", skip("/DCIM", errLocal)); err != errLocal {
		t.Errorf("Walk = %v, want the function's error", err)
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	f := newFS()
	for _, p := range []string{
		"DCIM/a.HEIC", "DCIM/100/b.HEIC", "DCIM/100/c.MOV", "DCIM/100/x/d.MOV", "DCIM/100/x/e.jpg",
		"DCIM/.hidden", "DCIM/we{ird", "top.MOV",
	} {
		if strings.Contains(p, "/") {
			must(t, f.Mkdir(path.Dir(p)))
		}
		must(t, f.WriteFile(p, nil))
	}
	must(t, f.Symlink("DCIM", "/lnk"))
	c := pair(t, f)
	for pattern, want := range map[string][]string{
		"DCIM/**/*.{HEIC,MOV}": {
			"DCIM/100/b.HEIC", "DCIM/100/c.MOV", "DCIM/100/x/d.MOV", "DCIM/a.HEIC",
		},
		"/DCIM/*/*.MOV": {"/DCIM/100/c.MOV"},
		"**/*.MOV":      {"DCIM/100/c.MOV", "DCIM/100/x/d.MOV", "top.MOV"},
		"/**": {
			"/DCIM", "/DCIM/.hidden", "/DCIM/100", "/DCIM/100/b.HEIC", "/DCIM/100/c.MOV",
			"/DCIM/100/x", "/DCIM/100/x/d.MOV", "/DCIM/100/x/e.jpg", "/DCIM/a.HEIC", "/DCIM/we{ird",
			"/lnk", "/top.MOV",
		},
		"**/**/x/**/?.jpg":        {"DCIM/100/x/e.jpg"},
		"{DCIM/100,DCIM}/[a-b].*": {"DCIM/100/b.HEIC", "DCIM/a.HEIC"},
		"DCIM/{100/{b,c}.*,a.*}":  {"DCIM/100/b.HEIC", "DCIM/100/c.MOV", "DCIM/a.HEIC"},
		"DCIM/[!a]*":              {"DCIM/.hidden", "DCIM/100", "DCIM/we{ird"},
		`DCIM/we\{*`:              {"DCIM/we{ird"},
		"lnk/*.HEIC":              {"lnk/a.HEIC"},
		"*/a.HEIC":                {"DCIM/a.HEIC", "lnk/a.HEIC"},
		"DCIM/a.HEIC":             {"DCIM/a.HEIC"},
		"/":                       {"/"},
		"":                        {"."},
		"{only}":                  {},
		"none/*":                  {},
		"top.MOV/*":               {},
		"none":                    {},
	} {
		got, skipped, err := globPaths(c, ctx(t), pattern)
		if err != nil {
			t.Errorf("Glob(%q): %v", pattern, err)
		} else if !slices.Equal(got, want) {
			t.Errorf("Glob(%q) = %q, want %q", pattern, got, want)
		}
		if len(skipped) > 0 {
			t.Errorf("Glob(%q) skipped %v", pattern, skipped)
		}
	}
	for _, bad := range []string{"[", "a{b", "a}b", "[a-]/x", strings.Repeat("{a,b}", 11)} {
		if got, _, err := c.Glob(ctx(t), bad); got != nil {
			t.Errorf("Glob(%q) = %v, want nil", bad, got)
		} else if !errors.Is(err, path.ErrBadPattern) {
			t.Errorf("Glob(%q): %v, want %v", bad, err, path.ErrBadPattern)
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := c.Glob(cancelled, "**"); !errors.Is(err, context.Canceled) {
		t.Errorf("Glob: %v, want canceled", err)
	}
}

func globPaths(c *Client, ctx context.Context, pattern string) ([]string, []Skip, error) {
	found, skipped, err := c.Glob(ctx, pattern)
	paths := []string{}
	for _, e := range found {
		paths = append(paths, e.Path)
	}
	return paths, skipped, err
}

func FuzzGlob(f *testing.F) {
	for _, s := range []string{
		"DCIM/**/*.{HEIC,MOV}", "{a,{b,c}}", "[", `\`, "**/**", "{{{{{", "a,b}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all, err := expandBraces(s)
		if err != nil {
			return
		}
		if len(all) == 0 || len(all) > maxBraces {
			t.Errorf("expandBraces(%q): %d", s, len(all))
		}
		for _, p := range all {
			_, _, _ = splitPattern(p)
		}
	})
}
