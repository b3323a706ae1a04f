package runtime

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Limits of docs/contributing.md.
const (
	columns       = 100
	longText      = 50 // a line with a literal of this length may be longer
	fileLines     = 500
	functionLines = 60
)

// sources calls f for every Go file of the module.
func sources(t *testing.T, f func(name string, src []byte)) {
	t.Helper()
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		src, err := os.ReadFile(name)
		if err == nil {
			f(name, src)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestColumns finds lines of more than 100 columns, a tab being four of them. A
// transcript in a comment and a long text may be longer.
func TestColumns(t *testing.T) {
	sources(t, func(name string, src []byte) {
		long := map[int]int{} // how much of a line are literals
		fset := token.NewFileSet()
		file := fset.AddFile(name, -1, len(src))
		var s scanner.Scanner
		s.Init(file, src, nil, 0)
		for {
			pos, tok, text := s.Scan()
			if tok == token.EOF {
				break
			}
			if tok != token.STRING {
				continue
			}
			for i, part := range strings.Split(text, "\n") {
				long[file.Line(pos)+i] = max(long[file.Line(pos)+i], len(part))
			}
		}
		for i, line := range strings.Split(string(src), "\n") {
			width := len([]rune(strings.ReplaceAll(line, "\t", "    ")))
			transcript := strings.HasPrefix(strings.TrimLeft(line, "\t"), "//\t")
			if width > columns && long[i+1] < longText && !transcript {
				t.Errorf("%s:%d: %d columns", name, i+1, width)
			}
		}
	})
}

// TestSizes finds files of more than 500 lines and functions of more than 60. Data,
// tests and functions that declare what scripts have may be longer.
func TestSizes(t *testing.T) {
	sources(t, func(name string, src []byte) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		if n := strings.Count(string(src), "\n"); n > fileLines &&
			!strings.HasSuffix(name, "_data.go") {
			t.Errorf("%s: %d lines", name, n)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || declares(fn) {
				continue
			}
			n := fset.Position(fn.Body.Rbrace).Line - fset.Position(fn.Body.Lbrace).Line - 1
			if n > functionLines {
				t.Errorf("%s:%d: %s has %d lines", name, fset.Position(fn.Pos()).Line, fn.Name.Name,
					n)
			}
		}
	})
}

// declares reports whether a function returns declarations of package api.
func declares(fn *ast.FuncDecl) bool {
	if fn.Type.Results == nil || len(fn.Type.Results.List) != 1 {
		return false
	}
	result := types.ExprString(fn.Type.Results.List[0].Type)
	return strings.Contains(result, "api.") || strings.HasSuffix(result, "Family")
}
