package iter

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// step is the function that a for loop over an iterator calls.
func step(L *lua.LState) int {
	e, ok := api.Self[*Iterator](L).next(&run{L: L})
	if !ok {
		return 0
	}
	L.Push(e.first)
	for _, v := range e.rest {
		L.Push(v)
	}
	return 1 + len(e.rest)
}

// onStack pushes a value on the Lua stack, so that the memory guard counts it while a method runs.
func onStack[T lua.LValue](c *api.Call, v T) T {
	c.L.Push(v)
	return v
}

// marked returns a list. An empty one is marked, so that it stays a list when it is encoded.
func marked(c *api.Call, t *lua.LTable) lua.LValue {
	if t.Len() == 0 {
		return host.ToLua(c.L, []any{})
	}
	return t
}

func collect(c *api.Call, it *Iterator) lua.LValue {
	t := onStack(c, c.L.CreateTable(0, 0))
	it.each(&run{L: c.L}, func(e element) bool {
		t.Append(e.packed(c.L))
		return true
	})
	return marked(c, t)
}

func toDict(c *api.Call, it *Iterator, fn *lua.LFunction) (*lua.LTable, error) {
	t := onStack(c, c.L.CreateTable(0, 0))
	var err error
	n := 0
	it.each(&run{L: c.L}, func(e element) bool {
		n++
		if fn != nil {
			e = apply(c.L, fn, e)
		}
		if _, ok := api.Key(e.first); !ok || len(e.rest) == 0 {
			err = host.Errorf("value", "iter: element %d is not a key and a value", n)
			return false
		}
		t.RawSet(e.first, e.rest[0])
		return true
	})
	return t, err
}

func partition(c *api.Call, it *Iterator, fn *lua.LFunction) (lua.LValue, lua.LValue) {
	yes := onStack(c, c.L.CreateTable(0, 0))
	no := onStack(c, c.L.CreateTable(0, 0))
	it.each(&run{L: c.L}, func(e element) bool {
		t := no
		if holds(c.L, fn, e) {
			t = yes
		}
		t.Append(e.packed(c.L))
		return true
	})
	return marked(c, yes), marked(c, no)
}

func fold(c *api.Call, it *Iterator, fn *lua.LFunction, initial lua.LValue) lua.LValue {
	r := &run{L: c.L}
	acc := initial
	if c.NArgs() < 2 {
		e, ok := it.next(r)
		if !ok {
			return lua.LNil
		}
		acc = e.packed(c.L)
	}
	it.each(r, func(e element) bool {
		acc = apply(c.L, fn, element{first: acc, rest: e.values()}).first
		return true
	})
	return acc
}

// by returns what a function returns for an element, or its first value if there is no function.
func by(L *lua.LState, fn *lua.LFunction, e element) lua.LValue {
	if fn == nil {
		return e.first
	}
	return apply(L, fn, e).first
}

func sum(c *api.Call, it *Iterator, fn *lua.LFunction) (total float64, err error) {
	n := 0
	it.each(&run{L: c.L}, func(e element) bool {
		n++
		v := by(c.L, fn, e)
		x, ok := v.(lua.LNumber)
		if !ok {
			err = host.Errorf("value", "iter: element %d of the sum is a %s", n, v.Type())
		}
		total += float64(x)
		return ok
	})
	return total, err
}

// best returns the element that is better than all others.
func best(
	c *api.Call, it *Iterator, fn *lua.LFunction, better func(a, b lua.LValue) bool,
) api.Values {
	var found element
	var value lua.LValue
	it.each(&run{L: c.L}, func(e element) bool {
		if v := by(c.L, fn, e); value == nil || better(v, value) {
			found, value = e, v
		}
		return true
	})
	if value == nil {
		return api.Values{lua.LNil}
	}
	return found.values()
}

func least(c *api.Call, it *Iterator, fn *lua.LFunction) api.Values {
	return best(c, it, fn, func(a, b lua.LValue) bool { return isLess(c.L, a, b) })
}

func greatest(c *api.Call, it *Iterator, fn *lua.LFunction) api.Values {
	return best(c, it, fn, func(a, b lua.LValue) bool { return isLess(c.L, b, a) })
}

// search returns the first element for which the result of fn, or its first value without fn, is
// true (if want is true) or not.
func search(c *api.Call, it *Iterator, fn *lua.LFunction, want bool) (found element, ok bool) {
	it.each(&run{L: c.L}, func(e element) bool {
		ok = lua.LVAsBool(by(c.L, fn, e)) == want
		found = e
		return !ok
	})
	return found, ok
}

func anyOf(c *api.Call, it *Iterator, fn *lua.LFunction) bool {
	_, ok := search(c, it, fn, true)
	return ok
}

func allOf(c *api.Call, it *Iterator, fn *lua.LFunction) bool {
	_, ok := search(c, it, fn, false)
	return !ok
}

func find(c *api.Call, it *Iterator, fn *lua.LFunction) api.Values {
	if e, ok := search(c, it, fn, true); ok {
		return e.values()
	}
	return api.Values{lua.LNil}
}

func count(c *api.Call, it *Iterator, fn *lua.LFunction) (n int) {
	it.each(&run{L: c.L}, func(e element) bool {
		if fn == nil || holds(c.L, fn, e) {
			n++
		}
		return true
	})
	return n
}

// next takes the next element. It implements the methods next and first.
func next(c *api.Call, it *Iterator) api.Values {
	if e, ok := it.next(&run{L: c.L}); ok {
		return e.values()
	}
	return api.Values{lua.LNil}
}

func last(c *api.Call, it *Iterator) api.Values {
	found := element{first: lua.LNil}
	it.each(&run{L: c.L}, func(e element) bool {
		found = e
		return true
	})
	return found.values()
}

func each(c *api.Call, it *Iterator, fn *lua.LFunction) {
	it.each(&run{L: c.L}, func(e element) bool {
		apply(c.L, fn, e)
		return true
	})
}

func closeChain(c *api.Call, it *Iterator) { it.shut(c.L) }
