package runtime

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/imdlua/imdlua/"

// rule says which packages of this module, and which notable libraries, the
// packages of a folder may import. Patterns are folders; "x/..." is the folder
// and all below it. The longest matching folder decides.
type rule struct {
	folder string
	may    []string
}

var protocols = []string{
	"runtime/service/...", "runtime/device", "runtime/lockdown", "runtime/usbmux", "runtime/pair",
	"runtime/bonjour", "runtime/tunneld",
	"runtime/tunnel/...", "runtime/rsd", "runtime/remotepair", "runtime/remotexpc", "runtime/dtx",
	"runtime/link", "runtime/codec/...",
}

// phoneGround is what every subject of the phone may import; other subjects are not in
// it. The packages of the list import each other only downward, else Go refuses the cycle.
var phoneGround = []string{
	"runtime/phone/failure", "runtime/phone/queue", "runtime/phone/files",
	"runtime/phone/identity", "runtime/phone/clock", "runtime/phone/notifications",
	"runtime/phone/log", "runtime/codec/plist",
}

// capabilities are the packages of whole workflows, above the device and its services and
// below bindings and cmd. Those that are not written yet are here as well: issues and
// docs/design.md name them, and their place is part of the design.
var capabilities = []string{
	"runtime/ddi/...", "runtime/bundle/...", "runtime/crash/...", "runtime/journal/...",
	"runtime/ladder/...", "runtime/xctest/...", "runtime/wda/...", "runtime/ui/...",
	"runtime/media/...", "runtime/cdp/...", "runtime/logstore/...", "runtime/record/...",
}

// capabilityMay is what every capability package may import.
var capabilityMay = append([]string{
	"runtime/device", "runtime/device/route", "runtime/service/...", "runtime/tunnel",
	"runtime/link", "runtime/savefile", "runtime/codec/...",
}, capabilities...)

