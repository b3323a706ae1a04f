package compile

import (
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"github.com/imdlua/imdlua/runtime/host/luanum"
)

// repairer walks a syntax tree once and rewrites the constructs that gopher-lua
// compiles wrongly. Faults lists them.
type repairer struct {
	functions []*function // the functions around the current node, innermost last
	marks     marks
	weight    weight
	watched   map[string]int // the names that mentions looks for, with their numbers of uses
	err       *Error         // the first error
}

func (r *repairer) fail(line int, message, hint string) {
	if r.err == nil {
		r.err = &Error{Message: message, Line: line, Hint: hint}
	}
}

// block repairs the statements of one block. names are locals that the block begins
// with.
func (r *repairer) block(stmts []ast.Stmt, names ...string) {
	r.enter(names)
	for i := range stmts {
		r.stmt(&stmts[i], stmts[i+1:])
	}
	r.leave()
}

func (r *repairer) stmt(at *ast.Stmt, rest []ast.Stmt) {
	switch s := (*at).(type) {
	case *ast.AssignStmt:
		r.exprs(s.Lhs)
		r.exprs(s.Rhs)
		for _, target := range s.Lhs {
			r.checkKey(target)
		}
		*at = repairAssign(s)
	case *ast.LocalAssignStmt:
		r.localAssign(s)
	case *ast.FuncCallStmt:
		r.expr(&s.Expr)
	case *ast.DoBlockStmt:
		r.block(s.Stmts)
		s.Stmts = landings(s.Stmts)
	case *ast.WhileStmt:
		r.expr(&s.Condition)
		r.loop(at, s.Stmts)
		s.Stmts = landings(s.Stmts)
		whileLanding(s)
	case *ast.RepeatStmt:
		r.repeat(at, s)
	case *ast.IfStmt:
		r.expr(&s.Condition)
		r.block(s.Then)
		r.block(s.Else)
		s.Then, s.Else = landings(s.Then), landings(s.Else)
	case *ast.NumberForStmt:
		r.limits(s)
		r.loop(at, s.Stmts, "(for index)", "(for limit)", "(for step)", s.Name)
		s.Stmts = landings(s.Stmts)
	case *ast.GenericForStmt:
		r.exprs(s.Exprs)
		r.genericFor(at, s)
	case *ast.FuncDefStmt:
		if s.Name.Func != nil {
			r.expr(&s.Name.Func)
		} else {
			r.expr(&s.Name.Receiver)
		}
		r.function(s.Func, s.Name.Func == nil)
	case *ast.ReturnStmt:
		r.exprs(s.Exprs)
	case *ast.LabelStmt:
		r.label(s, rest)
	case *ast.GotoStmt:
		r.jump(s)
	case *ast.BreakStmt:
		*at = r.breaks(s)
	}
}

func (r *repairer) exprs(list []ast.Expr) {
	for i := range list {
		r.expr(&list[i])
	}
}

func (r *repairer) expr(at *ast.Expr) {
	switch e := (*at).(type) {
	case *ast.NumberExpr:
		repairNumber(e)
		r.constant(e.Value, e.Line())
	case *ast.StringExpr:
		r.constant(e.Value, e.Line())
	case *ast.IdentExpr:
		r.name(e)
		if _, watched := r.watched[e.Value]; watched {
			r.watched[e.Value]++
		}
	case *ast.AttrGetExpr:
		r.expr(&e.Object)
		r.expr(&e.Key)
	case *ast.TableExpr:
		r.table(e)
	case *ast.FuncCallExpr:
		if e.Func != nil {
			r.expr(&e.Func)
		} else {
			r.expr(&e.Receiver)
			r.constant(e.Method, e.Line())
		}
		r.exprs(e.Args)
	case *ast.LogicalOpExpr:
		r.expr(&e.Lhs)
		r.expr(&e.Rhs)
	case *ast.RelationalOpExpr:
		r.expr(&e.Lhs)
		r.expr(&e.Rhs)
	case *ast.StringConcatOpExpr:
		r.expr(&e.Lhs)
		r.expr(&e.Rhs)
	case *ast.ArithmeticOpExpr:
		r.expr(&e.Lhs)
		r.expr(&e.Rhs)
	case *ast.UnaryMinusOpExpr:
		r.expr(&e.Expr)
	case *ast.UnaryNotOpExpr:
		r.expr(&e.Expr)
	case *ast.UnaryLenOpExpr:
		r.expr(&e.Expr)
	case *ast.FunctionExpr:
		r.function(e, false)
	}
}

