package compile

import (
	"reflect"

	"github.com/yuin/gopher-lua/ast"
)

// forNames are the locals that hold what a generic for loop goes by; no script
// can write such names.
var forNames = []string{"(generator)", "(state)", "(control)"}

var (
	stmtsType = reflect.TypeFor[[]ast.Stmt]()
	stmtType  = reflect.TypeFor[ast.Stmt]()
	exprType  = reflect.TypeFor[ast.Expr]()
)

// hoistLoops turns each `for names in exprs do` into
//
//	do local generator, state, control = exprs
//	for names in generator, state, control do
//
// because gopher-lua compiles `for x in f().y:z() do` so that it indexes the
// register of the generator, which is nil, instead of what f() returned. In an
// assignment it does not.
func hoistLoops(stmts []ast.Stmt) {
	hoist(reflect.ValueOf(stmts))
}

func hoist(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			hoist(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			hoist(v.Index(i))
			if v.Type() != stmtsType {
				continue
			}
			if loop, ok := v.Index(i).Interface().(*ast.GenericForStmt); ok {
				v.Index(i).Set(reflect.ValueOf(hoisted(loop)))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); v.Type().Field(i).IsExported() && holdsCode(f.Type()) {
				hoist(f)
			}
		}
	}
}

// holdsCode keeps the walk away from names, numbers and positions.
func holdsCode(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		return holdsCode(t.Elem())
	case reflect.Interface:
		return t == stmtType || t == exprType
	}
	return t.Kind() == reflect.Struct
}

func hoisted(loop *ast.GenericForStmt) ast.Stmt {
	line := loop.Line()
	local := &ast.LocalAssignStmt{Names: forNames, Exprs: loop.Exprs}
	local.SetLine(line)
	local.SetLastLine(line)
	loop.Exprs = make([]ast.Expr, len(forNames))
	for i, name := range forNames {
		id := &ast.IdentExpr{Value: name}
		id.SetLine(line)
		id.SetLastLine(line)
		loop.Exprs[i] = id
	}
	block := &ast.DoBlockStmt{Stmts: []ast.Stmt{local, loop}}
	block.SetLine(line)
	block.SetLastLine(loop.LastLine())
	return block
}
