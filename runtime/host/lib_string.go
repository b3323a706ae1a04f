package host

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/luanum"
	lua "github.com/yuin/gopher-lua"
)

// openString replaces those string functions that lose data or kill the
// process, and keeps scripts from redefining methods for everybody.
func (h *Host) openString() {
	lib := h.globals.RawGetString("string").(*lua.LTable)
	h.extend(lib, map[string]lua.LGFunction{
		"format": stringFormat, "rep": stringRep, "lower": stringLower, "upper": stringUpper,
	})
	lib.RawSetString("__index", lua.LNil)
	lib.RawSetString("dump", lua.LNil)
	mt := h.root.CreateTable(0, 2)
	mt.RawSetString("__index", lib)
	mt.RawSetString("__metatable", lua.LString("string"))
	h.root.SetMetatable(lua.LString(""), mt)
}

func stringRep(L *lua.LState) int {
	s, n, sep := L.CheckString(1), L.CheckInt(2), L.OptString(3, "")
	if n <= 0 {
		L.Push(lua.LString(""))
		return 1
	}
	MakeString(L, float64(len(s)+len(sep))*float64(n))
	if sep == "" {
		L.Push(lua.LString(strings.Repeat(s, n)))
	} else {
		L.Push(lua.LString(strings.Repeat(s+sep, n-1) + s))
	}
	return 1
}

// MakeString says that a string of so many bytes is about to be made. It raises
// code "memory" if that exceeds Options.MaxString or what Reserve allows: Go
// cannot recover from running out of memory.
func MakeString(L *lua.LState, size float64) {
	limit := hookOf(L).host.o.MaxString
	if size > float64(limit) {
		e := Errorf("memory", "resulting string too large (%.0f bytes, limit is %d)", size, limit)
		Raise(L, e.WithHint("raise the limit with --max-string"))
	}
	Reserve(L, int(size))
}

// stringLower changes ASCII only: anything else may be binary.
func stringLower(L *lua.LState) int {
	return mapBytes(L, func(c byte) byte {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	})
}

func stringUpper(L *lua.LState) int {
	return mapBytes(L, func(c byte) byte {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		return c
	})
}

func mapBytes(L *lua.LState, f func(byte) byte) int {
	b := []byte(L.CheckString(1))
	for i, c := range b {
		b[i] = f(c)
	}
	L.Push(lua.LString(b))
	return 1
}

func stringFormat(L *lua.LState) int {
	format := L.CheckString(1)
	out := make([]byte, 0, len(format)+32)
	arg := 1
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c != '%' {
			out = append(out, c)
			continue
		}
		i++
		if i < len(format) && format[i] == '%' {
			out = append(out, '%')
			continue
		}
		start := i
		for i < len(format) && strings.IndexByte("-+ #0123456789.", format[i]) >= 0 {
			i++
		}
		if i >= len(format) || i-start > 10 {
			L.RaiseError("invalid format string to 'format'")
		}
		arg++
		out = formatArgument(L, out, format[start:i], format[i], arg)
	}
	L.Push(lua.LString(out))
	return 1
}

// formatArgument appends argument arg as the directive says.
func formatArgument(L *lua.LState, out []byte, flags string, verb byte, arg int) []byte {
	if strings.IndexByte("diouxXceEfFgGaAqs", verb) < 0 {
		L.RaiseError("invalid option '%%%s%c' to 'format'", flags, verb)
	}
	if L.GetTop() < arg {
		L.ArgError(arg, "no value")
	}
	switch verb {
	case 's':
		s := ToString(L, L.Get(arg))
		if flags == "" {
			return append(out, s...)
		}
		return formatText(out, flags, s)
	case 'q':
		return append(out, quoteLua(L.CheckString(arg))...)
	}
	f := checkNumber(L, arg)
	switch verb {
	case 'c':
		return append(out, byte(int64(f)))
	case 'd', 'i':
		if math.IsNaN(f) || math.IsInf(f, 0) || math.Abs(f) > 1<<63 {
			L.ArgError(arg, "number has no integer representation")
		}
		if flags == "" {
			return strconv.AppendInt(out, int64(f), 10)
		}
		return fmt.Appendf(out, "%"+flags+"d", int64(f))
	case 'u', 'o', 'x', 'X':
		if verb == 'u' {
			verb = 'd'
		}
		if f < 0 {
			return fmt.Appendf(out, "%"+flags+string(verb), uint64(int64(f)))
		}
		return fmt.Appendf(out, "%"+flags+string(verb), uint64(f))
	case 'a', 'A':
		return fmt.Appendf(out, "%"+flags+string(verb+'x'-'a'), f)
	}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return formatText(
			out,
			strings.Split(strings.ReplaceAll(flags, "0", ""), ".")[0],
			luanum.Format(f),
		)
	}
	if verb == 'g' || verb == 'G' {
		// Go's %g is as short as possible, C's has six digits.
		if !strings.Contains(flags, ".") {
			flags += ".6"
		}
	}
	return fmt.Appendf(out, "%"+flags+string(verb), f)
}

// formatText pads bytes, where Go would count characters.
func formatText(out []byte, flags, s string) []byte {
	left := strings.Contains(flags, "-")
	width, precision, cut := strings.Cut(strings.TrimLeft(flags, "-+ #0"), ".")
	if cut {
		n, _ := strconv.Atoi(precision)
		s = s[:min(n, len(s))]
	}
	n, _ := strconv.Atoi(width)
	pad := strings.Repeat(" ", max(n-len(s), 0))
	if left {
		return append(append(out, s...), pad...)
	}
	return append(append(out, pad...), s...)
}

func checkNumber(L *lua.LState, arg int) float64 {
	switch v := L.Get(arg).(type) {
	case lua.LNumber:
		return float64(v)
	case lua.LString:
		if f, ok := luanum.Parse(string(v)); ok {
			return f
		}
	case *lua.LUserData:
		switch n := v.Value.(type) {
		case Int64:
			return float64(n)
		case UInt64:
			return float64(n)
		}
	}
	L.ArgError(arg, "number expected, got "+L.Get(arg).Type().String())
	return 0
}

// quoteLua writes a string so that Lua reads it back.
func quoteLua(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\\', '\n':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\r':
			b.WriteString("\\r")
		case 0:
			b.WriteString("\\000")
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
