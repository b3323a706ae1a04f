package compile

import (
	"fmt"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"github.com/imdlua/imdlua/runtime/host/vm"
)

// function is the state of walking one function. The number of a local is also the
// number of its register.
type function struct {
	locals int
	blocks []*scope
	gotos  []*pending // gotos without a label so far

	constants map[string]int // the indexes of the constants, if weight is on
}

// scope is one block of a function.
type scope struct {
	locals   int            // number of locals before the block
	labels   map[string]int // number of locals at each label
	loop     bool           // the block is the body of a loop
	breaks   string         // the label after the loop, "" if none is needed
	declared bool           // a local was declared in the block itself
}

// pending is a goto whose label has not come yet.
type pending struct {
	label  string
	depth  int // depth of the innermost open block around the goto
	locals int // number of locals of that block at the goto
	mark   int
}

func (r *repairer) fn() *function { return r.functions[len(r.functions)-1] }

func (r *repairer) enter(names []string) *scope {
	f := r.fn()
	s := &scope{locals: f.locals}
	f.blocks = append(f.blocks, s)
	f.locals += len(names)
	r.weight.declare(names)
	s.declared = len(names) > 0
	return s
}

func (r *repairer) declare(names ...string) {
	f := r.fn()
	f.locals += len(names)
	r.weight.declare(names)
	f.blocks[len(f.blocks)-1].declared = true
}

func (r *repairer) leave() {
	f := r.fn()
	top := len(f.blocks) - 1
	f.locals = f.blocks[top].locals
	f.blocks = f.blocks[:top]
	for _, p := range f.gotos {
		p.depth = min(p.depth, top-1)
		p.locals = min(p.locals, f.locals)
	}
}

// loop repairs the body of a loop. If a break leaves a block whose locals may be
// captured, it adds a label after the loop.
func (r *repairer) loop(at *ast.Stmt, body []ast.Stmt, names ...string) {
	label := r.loopBody(body, nil, names)
	r.labelLoop(at, label)
}

// repeat repairs a repeat loop. Its condition sees the locals of the body.
func (r *repairer) repeat(at *ast.Stmt, s *ast.RepeatStmt) {
	label := r.loopBody(s.Stmts, &s.Condition, nil)
	s.Stmts = landings(s.Stmts)
	if len(s.Stmts) == 0 && jumps(s.Condition) {
		s.Stmts = []ast.Stmt{guard(s.Line())}
	}
	s.Stmts = landing(s.Stmts)
	r.labelLoop(at, label)
}

func (r *repairer) loopBody(body []ast.Stmt, until *ast.Expr, names []string) string {
	s := r.enter(names)
	s.loop = true
	for i := range body {
		r.stmt(&body[i], body[i+1:])
	}
	if until != nil {
		r.expr(until)
	}
	r.leave()
	return s.breaks
}

func (r *repairer) labelLoop(at *ast.Stmt, label string) {
	if label == "" {
		return
	}
	line, last := (*at).Line(), (*at).LastLine()
	end := &ast.LabelStmt{Name: label}
	place(end, last)
	block := &ast.DoBlockStmt{Stmts: []ast.Stmt{*at, end}}
	block.SetLine(line)
	block.SetLastLine(last)
	*at = block
	r.land(label, r.fn().locals, last)
}

// breaks replaces a break by a goto if it leaves inner blocks with locals. For a break
// the compiler closes only the locals of the loop's own block. Closures over the other
// locals would read whatever is stored in their registers next.
func (r *repairer) breaks(s *ast.BreakStmt) ast.Stmt {
	blocks := r.fn().blocks
	inner := false
	for i := len(blocks) - 1; i >= 0; i-- {
		if !blocks[i].loop {
			inner = inner || blocks[i].declared
			continue
		}
		if !inner {
			return s
		}
		if blocks[i].breaks == "" {
			blocks[i].breaks = fmt.Sprintf("(break %d)", len(r.marks.list))
		}
		jump := &ast.GotoStmt{Label: blocks[i].breaks}
		place(jump, s.Line())
		r.jump(jump)
		return jump
	}
	return s
}

