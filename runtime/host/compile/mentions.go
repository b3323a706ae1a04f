package compile

import (
	"reflect"

	"github.com/yuin/gopher-lua/ast"
)

var (
	stmtType  = reflect.TypeFor[ast.Stmt]()
	exprType  = reflect.TypeFor[ast.Expr]()
	identType = reflect.TypeFor[ast.IdentExpr]()
)

// mentions reports whether a name is used anywhere in a function.
func mentions(f *ast.FunctionExpr, name string) bool {
	return search(reflect.ValueOf(f.Stmts), name)
}

func search(v reflect.Value, name string) bool {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		return !v.IsNil() && search(v.Elem(), name)
	case reflect.Slice:
		for i := range v.Len() {
			if search(v.Index(i), name) {
				return true
			}
		}
	case reflect.Struct:
		if v.Type() == identType {
			return v.FieldByName("Value").String() == name
		}
		for i := range v.NumField() {
			if holdsCode(v.Field(i).Type()) && v.Type().Field(i).IsExported() &&
				search(v.Field(i), name) {
				return true
			}
		}
	}
	return false
}

// holdsCode keeps the search away from names, numbers and positions.
func holdsCode(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		return holdsCode(t.Elem())
	case reflect.Interface:
		return t == stmtType || t == exprType
	}
	return t.Kind() == reflect.Struct
}
