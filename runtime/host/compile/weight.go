package compile

import (
	"fmt"

	"github.com/yuin/gopher-lua/ast"
)

const (
	// MaxConstants is the largest number of different strings, names and numbers in
	// one function. To find a constant, the compiler compares it with all earlier
	// ones.
	MaxConstants = 10_000
	// maxSteps is the largest number of these comparisons, and of similar ones for
	// labels, in one source.
	maxSteps = 100_000_000
	// lightSource is the length up to which a source compiles fast enough without
	// these checks.
	lightSource = 50_000
)

// weight estimates the time that the compiler takes.
type weight struct {
	on     bool            // the source is longer than lightSource
	locals map[string]bool // names of locals and parameters anywhere in the source so far
	steps  int
}

func (w *weight) declare(names []string) {
	if !w.on {
		return
	}
	for _, name := range names {
		w.locals[name] = true
	}
}

// constant counts a use of a constant in the current function.
func (r *repairer) constant(text string, line int) {
	if !r.weight.on || r.err != nil {
		return
	}
	f := r.fn()
	if f.constants == nil {
		f.constants = map[string]int{}
	}
	at, known := f.constants[text]
	if !known {
		at = len(f.constants)
		f.constants[text] = at
	}
	if len(f.constants) > MaxConstants {
		r.fail(line, fmt.Sprintf("a function has more than %d different texts, names and numbers",
			MaxConstants), "read large tables from a file, for example with json.read(path)")
	}
	r.work(at, line)
}

// work counts steps of the compiler that grow faster than the source.
func (r *repairer) work(steps, line int) {
	r.weight.steps += steps
	if r.weight.steps > maxSteps {
		r.fail(line, fmt.Sprintf("the source takes too long to compile (limit is %d steps)",
			maxSteps), "read large tables from a file, for example with json.read(path)")
	}
}

// name counts the use of a name, which is a constant if it is a global.
func (r *repairer) name(e *ast.IdentExpr) {
	if r.weight.on && !r.weight.locals[e.Value] {
		r.constant(e.Value, e.Line())
	}
}
