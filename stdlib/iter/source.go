package iter

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// From makes an iterator of argument n of a call.
func From(c *api.Call, n int, source lua.LValue) (*Iterator, error) {
	return source3(c, n, source, lua.LNil, lua.LNil)
}

// Each calls visit with the values of each element of argument n of a call.
func Each(c *api.Call, n int, source lua.LValue, visit func(values ...lua.LValue) error) error {
	it, err := From(c, n, source)
	if err != nil {
		return err
	}
	it.each(&run{L: c.L}, func(e element) bool {
		err = visit(e.values()...)
		return err == nil
	})
	return err
}

// source3 makes an iterator of the three values of a for loop.
func source3(c *api.Call, n int, source, state, control lua.LValue) (*Iterator, error) {
	switch v := source.(type) {
	case *lua.LFunction:
		return loop(c.L, source, state, control, false), nil
	case *lua.LTable:
		if it := object(c.L, source); it != nil {
			return it, nil
		}
		if v.Len() > 0 {
			return list(v), nil
		}
		return entries(v), nil
	case *lua.LUserData:
		if it, ok := api.To[*Iterator](source); ok {
			return it, nil
		}
		if it := object(c.L, source); it != nil {
			return it, nil
		}
	case lua.LString:
		return nil, c.ArgError(n, `a text has no elements: use text:gmatch(".") for its bytes`)
	case lua.LNumber:
		return nil, c.ArgError(n, "a number has no elements: use iter.range")
	}
	what := source.Type().String()
	if name, ok := c.L.GetMetaField(source, "__name").(lua.LString); ok {
		what = string(name)
	}
	return nil, c.ArgError(n, "a table or an iterator expected, got %s", what)
}

// object makes an iterator of a value that defines how it is iterated, nil if it does not. For a
// value with __ipairs, the elements are the values without their indices.
func object(L *lua.LState, v lua.LValue) *Iterator {
	for _, name := range []string{"__ipairs", "__pairs"} {
		start := L.GetMetaField(v, name)
		if start == lua.LNil {
			continue
		}
		top := L.GetTop()
		L.Push(start)
		L.Push(v)
		L.Call(1, 3)
		f, state, control := L.Get(top+1), L.Get(top+2), L.Get(top+3)
		L.SetTop(top)
		it := loop(L, f, state, control, name == "__ipairs")
		it.closeWith(L, v)
		return it
	}
	if L.GetMetaField(v, "__call") != lua.LNil {
		return loop(L, v, lua.LNil, lua.LNil, false)
	}
	return nil
}

// list makes an iterator of the values of a list, as ipairs reads them.
func list(t *lua.LTable) *Iterator {
	i := 0
	return &Iterator{name: "list", hold: []lua.LValue{t}, step: func(*run) (element, bool) {
		i++
		v := t.RawGetInt(i)
		return element{first: v}, v != lua.LNil
	}}
}

// entries makes an iterator of the keys and values of a table.
func entries(t *lua.LTable) *Iterator {
	last := lua.LValue(lua.LNil)
	return &Iterator{name: "table", hold: []lua.LValue{t}, step: func(*run) (element, bool) {
		k, v := t.Next(last)
		if k == lua.LNil {
			return element{}, false
		}
		last = k
		return element{first: k, rest: []lua.LValue{v}}, true
	}}
}

// loop makes an iterator that steps as a for loop does. If numbered is true, it leaves out the
// first value of each step.
func loop(L *lua.LState, f, state, control lua.LValue, numbered bool) *Iterator {
	it := &Iterator{name: "loop", hold: []lua.LValue{f, state, control}}
	it.step = func(r *run) (element, bool) {
		L := r.L
		top := L.GetTop()
		L.Push(f)
		L.Push(state)
		L.Push(it.hold[2])
		L.Call(2, lua.MultRet)
		if L.GetTop() == top || L.Get(top+1) == lua.LNil {
			L.SetTop(top)
			return element{}, false
		}
		it.hold[2] = L.Get(top + 1)
		if numbered {
			L.Remove(top + 1)
			if L.GetTop() == top {
				return element{}, false
			}
		}
		e := collected(L, top)
		e.first = orNull(L, e.first)
		return e, true
	}
	it.closeWith(L, f)
	return it
}

// closeWith makes the iterator close its source, if the source has a method close.
func (it *Iterator) closeWith(L *lua.LState, source lua.LValue) {
	if t, ok := source.(*lua.LTable); ok {
		if L.GetField(t, "close").Type() != lua.LTFunction {
			return
		}
	} else if !api.HasMethod(source, "close") {
		return
	}
	it.hold = append(it.hold, source)
	it.close = func(L *lua.LState) {
		top := L.GetTop()
		L.Push(L.GetField(source, "close"))
		L.Push(source)
		L.Call(1, 0)
		L.SetTop(top)
	}
}
