package lua51_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
)

// cut is a range of lines of a test file that is not run, with the reason.
type cut struct {
	first, last int
	reason      string
}

// suiteFile is one file of the tests of Lua 5.1, which gopher-lua carries in its module.
type suiteFile struct {
	name string
	cuts []cut
	// stops is the line at which the file ends with an error, 0 if the whole file passes.
	stops  int
	reason string
}

// suiteFolder returns the folder of the tests of Lua 5.1.
func suiteFolder(t *testing.T) string {
	t.Helper()
	const module = "github.com/yuin/gopher-lua"
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "_lua5.1-tests")
}

// TestSuiteOfLua51 runs the reference tests file by file.
func TestSuiteOfLua51(t *testing.T) {
	folder := suiteFolder(t)
	listed := map[string]bool{}
	for _, f := range suite {
		listed[f.name] = true
		t.Run(f.name, func(t *testing.T) { runSuiteFile(t, folder, f) })
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.lua"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no files in %s", folder)
	}
	for _, file := range files {
		if !listed[filepath.Base(file)] {
			t.Errorf("%s is not in the table", filepath.Base(file))
		}
	}
}

func runSuiteFile(t *testing.T, folder string, f suiteFile) {
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(work, "libs", "P1"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(work)
	text, err := os.ReadFile(f.name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, c := range f.cuts {
		for i := c.first; i <= c.last; i++ {
			lines[i-1] = ""
		}
	}
	loose := hosttest.Setup(func(h *host.Host) {
		// The tests assign and read globals that do not exist.
		globals := h.L().Get(lua.GlobalsIndex).(*lua.LTable)
		globals.Metatable = lua.LNil
		globals.RawSetString("arg", h.L().NewTable())
	})
	res := hosttest.Run(t, strings.Join(lines, "\n"), library(t), loose)
	line := 0
	var e *host.Error
	if res.Err != nil {
		if !errors.As(res.Err, &e) {
			t.Fatalf("%v is not a *host.Error", res.Err)
		}
		for _, frame := range e.Traceback {
			if frame.File == "test.lua" {
				line = frame.Line
			}
		}
		if line == 0 {
			t.Fatalf("the error has no line: %v", res.Err)
		}
	}
	if line != f.stops {
		t.Errorf("stops at line %d, want %d (0 means that it passes): %v", line, f.stops, res.Err)
	}
}
