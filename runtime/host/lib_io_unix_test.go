//go:build unix

package host_test

import (
	"context"
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	lua "github.com/yuin/gopher-lua"
)

// TestFIFOsCanBeCancelled opens and reads a FIFO that no other process has open,
// and one whose other end writes nothing.
func TestFIFOsCanBeCancelled(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"open for reading": `io.open(fifo, "r")`,
		"open for writing": `io.open(fifo, "w")`,
		"lines":            `for l in io.lines(fifo) do end`,
		"dofile":           `dofile(fifo)`,
		"loadfile":         `loadfile(fifo)`,
		"read":             `local both = io.open(fifo, "r+") local f = io.open(fifo) f:read()`,
		"read all":         `local both = io.open(fifo, "r+") local f = io.open(fifo) f:read("*a")`,
		"write":            `local both = io.open(fifo, "r+") local f = io.open(fifo, "w") while true do f:write(("x"):rep(1e5)) end`,
		"endless device":   `io.open("/dev/zero"):read("*l")`,
		"two readers":      `local both = io.open(fifo, "r+") local f = io.open(fifo) spawn(function() f:read() end) f:read()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			h := host.New(host.Options{MaxString: 1 << 40})
			kit(h)
			h.SetGlobal("fifo", lua.LString(fifo))
			err := h.Run(
				context.Background(),
				"test.lua",
				`timeout(0.05, function() `+source+` end)`,
			)
			if !errors.Is(err, &host.Error{Code: "timeout"}) {
				t.Errorf("Run() = %v, want code timeout", err)
			}
			if left := h.Left(); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
			if err := h.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
		})
	}
}
