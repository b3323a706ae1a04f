package host_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
)

var updateMistakes = flag.Bool("mistakes.update", false, "rewrite testdata/mistakes.lua")

// TestMistakes runs the chunks of testdata/mistakes.lua. The lines that begin with
// --> and --? are the error and the hint that a chunk must give.
func TestMistakes(t *testing.T) {
	const file = "testdata/mistakes.lua"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var updated []string
	for chunk := range strings.SplitSeq(string(text), "\n---\n") {
		source, want := splitMistake(chunk)
		e, ok := hosttest.Run(t, source, hosttest.Chunk("t.lua")).Err.(*host.Error)
		if !ok {
			t.Errorf("no error for\n%s", source)
			continue
		}
		got := fmt.Sprintf("--> %s: %s\n", strings.TrimPrefix(e.Where, "t.lua:"), e.Message)
		if column, ok := e.Details["column"]; ok {
			got = fmt.Sprintf(
				"--> %s:%v: %s\n",
				strings.TrimPrefix(e.Where, "t.lua:"),
				column,
				e.Message,
			)
		}
		if e.Hint != "" {
			got += "--? " + e.Hint + "\n"
		}
		updated = append(updated, source+strings.TrimSuffix(got, "\n"))
		if got != want && !*updateMistakes {
			t.Errorf("%s\ngives\n%s\nwant\n%s", source, got, want)
		}
	}
	if *updateMistakes {
		text := strings.Join(updated, "\n---\n") + "\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// splitMistake splits a chunk into the source and the lines that it must give.
func splitMistake(chunk string) (source, want string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(chunk, "\n"), "\n") {
		if strings.HasPrefix(line, "--> ") || strings.HasPrefix(line, "--? ") {
			want += line + "\n"
		} else {
			source += line + "\n"
		}
	}
	return source, want
}
