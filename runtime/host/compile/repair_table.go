package compile

import (
	"fmt"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"github.com/imdlua/imdlua/runtime/host/luanum"
	"github.com/imdlua/imdlua/runtime/host/vm"
)

// MaxIndex is the largest integer literal that a script may write as the index of an
// assignment or as a key of a constructor. It is limited because the VM fills the array
// part of a table up to the index.
const MaxIndex = 1_000_000

// largeArray is the index from which the VM uses the hash part of a table instead of
// the array part.
const largeArray = 67_108_864

// maxBlock is the largest number of a block of items that an instruction can hold.
const maxBlock = 511

// table repairs a constructor. After a multiple of 50 items, the compiler writes the
// last items a second time at every field with a key. The field may have overwritten
// their registers. The instructions are marked here and removed later.
func (r *repairer) table(e *ast.TableExpr) {
	items := 0
	for i, f := range e.Fields {
		r.expr(&f.Value)
		if f.Key == nil {
			last := i == len(e.Fields)-1
			if !last || !isMulti(f.Value) {
				items++
			} else if items == maxBlock*lua.FieldsPerFlush {
				r.fail(e.Line(), fmt.Sprintf(
					"a constructor of exactly %d items cannot end with a call or '...'", items), "")
			}
			continue
		}
		r.expr(&f.Key)
		r.checkLiteral(f.Key)
		single(f.Value) // otherwise a call in the last field would add items as well
		if items > 0 && items%lua.FieldsPerFlush == 0 {
			f.Key.SetLastLine(f.Key.Line())
			f.Key.SetLine(r.marks.add(mark{line: f.Key.Line(), repeated: true}))
		}
	}
}

// checkKey fails for an assignment to a too large index, such as `t[50000000] = x`.
func (r *repairer) checkKey(target ast.Expr) {
	if t, ok := target.(*ast.AttrGetExpr); ok {
		r.checkLiteral(t.Key)
	}
}

func (r *repairer) checkLiteral(key ast.Expr) {
	n, ok := key.(*ast.NumberExpr)
	if !ok {
		return
	}
	f, ok := luanum.Parse(n.Value)
	if !ok || f <= MaxIndex || f >= largeArray || f != float64(int64(f)) {
		return
	}
	r.fail(n.Line(),
		fmt.Sprintf("index %s is too large for a table (limit is %d)", luanum.Format(f), MaxIndex),
		"use a string as key")
}

// blockField is the operand of SETLIST that holds the number of the block.
const blockField = 0x1ff << 9

// blocks corrects the numbers of the blocks of items in constructors. The compiler
// omits numbers above 511, and uses a number twice if a call follows a multiple of 50
// items.
func blocks(code []uint32) {
	var count [256]uint32
	for pc := 0; pc < len(code); pc++ {
		i := vm.Instruction(code[pc])
		switch i.Op() {
		case lua.OP_NEWTABLE:
			count[i.A()] = 0
		case lua.OP_SETLIST:
			count[i.A()]++
			n := count[i.A()]
			if code[pc]&blockField != 0 {
				code[pc] = code[pc]&^blockField | n<<9
				continue
			}
			pc++
			code[pc] = n
		}
	}
}
