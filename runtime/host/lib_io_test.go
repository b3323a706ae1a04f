package host_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	lua "github.com/yuin/gopher-lua"
)

// TestReadingNeverCuts reads more than MaxString from a file. The error must name
// the limit and the file.
func TestReadingNeverCuts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "long.txt")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 3000)+"\nshort\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	setup := hosttest.Setup(func(h *host.Host) { h.SetGlobal("path", lua.LString(path)) })
	limit := hosttest.Options(func(o *host.Options) { o.MaxString = 1000 })
	for _, source := range []string{
		`return io.open(path):read("*a")`, `return io.open(path):read("*l")`,
		`return io.open(path):read(2000)`,
		`for l in io.lines(path) do end`, `for l in io.open(path):lines() do end`,
	} {
		res := run(
			t,
			`local ok, a, b = pcall(function() `+source+` end) print(ok, a, b)`,
			setup,
			limit,
		)
		if !strings.Contains(res.NoError(t).Stdout, "1000") {
			t.Errorf("%s gave %q, want an error that names the limit 1000", source, res.Stdout)
		}
		if !strings.Contains(source, "2000") && !strings.Contains(res.Stdout, path) {
			t.Errorf("%s gave %q, want an error that names the file", source, res.Stdout)
		}
	}
	expect(
		t,
		`local f = io.open(path) print(#f:read(1000), #f:read(1000), #f:read(1000), f:read(0), f:read(), f:read(), f:read())`,
		"1000\t1000\t1000\t\t\tshort\tnil\n",
		setup,
		limit,
	)
}

// TestCancelledReadLosesNothing cancels a read of standard input. The next read
// must get the input that came in the meantime.
func TestCancelledReadLosesNothing(t *testing.T) {
	t.Parallel()
	in, writer := io.Pipe()
	writeInput := hosttest.Setup(func(h *host.Host) {
		h.SetGlobal("say", h.L().NewFunction(func(L *lua.LState) int {
			go io.WriteString(writer, L.CheckString(1)) // waits until somebody reads
			return 0
		}))
	})
	expect(t, `
		print(pcall(timeout, 0.01, function() io.read() end))
		say("one\ntwo\n")
		print(io.read(), io.read())
		local both = { spawn(function() return io.read() end), spawn(function() return io.read() end) }
		block()
		say("three\nfour\n")
		print(join(both[1]), join(both[2]))`,
		"false\ttest.lua:2: not finished within 10ms (timeout)\none\ttwo\nthree\tfour\n",
		writeInput,
		hosttest.Options(func(o *host.Options) { o.Stdin = in }))
}
