package stdlib_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// manualRow is a row of a table of docs/lua.md.
type manualRow struct {
	chunk, here, lua51 string
	compared           bool // whether the table has a column for Lua 5.1
}

var (
	comparedRow = regexp.MustCompile("^\\| `([^`]+)` \\| `([^`]*)` \\| `([^`]*)` \\|.*\\|$")
	plainRow    = regexp.MustCompile("^\\| `([^`]+)` \\| `([^`]*)` \\| .*\\|$")
	codeBlock   = regexp.MustCompile("(?s)```lua\n(.*?)```")
)

func readManual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/lua.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// manualRows reads the tables.
func manualRows(t *testing.T) []manualRow {
	t.Helper()
	var rows []manualRow
	for line := range strings.SplitSeq(readManual(t), "\n") {
		compared := comparedRow.FindStringSubmatch(line)
		plain := plainRow.FindStringSubmatch(line)
		switch {
		case compared != nil:
			rows = append(rows, manualRow{compared[1], compared[2], compared[3], true})
		case plain != nil:
			rows = append(rows, manualRow{chunk: plain[1], here: plain[2]})
		case strings.HasPrefix(line, "| `"):
			t.Errorf("the row has an unknown form: %s", line)
		}
	}
	if len(rows) < 40 {
		t.Fatalf("docs/lua.md has %d rows with chunks, want 40 or more", len(rows))
	}
	return rows
}

// manualPrelude prints what a chunk returns or prints, without positions, and a separating line.
const manualPrelude = `
local function finish(ok, ...)
  if not ok then return print("error") end
  local out = {}
  for i = 1, select("#", ...) do
    out[i] = tostring((select(i, ...))):gsub("^%[string .-%]:%d+: ", "")
  end
  if #out > 0 then print(table.concat(out, ", ")) end
end
local function case(source)
  local f = loadstring("return " .. source .. "\n") or loadstring(source)
  if f then finish(pcall(f)) else print("refused") end
  print("----")
end
`

// manualScript runs chunks one after the other.
func manualScript(rows []manualRow) string {
	var b strings.Builder
	b.WriteString(manualPrelude)
	for _, r := range rows {
		fmt.Fprintf(&b, "case([==[%s]==])\n", r.chunk)
	}
	return b.String()
}

func compareManual(t *testing.T, rows []manualRow, output string, want func(manualRow) string) {
	t.Helper()
	parts := strings.Split(output, "----\n")
	if len(parts) != len(rows)+1 {
		t.Fatalf("%d results of %d chunks:\n%s", len(parts)-1, len(rows), output)
	}
	for i, r := range rows {
		got := strings.TrimSuffix(parts[i], "\n")
		if got != want(r) {
			t.Errorf("%s\nprints %q, docs/lua.md says %q", r.chunk, got, want(r))
		}
	}
}

// TestManual runs every chunk of the tables of docs/lua.md.
func TestManual(t *testing.T) {
	t.Parallel()
	rows := manualRows(t)
	out, err := run(t, host.Options{}, manualScript(rows))
	if err != nil {
		t.Fatal(err)
	}
	compareManual(t, rows, out, func(r manualRow) string { return r.here })
}

// TestManualOfLua51 runs the chunks that have a column for Lua 5.1 with lua5.1.
func TestManualOfLua51(t *testing.T) {
	t.Parallel()
	lua51, err := exec.LookPath("lua5.1")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("lua5.1 is not installed")
		}
		t.Skip("lua5.1 is not installed, so there is nothing to compare with")
	}
	var rows []manualRow
	for _, r := range manualRows(t) {
		if r.compared {
			rows = append(rows, r)
		}
		if r.compared && r.here == r.lua51 {
			t.Errorf("%s is the same in Lua 5.1: it is not a difference", r.chunk)
		}
	}
	cmd := exec.Command(lua51, "-")
	cmd.Stdin = strings.NewReader(manualScript(rows))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("lua5.1: %v\n%s", err, out)
	}
	compareManual(t, rows, string(out), func(r manualRow) string { return r.lua51 })
}

// TestManualExamples runs the blocks of code of docs/lua.md. Their output is given after -->.
func TestManualExamples(t *testing.T) {
	t.Parallel()
	blocks := codeBlock.FindAllStringSubmatch(readManual(t), -1)
	if len(blocks) < 4 {
		t.Errorf("docs/lua.md has %d blocks of code, want 4 or more", len(blocks))
	}
	for _, block := range blocks {
		want := ""
		for line := range strings.Lines(block[1]) {
			if text, ok := strings.CutPrefix(line, "--> "); ok {
				want += text
			}
		}
		prints(t, block[1], want)
	}
}
