package vm

import (
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/luanum"
)

// Explain returns an error text of the VM in the form of PUC Lua, which names the
// value that caused the error. "attempt to call a non-function object" becomes
// "attempt to call a nil value (field 'launhc')". Explain must be called where the
// error is raised, because it reads the failing instruction.
func Explain(L *lua.LState, s string) string {
	s = strings.TrimPrefix(s, " ")
	pos, text := SplitPosition(s)
	f, ok := Innermost(L)
	if !ok {
		return s
	}
	if f.Fn().IsG {
		return s[:len(s)-len(text)] + explainArgument(L, text)
	}
	better := ""
	switch {
	case text == "attempt to call a non-function object":
		better = explainCall(L, f)
	case strings.HasPrefix(text, "attempt to index a non-table object("):
		better = explainIndex(L, f)
	case strings.HasPrefix(text, "cannot perform "):
		better = explainArith(L, f, text)
	case strings.HasPrefix(text, "attempt to compare "):
		better = explainCompare(L, f, text)
	case strings.HasPrefix(text, "for statement init "):
		better = "'for' initial value must be a number"
	case strings.HasPrefix(text, "for statement "):
		better = "'for' " + strings.TrimPrefix(text, "for statement ")
	case text == "__unm undefined":
		better = explainUnary(L, f, "perform arithmetic on")
	case text == "__len undefined":
		better = explainUnary(L, f, "get length of")
	}
	if better == "" {
		return s
	}
	if pos == "" {
		return better
	}
	return pos + ": " + better
}

// constBit marks an operand that is a constant, not a register.
const constBit = 1 << 8

func explainCall(L *lua.LState, f Frame) string {
	i, ok := f.Instruction()
	if !ok {
		return ""
	}
	switch i.Op() {
	case lua.OP_CALL, lua.OP_TAILCALL:
		v := L.Get(i.A() + 1)
		text := "attempt to call " + Typed(v) + describe(f, i.A(), f.PC())
		if name := f.CallName(); name != "" && !strings.Contains(text, "(") {
			text += " ('" + name + "')"
		}
		return text
	case lua.OP_TFORLOOP:
		v := L.Get(i.A() + 1)
		if v.Type() == lua.LTTable {
			return "attempt to call a table value (for ... in needs an iterator; use pairs(t) or ipairs(t))"
		}
		return "attempt to call " + Typed(v) + " (the iterator of for ... in)"
	}
	return ""
}

func explainIndex(L *lua.LState, f Frame) string {
	i, ok := f.Instruction()
	if !ok {
		return ""
	}
	reg, key := -1, ""
	switch i.Op() {
	case lua.OP_GETTABLE, lua.OP_GETTABLEKS, lua.OP_SELF:
		reg, key = i.B(), keyOf(L, f, i.C())
	case lua.OP_SETTABLE, lua.OP_SETTABLEKS:
		reg, key = i.A(), keyOf(L, f, i.B())
	default:
		return ""
	}
	v := L.Get(reg + 1)
	text := "attempt to index " + Typed(v) + describe(f, reg, f.PC())
	if key != "" {
		text += " with key '" + key + "'"
	}
	return text
}

func explainArith(L *lua.LState, f Frame, text string) string {
	i, ok := f.Instruction()
	if !ok {
		return ""
	}
	switch op := i.Op(); {
	case op >= lua.OP_ADD && op <= lua.OP_POW:
		for _, rk := range []int{i.B(), i.C()} {
			v := operand(L, f, rk)
			if isNumeric(v) {
				continue
			}
			return "attempt to perform arithmetic on " + Typed(v) + describe(f, rk, f.PC())
		}
	case op == lua.OP_CONCAT:
		for r := i.C(); r >= i.B(); r-- {
			if v := L.Get(r + 1); v.Type() != lua.LTString && v.Type() != lua.LTNumber {
				return "attempt to concatenate " + Typed(v) + describe(f, r, f.PC())
			}
		}
	}
	return ""
}

// explainUnary names the operand of a unary minus or #.
func explainUnary(L *lua.LState, f Frame, what string) string {
	i, ok := f.Instruction()
	if !ok || i.Op() != lua.OP_UNM && i.Op() != lua.OP_LEN {
		return ""
	}
	v := operand(L, f, i.B())
	return "attempt to " + what + " " + Typed(v) + describe(f, i.B(), f.PC())
}

// operand returns the value of an operand, which is a constant or a register.
func operand(L *lua.LState, f Frame, rk int) lua.LValue {
	if rk&constBit == 0 {
		return L.Get(rk + 1)
	}
	if k := f.Fn().Proto.Constants; rk&^constBit < len(k) {
		return k[rk&^constBit]
	}
	return lua.LNil
}

// CallerOperand describes v for an error message. v is an operand of the
// instruction that called the running function as a metamethod: the right operand
// if right is set, else the left one.
func CallerOperand(L *lua.LState, v lua.LValue, right bool) string {
	f, ok := Innermost(L)
	if ok {
		f, ok = f.Parent()
	}
	if !ok || f.Fn().IsG {
		return Typed(v)
	}
	i, ok := f.Instruction()
	if !ok {
		return Typed(v)
	}
	if right {
		return Typed(v) + describe(f, i.C(), f.PC())
	}
	return Typed(v) + describe(f, i.B(), f.PC())
}

