package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sources calls f with each line of code of the program.
func sources(t *testing.T, f func(file, line string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") ||
			strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if !strings.HasPrefix(strings.TrimSpace(line), "//") {
				f(filepath.ToSlash(name), strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// compare checks which files use something.
func compare(t *testing.T, what string, got map[string]int, want map[string]string) {
	t.Helper()
	for _, file := range slices.Sorted(maps.Keys(got)) {
		if want[file] == "" {
			t.Errorf("%s %s", file, what)
		}
	}
	for file := range want {
		if got[file] == 0 {
			t.Errorf("%s is in the table and needs not be: it does not %s", file, what)
		}
	}
}

// TestOutputsAreGuarded lists the places that write to an output without the
// filter for terminals, and why they may.
func TestOutputsAreGuarded(t *testing.T) {
	t.Parallel()
	raw := regexp.MustCompile(`os\.Std(out|err)\b|\b(out|err)\.(raw|out)\b|` +
		`\.composed\(\)|\.Styled\(\)|(std)?(out|err)\.Print\(L`)
	got := map[string]int{}
	sources(t, func(file, line string) {
		if raw.MatchString(line) {
			got[file]++
		}
	})
	compare(t, "write past the filter for terminals", got, map[string]string{
		"cmd/imdlua/main.go":                "names the streams",
		"cmd/imdlua/memory.go":              "the last line has no text from outside",
		"cmd/imdlua/repl.go":                "the editor draws; the host filters",
		"cmd/imdlua/run.go":                 "reports have colours; their texts are filtered",
		"cmd/imdlua/script.go":              "the host filters; reports as above",
		"cmd/imdlua/stream.go":              "is the filter",
		"runtime/host/error_report.go":      "filters what it quotes",
		"runtime/host/lib_base.go":          "print, which filters",
		"runtime/host/progress/progress.go": "labels are filtered",
		"stdlib/lua51/io_file.go":           "io.write is raw",
	})
}

// TestListeners lists the places that listen, and what keeps others away.
func TestListeners(t *testing.T) {
	t.Parallel()
	listens := regexp.MustCompile(`\bnet\.Listen\w*\(|ListenConfig\b|\blc\.Listen\w*\(|` +
		`\.Listen(Unix|TCP|UDP|MulticastUDP)\(|link\.Listen\(`)
	got := map[string]int{}
	sources(t, func(file, line string) {
		if listens.MatchString(line) {
			got[file]++
		}
	})
	fmt.Println(got)
}
