package host

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/host/localfile"
	lua "github.com/yuin/gopher-lua"
)

// Data is binary data, such as the bytes in property lists, XPC and DTX messages.
// Nothing may change the bytes, because the slice may be shared.
type Data struct{ Bytes []byte }

// Size returns the number of bytes.
func (d *Data) Size(func(lua.LValue)) int { return len(d.Bytes) }

// Int64 and UInt64 are integers that a Lua number cannot hold exactly.
type (
	Int64  int64
	UInt64 uint64
)

func (h *Host) wrap(v any, mt *lua.LTable) *lua.LUserData {
	return &lua.LUserData{Value: v, Env: h.globals, Metatable: mt}
}

// Data returns a Data object of b, which must not change afterwards.
func (h *Host) Data(b []byte) lua.LValue { return h.wrap(&Data{Bytes: b}, h.meta.data) }

// Date returns a Date object.
func (h *Host) Date(t time.Time) lua.LValue { return h.wrap(t, h.meta.date) }

// Int64 returns an Int64 object, even for a value that a Lua number could hold.
func (h *Host) Int64(v int64) lua.LValue { return h.wrap(Int64(v), h.meta.int64) }

// UInt64 returns a UInt64 object, even for a value that a Lua number could hold.
// Identifiers such as the ECID are always UInt64 objects.
func (h *Host) UInt64(v uint64) lua.LValue { return h.wrap(UInt64(v), h.meta.uint64) }

// AddMethod adds a method to one of the host's own classes: "Data", "Date",
// "Int64", "UInt64", "Error".
func (h *Host) AddMethod(class, name string, fn lua.LGFunction) {
	mt := map[string]*lua.LTable{
		"Data": h.meta.data, "Date": h.meta.date, "Int64": h.meta.int64, "UInt64": h.meta.uint64,
		"Error": h.meta.err,
	}[class]
	if mt == nil {
		panic("host: no class " + class)
	}
	mt.RawGetString("methods").(*lua.LTable).RawSetString(name, h.root.NewFunction(fn))
}

// class returns the metatable of a class. fields, which may be nil, returns the
// fields that are not methods, or nil for an unknown name.
func (h *Host) class(
	name string,
	methods, meta map[string]lua.LGFunction,
	fields func(L *lua.LState, ud *lua.LUserData, key string) lua.LValue,
) *lua.LTable {
	mt := h.root.CreateTable(0, 8)
	table := h.Functions(methods)
	mt.RawSetString("methods", table)
	mt.RawSetString("__name", lua.LString(name))
	mt.RawSetString("__metatable", lua.LString(name))
	mt.RawSetString("__index", h.root.NewFunction(func(L *lua.LState) int {
		key := plainString(L.Get(2))
		if m := table.RawGetString(key); m != lua.LNil {
			L.Push(m)
			return 1
		}
		if fields != nil {
			if v := fields(L, L.CheckUserData(1), key); v != nil {
				L.Push(v)
				return 1
			}
		}
		e := Errorf("undefined", "%s has no field or method '%s'", name, key)
		names := []string{}
		table.ForEach(func(k, _ lua.LValue) { names = append(names, k.String()) })
		if near := suggest(key, names); near != "" {
			e.Message += " (did you mean " + near + "?)"
		}
		Raise(L, e)
		return 0
	}))
	mt.RawSetString("__newindex", h.root.NewFunction(func(L *lua.LState) int {
		Raise(L, Errorf("read_only", "%s is read-only (field '%s')", name, plainString(L.Get(2))))
		return 0
	}))
	h.extend(mt, meta)
	return mt
}

