package virtualtest

import (
	"os"
	"strings"
	"testing"
)

// goIOSVariable is the environment variable that has the path of go-ios.
const goIOSVariable = "IMDLUA_GO_IOS"

// GoIOS returns the path of the program ios of go-ios 1.2.0, which another project has
// written. .ci/run downloads it and sets the environment variable IMDLUA_GO_IOS. Without
// the variable a test is skipped on a user's machine, and fails in CI.
func GoIOS(t testing.TB) string {
	t.Helper()
	path := os.Getenv(goIOSVariable)
	if path == "" {
		Lack(t, goIOSVariable+" is not set; it has the path of the program ios of go-ios 1.2.0, "+
			"as .ci/run downloads it")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s: %v", goIOSVariable, err)
	}
	return path
}

// Lack ends a test that this machine cannot run. In CI the test fails, otherwise it is
// skipped.
func Lack(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// ForeignRow is a row of the table of docs/foreign.md: a command of another project, and
// the Lua that does the same.
type ForeignRow struct {
	Command, Lua, Profiles, Outcome string
}

// Runs reports whether the row is about the command, which may have arguments there.
func (r ForeignRow) Runs(command string) bool {
	rest, ok := strings.CutPrefix(r.Command, command)
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == '=')
}

// ForeignRows returns the rows of the table of docs/foreign.md.
func ForeignRows(t testing.TB, file string) []ForeignRow {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rows []ForeignRow
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			t.Fatalf("%s: %d cells, want 4: %s", file, len(cells), line)
		}
		for i, c := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(c), "`")
		}
		rows = append(rows, ForeignRow{cells[0], cells[1], cells[2], cells[3]})
	}
	if len(rows) < 32 {
		t.Fatalf("%s has %d rows, want at least 32", file, len(rows))
	}
	return rows
}