// function repairs a function in a scope of its own.
func (r *repairer) function(f *ast.FunctionExpr, method bool) {
	names := f.ParList.Names
	if method {
		names = append([]string{"self"}, names...)
	}
	if f.ParList.HasVargs && len(r.functions) > 0 {
		names = append(names[:len(names):len(names)], "arg")
	}
	r.functions = append(r.functions, &function{})
	r.block(f.Stmts, names...)
	f.Stmts = landings(f.Stmts)
	r.functions = r.functions[:len(r.functions)-1]
}

// localAssign repairs `local f = function ... f ... end`. gopher-lua compiles it like
// `local function f`, so that the function sees the new local. The parser sets the
// last line only for `local function`. A second expression makes the compiler treat
// the statement as a plain assignment.
func (r *repairer) localAssign(s *ast.LocalAssignStmt) {
	isFunction := len(s.Names) == 1 && len(s.Exprs) == 1 && s.LastLine() != 0
	if isFunction {
		r.declare(s.Names...)
		r.exprs(s.Exprs)
		return
	}
	if len(s.Names) != 1 || len(s.Exprs) != 1 {
		r.exprs(s.Exprs)
		r.declare(s.Names...)
		return
	}
	_, function := s.Exprs[0].(*ast.FunctionExpr)
	mentioned := r.mentions(s.Names[0], func() { r.exprs(s.Exprs) })
	r.declare(s.Names...)
	if function && mentioned {
		extra := &ast.NilExpr{}
		place(extra, s.Line())
		s.Exprs = append(s.Exprs, extra)
	}
}

// mentions calls walk and reports whether it has found a use of a name.
func (r *repairer) mentions(name string, walk func()) bool {
	before, nested := r.watched[name]
	if !nested {
		r.watched[name] = 0
		defer delete(r.watched, name)
	}
	walk()
	return r.watched[name] > before
}

// limits repairs the expressions of a numeric for. Lua converts strings to numbers
// there, and gopher-lua rejects them. Subtracting 0 converts them and does not change
// a number.
func (r *repairer) limits(s *ast.NumberForStmt) {
	for _, e := range []*ast.Expr{&s.Init, &s.Limit, &s.Step} {
		if *e == nil {
			continue
		}
		r.expr(e)
		switch (*e).(type) {
		case *ast.NumberExpr, *ast.ArithmeticOpExpr, *ast.UnaryLenOpExpr, *ast.UnaryMinusOpExpr:
			continue
		}
		line := (*e).Line()
		zero := &ast.NumberExpr{Value: "0"}
		place(zero, line)
		number := &ast.ArithmeticOpExpr{Operator: "-", Lhs: single(*e), Rhs: zero}
		place(number, line)
		*e = number
	}
}

// genericFor rewrites `for names in exprs do` to
//
//	do local (generator), (state), (control) = exprs
//	for names in (generator), (state), (control) do
//
// In the loop `for x in f().y:z() do`, gopher-lua indexes the register of the
// generator, which is nil, instead of the result of f(). In an assignment it compiles
// the same expression correctly.
func (r *repairer) genericFor(at *ast.Stmt, loop *ast.GenericForStmt) {
	line := loop.Line()
	hidden := []string{"(generator)", "(state)", "(control)"}
	local := &ast.LocalAssignStmt{Names: hidden, Exprs: loop.Exprs}
	place(local, line)
	loop.Exprs = nil
	for _, name := range hidden {
		loop.Exprs = append(loop.Exprs, ident(name, line))
	}
	r.enter(hidden)
	var inner ast.Stmt = loop
	names := append([]string{"(for generator)", "(for state)", "(for control)"}, loop.Names...)
	r.loop(&inner, loop.Stmts, names...)
	loop.Stmts = landing(landings(loop.Stmts))
	r.leave()
	block := &ast.DoBlockStmt{Stmts: []ast.Stmt{local, inner}}
	block.SetLine(line)
	block.SetLastLine(loop.LastLine())
	*at = block
}

// place sets the line of a node.
func place(n ast.PositionHolder, line int) {
	n.SetLine(line)
	n.SetLastLine(line)
}

func ident(name string, line int) *ast.IdentExpr {
	id := &ast.IdentExpr{Value: name}
	place(id, line)
	return id
}

// repairNumber rewrites a literal so that gopher-lua reads the same value as Lua 5.1.
// gopher-lua reads 0010 as octal, and reads hexadecimal numbers above 2^63 and 1e400 as
// nan.
func repairNumber(e *ast.NumberExpr) {
	plain := len(e.Value) < 16 && (e.Value[0] != '0' || len(e.Value) == 1)
	if plain && !strings.ContainsAny(e.Value, "eE") {
		return
	}
	if f, ok := luanum.Parse(e.Value); ok {
		e.Value = strconv.FormatFloat(f, 'g', -1, 64)
	}
}
