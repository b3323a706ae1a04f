package compile

import (
	"fmt"

	"github.com/yuin/gopher-lua/ast"
)

const (
	// MaxConstants bounds the different texts, names and numbers of one function.
	// The compiler finds a constant by comparing it with all before it.
	MaxConstants = 10_000
	// maxLookups bounds these comparisons in one source.
	maxLookups = 100_000_000
	// lightSource is the length up to which no source can reach these bounds in a
	// time that matters.
	lightSource = 50_000
)

// weight estimates how often the compiler compares constants.
type weight struct {
	on      bool
	locals  map[string]bool // names that were a local or a parameter anywhere so far
	lookups int
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
	r.weight.lookups += at
	switch {
	case len(f.constants) > MaxConstants:
		r.fail(line, fmt.Sprintf("a function has more than %d different texts, names and numbers",
			MaxConstants), "read large tables from a file, for example with json.read(path)")
	case r.weight.lookups > maxLookups:
		r.fail(line, fmt.Sprintf("the functions of the source use their texts, names and numbers "+
			"too often (limit is %d comparisons of the compiler)", maxLookups),
			"read large tables from a file, for example with json.read(path)")
	}
}

// name counts the use of a name, which is a constant if it is a global.
func (r *repairer) name(e *ast.IdentExpr) {
	if r.weight.on && !r.weight.locals[e.Value] {
		r.constant(e.Value, e.Line())
	}
}
