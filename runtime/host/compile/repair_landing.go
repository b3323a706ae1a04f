package compile

import "github.com/yuin/gopher-lua/ast"

// The compiler of gopher-lua redirects a jump to another jump to the target of the
// latter. If the first one jumps backwards, the other jump has already been encoded.
// The compiler then reads its distance as the number of a label, so the program
// continues at a wrong instruction.
//
// This happens if the body of a loop or the code after a label begins with a jump,
// such as a break, a goto or a constant condition. The repair inserts an instruction
// without effect before the jump.

// landing returns stmts with a guard before them if their code may begin with a jump.
func landing(stmts []ast.Stmt) []ast.Stmt {
	if !jumpsFirst(stmts) {
		return stmts
	}
	return append([]ast.Stmt{guard(stmts[0].Line())}, stmts...)
}

// guard returns the statement `do local (guard) = true end`.
func guard(line int) ast.Stmt {
	value := &ast.TrueExpr{}
	place(value, line)
	local := &ast.LocalAssignStmt{Names: []string{"(guard)"}, Exprs: []ast.Expr{value}}
	place(local, line)
	block := &ast.DoBlockStmt{Stmts: []ast.Stmt{local}}
	place(block, line)
	return block
}

// landings inserts guards after the labels of a block whose following code may begin
// with a jump.
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

// whileLanding inserts a guard into a while loop, whose end jumps back to its
// condition. If the condition may begin with a jump, it becomes an if statement in the
// body.
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
			continue // a label has no code
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

// jumps reports whether the code of e may begin with a jump. This is so if e is
// constant, or if a logical operation with a constant is evaluated first.
func jumps(expr ast.Expr) bool {
	switch e := expr.(type) {
	case *ast.TrueExpr, *ast.FalseExpr, *ast.NilExpr, *ast.NumberExpr, *ast.StringExpr:
		return true
	case *ast.FunctionExpr:
		return true // a function is a constant condition as well
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

// logic reports whether an operand is a logical operation whose code may begin with a
// jump. A constant operand has no jump.
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
