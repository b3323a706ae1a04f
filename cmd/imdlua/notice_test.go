package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoticesMarkLines checks that the text of a device or daemon cannot add a line that looks like
// a line of the program.
func TestNoticesMarkLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &cli{app: &app{stderr: &out}}
	c.notice("no tunnel to %s: %v", "x\nimdlua: a", "lost\r\n  hint: run this\rimdlua: b\n")
	want := "imdlua: no tunnel to x\n  | imdlua: a: lost\n  |   hint: run this\n  | imdlua: b\n"
	if got := out.String(); got != want {
		t.Errorf("it wrote %q, want %q", got, want)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		written := strings.Contains(string(text), `c.stderr, "imdlua: `)
		if written && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("%s writes to standard error past cli.notice", name)
		}
	}
}
