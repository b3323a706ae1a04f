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
	got, err := walk(".", skip("empty", fs.SkipDir))
	if want := []string{
		".", "DCIM", "DCIM/100APPLE", "DCIM/100APPLE/IMG_1.HEIC", "DCIM/b.txt", "DCIM/root",
		"empty", "link",
	}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Walk = %q, %v, want %q", got, err, want)
	}
	got, err = walk("/", skip("/DCIM/100APPLE/IMG_1.HEIC", fs.SkipAll))
	if want := []string{"/", "/DCIM", "/DCIM/100APPLE", "/DCIM/100APPLE/IMG_1.HEIC"}; err != nil ||
		!slices.Equal(got, want) {
		t.Errorf("Walk to SkipAll = %q, %v, want %q", got, err, want)
	}
	got, err = walk("/DCIM", skip("/DCIM/100APPLE/IMG_1.HEIC", fs.SkipDir))
	if want := []string{
		"/DCIM", "/DCIM/100APPLE", "/DCIM/100APPLE/IMG_1.HEIC", "/DCIM/b.txt", "/DCIM/root",
	}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Walk with SkipDir at a file = %q, %v, want %q", got, err, want)
	}
	if got, err := walk("/empty", skip("", nil)); err != nil || len(got) != 101 ||
		!slices.IsSorted(got) {
		t.Errorf("Walk = %d names, %v", len(got), err)
	}
	if got, err := walk("/link", skip("", nil)); err != nil ||
		!slices.Equal(got, []string{"/link"}) {
		t.Errorf("Walk of a link = %q, %v", got, err)
	}
	if got, err := walk("/none", skip("", nil)); err != nil ||
		!slices.Equal(got, []string{"/none!"}) {
		t.Errorf("Walk of nothing = %q, %v", got, err)
	}
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
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Glob(%q) = %q, %v, want %q", pattern, got, err, want)
		}
		if len(skipped) > 0 {
			t.Errorf("Glob(%q) skipped %v", pattern, skipped)
		}
	}
	for _, bad := range []string{"[", "a{b", "a}b", "[a-]/x", strings.Repeat("{a,b}", 11)} {
		if got, _, err := c.Glob(ctx(t), bad); got != nil || !errors.Is(err, path.ErrBadPattern) {
			t.Errorf("Glob(%q) = %v, %v, want ErrBadPattern", bad, got, err)
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
