package runtime

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// TestHostIdentityIsPassed finds connections to lists of services without the identity of
// this computer. rsd.Dial would use a random one, and a device with iOS 27.2 would close
// the ports of all other programs of the computer.
func TestHostIdentityIsPassed(t *testing.T) {
	const dials = "runtime/device/list.go"
	seen := false
	sources(t, func(name string, src []byte) {
		name = strings.TrimPrefix(name, "../")
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "runtime/rsd/") {
			return
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || !calls(fn, "rsd", "Dial") {
				continue
			}
			seen = seen || name == dials
			if !namesHost(fn) {
				t.Errorf("%s: %s calls rsd.Dial without Options.Host",
					fset.Position(fn.Pos()), fn.Name.Name)
			}
		}
	})
	if !seen {
		t.Errorf("no call of rsd.Dial was found in %s", dials)
	}
}

// calls reports whether a function calls a function of a package.
func calls(fn *ast.FuncDecl, pkg, name string) bool {
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == name {
			x, ok := s.X.(*ast.Ident)
			found = found || ok && x.Name == pkg
		}
		return true
	})
	return found
}

// namesHost reports whether a function sets a field Host, in a literal or by assignment.
func namesHost(fn *ast.FuncDecl) bool {
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			key, ok := n.Key.(*ast.Ident)
			found = found || ok && key.Name == "Host"
		case *ast.AssignStmt:
			for _, to := range n.Lhs {
				s, ok := to.(*ast.SelectorExpr)
				found = found || ok && s.Sel.Name == "Host"
			}
		}
		return true
	})
	return found
}
