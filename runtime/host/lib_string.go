package host

import (
	"math"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/luanum"
	"github.com/imdlua/imdlua/runtime/host/vm"
)

// openString protects the metatable of strings, which all scripts share, and
// replaces string.rep, which could exhaust the memory of the process. Package
// stdlib/lua51 adds the other functions.
func (h *Host) openString() {
	lib := h.globals.RawGetString("string").(*lua.LTable)
	h.extend(lib, map[string]lua.LGFunction{"rep": stringRep})
	lib.RawSetString("__index", lua.LNil)
	lib.RawSetString("dump", lua.LNil)
	mt := h.root.CreateTable(0, 2)
	mt.RawSetString("__index", lib)
	mt.RawSetString("__metatable", lua.LString("string"))
	for event, f := range arithmetic {
		mt.RawSetString(event, h.root.NewFunction(arithmeticOnText(event, f)))
	}
	h.root.SetMetatable(lua.LString(""), mt)
}

// arithmetic holds the operations that convert texts to numbers, by metamethod.
// gopher-lua would convert them as Go does, where "010" is octal and "0b11" is a
// number.
var arithmetic = map[string]func(a, b float64) float64{
	"__add": func(a, b float64) float64 { return a + b },
	"__sub": func(a, b float64) float64 { return a - b },
	"__mul": func(a, b float64) float64 { return a * b },
	"__div": func(a, b float64) float64 { return a / b },
	"__mod": modulo,
	"__pow": math.Pow,
	"__unm": func(a, _ float64) float64 { return -a },
}

// modulo returns a % b as the VM computes it for numbers.
func modulo(a, b float64) float64 {
	r := math.Mod(a, b)
	if r < 0 && b > 0 || r > 0 && b < 0 {
		r += b
	}
	return r
}

// arithmeticOnText returns a metamethod of strings. If the other operand has a
// metamethod of its own, that one is called instead.
func arithmeticOnText(event string, f func(a, b float64) float64) lua.LGFunction {
	unary := event == "__unm"
	return func(L *lua.LState) int {
		a, b := L.Get(1), L.Get(2)
		if unary {
			b = a
		}
		for _, v := range []lua.LValue{a, b} {
			if v.Type() == lua.LTString {
				continue
			}
			if mm := L.GetMetaField(v, event); mm != lua.LNil {
				L.Push(Call(L, mm, 1, a, b)[0])
				return 1
			}
		}
		x, ok := toNumber(a)
		if !ok {
			L.RaiseError("attempt to perform arithmetic on %s", vm.CallerOperand(L, a, false))
		}
		y, ok := toNumber(b)
		if !ok {
			L.RaiseError("attempt to perform arithmetic on %s", vm.CallerOperand(L, b, !unary))
		}
		L.Push(lua.LNumber(f(x, y)))
		return 1
	}
}

// toNumber converts an operand of arithmetic.
func toNumber(v lua.LValue) (float64, bool) {
	switch v := v.(type) {
	case lua.LNumber:
		return float64(v), true
	case lua.LString:
		return luanum.Parse(string(v))
	}
	return 0, false
}

func stringRep(L *lua.LState) int {
	s, n := L.CheckString(1), max(L.CheckInt(2), 0)
	MakeString(L, float64(len(s))*float64(n))
	L.Push(lua.LString(strings.Repeat(s, n)))
	return 1
}

// MakeString must be called before a string of size bytes is made for a script. It
// raises code "memory" if size exceeds Options.MaxString or the memory that Reserve
// allows. The check comes first because Go cannot recover from running out of
// memory.
func MakeString(L *lua.LState, size float64) {
	limit := hookOf(L).host.o.MaxString
	if size > float64(limit) {
		e := Errorf("memory", "resulting string too large (%.0f bytes, limit is %d)", size, limit)
		Raise(L, e.WithHint("raise the limit with --max-string"))
	}
	Reserve(L, int(size))
}
