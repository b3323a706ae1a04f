// Package bit is the script module imd.bit: bitwise operations as in LuaJIT's bit library.
//
//	if bit.test(flags, 3) then ... end
package bit

import (
	"fmt"
	"math"
	"math/bits"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// word is a value of 32 or 64 bits.
type word struct {
	bits  uint64 // of 32 bits, the upper half is zero
	width int
	like  lua.LValue // an Int64 or UInt64 that has the type of the result
}

// wordOf reads argument n. Numbers are taken modulo 2^32, as in LuaJIT.
func wordOf(c *api.Call, n int, v lua.LValue) (word, error) {
	switch x := v.(type) {
	case lua.LNumber:
		f := float64(x)
		if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return word{}, c.ArgError(n, "whole number up to 2^53 expected, got %s",
				host.ToString(c.L, v))
		}
		return word{bits: uint64(uint32(int64(f))), width: 32}, nil
	case *lua.LUserData:
		switch i := x.Value.(type) {
		case host.Int64:
			return word{bits: uint64(i), width: 64, like: v}, nil
		case host.UInt64:
			return word{bits: uint64(i), width: 64, like: v}, nil
		}
	}
	return word{}, c.ArgError(n, "integer expected, got %s", v.Type())
}

// value returns the result: a signed number of 32 bits, or an object of the type of the operand.
func (w word) value(c *api.Call) lua.LValue {
	if w.width == 32 {
		return lua.LNumber(int32(uint32(w.bits)))
	}
	if _, ok := w.like.(*lua.LUserData).Value.(host.UInt64); ok {
		return c.Host().UInt64(w.bits)
	}
	return c.Host().Int64(int64(w.bits))
}

func (w word) mask() uint64 { return ^uint64(0) >> (64 - w.width) }

// widen extends a word of 32 bits to 64 bits and keeps its sign.
func (w word) widen(like lua.LValue) word {
	if w.width == 32 {
		w.bits = uint64(int64(int32(uint32(w.bits))))
	}
	w.width, w.like = 64, like
	return w
}

// combining declares band, bor or bxor. If an operand has 64 bits, so does the result, which has
// the type of the first such operand.
func combining(name, doc, example string, op func(a, b uint64) uint64) *api.Func {
	fn := func(c *api.Call, first lua.LValue, more ...lua.LValue) (lua.LValue, error) {
		out, err := wordOf(c, 1, first)
		if err != nil {
			return nil, err
		}
		for i, v := range more {
			w, err := wordOf(c, i+2, v)
			switch {
			case err != nil:
				return nil, err
			case w.width == 64 && out.width == 32:
				out = out.widen(w.like)
			case w.width == 32 && out.width == 64:
				w = w.widen(out.like)
			}
			out.bits = op(out.bits, w.bits)
		}
		return out.value(c), nil
	}
	return api.Function(name, doc,
		"first:integer more...:integer", fn,
		api.ParamDoc("first", "the first operand"),
		api.ParamDoc("more", "the other operands"),
		api.Returns("integer"),
		api.Example(`local bit = require("imd.bit")
return bit.`+example))
}

// shifting declares a shift or rotation. The count is taken modulo the width, as in LuaJIT.
func shifting(name, doc, example string, op func(w word, n int) uint64) *api.Func {
	fn := func(c *api.Call, x lua.LValue, count int) (lua.LValue, error) {
		w, err := wordOf(c, 1, x)
		if err != nil {
			return nil, err
		}
		w.bits = op(w, count&(w.width-1)) & w.mask()
		return w.value(c), nil
	}
	return api.Function(
		name,
		doc,
		"x:integer count",
		fn,
		api.ParamDoc("x", "the operand"),
		api.ParamDoc(
			"count",
			"how many bits; only its lowest 5 bits count, 6 for a 64-bit operand",
		),
		api.Returns("integer"),
		api.Example(`local bit = require("imd.bit")
return bit.`+example),
	)
}

// changing declares an operation on one operand.
func changing(name, doc, example string, op func(w word) uint64) *api.Func {
	fn := func(c *api.Call, x lua.LValue) (lua.LValue, error) {
		w, err := wordOf(c, 1, x)
		if err != nil {
			return nil, err
		}
		w.bits = op(w) & w.mask()
		return w.value(c), nil
	}
	return api.Function(name, doc,
		"x:integer", fn,
		api.ParamDoc("x", "the operand"),
		api.Returns("integer"),
		api.Example(`local bit = require("imd.bit")
return bit.`+example))
}

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name: "bit",
		Doc: "Bitwise operations as in LuaJIT. Numbers are taken modulo 2^32, and results are " +
			"signed numbers of 32 bits. With Int64 and UInt64 all 64 bits count, and the result " +
			"is of the same kind.",
		Perm: "none",
		Funcs: append([]*api.Func{
			combining("band", "The bits that all operands have.", "band(12, 10) -- => 8",
				func(a, b uint64) uint64 { return a & b }),
			combining("bor", "The bits that any operand has.", "bor(12, 10) -- => 14",
				func(a, b uint64) uint64 { return a | b }),
			combining("bxor", "The bits that differ.", "bxor(12, 10) -- => 6",
				func(a, b uint64) uint64 { return a ^ b }),
			changing("bnot", "All bits inverted.", "bnot(0) -- => -1",
				func(w word) uint64 { return ^w.bits }),
			changing("tobit", "The number in the range of 32 bits.", "tobit(2^32 - 1) -- => -1",
				func(w word) uint64 { return w.bits }),
			changing("bswap", "The bytes in reverse order.", "bswap(1) -- => 16777216", swap),
			shifting("lshift", "Shifts to the left.", "lshift(1, 4) -- => 16",
				func(w word, n int) uint64 { return w.bits << n }),
			shifting("rshift", "Shifts to the right and fills with zeros.",
				"rshift(-1, 28) -- => 15", func(w word, n int) uint64 { return w.bits >> n }),
			shifting("arshift", "Shifts to the right and keeps the sign.",
				"arshift(-16, 2) -- => -4",
				func(w word, n int) uint64 { return uint64(int64(w.widen(nil).bits) >> n) }),
			shifting("rol", "Rotates to the left.", "rol(-2147483648, 1) -- => 1", rotate),
			shifting("ror", "Rotates to the right.", "ror(1, 31) -- => 2",
				func(w word, n int) uint64 { return rotate(w, w.width-n) }),
		}, fields()...),
	}
}

