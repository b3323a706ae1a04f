package lua51_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	"github.com/imdlua/imdlua/stdlib"
)

// reference returns the path of lua5.1. If it is not installed, the test is skipped, except in CI.
func reference(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("lua5.1")
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("lua5.1 is needed in CI: %v", err)
	}
	t.Skipf("lua5.1 is not installed: %v", err)
	return ""
}

// runReference runs a script with lua5.1 and returns what it prints.
func runReference(t testing.TB, source string) string {
	t.Helper()
	cmd := exec.Command(reference(t), "-")
	cmd.Stdin = strings.NewReader(source)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("lua5.1: %v\n%s", err, problems.String())
	}
	return out.String()
}

// library installs the script library.
func library(t testing.TB) hosttest.Option {
	return hosttest.Setup(func(h *host.Host) {
		if err := stdlib.Install(h); err != nil {
			t.Fatal(err)
		}
	})
}

// runOurs runs a script in a host and returns what it prints.
func runOurs(t testing.TB, source string) string {
	t.Helper()
	return hosttest.Run(t, source, library(t)).NoError(t).Stdout
}

// prelude defines case, which runs a chunk and prints the number, the types and the texts of its
// results, or its error without the position.
const prelude = `
local function text(v)
	if type(v) == "string" then return string.format("%q", v) end
	return tostring(v)
end
local function show(ok, ...)
	local parts = {}
	for i = 1, select("#", ...) do parts[i] = text((select(i, ...))) end
	local line = select("#", ...) .. ": " .. table.concat(parts, " ")
	if not ok then line = "error: " .. tostring((...)):gsub("^[^\n]-:%d+: ", "") end
	print((line:gsub("\n", "|")))
end
local function case(source)
	show(pcall(assert(loadstring(source, "=case"))))
end
`

// compare runs chunks here and in lua5.1, and compares their results.
func compare(t *testing.T, chunks []string) {
	t.Helper()
	var source strings.Builder
	source.WriteString(prelude)
	for _, chunk := range chunks {
		fmt.Fprintf(&source, "case(%s)\n", luaString(chunk))
	}
	want := strings.Split(runReference(t, source.String()), "\n")
	got := strings.Split(runOurs(t, source.String()), "\n")
	if len(want) != len(chunks)+1 {
		t.Fatalf("lua5.1 printed %d lines for %d chunks", len(want), len(chunks))
	}
	if len(got) != len(want) {
		t.Fatalf("printed %d lines for %d chunks", len(got), len(chunks))
	}
	for i, chunk := range chunks {
		if got[i] != want[i] {
			t.Errorf("%s\ngave %s, want %s", chunk, got[i], want[i])
		}
	}
}

// luaString writes s as a Lua string of decimal escapes.
func luaString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c < 127 && c != '"' && c != '\\' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "\\%03d", c)
	}
	b.WriteByte('"')
	return b.String()
}
