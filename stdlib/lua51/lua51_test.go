package lua51_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/hosttest"
)

// chunkPrelude converts results to texts that are the same here and in lua5.1. It removes the
// addresses of values and the name "?" of a function that was called by pcall.
const chunkPrelude = `
local function show(...)
	local out = {}
	for i = 1, select("#", ...) do
		local v = select(i, ...)
		local s = type(v) == "number" and string.format("%.14g", v) or tostring(v)
		s = s:gsub("^%-nan$", "nan"):gsub("^%-0$", "0"):gsub(" to '%?'", "")
		s = s:gsub("^[%w_.]+:%d+: ", ""):gsub("^%[string .-%]:%d+: ", "")
		s = s:gsub("^builtin: .*", "function"):gsub("^function: .*", "function")
		out[i] = s:gsub("^table: .*", "table")
	end
	return "[" .. table.concat(out, "|") .. "]"
end
`

// script runs every chunk and prints a line for each.
func script(chunks []string) string {
	var b strings.Builder
	b.WriteString(chunkPrelude)
	for _, c := range chunks {
		b.WriteString("do local ok, f = pcall(loadstring, [==[" + c + "]==]) ")
		b.WriteString("print((show(pcall(f)):gsub('\\n', '\\\\n'))) end\n")
	}
	return b.String()
}

// TestLikeLua51 compares the libraries with the lua5.1 of this computer.
func TestLikeLua51(t *testing.T) {
	t.Setenv("TZ", "Europe/Berlin")
	reference, err := exec.LookPath("lua5.1")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("lua5.1 is not installed")
		}
		t.Skip("lua5.1 is not installed, so there is nothing to compare with")
	}
	if len(chunks) < 250 {
		t.Errorf("the table has %d chunks, want at least 250", len(chunks))
	}
	source := script(chunks)
	cmd := exec.Command(reference, "-")
	cmd.Stdin = strings.NewReader(source)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("lua5.1: %v\n%s", err, out)
	}
	want := strings.Split(strings.TrimSpace(string(out)), "\n")
	got := strings.Split(strings.TrimSpace(hosttest.Run(t, source).NoError(t).Stdout), "\n")
	if len(got) != len(chunks) {
		t.Fatalf("printed %d lines for %d chunks", len(got), len(chunks))
	}
	if len(want) != len(chunks) {
		t.Fatalf("lua5.1 printed %d lines for %d chunks", len(want), len(chunks))
	}
	for i, c := range chunks {
		if got[i] != want[i] {
			t.Errorf("%s\n gives %s\n want  %s", c, got[i], want[i])
		}
	}
}

// TestDifferences checks intended differences from Lua 5.1.
func TestDifferences(t *testing.T) {
	t.Parallel()
	for _, d := range differences {
		source := script([]string{d.chunk})
		got := strings.TrimSpace(hosttest.Run(t, source).NoError(t).Stdout)
		if got != d.want {
			t.Errorf("%s\n gives %s\n want  %s\n because %s", d.chunk, got, d.want, d.reason)
		}
	}
}
