package compile

import (
	"fmt"

	"github.com/yuin/gopher-lua/ast"
)

// repairAssign rewrites an assignment that gopher-lua compiles wrongly. Its compiler
// writes values directly into the registers of local targets, although later
// expressions still read them. It also miscounts registers if locals and fields are
// targets of one assignment.
//
// `a, d.x, b = e1, e2, e3` becomes
//
//	do
//	  local (value 1), (value 2) = e1, e2
//	  b = e3
//	  d.x = (value 2)
//	  a = (value 1)
//	end
//
// Before that, the objects and keys of the targets are stored in temporary locals.
func repairAssign(s *ast.AssignStmt) ast.Stmt {
	if len(s.Lhs) == 1 && len(s.Rhs) == 1 {
		return repairSingle(s)
	}
	if compilesWell(s) {
		return s
	}
	var out []ast.Stmt
	line := s.Line()
	out = saveTargets(out, s)
	n := len(s.Lhs)
	last := n - 1
	direct := len(s.Rhs) == n && !isMulti(s.Rhs[last])
	count := n
	if direct {
		count = last
	}
	values := &ast.LocalAssignStmt{Exprs: s.Rhs}
	if direct {
		values.Exprs = s.Rhs[:last:last]
	}
	place(values, line)
	for i := range count {
		values.Names = append(values.Names, fmt.Sprintf("(value %d)", i+1))
	}
	if count > 0 {
		out = append(out, values)
	}
	for i := last; i >= 0; i-- {
		var value ast.Expr
		if direct && i == last {
			value = s.Rhs[last]
		} else {
			value = ident(values.Names[i], line)
		}
		one := &ast.AssignStmt{Lhs: s.Lhs[i : i+1], Rhs: []ast.Expr{value}}
		place(one, line)
		out = append(out, repairSingle(one))
	}
	block := &ast.DoBlockStmt{Stmts: out}
	place(block, line)
	return block
}

// saveTargets appends statements that store the objects and keys of the targets in
// temporary locals, from left to right.
func saveTargets(out []ast.Stmt, s *ast.AssignStmt) []ast.Stmt {
	local := &ast.LocalAssignStmt{}
	place(local, s.Line())
	for i, target := range s.Lhs {
		t, ok := target.(*ast.AttrGetExpr)
		if !ok {
			continue
		}
		copied := *t
		save := func(e *ast.Expr, what string) {
			name := fmt.Sprintf("(%s %d)", what, i+1)
			local.Names = append(local.Names, name)
			local.Exprs = append(local.Exprs, single(*e))
			*e = ident(name, t.Line())
		}
		save(&copied.Object, "object")
		if !isConstant(t.Key) {
			save(&copied.Key, "key")
		}
		s.Lhs[i] = &copied
	}
	if len(local.Names) > 0 {
		out = append(out, local)
	}
	return out
}

// single makes a call or "..." return exactly one value.
func single(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		e.AdjustRet = true
	case *ast.Comma3Expr:
		e.AdjustRet = true
	}
	return e
}

// repairSingle repairs three kinds of assignments to one name:
//
//   - `a = (f(a))` loads f into the register of a if a is the last parameter. The
//     parentheses are not needed, because one target takes one value.
//   - `a = (b or c) and a` writes b into a before a is read.
//   - `a = b and c` does not assign to the last local if b is false.
func repairSingle(s *ast.AssignStmt) ast.Stmt {
	name, ok := s.Lhs[0].(*ast.IdentExpr)
	if !ok {
		return s
	}
	switch e := s.Rhs[0].(type) {
	case *ast.FuncCallExpr:
		e.AdjustRet = false
	case *ast.Comma3Expr:
		e.AdjustRet = false
	case *ast.LogicalOpExpr:
		local := &ast.LocalAssignStmt{Names: []string{"(value)"}, Exprs: s.Rhs}
		place(local, s.Line())
		one := &ast.AssignStmt{Lhs: s.Lhs, Rhs: []ast.Expr{ident("(value)", name.Line())}}
		place(one, s.Line())
		block := &ast.DoBlockStmt{Stmts: []ast.Stmt{local, one}}
		place(block, s.Line())
		return block
	}
	return s
}

// compilesWell reports whether gopher-lua compiles an assignment correctly. This is so
// if all targets are fields, if all values are constants, or if one call returns the
// values for plain names.
func compilesWell(s *ast.AssignStmt) bool {
	names, fields := 0, 0
	seen := map[string]bool{}
	for _, target := range s.Lhs {
		if id, ok := target.(*ast.IdentExpr); ok {
			if seen[id.Value] { // Lua assigns the first of two equal targets last
				return false
			}
			seen[id.Value] = true
			names++
		} else {
			fields++
		}
	}
	if names == 0 {
		return fieldsCompileWell(s.Rhs)
	}
	if fields > 0 {
		return false
	}
	if len(s.Rhs) == 1 && isMulti(s.Rhs[0]) {
		return true
	}
	for _, e := range s.Rhs {
		if !isConstant(e) {
			return false
		}
	}
	return len(s.Lhs) >= len(s.Rhs)
}

// fieldsCompileWell returns false if a value is a name and a later value could change
// the variable by a call. gopher-lua reads the variable only when it assigns.
func fieldsCompileWell(values []ast.Expr) bool {
	name := false
	for _, e := range values {
		switch e.(type) {
		case *ast.IdentExpr:
			name = true
			continue
		case *ast.FunctionExpr:
			continue
		}
		if name && !isConstant(e) {
			return false
		}
	}
	return true
}

func isConstant(e ast.Expr) bool {
	switch e.(type) {
	case *ast.NumberExpr, *ast.StringExpr, *ast.NilExpr, *ast.TrueExpr, *ast.FalseExpr:
		return true
	}
	return false
}

// isMulti reports whether an expression can have several values at the end of a list.
func isMulti(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		return !e.AdjustRet
	case *ast.Comma3Expr:
		return !e.AdjustRet
	}
	return false
}
