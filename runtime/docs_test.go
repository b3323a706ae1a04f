package runtime

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/bindings"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/stdlib"
)

// TestDesign checks that the table of imports in docs/design.md names every folder of rules
// and every capability.
func TestDesign(t *testing.T) {
	b, err := os.ReadFile("../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "### Who may import whom\n```\n")
	table, _, _ = strings.Cut(table, "```")
	folders := slices.Clone(capabilities)
	for _, r := range rules {
		folders = append(folders, r.folder)
	}
	// The table has one row for each of these kinds of packages.
	kinds := map[string]string{
		"runtime/phone/": "phone/<subject>", "stdlib": "stdlib/<m>", "bindings": "bindings/<m>",
		"runtime/service": "service/<x>", "runtime/codec": "codec/*",
	}
	for _, f := range folders {
		name := strings.TrimSuffix(strings.TrimPrefix(f, "runtime/"), "/...")
		for prefix, row := range kinds {
			if f == prefix || prefix == "runtime/phone/" && strings.HasPrefix(f, prefix) {
				name = row
			}
		}
		if !regexp.MustCompile(`(?m)(^|[ ,(])` + regexp.QuoteMeta(name) + `([ ,:)]|$)`).
			MatchString(table) {
			t.Errorf("%s is in rules of runtime/layout_test.go, but not in the table of "+
				"docs/design.md, section 2", f)
		}
	}
}

// TestChannelsDocumented checks that docs/protocols/dvt.md names every channel.
func TestChannelsDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/protocols/dvt.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, channel := range dvt.Channels() {
		short := strings.TrimPrefix(channel, "com.apple.instruments.server.services.")
		if !strings.Contains(string(b), "`"+short+"`") {
			t.Errorf("docs/protocols/dvt.md has no row for the channel %s", short)
		}
	}
}

var update = flag.Bool("update", false, "write the generated pages")

// TestReference holds docs/reference to the declarations of the script API;
// go generate ./... writes it anew.
func TestReference(t *testing.T) {
	h := host.New(host.Options{})
	defer h.Close()
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	if err := bindings.Install(h, &bindings.Env{}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("..", "docs", "reference")
	pages := api.Registry(h).Reference()
	if len(pages) < 10 {
		t.Fatalf("only %d modules are declared", len(pages))
	}
	if *update {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(dir, name+".md"), []byte(text),
				0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range pages {
		b, err := os.ReadFile(filepath.Join(dir, name+".md"))
		if err != nil {
			t.Errorf("docs/reference/%s.md: %v", name, err)
		} else if string(b) != text {
			t.Errorf("docs/reference/%s.md is stale: run go generate ./...", name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := pages[strings.TrimSuffix(e.Name(), ".md")]; !ok {
			t.Errorf("docs/reference/%s describes no module", e.Name())
		}
	}
}

// TestChangelog checks that docs/changelog.md names every script module and every method
// of devices.
func TestChangelog(t *testing.T) {
	b, err := os.ReadFile("../docs/changelog.md")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../docs/reference/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, page := range pages {
		if name := strings.TrimSuffix(filepath.Base(page), ".md"); name != "base" {
			names = append(names, name)
		}
	}
	device, err := os.ReadFile("../docs/reference/device.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^### dev:(\w+)`).FindAllSubmatch(device, -1) {
		names = append(names, string(m[1]))
	}
	if len(names) < 80 {
		t.Fatalf("only %d names found in the reference", len(names))
	}
	for _, name := range names {
		if !regexp.MustCompile(`\b` + name + `\b`).Match(b) {
			t.Errorf("docs/changelog.md does not name %s", name)
		}
	}
}
