package api

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// pusher converts a Go value of one known type.
type pusher func(L *lua.LState, v reflect.Value) lua.LValue

// safeInt is the largest integer that a Lua number holds exactly.
const safeInt = 1 << 53

// pusherFor returns the pusher for type t. It makes each pusher only once.
func (ix *Index) pusherFor(t reflect.Type) (pusher, error) {
	if p := ix.pushers[t]; p != nil {
		return p, nil
	}
	// A type that contains itself uses this pusher while its own is being made.
	ix.pushers[t] = func(L *lua.LState, v reflect.Value) lua.LValue { return ix.pushers[t](L, v) }
	p, err := ix.makePusher(t)
	if err != nil {
		delete(ix.pushers, t)
		return nil, err
	}
	ix.pushers[t] = p
	return p, nil
}

func (ix *Index) makePusher(t reflect.Type) (pusher, error) {
	if t.Implements(typeLValue) {
		return pushLua, nil
	}
	if of, ok := openedClass(t); ok {
		c := ix.classOf(of)
		if c == nil {
			return nil, fmt.Errorf("%s is not a declared class", of)
		}
		return func(L *lua.LState, v reflect.Value) lua.LValue {
			h := v.Interface().(opened).handle()
			if h == nil {
				return lua.LNil
			}
			return c.wrapHandle(L, h)
		}, nil
	}
	if c := ix.classOf(t); c != nil {
		return func(L *lua.LState, v reflect.Value) lua.LValue {
			if v.IsNil() {
				return lua.LNil
			}
			return c.wrap(L, v.Interface())
		}, nil
	}
	if r := ix.recordOf(t); r != nil {
		return r.push, nil
	}
	switch {
	case t == typeBytes || t == typeTime || t.Implements(typeError):
		return pushHost, nil
	case t == typeDuration:
		return func(_ *lua.LState, v reflect.Value) lua.LValue {
			return lua.LNumber(float64(v.Int()) / 1e9)
		}, nil
	case t.Implements(typePartial):
		return ix.partialPusher(t)
	case t.Implements(typeView):
		return ix.pushView, nil
	}
	return ix.kindPusher(t)
}

func (ix *Index) kindPusher(t reflect.Type) (pusher, error) {
	switch t.Kind() {
	case reflect.String:
		return func(_ *lua.LState, v reflect.Value) lua.LValue {
			return lua.LString(v.String())
		}, nil
	case reflect.Bool:
		return func(_ *lua.LState, v reflect.Value) lua.LValue { return lua.LBool(v.Bool()) }, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(L *lua.LState, v reflect.Value) lua.LValue {
			if n := v.Int(); n >= -safeInt && n <= safeInt {
				return lua.LNumber(n)
			}
			return host.ToLua(L, v.Int())
		}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(L *lua.LState, v reflect.Value) lua.LValue {
			if n := v.Uint(); n <= safeInt {
				return lua.LNumber(n)
			}
			return host.ToLua(L, v.Uint())
		}, nil
	case reflect.Float32, reflect.Float64:
		return func(_ *lua.LState, v reflect.Value) lua.LValue {
			return lua.LNumber(v.Float())
		}, nil
	case reflect.Pointer:
		if e := t.Elem(); e.Kind() == reflect.Struct && len(tagged(e)) == 0 &&
			ix.recordOf(e) == nil {
			return pushPointer, nil
		}
		elem, err := ix.pusherFor(t.Elem())
		return func(L *lua.LState, v reflect.Value) lua.LValue {
			if v.IsNil() {
				return lua.LNil
			}
			return elem(L, v.Elem())
		}, err
	case reflect.Slice, reflect.Array:
		return ix.slicePusher(t)
	case reflect.Map:
		return ix.mapPusher(t)
	case reflect.Interface:
		return func(L *lua.LState, v reflect.Value) lua.LValue {
			if v.IsNil() {
				return lua.LNil
			}
			return ix.Wrap(L, v.Interface())
		}, nil
	case reflect.Struct:
		if len(tagged(t)) == 0 {
			return pushHost, nil // the type may have been registered with host.RegisterType
		}
	}
	return nil, fmt.Errorf("%s is not a declared class, record or plain value", t)
}

func pushLua(_ *lua.LState, v reflect.Value) lua.LValue {
	if k := v.Kind(); (k == reflect.Interface || k == reflect.Pointer) && v.IsNil() {
		return lua.LNil
	}
	return v.Interface().(lua.LValue)
}

func pushHost(L *lua.LState, v reflect.Value) lua.LValue { return host.ToLua(L, v.Interface()) }

// pushPointer converts pointers to structs that are not declared. host.ToLua converts those that
// were registered with RegisterType.
func pushPointer(L *lua.LState, v reflect.Value) lua.LValue {
	if v.IsNil() {
		return lua.LNil
	}
	return host.ToLua(L, v.Interface())
}

// itemsBetweenTicks is the number of items that are converted between two checks of the limits.
const itemsBetweenTicks = 10000

func (ix *Index) slicePusher(t reflect.Type) (pusher, error) {
	elem, err := ix.pusherFor(t.Elem())
	if err != nil {
		return nil, err
	}
	return func(L *lua.LState, v reflect.Value) lua.LValue {
		n := v.Len()
		if n == 0 {
			return host.ToLua(L, []any{}) // marked as an array, for encoders
		}
		host.Converted(L, host.SizeTable+n*host.SizeSlot)
		tb := L.CreateTable(n, 0)
		for i := range n {
			tb.Append(notNil(L, elem(L, v.Index(i))))
			if i%itemsBetweenTicks == itemsBetweenTicks-1 {
				host.Tick(L)
			}
		}
		return tb
	}, nil
}

// notNil returns null in place of nil, because lists and dictionaries cannot contain nil.
func notNil(L *lua.LState, v lua.LValue) lua.LValue {
	if v == lua.LNil {
		return host.Of(L).Null()
	}
	return v
}

func (ix *Index) mapPusher(t reflect.Type) (pusher, error) {
	if t.Key().Kind() != reflect.String {
		return pushHost, nil
	}
	elem, err := ix.pusherFor(t.Elem())
	if err != nil {
		return nil, err
	}
	return func(L *lua.LState, v reflect.Value) lua.LValue {
		keys := v.MapKeys()
		slices.SortFunc(
			keys,
			func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) },
		)
		host.Converted(L, host.SizeTable+len(keys)*host.SizeEntry)
		tb := L.CreateTable(0, len(keys))
		for _, k := range keys {
			tb.RawSetString(k.String(), notNil(L, elem(L, v.MapIndex(k))))
		}
		return tb
	}, nil
}
