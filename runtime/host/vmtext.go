package host

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// explain makes the texts of the VM name what they are about, as PUC Lua's do:
// "attempt to call a nil value (field 'launhc')" instead of "attempt to call a
// non-function object". It runs where the error is raised, with the failing
// instruction at hand.
func explain(L *lua.LState, s string) string {
	pos, text := splitPosition(s)
	f, ok := innermost(L)
	if !ok || f.fn().IsG {
		return s
	}
	better := ""
	switch {
	case text == "attempt to call a non-function object":
		better = explainCall(L, f)
	case strings.HasPrefix(text, "attempt to index a non-table object("):
		better = explainIndex(L, f)
	case strings.HasPrefix(text, "cannot perform "):
		better = explainArith(L, f, text)
	}
	if better == "" {
		return s
	}
	if pos == "" {
		return better
	}
	return pos + ": " + better
}

// tidy takes away what gopher-lua leaves when there is no position or no name.
func tidy(s string) string {
	s = strings.TrimPrefix(s, " ")
	return strings.Replace(strings.Replace(s, " to (anonymous) (", " (", 1), " to ? (", " (", 1)
}

func opcode(i uint32) int { return int(i >> 26) }
func argA(i uint32) int   { return int(i>>18) & 0xff }
func argB(i uint32) int   { return int(i & 0x1ff) }
func argC(i uint32) int   { return int(i>>9) & 0x1ff }
func argBx(i uint32) int  { return int(i & 0x3ffff) }

// constBit marks an operand that is a constant, not a register.
const constBit = 1 << 8

func instruction(f callFrame) (uint32, bool) {
	code, pc := f.fn().Proto.Code, f.pc()
	if pc < 0 || pc >= len(code) {
		return 0, false
	}
	return code[pc], true
}

func explainCall(L *lua.LState, f callFrame) string {
	i, ok := instruction(f)
	if !ok {
		return ""
	}
	switch opcode(i) {
	case lua.OP_CALL, lua.OP_TAILCALL:
		v := L.Get(argA(i) + 1)
		text := "attempt to call " + typed(v) + describe(f, argA(i), f.pc())
		if name := f.callName(); name != "" && !strings.Contains(text, "(") {
			text += " ('" + name + "')"
		}
		return text
	case lua.OP_TFORLOOP:
		v := L.Get(argA(i) + 1)
		if v.Type() == lua.LTTable {
			return "attempt to call a table value (for ... in needs an iterator; use pairs(t) or ipairs(t))"
		}
		return "attempt to call " + typed(v) + " (the iterator of for ... in)"
	}
	return ""
}

func explainIndex(L *lua.LState, f callFrame) string {
	i, ok := instruction(f)
	if !ok {
		return ""
	}
	reg, key := -1, ""
	switch opcode(i) {
	case lua.OP_GETTABLE, lua.OP_GETTABLEKS, lua.OP_SELF:
		reg, key = argB(i), keyOf(L, f, argC(i))
	case lua.OP_SETTABLE, lua.OP_SETTABLEKS:
		reg, key = argA(i), keyOf(L, f, argB(i))
	default:
		return ""
	}
	v := L.Get(reg + 1)
	text := "attempt to index " + typed(v) + describe(f, reg, f.pc())
	if key != "" {
		text += " with key '" + key + "'"
	}
	return text
}

func explainArith(L *lua.LState, f callFrame, text string) string {
	i, ok := instruction(f)
	if !ok {
		return ""
	}
	switch op := opcode(i); {
	case op >= lua.OP_ADD && op <= lua.OP_POW:
		for _, rk := range []int{argC(i), argB(i)} {
			if rk&constBit == 0 {
				if v := L.Get(rk + 1); !isNumeric(v) {
					return "attempt to perform arithmetic on " + typed(v) + describe(f, rk, f.pc())
				}
			}
		}
	case op == lua.OP_CONCAT:
		for r := argC(i); r >= argB(i); r-- {
			if v := L.Get(r + 1); v.Type() != lua.LTString && v.Type() != lua.LTNumber {
				return "attempt to concatenate " + typed(v) + describe(f, r, f.pc())
			}
		}
	}
	return ""
}

func isNumeric(v lua.LValue) bool {
	switch v := v.(type) {
	case lua.LNumber:
		return true
	case lua.LString:
		_, ok := parseNumber(string(v))
		return ok
	}
	return false
}

func typed(v lua.LValue) string {
	if v == nil || v == lua.LNil {
		return "a nil value"
	}
	return "a " + v.Type().String() + " value"
}

// keyOf is the name in an operand that is a constant or a register.
func keyOf(L *lua.LState, f callFrame, rk int) string {
	if rk&constBit != 0 {
		return constant(f, rk)
	}
	if s, ok := L.Get(rk + 1).(lua.LString); ok {
		return string(s)
	}
	return ""
}

func constant(f callFrame, rk int) string {
	if rk&constBit == 0 {
		return ""
	}
	k := f.fn().Proto.Constants
	if n := rk &^ constBit; n < len(k) {
		if s, ok := k[n].(lua.LString); ok {
			return string(s)
		}
	}
	return ""
}

// describe says where register reg got its value from: " (local 'x')" and so
// on, "" if that cannot be told.
func describe(f callFrame, reg, pc int) string {
	fn := f.fn()
	if name, ok := fn.LocalName(reg+1, pc); ok {
		return " (local '" + name + "')"
	}
	at := setter(fn.Proto.Code, reg, pc)
	if at < 0 {
		return ""
	}
	i := fn.Proto.Code[at]
	switch opcode(i) {
	case lua.OP_GETGLOBAL:
		return " (global '" + fn.Proto.Constants[argBx(i)].String() + "')"
	case lua.OP_GETTABLE, lua.OP_GETTABLEKS:
		if key := constant(f, argC(i)); key != "" {
			return " (field '" + key + "')"
		}
	case lua.OP_SELF:
		if key := constant(f, argC(i)); key != "" {
			return " (method '" + key + "')"
		}
	case lua.OP_GETUPVAL:
		if b := argB(i); b < len(fn.Proto.DbgUpvalues) {
			return " (upvalue '" + fn.Proto.DbgUpvalues[b] + "')"
		}
	case lua.OP_MOVE:
		if name, ok := fn.LocalName(argB(i)+1, at); ok {
			return " (local '" + name + "')"
		}
	}
	return ""
}

// setter finds the last instruction before pc that set reg, -1 if a jump makes
// that uncertain.
func setter(code []uint32, reg, pc int) int {
	found := -1
	for at := 0; at < pc; at++ {
		i := code[at]
		switch op := opcode(i); op {
		case lua.OP_JMP, lua.OP_FORLOOP, lua.OP_FORPREP:
			found = -1
		case lua.OP_CALL, lua.OP_TFORLOOP:
			if argA(i) <= reg {
				found = -1
			}
		case lua.OP_LOADNIL:
			if argA(i) <= reg && reg <= argB(i) {
				found = at
			}
		case lua.OP_SELF:
			if argA(i) == reg || argA(i)+1 == reg {
				found = at
			}
		case lua.OP_SETGLOBAL, lua.OP_SETUPVAL, lua.OP_SETTABLE, lua.OP_SETTABLEKS,
			lua.OP_EQ, lua.OP_LT, lua.OP_LE, lua.OP_TEST, lua.OP_RETURN, lua.OP_SETLIST, lua.OP_CLOSE:
		default:
			if argA(i) == reg {
				found = at
			}
		}
	}
	return found
}