// jump marks a goto, so that its CLOSE instruction can be corrected. The compiler
// makes it close all captured locals of the function, including those that are still
// in scope at the label.
func (r *repairer) jump(s *ast.GotoStmt) {
	f := r.fn()
	at := r.marks.add(mark{line: s.Line(), jump: true})
	s.SetLastLine(s.Line())
	s.SetLine(at)
	for i := len(f.blocks) - 1; i >= 0; i-- {
		if n, ok := f.blocks[i].labels[s.Label]; ok {
			r.marks.get(at).closes = n
			return
		}
	}
	f.gotos = append(f.gotos, &pending{
		label: s.Label, depth: len(f.blocks) - 1, locals: f.locals, mark: at,
	})
}

// label resolves the jumps forward to a label.
func (r *repairer) label(s *ast.LabelStmt, _ []ast.Stmt) {
	f := r.fn()
	block := f.blocks[len(f.blocks)-1]
	if block.labels == nil {
		block.labels = map[string]int{}
	}
	block.labels[s.Name] = f.locals
	r.land(s.Name, f.locals, s.Line())
}

// land resolves the pending gotos to a label.
func (r *repairer) land(label string, locals, line int) {
	f := r.fn()
	depth := len(f.blocks) - 1
	// This loop and a similar one of the compiler visit all pending gotos.
	r.work(5*len(f.gotos), line)
	rest := f.gotos[:0]
	for _, p := range f.gotos {
		if p.label == label && p.depth >= depth {
			// A label at the end of a block may come after locals that are
			// declared after the goto. They are not open at the goto.
			r.marks.get(p.mark).closes = min(locals, p.locals)
		} else {
			rest = append(rest, p)
		}
	}
	f.gotos = rest
}

// mark describes a node of the tree whose instructions must be corrected.
type mark struct {
	line     int  // the real line
	repeated bool // the SETLIST instruction writes items a second time
	jump     bool // the node is a goto, whose CLOSE instruction is corrected
	closes   int  // the first register that the goto closes
}

// firstMark is the smallest line number that is a mark.
const firstMark = 1 << 28

// marks gives nodes of the tree special line numbers, by which their instructions can
// be found in the prototype.
type marks struct{ list []mark }

// add adds a mark and returns its line number.
func (m *marks) add(k mark) int {
	m.list = append(m.list, k)
	return firstMark + len(m.list) - 1
}

func (m *marks) get(line int) *mark { return &m.list[line-firstMark] }

// line returns the real line for a line number that may be a mark.
func (m *marks) line(line int) int {
	for line >= firstMark {
		line = m.get(line).line
	}
	return line
}

// apply corrects the instructions of marked nodes and the block numbers of
// constructors, in a prototype and all functions in it.
func (m *marks) apply(p *lua.FunctionProto) {
	if len(m.list) > 0 {
		for pc, line := range p.DbgSourcePositions {
			if line >= firstMark {
				m.correct(p, pc, m.get(line))
				p.DbgSourcePositions[pc] = m.line(line)
			}
		}
		p.LineDefined, p.LastLineDefined = m.line(p.LineDefined), m.line(p.LastLineDefined)
	}
	blocks(p.Code)
	for _, f := range p.FunctionPrototypes {
		m.apply(f)
	}
}

const (
	opShift  = 26
	aShift   = 18
	aField   = 0xff << aShift
	noAction = uint32(lua.OP_NOP) << opShift
)

func (m *marks) correct(p *lua.FunctionProto, pc int, k *mark) {
	code := p.Code
	switch op := vm.Instruction(code[pc]).Op(); {
	case k.jump && op == lua.OP_CLOSE:
		code[pc] = code[pc]&^aField | uint32(k.closes)<<aShift
	case k.repeated && op == lua.OP_SETLIST:
		long := code[pc]&blockField == 0
		code[pc] = noAction
		if long {
			code[pc+1] = noAction
		}
	}
}