// rules is the table of docs/design.md, section 2: changing a line here is a
// design change.
var rules = []rule{
	{"cmd", append([]string{
		"repl", "bindings/...", "stdlib/...", "runtime/host/...", "runtime/virtual",
		"runtime/phone/...", "runtime/savefile",
	}, slices.Concat(protocols, capabilities)...)},
	{"repl", []string{"runtime/host/...", "runtime/savefile"}},
	{"scripts", nil},
	{
		"bindings",
		append([]string{"bindings/...", "runtime/host/...", "runtime/savefile"},
			slices.Concat(protocols, capabilities)...),
	},
	{"bindings/virtual", append(
		[]string{"bindings/...", "runtime/host/...", "runtime/virtual", "runtime/phone/..."},
		protocols...,
	)},
	{"stdlib", []string{"stdlib/...", "runtime/host/...", "runtime/savefile"}},
	{"stdlib/http", []string{"stdlib/...", "runtime/host/...", "runtime/savefile", "runtime/link"}},
	{"stdlib/plist", []string{"stdlib/...", "runtime/host/...", "runtime/codec/..."}},
	{"runtime/host", []string{"runtime/host/compile", "runtime/host/vm", "runtime/host/luanum",
		"runtime/host/localfile",
		"runtime/host/visible"}},
	{"runtime/host/api", []string{
		"runtime/host", "runtime/host/compile", "runtime/host/vm", "runtime/host/luanum",
		"runtime/host/localfile",
	}},
	{"runtime/host/compile", []string{"runtime/host/vm", "runtime/host/luanum"}},
	{"runtime/host/vm", []string{"runtime/host/luanum"}},
	{"runtime/host/luanum", nil},
	{"runtime/host/progress", []string{"runtime/host", "runtime/host/visible"}},
	{"runtime/host/visible", nil},
	{"runtime/host/picture", []string{"runtime/host/localfile"}},
	{"runtime/host/version", []string{"runtime/host", "runtime/host/api", "runtime/host/luanum"}},
	{"runtime/host/localfile", nil},
	{
		"runtime/hosttest",
		[]string{"runtime/host/...", "stdlib/...", "bindings/...", "runtime/virtual/..."},
	},
	{"runtime/hosttest/devicetest", []string{
		"runtime/host/...", "stdlib/...", "bindings/...", "runtime/virtual/...", "runtime/device",
	}},
	{"runtime/virtual", append([]string{"runtime/phone/..."}, protocols...)},
	{
		"runtime/virtual/virtualtest",
		append([]string{"runtime/virtual", "runtime/phone/...", "runtime/link/linktest"},
			protocols...),
	},
	{"runtime/device", []string{
		"runtime/device/route", "runtime/service", "runtime/service/heartbeat", "runtime/rsd",
		"runtime/tunnel",
		"runtime/remotepair", "runtime/remotexpc",
		"runtime/lockdown", "runtime/usbmux", "runtime/pair", "runtime/bonjour",
		"runtime/codec/...", "runtime/link",
	}},
	{"runtime/service", []string{
		"runtime/service", "runtime/dtx", "runtime/remotexpc", "runtime/link", "runtime/savefile",
		"runtime/codec/...",
	}},
	{"runtime/service/servicetest", []string{
		"runtime/service", "runtime/link", "runtime/link/linktest", "runtime/fuzztest",
	}},
	{"runtime/savefile", nil},
	{"runtime/lockdown", []string{"runtime/link", "runtime/codec/..."}},
	{"runtime/usbmux", []string{"runtime/link", "runtime/codec/..."}},
	{"runtime/pair", []string{"runtime/link", "runtime/savefile", "runtime/codec/..."}},
	{"runtime/dtx", []string{"runtime/link", "runtime/codec/..."}},
	{"runtime/remotexpc", []string{"runtime/link", "runtime/codec/..."}},
	{"runtime/remotepair", []string{"runtime/link", "runtime/savefile", "runtime/codec/..."}},
	{"runtime/bonjour", []string{"runtime/link", "runtime/codec/..."}},
	{"runtime/tunnel", []string{"runtime/tunnel/...", "runtime/link", "runtime/codec/..."}},
	{"runtime/tunneld", []string{"runtime/rsd", "runtime/link"}},
	{
		"runtime/rsd",
		[]string{"runtime/remotexpc", "runtime/service", "runtime/link", "runtime/codec/..."},
	},
	{"runtime/link", []string{"runtime/codec/plist"}},
	{"runtime/link/linktest", []string{"runtime/link"}},
	{"runtime/phone", []string{"runtime/phone/..."}},
	{"runtime/phone/phonetest", []string{"runtime/phone/...", "runtime/codec/plist"}},
	{"runtime/phone/failure", nil},
	{"runtime/phone/queue", nil},
	{"runtime/phone/files", []string{"runtime/phone/failure"}},
	{"runtime/phone/identity", phoneGround},
	{"runtime/phone/clock", phoneGround},
	{"runtime/phone/notifications", phoneGround},
	{"runtime/phone/log", phoneGround},
	{"runtime/phone/apps", append([]string{"runtime/phone/media"}, phoneGround...)},
	{"runtime/phone/conditions", phoneGround},
	{"runtime/phone/crashes", append([]string{"runtime/phone/processes"}, phoneGround...)},
	{"runtime/phone/diagnostics", append([]string{"runtime/phone/power"}, phoneGround...)},
	{"runtime/phone/diskimage", phoneGround},
	{"runtime/phone/location", phoneGround},
	{"runtime/phone/media", phoneGround},
	{"runtime/phone/power", phoneGround},
	{"runtime/phone/processes", phoneGround},
	{"runtime/phone/screen", phoneGround},
	{"runtime/phone/trust", phoneGround},
	{"runtime/phone/usage", append([]string{"runtime/phone/processes"}, phoneGround...)},
	{"runtime/phone/values", append([]string{"runtime/phone/power"}, phoneGround...)},
	{"runtime/fuzztest", nil},
	{"runtime/codec", []string{"runtime/codec/..."}},
}

// crossService lists the services whose device or client builds on another's:
// both turn into AFC on their connection.
var crossService = map[string]string{
	"runtime/service/housearrest":           "runtime/service/afc",
	"runtime/service/crashreportcopymobile": "runtime/service/afc",
}

// owners says which folders alone may import a library.
var owners = map[string][]string{
	"github.com/yuin/gopher-lua": {
		"runtime/host/...", "runtime/hosttest", "bindings/...", "stdlib/...", "repl",
	},
	"layeh.com/gopher-luar":      {"runtime/host/..."},
	"howett.net/plist":           {"runtime/codec/plist"},
	"github.com/chzyer/readline": {"repl"},
	"github.com/spf13/cobra":     {"cmd/..."},
	"github.com/quic-go/quic-go": {"runtime/tunnel"},
	"gvisor.dev/gvisor":          {"runtime/tunnel"},
	"github.com/hashicorp/mdns":  {"runtime/bonjour"},
	"github.com/miekg/dns":       {"runtime/bonjour"},
	"golang.org/x/net/http2":     {"runtime/remotexpc"},
	"github.com/mattn/go-runewidth": {
		"repl", "runtime/host/...", "stdlib/str", "stdlib/term", "stdlib/utf8",
	},
	"golang.org/x/net/http":    {"stdlib/http"},
	"golang.org/x/net/netutil": {"stdlib/http"},
	"golang.org/x/text":        {"runtime/savefile"},
	"golang.org/x/sys":         {"runtime/tunnel", "stdlib/exec", "stdlib/lua51"},
	"go.yaml.in/yaml/v3":       {"stdlib/yaml"},

	"github.com/coder/websocket":     {"runtime/tunneld"},
	"github.com/things-go/go-socks5": {"runtime/tunneld"},
}