// CompareHint is the field of a metatable with a hint about what a script can use
// instead of < and >. In Lua 5.1 these operators compare only two values of the same
// type.
const CompareHint = "__compare_hint"

// explainCompare adds the hint of an operand that has a CompareHint.
func explainCompare(L *lua.LState, f Frame, text string) string {
	i, ok := f.Instruction()
	if !ok || i.Op() != lua.OP_LT && i.Op() != lua.OP_LE {
		return ""
	}
	for _, rk := range []int{i.B(), i.C()} {
		if rk&constBit != 0 {
			continue
		}
		ud, ok := L.Get(rk + 1).(*lua.LUserData)
		if !ok {
			continue
		}
		if hint, ok := L.GetMetaField(ud, CompareHint).(lua.LString); ok {
			return text + " (" + string(hint) + ")"
		}
	}
	return ""
}

func isNumeric(v lua.LValue) bool {
	switch v := v.(type) {
	case lua.LNumber:
		return true
	case lua.LString:
		_, ok := luanum.Parse(string(v))
		return ok
	}
	return false
}

// Typed returns the type of a value for error messages, such as "a nil value".
func Typed(v lua.LValue) string {
	if v == nil || v == lua.LNil {
		return "a nil value"
	}
	return "a " + v.Type().String() + " value"
}

// keyOf returns the string in an operand, which is a constant or a register. It
// returns "" if the operand is not a string.
func keyOf(L *lua.LState, f Frame, rk int) string {
	if rk&constBit != 0 {
		return constant(f, rk)
	}
	if s, ok := L.Get(rk + 1).(lua.LString); ok {
		return string(s)
	}
	return ""
}

// constant returns the string constant of an operand, or "" if it is not one.
func constant(f Frame, rk int) string {
	if rk&constBit == 0 {
		return ""
	}
	k := f.Fn().Proto.Constants
	if n := rk &^ constBit; n < len(k) {
		if s, ok := k[n].(lua.LString); ok {
			return string(s)
		}
	}
	return ""
}

// describe returns the origin of the value in register reg, such as " (local 'x')",
// or "" if it is not known.
func describe(f Frame, reg, pc int) string {
	if reg&constBit != 0 {
		return ""
	}
	fn := f.Fn()
	if name := localName(fn, reg, pc); name != "" {
		return " (local '" + name + "')"
	}
	at := setter(fn.Proto.Code, reg, pc)
	if at < 0 {
		return ""
	}
	i := Instruction(fn.Proto.Code[at])
	switch i.Op() {
	case lua.OP_GETGLOBAL:
		return " (global '" + fn.Proto.Constants[i.Bx()].String() + "')"
	case lua.OP_GETTABLE, lua.OP_GETTABLEKS:
		if key := keyText(f, i.C()); key != "" {
			return " (field '" + key + "')"
		}
	case lua.OP_SELF:
		if key := constant(f, i.C()); key != "" {
			return " (method '" + key + "')"
		}
	case lua.OP_GETUPVAL:
		if b := i.B(); b < len(fn.Proto.DbgUpvalues) {
			return " (upvalue '" + fn.Proto.DbgUpvalues[b] + "')"
		}
	case lua.OP_MOVE:
		if name := localName(fn, i.B(), at); name != "" {
			return " (local '" + name + "')"
		}
	}
	return ""
}

// localName returns the name of the local variable in a register at an instruction.
// It returns "" if there is none or if the compiler made it. The compiler records
// the beginning of a local variable one instruction late, so pc+1 is tried as well.
func localName(fn *lua.LFunction, reg, pc int) string {
	for _, at := range []int{pc + 1, pc} {
		if name, ok := fn.LocalName(reg+1, at); ok && !strings.HasPrefix(name, "(") {
			return name
		}
	}
	return ""
}

// keyText returns the text of a constant key, or "?" if the key is in a register.
func keyText(f Frame, rk int) string {
	if rk&constBit == 0 {
		return "?"
	}
	if k := f.Fn().Proto.Constants; rk&^constBit < len(k) {
		if n, ok := k[rk&^constBit].(lua.LNumber); ok {
			return luanum.Format(float64(n))
		}
	}
	return constant(f, rk)
}

// setter returns the index of the last instruction before pc that set reg, or -1 if
// that is not certain because of a jump or call.
func setter(code []uint32, reg, pc int) int {
	found := -1
	for at := 0; at < pc; at++ {
		i := Instruction(code[at])
		switch op := i.Op(); op {
		case lua.OP_JMP, lua.OP_FORLOOP, lua.OP_FORPREP:
			found = -1
		case lua.OP_CALL, lua.OP_TFORLOOP:
			if i.A() <= reg {
				found = -1
			}
		case lua.OP_LOADNIL:
			if i.A() <= reg && reg <= i.B() {
				found = at
			}
		case lua.OP_SELF:
			if i.A() == reg || i.A()+1 == reg {
				found = at
			}
		case lua.OP_SETGLOBAL, lua.OP_SETUPVAL, lua.OP_SETTABLE, lua.OP_SETTABLEKS, lua.OP_EQ,
			lua.OP_LT, lua.OP_LE, lua.OP_TEST, lua.OP_RETURN, lua.OP_SETLIST, lua.OP_CLOSE:
		default:
			if i.A() == reg {
				found = at
			}
		}
	}
	return found
}