func (h *Host) openValues() {
	h.meta.null = h.class(
		"null",
		nil,
		map[string]lua.LGFunction{
			"__tostring": pushText(func(*lua.LState) string { return "null" }),
		},
		nil,
	)
	h.null = h.wrap(Null{}, h.meta.null)
	h.meta.data = h.class("Data", map[string]lua.LGFunction{
		"string": pushText(func(L *lua.LState) string { return string(dataAt(L, 1)) }),
		"hex":    pushText(func(L *lua.LState) string { return hex.EncodeToString(dataAt(L, 1)) }),
		"base64": pushText(
			func(L *lua.LState) string { return base64.StdEncoding.EncodeToString(dataAt(L, 1)) },
		),
		"sub": h.dataSub, "byte": dataByte, "save": dataSave,
	}, map[string]lua.LGFunction{
		"__tostring": pushText(func(L *lua.LState) string { return describeData(dataAt(L, 1)) }),
		"__len":      func(L *lua.LState) int { L.Push(lua.LNumber(len(dataAt(L, 1)))); return 1 },
		"__eq": func(L *lua.LState) int {
			L.Push(lua.LBool(string(dataAt(L, 1)) == string(dataAt(L, 2))))
			return 1
		},
		"__concat": func(L *lua.LState) int {
			a, okA := Bytes(L.Get(1))
			b, okB := Bytes(L.Get(2))
			if !okA || !okB {
				L.RaiseError("Data can be concatenated with Data and strings only")
			}
			L.Push(h.Data(append(append(make([]byte, 0, len(a)+len(b)), a...), b...)))
			return 1
		},
	}, nil)
	h.openInt64()
	h.openDate()
	h.openErrors()
	h.meta.array, h.meta.dict = h.marker("array"), h.marker("dict")
	h.extend(h.globals, map[string]lua.LGFunction{
		"array": h.mark(h.meta.array), "dict": h.mark(h.meta.dict),
		"data": func(L *lua.LState) int { L.Push(h.Data([]byte(L.CheckString(1)))); return 1 },
	})
	h.globals.RawSetString("null", h.null)
}

// marker returns a metatable that only records the kind of a table.
func (h *Host) marker(kind string) *lua.LTable {
	mt := h.root.CreateTable(0, 1)
	mt.RawSetString("__imd", lua.LString(kind))
	return mt
}

// mark returns a function that gives a table the metatable mt. Without an argument
// the function makes a table.
func (h *Host) mark(mt *lua.LTable) lua.LGFunction {
	return func(L *lua.LState) int {
		t := L.OptTable(1, nil)
		if t == nil {
			t = L.CreateTable(0, 0)
		}
		t.Metatable = mt
		L.Push(t)
		return 1
	}
}

func pushText(f func(L *lua.LState) string) lua.LGFunction {
	return func(L *lua.LState) int {
		L.Push(lua.LString(f(L)))
		return 1
	}
}

func dataAt(L *lua.LState, i int) []byte {
	b, ok := Bytes(L.Get(i))
	if !ok {
		L.ArgError(i, "Data expected, got "+L.Get(i).Type().String())
	}
	return b
}

// describeData returns a text such as "<62 70 6c 69 ... 1024 bytes>".
func describeData(b []byte) string {
	if len(b) <= 8 {
		return fmt.Sprintf("<% x>", b)
	}
	return fmt.Sprintf("<% x ... %d bytes>", b[:4], len(b))
}

func (h *Host) dataSub(L *lua.LState) int {
	b := dataAt(L, 1)
	from, to := StringRange(len(b), L.OptInt(2, 1), L.OptInt(3, -1))
	L.Push(h.Data(b[from:to]))
	return 1
}

// StringRange converts the positions i and j of Lua, which may be negative, to the bounds
// of a slice of n elements.
func StringRange(n, i, j int) (from, to int) {
	if i < 0 {
		i = max(n+i+1, 1)
	}
	if j < 0 {
		j = n + j + 1
	}
	from, to = max(i, 1)-1, min(j, n)
	if from >= to {
		return 0, 0
	}
	return from, to
}

func dataByte(L *lua.LState) int {
	b := dataAt(L, 1)
	i := L.OptInt(2, 1)
	from, to := StringRange(len(b), i, L.OptInt(3, i))
	if to-from > maxUnpack {
		L.RaiseError("too many results (%d, limit is %d)", to-from, maxUnpack)
	}
	for _, c := range b[from:to] {
		L.Push(lua.LNumber(c))
	}
	return to - from
}

func dataSave(L *lua.LState) int {
	b, path := dataAt(L, 1), L.CheckString(2)
	allowed(L, AccessWrite, path)
	Block(L, func(ctx context.Context) error { return localfile.WriteFile(ctx, path, b, 0o644) })
	return 0
}

