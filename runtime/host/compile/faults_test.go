package compile_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/compile"
)

// installed returns the path of a program. If the program is missing, the test is
// skipped, or fails in CI.
func installed(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
	return ""
}

// inHost runs a chunk and returns what it prints.
func inHost(t *testing.T, source string) string {
	t.Helper()
	var out bytes.Buffer
	h := host.New(host.Options{Stdout: &out, MaxInstructions: 20_000_000})
	defer h.Close()
	if err := h.Run(context.Background(), "t.lua", source); err != nil {
		t.Errorf("Run() = %v, want nil; source:\n%.2000s", err, source)
	}
	h.Close()
	return out.String()
}

func TestFaults(t *testing.T) {
	for _, f := range compile.Faults {
		t.Run(f.Name, func(t *testing.T) {
			source := f.Chunk
			if got := inHost(t, declareGlobals+source); got != f.Prints {
				t.Errorf("the host prints %q, want %q; source:\n%s", got, f.Prints, f.Chunk)
			}
		})
	}
}

func TestFaultsInReference(t *testing.T) {
	for _, f := range compile.Faults {
		lua := installed(t, "lua5.1")
		if strings.Contains(f.Chunk, "goto ") {
			lua = installed(t, "luajit")
		}
		cmd := exec.Command(lua, "-")
		cmd.Stdin = strings.NewReader(f.Chunk)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %s fails: %v: %s", f.Name, lua, err, out)
		}
		if string(out) != f.Prints {
			t.Errorf("%s: %s prints %q, want %q", f.Name, lua, out, f.Prints)
		}
	}
}

// declareGlobals declares the globals that the chunks use, because the host does not
// allow new ones.
const declareGlobals = "rawset(_G, 'g', false)\n"
