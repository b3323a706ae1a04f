package host

import (
	"fmt"
	"math"
	"reflect"
	"sort"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// maxExact is the largest integer up to which a Lua number holds every integer
// exactly.
const maxExact = 1 << 53

// Null is the Go value of null, which stands for a missing value in an array or a
// dictionary. nil cannot, because a table does not keep it.
type Null struct{}

// Null returns the null value of this host.
func (h *Host) Null() lua.LValue { return h.null }

// LuaValuer is implemented by Go values that convert themselves to Lua.
type LuaValuer interface {
	LuaValue(L *lua.LState) lua.LValue
}

// GoValuer is implemented by values of userdata that FromLua can convert. If
// LuaToGo returns an error, FromLua fails with it.
type GoValuer interface {
	LuaToGo() any
}

// BytesValuer is implemented by values of userdata that can be used as bytes.
type BytesValuer interface {
	// LuaBytes returns the bytes, and false if this value has none.
	LuaBytes() ([]byte, bool)
}

// RegisterType sets the function with which ToLua converts values of type t.
func (h *Host) RegisterType(t reflect.Type, to func(*lua.LState, any) lua.LValue) {
	h.converters[t] = to
}

// ToLua converts a Go value to Lua. It does not round: integers beyond 2^53 become
// Int64 or UInt64 objects. []byte becomes Data, and time.Time becomes Date. nil
// stays nil, but inside arrays and dictionaries it becomes null. Dictionaries are
// filled in the order of their sorted keys. ToLua raises if it cannot convert v.
func ToLua(L *lua.LState, v any) lua.LValue {
	if v == nil {
		return lua.LNil
	}
	c := Converting(L)
	lv := c.h.toLua(L, v, 0)
	c.Done()
	return lv
}

// Conversion is a conversion of a large value by Go code. It counts the memory that
// Converted reports until the script can reach the value.
type Conversion struct {
	h      *Host
	before uint64
}

// Converting begins a conversion. The caller must call Done at its end.
func Converting(L *lua.LState) Conversion {
	h := hookOf(L).host
	return Conversion{h, h.memory.making}
}

// Done ends the conversion. From now on the memory of the value is counted as
// memory that the script can reach.
func (c Conversion) Done() { c.h.memory.making = c.before }

// Converted reports that a conversion has made a value of about n bytes that no
// script can reach yet. It raises code "memory" if the host exceeds its limit.
func Converted(L *lua.LState, n int) {
	k := hookOf(L)
	k.host.converted(k, n)
}

// toLua is like ToLua but converts nil to null.
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
		checkDepth(L, depth)
		Converted(L, SizeTable+len(v)*SizeSlot)
		t := L.CreateTable(len(v), 0)
		if len(v) == 0 {
			t.Metatable = h.meta.array
		}
		for _, e := range v {
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

// checkDepth raises if a value is nested too deep, as one is that contains itself.
func checkDepth(L *lua.LState, depth int) {
	if depth > maxSyntax {
		Raise(L, Errorf("value", "value is nested deeper than %d levels", maxSyntax))
	}
}

// dict converts a map whose keys are strings: rv if it is valid, else m.
func (h *Host) dict(L *lua.LState, rv reflect.Value, m map[string]any, depth int) lua.LValue {
	checkDepth(L, depth)
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
		checkDepth(L, depth)
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

// FromLua converts a Lua value to Go: tables to []any or map[string]any, Data to
// []byte, Date to time.Time, null to nil, Int64 and UInt64 to int64 and uint64,
// integral numbers to int64 and others to float64. An empty table becomes a map
// unless array{} made it. If a value cannot be converted, the error names its
// place.
func FromLua(v lua.LValue) (any, error) {
	return FromLuaWith(v, func(*lua.LUserData) (any, bool) { return nil, false })
}

// FromLuaWith is like FromLua, for a package with userdata of its own. It calls
// object first for each userdata in v; object returns false if it cannot convert
// the userdata.
func FromLuaWith(
	v lua.LValue, object func(ud *lua.LUserData) (value any, ok bool),
) (any, error) {
	c := &fromLuaState{object: object, open: map[*lua.LTable]bool{}}
	return fromLua(v, "value", c)
}

// fromLuaState is the state of one call of FromLuaWith.
type fromLuaState struct {
	object func(ud *lua.LUserData) (any, bool)
	open   map[*lua.LTable]bool // the tables around the current value
}

func fromLua(v lua.LValue, path string, c *fromLuaState) (any, error) {
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
		if c.open[v] {
			return nil, Errorf("value", "%s contains itself", path)
		}
		if len(c.open) > maxSyntax {
			return nil, Errorf("value", "%s is nested deeper than %d levels", path, maxSyntax)
		}
		c.open[v] = true
		defer delete(c.open, v)
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

func fromTable(t *lua.LTable, path string, c *fromLuaState) (any, error) {
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
	// A key outside of the array is an error, because its value would be lost.
	for k, _ := t.Next(lua.LNil); k != lua.LNil; k, _ = t.Next(k) {
		if !isArrayIndex(k, n) {
			return nil, Errorf("value", "%s is an array with the extra key %s", path, keyText(k))
		}
	}
	return list, nil
}

// isArrayIndex reports whether k is a whole number from 1 to n.
func isArrayIndex(k lua.LValue, n int) bool {
	i, ok := k.(lua.LNumber)
	return ok && float64(i) == math.Trunc(float64(i)) && i >= 1 && int(i) <= n
}

func fromDict(t *lua.LTable, path string, c *fromLuaState) (any, error) {
	m := map[string]any{}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		name, ok := k.(lua.LString)
		if !ok {
			return nil, Errorf("value", "%s has the key %s, which is not a string", path,
				keyText(k))
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

// tableKind returns "array" or "dict" for tables that were made by the functions
// of these names, and "" for others.
func tableKind(t *lua.LTable) string {
	if mt, ok := t.Metatable.(*lua.LTable); ok {
		if s, ok := mt.RawGetString("__imd").(lua.LString); ok {
			return string(s)
		}
	}
	return ""
}

// Bytes returns the bytes of a string, a Data or a BytesValuer. It returns false
// for any other value.
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