// bigOf returns the integer value of argument i. It raises if there is none.
func bigOf(L *lua.LState, i int) *big.Int {
	switch v := L.Get(i).(type) {
	case lua.LNumber:
		f := float64(v)
		if f != math.Trunc(f) || math.IsInf(f, 0) {
			L.ArgError(i, "number has no integer representation")
		}
		n, _ := big.NewFloat(f).Int(nil)
		return n
	case lua.LString:
		s := strings.ReplaceAll(string(v), "_", "?")
		if n, ok := new(big.Int).SetString(strings.TrimSpace(s), 0); ok && !leadingZero(s) {
			return n
		}
		if n, ok := new(big.Int).SetString(strings.TrimSpace(s), 10); ok {
			return n
		}
	case *lua.LUserData:
		switch n := v.Value.(type) {
		case Int64:
			return big.NewInt(int64(n))
		case UInt64:
			return new(big.Int).SetUint64(uint64(n))
		}
	}
	L.ArgError(i, "integer expected, got "+ToString(L, L.Get(i)))
	return nil
}

// leadingZero reports whether s is a decimal number such as "010", which Go would
// read as octal.
func leadingZero(s string) bool {
	s = strings.TrimLeft(strings.TrimSpace(s), "+-")
	return len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9'
}

// pushInteger pushes n as an Int64 if signed is set, else as a UInt64. If n does
// not fit that type, it pushes the other one. It raises if n fits neither.
func (h *Host) pushInteger(L *lua.LState, n *big.Int, signed bool) int {
	switch {
	case signed && n.IsInt64():
		L.Push(h.Int64(n.Int64()))
	case !signed && n.IsUint64():
		L.Push(h.UInt64(n.Uint64()))
	case n.IsInt64():
		L.Push(h.Int64(n.Int64()))
	case n.IsUint64():
		L.Push(h.UInt64(n.Uint64()))
	default:
		Raise(L, Errorf("overflow", "%s does not fit 64 bits", n))
	}
	return 1
}

func isSigned(v lua.LValue) bool {
	ud, ok := v.(*lua.LUserData)
	if ok {
		_, ok = ud.Value.(Int64)
	}
	return ok
}

func (h *Host) openInt64() {
	arith := func(op func(z, a, b *big.Int) *big.Int, division bool) lua.LGFunction {
		return func(L *lua.LState) int {
			a, b := bigOf(L, 1), bigOf(L, 2)
			if division && b.Sign() == 0 {
				L.RaiseError("attempt to divide by zero")
			}
			return h.pushInteger(
				L,
				op(new(big.Int), a, b),
				isSigned(L.Get(1)) || isSigned(L.Get(2)),
			)
		}
	}
	compare := func(ok func(c int) bool) lua.LGFunction {
		return func(L *lua.LState) int {
			L.Push(lua.LBool(ok(bigOf(L, 1).Cmp(bigOf(L, 2)))))
			return 1
		}
	}
	meta := map[string]lua.LGFunction{
		"__add": arith(
			(*big.Int).Add,
			false,
		), "__sub": arith((*big.Int).Sub, false), "__mul": arith((*big.Int).Mul, false),
		"__mod": arith(floorMod, true), "__div": arith(floorDiv, true),
		"__unm": func(L *lua.LState) int {
			return h.pushInteger(L,
				new(big.Int).Neg(bigOf(L, 1)), true)
		},
		"__eq":       compare(func(c int) bool { return c == 0 }),
		"__lt":       compare(func(c int) bool { return c < 0 }),
		"__le":       compare(func(c int) bool { return c <= 0 }),
		"__tostring": pushText(func(L *lua.LState) string { return bigOf(L, 1).String() }),
		"__concat": pushText(
			func(L *lua.LState) string { return ToString(L, L.Get(1)) + ToString(L, L.Get(2)) },
		),
	}
	methods := map[string]lua.LGFunction{
		"hex": pushText(func(L *lua.LState) string {
			n := bigOf(L, 1)
			if n.Sign() < 0 {
				return fmt.Sprintf("0x%x", uint64(n.Int64()))
			}
			return fmt.Sprintf("0x%x", n)
		}),
		"tonumber": func(L *lua.LState) int {
			f, _ := new(big.Float).SetInt(bigOf(L, 1)).Float64()
			L.Push(lua.LNumber(f))
			return 1
		},
	}
	h.meta.int64 = h.class("Int64", methods, meta, nil)
	h.meta.uint64 = h.class("UInt64", methods, meta, nil)
	h.openIntegerConstructors()
}

