package host

import (
	"fmt"
	"math"
	"reflect"
	"sort"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// maxExact is the largest integer that a Lua number holds exactly, with all
// those before it.
const maxExact = 1 << 53

// Null is the Go side of null: absence inside an array or a dictionary, where
// nil would leave a hole.
type Null struct{}

// Null returns the null value of this host.
func (h *Host) Null() lua.LValue { return h.null }

// LuaValuer is implemented by Go values that know what they are in Lua.
type LuaValuer interface {
	LuaValue(L *lua.LState) lua.LValue
}

// GoValuer is implemented by the Values of userdata that FromLua can convert. If LuaToGo returns an
// error, FromLua fails with it.
type GoValuer interface {
	LuaToGo() any
}

// BytesValuer is implemented by the Values of userdata that may stand for bytes.
type BytesValuer interface {
	LuaBytes() ([]byte, bool)
}

// RegisterType says what ToLua makes of values of type t.
func (h *Host) RegisterType(t reflect.Type, to func(*lua.LState, any) lua.LValue) {
	h.converters[t] = to
}

// ToLua converts a Go value. Nothing is rounded: integers beyond 2^53 become
// Int64 or UInt64 objects, []byte becomes Data, time.Time becomes Date. A nil
// is nil, inside arrays and dictionaries it is null. Dictionaries are in the
// order of their sorted keys. It raises for what Lua cannot hold.
func ToLua(L *lua.LState, v any) lua.LValue {
	if v == nil {
		return lua.LNil
	}
	c := Converting(L)
	lv := c.h.toLua(L, v, 0)
	c.Done()
	return lv
}

// Conversion is a conversion of a large value in Go code, of which Converted
// reports the progress.
type Conversion struct {
	h      *Host
	before uint64
}

// Converting begins a conversion. Done must be called at its end.
func Converting(L *lua.LState) Conversion {
	h := hookOf(L).host
	return Conversion{h, h.memory.making}
}

// Done ends the conversion: the script can reach the value now.
func (c Conversion) Done() { c.h.memory.making = c.before }

// Converted says that a conversion has made a value of about n bytes that no
// script can reach yet. It raises code "memory" when there are too many.
func Converted(L *lua.LState, n int) {
	k := hookOf(L)
	k.host.converted(k, n)
}

// toLua is ToLua where nil is null.
func (h *Host) toLua(L *lua.LState, v any, depth int) lua.LValue {
	switch v := v.(type) {
	case nil:
		return h.null
	case lua.LValue:
		return v
	case string:
		Converted(L, len(v)+SizeString)
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int:
		return h.integer(int64(v))
	case int64:
		return h.integer(v)
	case uint64:
		return h.unsigned(v)
	case float64:
		return lua.LNumber(v)
	case []byte:
		return h.Data(v)
	case time.Time:
		return h.Date(v)
	case map[string]any:
		return h.dict(L, reflect.Value{}, v, depth)
	case []any:
		Converted(L, SizeTable+len(v)*SizeSlot)
		t := L.CreateTable(len(v), 0)
		if len(v) == 0 {
			t.Metatable = h.meta.array
		}
		for _, e := range h.nested(L, depth, v) {
			t.Append(h.toLua(L, e, depth+1))
		}
		return t
	}
	if to := h.converters[reflect.TypeOf(v)]; to != nil {
		return to(L, v)
	}
	switch v := v.(type) {
	case LuaValuer:
		return v.LuaValue(L)
	case time.Duration:
		return lua.LNumber(v.Seconds())
	case Null:
		return h.null
	case error:
		return h.errorValue(L, v)
	}
	return h.reflected(L, reflect.ValueOf(v), depth)
}

// nested refuses values that contain themselves.
func (h *Host) nested(L *lua.LState, depth int, v []any) []any {
	if depth > maxSyntax {
		Raise(L, Errorf("value", "value is nested deeper than %d levels", maxSyntax))
	}
	return v
}

func (h *Host) dict(L *lua.LState, rv reflect.Value, m map[string]any, depth int) lua.LValue {
	h.nested(L, depth, nil)
	n := len(m)
	if rv.IsValid() {
		n = rv.Len()
	}
	Converted(L, SizeTable+n*SizeEntry)
	t := L.CreateTable(0, n)
	if n == 0 {
		t.Metatable = h.meta.dict
	}
	if !rv.IsValid() {
		for _, k := range sortedKeys(m) {
			t.RawSetString(k, h.toLua(L, m[k], depth+1))
		}
		return t
	}
	keys := rv.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	for _, k := range keys {
		t.RawSetString(k.String(), h.toLua(L, rv.MapIndex(k).Interface(), depth+1))
	}
	return t
}

func (h *Host) reflected(L *lua.LState, rv reflect.Value, depth int) lua.LValue {
	switch rv.Kind() {
	case reflect.Bool:
		return lua.LBool(rv.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return h.integer(rv.Int())
	case reflect.Uint,
		reflect.Uint8,
		reflect.Uint16,
		reflect.Uint32,
		reflect.Uint64,
		reflect.Uintptr:
		return h.unsigned(rv.Uint())
	case reflect.Float32, reflect.Float64:
		return lua.LNumber(rv.Float())
	case reflect.String:
		return lua.LString(rv.String())
	case reflect.Pointer, reflect.Interface:
		if rv.IsNil() {
			return h.null
		}
		return h.toLua(L, rv.Elem().Interface(), depth+1)
	case reflect.Slice, reflect.Array:
		if rv.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, rv.Len())
			reflect.Copy(reflect.ValueOf(b), rv)
			return h.Data(b)
		}
		h.nested(L, depth, nil)
		t := L.CreateTable(rv.Len(), 0)
		if rv.Len() == 0 {
			t.Metatable = h.meta.array
		}
		for i := range rv.Len() {
			t.Append(h.toLua(L, rv.Index(i).Interface(), depth+1))
		}
		return t
	case reflect.Map:
		if rv.Type().Key().Kind() == reflect.String {
			return h.dict(L, rv, nil, depth)
		}
	}
	Raise(L, Errorf("value", "cannot convert a Go %s to Lua", rv.Type()))
	return nil
}