func swap(w word) uint64 { return bits.ReverseBytes64(w.bits) >> (64 - w.width) }

func rotate(w word, n int) uint64 {
	n &= w.width - 1
	return w.bits<<n | w.bits>>(w.width-n)
}

// fields returns the functions for single bits and for ranges of bits.
func fields() []*api.Func {
	return []*api.Func{
		api.Function("test", "Whether a bit is set.",
			"x:integer bit", test,
			api.ParamDoc("x", "the operand"),
			api.ParamDoc("bit", "number of the bit, 0 is the lowest"),
			api.Example(`return require("imd.bit").test(8, 3) -- => true`)),
		api.Function("extract", "The value of some bits, never negative.",
			"x:integer from width?", extract,
			api.ParamDoc("x", "the operand"),
			api.ParamDoc("from", "number of the lowest bit"),
			api.ParamDoc("width", "how many bits, 1 if it is not given"),
			api.Returns("integer"),
			api.Example(`return require("imd.bit").extract(0xABCD, 4, 8) -- => 188`)),
		api.Function("replace", "Replaces some bits by a value.",
			"x:integer value:integer from width?", replace,
			api.ParamDoc("x", "the operand"),
			api.ParamDoc("value", "the new bits; only the lowest ones count"),
			api.ParamDoc("from", "number of the lowest bit"),
			api.ParamDoc("width", "how many bits, 1 if it is not given"),
			api.Returns("integer"),
			api.Example(`return require("imd.bit").replace(0xABCD, 0, 4, 8) -- => 0xA00D`)),
		api.Function("tohex", "The bits as hex digits: 8 of them, or 16 for a 64-bit operand.",
			"x:integer digits?", toHex,
			api.ParamDoc("x", "the operand"),
			api.ParamDoc("digits", "how many digits; negative makes them upper case"),
			api.Example(`return require("imd.bit").tohex(-1, -4) -- => "FFFF"`)),
	}
}

func test(c *api.Call, x lua.LValue, bit int) (bool, error) {
	w, mask, err := field(c, x, 2, bit, nil)
	if err != nil {
		return false, err
	}
	return w.bits>>bit&mask != 0, nil
}

// field checks a range of bits. n is the number of the argument that holds from.
func field(c *api.Call, x lua.LValue, n, from int, width *int) (w word, mask uint64, err error) {
	w, err = wordOf(c, 1, x)
	if err != nil {
		return w, 0, err
	}
	size := 1
	if width != nil {
		size = *width
	}
	if from < 0 || from >= w.width {
		return word{}, 0, c.ArgError(n, "bit %d is not in 0 to %d", from, w.width-1)
	}
	if size < 1 || size > w.width-from {
		return word{}, 0, c.ArgError(n+1, "width %d is not in 1 to %d", size, w.width-from)
	}
	return w, ^uint64(0) >> (64 - size), nil
}

func extract(c *api.Call, x lua.LValue, from int, width *int) (lua.LValue, error) {
	w, mask, err := field(c, x, 2, from, width)
	if err != nil {
		return nil, err
	}
	w.bits = w.bits >> from & mask
	if w.width == 32 {
		return lua.LNumber(w.bits), nil
	}
	return w.value(c), nil
}

func replace(c *api.Call, x, value lua.LValue, from int, width *int) (lua.LValue, error) {
	w, mask, err := field(c, x, 3, from, width)
	if err != nil {
		return nil, err
	}
	v, err := wordOf(c, 2, value)
	if err != nil {
		return nil, err
	}
	w.bits = w.bits&^(mask<<from) | v.bits&mask<<from
	return w.value(c), nil
}

func toHex(c *api.Call, x lua.LValue, digits *int) (string, error) {
	w, err := wordOf(c, 1, x)
	if err != nil {
		return "", err
	}
	n, verb := w.width/4, "x"
	if digits != nil {
		n = *digits
	}
	if n < 0 {
		n, verb = -n, "X"
	}
	if n < 1 || n > 16 {
		return "", c.ArgError(2, "1 to 16 digits")
	}
	text := fmt.Sprintf("%016"+verb, w.bits)
	return text[16-n:], nil
}
