package runtime

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestListed checks that every service, family of bindings and script module is in the
// list of its kind: the file of the list imports its package.
func TestListed(t *testing.T) {
	lists := []struct{ parent, file, except string }{
		{"runtime/service", "runtime/virtual/catalog.go", "servicetest"},
		{"bindings", "bindings/bindings.go", "stream"},
		{"stdlib", "stdlib/stdlib.go", "pump"},
	}
	imported := map[string][]string{}
	goFiles(t, func(folder, name string, imports []string) {
		imported[path.Join(folder, name)] = imports
	})
	for _, l := range lists {
		entries, err := os.ReadDir(filepath.Join("..", l.parent))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			folder := path.Join(l.parent, e.Name())
			if e.IsDir() && e.Name() != l.except &&
				!slices.Contains(imported[l.file], module+folder) {
				t.Errorf("%s is not listed in %s", folder, l.file)
			}
		}
	}
}

// unfuzzed lists the folders whose decoders read nothing that a peer sends, or whose
// targets are elsewhere.
var unfuzzed = map[string]string{
	"runtime/host/luanum":    "numbers of scripts, tested against lua5.1",
	"runtime/host/localfile": "files of this computer",
	"runtime/host/version":   "texts of scripts",
	"runtime/phone/files":    "files of the model",

	"runtime/service/servicetest": "device sides of tests",
}

// decoders are the beginnings of the names of functions that read what peers send.
var decoders = []string{"Decode", "Parse", "Read", "Recv", "Serve", "Unarchive", "Unmarshal"}

// TestFuzzed checks that every package that reads what peers send has fuzz targets, and
// that every service has one for each of its sides.
func TestFuzzed(t *testing.T) {
	reads, targets := map[string]string{}, map[string]int{}
	goFiles(t, func(folder, name string, _ []string) {
		if !strings.HasPrefix(folder, "runtime/") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", folder, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok:
			case strings.HasSuffix(name, "_test.go") && strings.HasPrefix(f.Name.Name, "Fuzz"):
				targets[folder]++
			case !strings.HasSuffix(name, "_test.go") && isDecoder(f):
				reads[folder] = f.Name.Name
			}
		}
	})
	if len(reads) < 20 {
		t.Fatalf("only %d packages with decoders found: the walk is broken", len(reads))
	}
	for folder, decoder := range reads {
		want := 1
		if strings.HasPrefix(folder, "runtime/service/") {
			want = 2
		}
		if _, exempt := unfuzzed[folder]; !exempt && targets[folder] < want {
			t.Errorf("%s has %d fuzz targets, want %d: %s reads what peers send", folder,
				targets[folder], want, decoder)
		}
	}
	for folder := range unfuzzed {
		if reads[folder] == "" {
			t.Errorf("%s needs no exemption, because it has no decoder", folder)
		}
		if targets[folder] > 0 {
			t.Errorf("%s needs no exemption, because it has %d fuzz targets", folder,
				targets[folder])
		}
	}
}

// isDecoder reports whether an exported function reads bytes, a text or a stream.
func isDecoder(f *ast.FuncDecl) bool {
	if !slices.ContainsFunc(decoders,
		func(p string) bool { return strings.HasPrefix(f.Name.Name, p) }) {
		return false
	}
	return slices.ContainsFunc(f.Type.Params.List, func(p *ast.Field) bool {
		switch t := p.Type.(type) {
		case *ast.ArrayType:
			return types.ExprString(t) == "[]byte"
		case *ast.Ident:
			return t.Name == "string" || t.Name == "Transport"
		case *ast.SelectorExpr:
			return slices.Contains([]string{"io.Reader", "net.Conn", "net.Listener"},
				types.ExprString(t))
		}
		return false
	})
}

// TestServiceFiles checks that every service has its files, its page, and its suite.
func TestServiceFiles(t *testing.T) {
	entries, err := os.ReadDir("service")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "servicetest" {
			continue
		}
		for _, want := range []string{"wire.go", "client.go", "device.go", e.Name() + "_test.go"} {
			if _, err := os.Stat(filepath.Join("service", e.Name(), want)); err != nil {
				t.Errorf("runtime/service/%s lacks %s", e.Name(), want)
			}
		}
		if _, err := os.Stat(filepath.Join("..", "docs", "protocols", e.Name()+".md")); err != nil {
			t.Errorf("docs/protocols/%s.md is missing", e.Name())
		}
		testSuite(t, filepath.Join("service", e.Name()))
	}
}

// testSuite checks that the tests of a service run a suite, and call every method that
// takes a context.
func testSuite(t *testing.T, folder string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	waits, used := map[string]string{}, map[string]bool{}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				base := filepath.Base(name)
				if n.Recv != nil && !strings.HasSuffix(base, "device.go") && takesContext(n) {
					waits[n.Name.Name] = name
				}
			case *ast.SelectorExpr:
				if strings.HasSuffix(name, "_test.go") {
					used[types.ExprString(n)] = true
					used[n.Sel.Name] = true
				}
			}
			return true
		})
	}
	if !used["suite.Test"] {
		t.Errorf("the tests of runtime/%s call no suite.Test of servicetest", folder)
	}
	for method, name := range waits {
		if ast.IsExported(method) && !used[method] {
			t.Errorf("%s: %s waits for the device, but no test calls it: add it to Calls of "+
				"the suite", name, method)
		}
	}
}

// takesContext reports whether the first parameter of a function is a context and its last
// result an error.
func takesContext(f *ast.FuncDecl) bool {
	in, out := f.Type.Params.List, f.Type.Results
	return len(in) > 0 && types.ExprString(in[0].Type) == "context.Context" &&
		out != nil && types.ExprString(out.List[len(out.List)-1].Type) == "error"
}