func (h *Host) openIntegerConstructors() {
	h.extend(h.globals, map[string]lua.LGFunction{
		"int64": func(L *lua.LState) int {
			n := bigOf(L, 1)
			if !n.IsInt64() {
				Raise(L, Errorf("overflow", "%s does not fit an Int64", n))
			}
			L.Push(h.Int64(n.Int64()))
			return 1
		},
		"uint64": func(L *lua.LState) int {
			n := bigOf(L, 1)
			if !n.IsUint64() {
				Raise(L, Errorf("overflow", "%s does not fit a UInt64", n))
			}
			L.Push(h.UInt64(n.Uint64()))
			return 1
		},
	})
}

// floorMod computes a % b as Lua does: the result has the sign of the divisor.
func floorMod(z, a, b *big.Int) *big.Int {
	z.Rem(a, b)
	if z.Sign() != 0 && z.Sign() != b.Sign() {
		z.Add(z, b)
	}
	return z
}

func floorDiv(z, a, b *big.Int) *big.Int {
	m := floorMod(new(big.Int), a, b)
	return z.Quo(m.Sub(a, m), b)
}

func (h *Host) openDate() {
	diff := func(L *lua.LState) int {
		switch b := L.Get(2).(type) {
		case lua.LNumber:
			L.Push(h.Date(dateAt(L, 1).Add(-seconds(float64(b)))))
		default:
			L.Push(lua.LNumber(dateAt(L, 1).Sub(dateAt(L, 2)).Seconds()))
		}
		return 1
	}
	h.meta.date = h.class("Date", map[string]lua.LGFunction{
		"iso": pushText(
			func(L *lua.LState) string { return dateAt(L, 1).UTC().Format(time.RFC3339Nano) },
		),
		"format": pushText(func(L *lua.LState) string {
			s, err := Strftime(L.CheckString(2), dateAt(L, 1))
			if err != nil {
				L.ArgError(1, err.Error())
			}
			return s
		}),
	}, map[string]lua.LGFunction{
		"__tostring": pushText(
			func(L *lua.LState) string { return dateAt(L, 1).UTC().Format(time.RFC3339Nano) },
		),
		"__concat": pushText(
			func(L *lua.LState) string { return ToString(L, L.Get(1)) + ToString(L, L.Get(2)) },
		),
		"__eq": func(L *lua.LState) int {
			L.Push(lua.LBool(dateAt(L, 1).Equal(dateAt(L, 2))))
			return 1
		},
		"__lt": func(L *lua.LState) int {
			L.Push(lua.LBool(dateAt(L, 1).Before(dateAt(L, 2))))
			return 1
		},
		"__le": func(L *lua.LState) int {
			L.Push(lua.LBool(!dateAt(L, 2).Before(dateAt(L, 1))))
			return 1
		},
		"__sub": diff,
		"__add": func(L *lua.LState) int {
			d, n := 1, 2
			if L.Get(1).Type() == lua.LTNumber {
				d, n = 2, 1
			}
			L.Push(h.Date(dateAt(L, d).Add(seconds(float64(L.CheckNumber(n))))))
			return 1
		},
	}, func(L *lua.LState, ud *lua.LUserData, key string) lua.LValue {
		t := ud.Value.(time.Time)
		switch key {
		case "unix":
			return lua.LNumber(float64(t.Unix()) + float64(t.Nanosecond())/1e9)
		case "unix_ns":
			return h.Int64(t.UnixNano())
		}
		return nil
	})
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

func dateAt(L *lua.LState, i int) time.Time {
	if ud, ok := L.Get(i).(*lua.LUserData); ok {
		if t, ok := ud.Value.(time.Time); ok {
			return t
		}
	}
	L.ArgError(i, "Date expected, got "+L.Get(i).Type().String())
	return time.Time{}
}