func (h *Host) integer(v int64) lua.LValue {
	if v >= -maxExact && v <= maxExact {
		return lua.LNumber(v)
	}
	return h.Int64(v)
}

func (h *Host) unsigned(v uint64) lua.LValue {
	if v <= maxExact {
		return lua.LNumber(v)
	}
	return h.UInt64(v)
}

// FromLua converts a Lua value: tables to []any or map[string]any, Data to
// []byte, Date to time.Time, null to nil, Int64 and UInt64 to int64 and uint64,
// integral numbers to int64 and others to float64. An empty table is a
// dictionary unless array{} made it. The error names the place of a value that
// cannot be converted.
func FromLua(v lua.LValue) (any, error) {
	return FromLuaWith(v, func(*lua.LUserData) (any, bool) { return nil, false })
}

// FromLuaWith is FromLua for a package with userdata of its own: wherever v holds some,
// object is asked first, which reports whether it could convert it.
func FromLuaWith(
	v lua.LValue, object func(ud *lua.LUserData) (value any, ok bool),
) (any, error) {
	c := &conversion{object: object, on: map[*lua.LTable]bool{}}
	return fromLua(v, "value", c)
}

// conversion is what FromLua knows on its way through a value.
type conversion struct {
	object func(ud *lua.LUserData) (any, bool)
	on     map[*lua.LTable]bool // tables that it is inside of
}

func fromLua(v lua.LValue, path string, c *conversion) (any, error) {
	switch v := v.(type) {
	case nil, *lua.LNilType:
		return nil, nil
	case lua.LBool:
		return bool(v), nil
	case lua.LString:
		return string(v), nil
	case lua.LNumber:
		f := float64(v)
		if f == math.Trunc(f) && math.Abs(f) < 1<<63 {
			return int64(f), nil
		}
		return f, nil
	case *lua.LTable:
		if c.on[v] {
			return nil, Errorf("value", "%s contains itself", path)
		}
		if len(c.on) > maxSyntax {
			return nil, Errorf("value", "%s is nested deeper than %d levels", path, maxSyntax)
		}
		c.on[v] = true
		defer delete(c.on, v)
		return fromTable(v, path, c)
	case *lua.LUserData:
		if x, ok := c.object(v); ok {
			return x, nil
		}
		return fromUserData(v, path)
	}
	return nil, Errorf("value", "%s: cannot convert a %s", path, v.Type())
}

func fromUserData(ud *lua.LUserData, path string) (any, error) {
	switch x := ud.Value.(type) {
	case Null:
		return nil, nil
	case *Data:
		return x.Bytes, nil
	case Int64:
		return int64(x), nil
	case UInt64:
		return uint64(x), nil
	case time.Time:
		return x, nil
	case GoValuer:
		v := x.LuaToGo()
		if err, ok := v.(error); ok {
			return nil, err
		}
		return v, nil
	}
	return nil, Errorf("value", "%s: cannot convert a userdata (%T)", path, ud.Value)
}

func fromTable(t *lua.LTable, path string, c *conversion) (any, error) {
	n := t.Len()
	if n == 0 && tableKind(t) != "array" {
		return fromDict(t, path, c)
	}
	list := make([]any, 0, n)
	for i := 1; i <= n; i++ {
		e := t.RawGetInt(i)
		if e == lua.LNil {
			return nil, Errorf("value", "%s[%d] is nil inside an array; use null", path, i)
		}
		x, err := fromLua(e, fmt.Sprintf("%s[%d]", path, i), c)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	// Anything else would be lost without a word.
	var odd lua.LValue
	for k, _ := t.Next(lua.LNil); k != lua.LNil; k, _ = t.Next(k) {
		if i, ok := k.(lua.LNumber); ok && float64(i) == math.Trunc(float64(i)) && i >= 1 &&
			int(i) <= n {
			continue
		}
		odd = k
		break
	}
	if odd != nil {
		return nil, Errorf("value", "%s is an array with the extra key %s", path, keyText(odd))
	}
	return list, nil
}

func fromDict(t *lua.LTable, path string, c *conversion) (any, error) {
	m := map[string]any{}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		name, ok := k.(lua.LString)
		if !ok {
			return nil, Errorf("value", "%s has the key %s, which is not a string", path, keyText(k))
		}
		x, err := fromLua(v, path+"."+string(name), c)
		if err != nil {
			return nil, err
		}
		m[string(name)] = x
	}
	return m, nil
}

func keyText(k lua.LValue) string {
	if s, ok := k.(lua.LString); ok {
		return quoteShort(string(s), 60)
	}
	return plainString(k)
}

// tableKind is "array" or "dict" for tables that were marked, else "".
func tableKind(t *lua.LTable) string {
	if mt, ok := t.Metatable.(*lua.LTable); ok {
		if s, ok := mt.RawGetString("__imd").(lua.LString); ok {
			return string(s)
		}
	}
	return ""
}

// Bytes gives the bytes of a string, a Data or a BytesValuer, and false for anything
// else.
func Bytes(v lua.LValue) ([]byte, bool) {
	switch v := v.(type) {
	case lua.LString:
		return []byte(v), true
	case *lua.LUserData:
		switch x := v.Value.(type) {
		case *Data:
			return x.Bytes, true
		case BytesValuer:
			return x.LuaBytes()
		}
	}
	return nil, false
}
