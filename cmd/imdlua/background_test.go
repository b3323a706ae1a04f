package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTailOfLog checks that the shown part of a log is limited and begins at the start of a line.
func TestTailOfLog(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 99) + "\n"
	for _, test := range []struct{ name, content, want string }{
		{"empty", "", ""},
		{"short", "one\ntwo\n", "one\ntwo\n"},
		{"as long as shown", strings.Repeat("y", maxShownLog), strings.Repeat("y", maxShownLog)},
		{"long", strings.Repeat(line, 10_000) + "last\n",
			"(the beginning of the log is left out)\n" +
				strings.Repeat(line, (maxShownLog-len("last\n"))/len(line)) + "last\n"},
		{"one long line", strings.Repeat("z", 10*maxShownLog),
			"(the beginning of the log is left out)\n" + strings.Repeat("z", maxShownLog)},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := tailOf(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != test.want {
			t.Errorf("%s: %d bytes, want %d: %.80q", test.name, len(got), len(test.want), got)
		}
	}
	if _, err := tailOf(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("tailOf of a log that does not exist gives no error")
	}
}