func matches(pattern, folder string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return folder == base || strings.HasPrefix(folder, base+"/")
	}
	return folder == pattern
}

func ruleFor(folder string) *rule {
	var best *rule
	for i, r := range rules {
		if matches(r.folder+"/...", folder) && (best == nil || len(r.folder) > len(best.folder)) {
			best = &rules[i]
		}
	}
	if best == nil && slices.ContainsFunc(capabilities,
		func(p string) bool { return matches(p, folder) }) {
		best = &rule{folder, capabilityMay}
	}
	return best
}

// goFiles calls f for every Go file of the repository, with its folder and
// imports.
func goFiles(t *testing.T, f func(folder, name string, imports []string)) {
	t.Helper()
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", p), nil,
			parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, i := range file.Imports {
			s, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, s)
		}
		f(path.Dir(p), path.Base(p), imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImports(t *testing.T) {
	seen := 0
	goFiles(t, func(folder, name string, imports []string) {
		seen++
		for _, imp := range imports {
			for lib, may := range owners {
				if imp != lib && !strings.HasPrefix(imp, lib+"/") {
					continue
				}
				if !slices.ContainsFunc(may, func(p string) bool { return matches(p, folder) }) &&
					!strings.HasSuffix(name, "_test.go") {
					t.Errorf("%s/%s imports %s, which belongs to %v", folder, name, imp, may)
				}
			}
			target, ours := strings.CutPrefix(imp, module)
			if !ours || strings.HasSuffix(name, "_test.go") {
				continue
			}
			if !allowed(folder, name, target) {
				t.Errorf("%s/%s imports %s: not in rules of runtime/layout_test.go and the table "+
					"of docs/design.md, section 2", folder, name, target)
			}
			if strings.HasSuffix(target, "test") && !strings.HasSuffix(folder, "test") {
				t.Errorf("%s/%s imports %s, which is for tests alone", folder, name, target)
			}
		}
	})
	if seen < 50 {
		t.Fatalf("only %d Go files found: the walk is broken", seen)
	}
}

func allowed(folder, name, target string) bool {
	r := ruleFor(folder)
	if r == nil {
		return false
	}
	if strings.HasPrefix(target, "runtime/phone") &&
		(name == "device.go" || strings.HasSuffix(name, "_device.go")) {
		return true
	}
	if crossService[folder] == target {
		return true
	}
	return slices.ContainsFunc(r.may, func(p string) bool { return matches(p, target) })
}

// TestPhoneSubjects checks that every package below phone has a rule of its own, since
// that of phone allows all subjects, and that the tree of the design lists it.
func TestPhoneSubjects(t *testing.T) {
	design, err := os.ReadFile("../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("phone")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		folder := "runtime/phone/" + e.Name()
		if e.IsDir() && ruleFor(folder).folder != folder {
			t.Errorf("%s has no line in rules of runtime/layout_test.go", folder)
		}
		if e.IsDir() && !strings.Contains(string(design), " "+e.Name()+"/") {
			t.Errorf("%s is not in the tree of docs/design.md, section 2", folder)
		}
	}
}

// TestTopLevel holds the top level of the repository to the design card.
func TestTopLevel(t *testing.T) {
	want := []string{
		"LICENSE", "README.md", "bindings", "cmd", "docs", "go.mod", "go.sum", "repl", "runtime",
		"scripts", "stdlib",
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(want, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
	for _, w := range want {
		if _, err := os.Stat(filepath.Join("..", w)); err != nil {
			t.Errorf("%s is missing at the top level", w)
		}
	}
}

// comparesErrno finds comparisons with numbers that sockets on Windows never return.
var comparesErrno = regexp.MustCompile(
	`errors\.Is\([^,]*, (syscall|unix|windows)\.(ECONN\w+|EPIPE|EADDR\w+|E(HOST|NET)\w+|ETIMEDOUT|EMFILE)\)`)

// TestSocketErrors holds that socket errors are compared by link.Is alone.
func TestSocketErrors(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") ||
			strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_linux.go") ||
			strings.HasSuffix(path, "_unix.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, found := range comparesErrno.FindAllString(string(source), -1) {
			t.Errorf("%s has %s, want link.Is", path, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
