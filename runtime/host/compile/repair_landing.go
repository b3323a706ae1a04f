package compile

import "github.com/yuin/gopher-lua/ast"

// The compiler makes a jump to a jump lead to the end of the chain. When it jumps
// backwards, the jump that it finds there has been finished already, and its
// distance is taken for the number of a label: the loop then continues anywhere.
// This concerns loops whose body, and labels behind which the code, begins with a
// jump: a break, a goto, a condition that is constant. The repair puts an
// instruction that does nothing in front of it.

// landing returns stmts such that its code does not begin with a jump.
func landing(stmts []ast.Stmt) []ast.Stmt {
	if !jumpsFirst(stmts) {
		return stmts
	}
	return append([]ast.Stmt{guard(stmts[0].Line())}, stmts...)
}

// guard is `do local (guard) = true end`.
func guard(line int) ast.Stmt {
	value := &ast.TrueExpr{}
	place(value, line)
	local := &ast.LocalAssignStmt{Names: []string{"(guard)"}, Exprs: []ast.Expr{value}}
	place(local, line)
	block := &ast.DoBlockStmt{Stmts: []ast.Stmt{local}}
	place(block, line)
	return block
}

// landings guards the labels of a block that a later goto can jump back to.
func landings(stmts []ast.Stmt) []ast.Stmt {
	var out []ast.Stmt
	for i, s := range stmts {
		_, isLabel := s.(*ast.LabelStmt)
		if !isLabel || !jumpsFirst(stmts[i+1:]) {
			if out != nil {
				out = append(out, s)
			}
			continue
		}
		if out == nil {
			out = append(out, stmts[:i]...)
		}
		out = append(out, s, guard(s.Line()))
	}
	if out == nil {
		return stmts
	}
	return out
}

// whileLanding guards a while loop, which jumps back to its condition.
func whileLanding(s *ast.WhileStmt) {
	if _, always := s.Condition.(*ast.TrueExpr); always {
		s.Stmts = landing(s.Stmts)
		return
	}
	if !jumps(s.Condition) {
		return
	}
	line := s.Condition.Line()
	leave := &ast.BreakStmt{}
	place(leave, line)
	check := &ast.IfStmt{Condition: s.Condition, Else: []ast.Stmt{leave}}
	place(check, line)
	always := &ast.TrueExpr{}
	place(always, line)
	s.Condition = always
	s.Stmts = append([]ast.Stmt{guard(line), check}, s.Stmts...)
}

// jumpsFirst reports whether the code of stmts may begin with a jump.
func jumpsFirst(stmts []ast.Stmt) bool {
	for _, stmt := range stmts {
		switch s := stmt.(type) {
		case *ast.BreakStmt, *ast.GotoStmt:
			return true
		case *ast.LabelStmt:
			continue // it makes no code
		case *ast.DoBlockStmt:
			if len(s.Stmts) == 0 {
				continue
			}
			return jumpsFirst(s.Stmts)
		case *ast.WhileStmt:
			return jumps(s.Condition)
		case *ast.RepeatStmt:
			return len(s.Stmts) == 0 && jumps(s.Condition) || jumpsFirst(s.Stmts)
		case *ast.IfStmt:
			return jumps(s.Condition)
		case *ast.AssignStmt:
			return anyJumps(s.Lhs) || anyJumps(s.Rhs)
		case *ast.LocalAssignStmt:
			return anyJumps(s.Exprs)
		case *ast.FuncCallStmt:
			return jumps(s.Expr)
		case *ast.ReturnStmt:
			return anyJumps(s.Exprs)
		case *ast.NumberForStmt:
			return jumps(s.Init)
		case *ast.GenericForStmt:
			return anyJumps(s.Exprs)
		default:
			return false
		}
	}
	return false
}

func anyJumps(list []ast.Expr) bool {
	for _, e := range list {
		if jumps(e) {
			return true
		}
	}
	return false
}

// jumps reports whether the code of e may begin with a jump: it is constant, or a
// logical operation with a constant is in it.
func jumps(expr ast.Expr) bool {
	switch e := expr.(type) {
	case *ast.TrueExpr, *ast.FalseExpr, *ast.NilExpr, *ast.NumberExpr, *ast.StringExpr:
		return true
	case *ast.FunctionExpr:
		return true // as a condition, it is constant as well
	case *ast.LogicalOpExpr:
		return jumps(e.Lhs) || jumps(e.Rhs)
	case *ast.UnaryNotOpExpr:
		return jumps(e.Expr)
	case *ast.UnaryMinusOpExpr:
		return logic(e.Expr)
	case *ast.UnaryLenOpExpr:
		return logic(e.Expr)
	case *ast.RelationalOpExpr:
		return logic(e.Lhs) || logic(e.Rhs)
	case *ast.StringConcatOpExpr:
		return logic(e.Lhs) || logic(e.Rhs)
	case *ast.ArithmeticOpExpr:
		return logic(e.Lhs) || logic(e.Rhs)
	case *ast.AttrGetExpr:
		return logic(e.Object) || logic(e.Key)
	case *ast.FuncCallExpr:
		return logic(e.Func) || logic(e.Receiver) || anyLogic(e.Args)
	}
	return false
}

// logic reports whether an operand is a logical operation whose code may begin
// with a jump. A constant operand makes no jump.
func logic(e ast.Expr) bool {
	switch e.(type) {
	case *ast.TrueExpr, *ast.FalseExpr, *ast.NilExpr, *ast.NumberExpr, *ast.StringExpr,
		*ast.FunctionExpr, nil:
		return false
	}
	return jumps(e)
}

func anyLogic(list []ast.Expr) bool {
	for _, e := range list {
		if logic(e) {
			return true
		}
	}
	return false
}
