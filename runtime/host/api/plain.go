package api

import (
	"reflect"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Plain is like host.FromLua but also converts the records, lists and dictionaries of this package.
// They become maps and slices.
func Plain(v lua.LValue) (any, error) {
	return host.FromLuaWith(v, func(ud *lua.LUserData) (any, bool) {
		if l, ok := ud.Value.(*listView); ok {
			return l.LuaToGo(), true
		}
		if rv, ok := recordValue(ud); ok {
			return recordMap(rv), true
		}
		return nil, false
	})
}

// recordValue returns the struct of a record. It returns false if ud is not a record.
func recordValue(ud *lua.LUserData) (reflect.Value, bool) {
	rv := reflect.ValueOf(ud.Value)
	if rv.Kind() != reflect.Pointer || rv.IsNil() || rv.Elem().Kind() != reflect.Struct {
		return reflect.Value{}, false
	}
	return rv.Elem(), len(tagged(rv.Type().Elem())) > 0
}

// EachField calls f for each field of a record in the order of declaration. It returns false if v
// is not a record.
func EachField(v lua.LValue, f func(name string, value any) error) (bool, error) {
	ud, ok := v.(*lua.LUserData)
	if !ok {
		return false, nil
	}
	rv, ok := recordValue(ud)
	if !ok {
		return false, nil
	}
	for _, t := range tagged(rv.Type()) {
		if err := f(t.name, plainCopy(rv.FieldByIndex(t.index))); err != nil {
			return true, err
		}
	}
	return true, nil
}

// Table returns the table that encoders write in place of an object. It returns false if the Go
// value of the object has no Table method.
func Table(L *lua.LState, v lua.LValue) (*lua.LTable, bool) {
	o, ok := objectOf(v)
	if !ok {
		return nil, false
	}
	t, ok := o.Value.(interface {
		Table(L *lua.LState) *lua.LTable
	})
	if !ok {
		return nil, false
	}
	return t.Table(L), true
}
