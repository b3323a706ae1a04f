package collections

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/iter"
)

// Deque is a list that can be changed at both ends. Positions count up at the back and down at the
// front; a value is stored in the ring at its position modulo the size of the ring.
type Deque struct {
	ring []lua.LValue // its length is a power of 2
	head int          // position of the first value
	n    int
	max  int // largest number of values, 0 if there is no limit
}

// minRing is the size of the smallest ring.
const minRing = 16

// Size visits the values.
func (d *Deque) Size(visit func(lua.LValue)) int {
	for i := range d.n {
		visit(*d.at(d.head + i))
	}
	return 16 * len(d.ring)
}

// Table makes a list of the values, which encoders write.
func (d *Deque) Table(L *lua.LState) *lua.LTable {
	out := make([]lua.LValue, d.n)
	for i := range out {
		out[i] = *d.at(d.head + i)
	}
	return listOf(L, out)
}

// LuaToGo refuses a conversion.
func (d *Deque) LuaToGo() any { return refusePlain() }

func (d *Deque) len() int { return d.n }

func (d *Deque) at(position int) *lua.LValue { return &d.ring[position&(len(d.ring)-1)] }

func (d *Deque) items(visit func(...lua.LValue) bool) {
	for i := range d.n {
		if !visit(*d.at(d.head + i)) {
			return
		}
	}
}

// resize doubles the ring if it is full, and halves it if less than a quarter of it is used.
func (d *Deque) resize() {
	size := len(d.ring)
	switch {
	case d.n == size:
		size = max(minRing, 2*size)
	case d.n < size/4 && size > minRing:
		size /= 2
	default:
		return
	}
	ring := make([]lua.LValue, size)
	for i := range d.n {
		position := d.head + i
		ring[position&(size-1)] = *d.at(position)
	}
	d.ring = ring
}

func (d *Deque) pushBack(v lua.LValue) lua.LValue {
	d.resize()
	*d.at(d.head + d.n) = v
	d.n++
	if d.max > 0 && d.n > d.max {
		return d.popFront()
	}
	return lua.LNil
}

func (d *Deque) pushFront(v lua.LValue) lua.LValue {
	d.resize()
	d.head--
	*d.at(d.head) = v
	d.n++
	if d.max > 0 && d.n > d.max {
		return d.popBack()
	}
	return lua.LNil
}

func (d *Deque) popFront() lua.LValue {
	if d.n == 0 {
		return lua.LNil
	}
	v := *d.at(d.head)
	*d.at(d.head) = nil
	d.head++
	d.n--
	d.resize()
	return v
}

func (d *Deque) popBack() lua.LValue {
	if d.n == 0 {
		return lua.LNil
	}
	d.n--
	v := *d.at(d.head + d.n)
	*d.at(d.head + d.n) = nil
	d.resize()
	return v
}

func (d *Deque) equal(other *Deque) bool {
	if d.n != other.n {
		return false
	}
	for i := range d.n {
		if !same(*d.at(d.head + i), *other.at(other.head + i)) {
			return false
		}
	}
	return true
}

// index returns the place of a value, nil if there is none. The first value has index 1, the last
// one has index -1.
func (d *Deque) index(i int) *lua.LValue {
	if i < 0 {
		i += d.n + 1
	}
	if i < 1 || i > d.n {
		return nil
	}
	return d.at(d.head + i - 1)
}

type dequeOptions struct {
	Max int `lua:"max_size" doc:"most values; adding one more removes one at the other end"`
}

func newDeque(c *api.Call, from lua.LValue, o dequeOptions) (*Deque, error) {
	if o.Max < 0 {
		return nil, c.ArgError(2, "max_size must not be negative")
	}
	d := &Deque{max: o.Max}
	return d, fillValues(c, d, from, func(v lua.LValue) error {
		d.pushBack(v)
		return nil
	})
}

// dequePairs steps through the positions that had a value when the loop began.
func dequePairs(L *lua.LState) int {
	d := self[*Deque](L)
	at, end, n := d.head, d.head+d.n, 0
	L.Push(L.NewFunction(func(L *lua.LState) int {
		at = max(at, d.head)
		if at >= min(end, d.head+d.n) {
			return 0
		}
		n++
		L.Push(lua.LNumber(n))
		L.Push(*d.at(at))
		at++
		return 2
	}))
	L.Push(L.Get(1)) // keeps the collection where the memory guard counts it
	return 2
}

func dequeClass() *api.Class {
	c := api.NewClass[*Deque]("Deque", "A list that can be changed at both ends: `for i, value in "+
		"ipairs(deque) do`. A loop goes over the places that had a value when it began.")
	c.Var, c.Perm = "deque", "none"
	c.Meta = metamethods("Deque", (*Deque).len, (*Deque).items)
	c.Meta["__ipairs"], c.Meta["__pairs"] = dequePairs, dequePairs
	c.Methods = append(dequeEnds(), dequeWhole()...)
	return c
}

// push declares a method that adds a value.
func push(name, doc, code string, add func(*Deque, lua.LValue) lua.LValue) *api.Func {
	fn := func(c *api.Call, d *Deque, v lua.LValue) (lua.LValue, error) {
		if v == lua.LNil {
			return nil, c.ArgError(1, "a value other than nil expected")
		}
		return add(d, v), nil
	}
	return api.Method(
		name,
		doc,
		"value",
		fn,
		api.ParamDoc("value", valueDoc),
		api.Returns(
			"any value",
		),
		api.Example("local d = require(\"imd.collections\").deque{ 1, 2 }\n"+code),
	)
}

// end declares a method that returns the value at one end.
func end(name, doc, code string, fn func(*Deque) lua.LValue) *api.Func {
	return api.Method(name, doc, "",
		func(_ *api.Call, d *Deque) lua.LValue { return fn(d) },
		api.Returns("any value"), example(code))
}

func dequeEnds() []*api.Func {
	const removed = " Returns the value that max_size removed, nil if there was room."
	return []*api.Func{
		push(
			"push",
			"Adds a value at the end."+removed,
			"d:push(3)\nreturn d:values() -- => { 1, 2, 3 }",
			(*Deque).pushBack,
		),
		push("push_front", "Adds a value before the first."+removed,
			"d:push_front(0)\nreturn d:values() -- => { 0, 1, 2 }", (*Deque).pushFront),
		end("pop", "Removes the last value and returns it, nil if there is none.",
			`deque{ 1, 2 }:pop() -- => 2`, (*Deque).popBack),
		end("pop_front", "Removes the first value and returns it, nil if there is none.",
			`deque{ 1, 2 }:pop_front() -- => 1`, (*Deque).popFront),
		end("first", "The first value, nil if there is none.", `deque{ 1, 2 }:first() -- => 1`,
			func(d *Deque) lua.LValue { return orNil(d.index(1)) }),
		end("last", "The last value, nil if there is none.", `deque{ 1, 2 }:last() -- => 2`,
			func(d *Deque) lua.LValue { return orNil(d.index(-1)) }),
	}
}

func orNil(v *lua.LValue) lua.LValue {
	if v == nil {
		return lua.LNil
	}
	return *v
}

func dequeWhole() []*api.Func {
	at := api.ParamDoc("index", "1 is the first value, -1 the last")
	return []*api.Func{
		api.Method("get", "The value at an index, nil if there is none.",
			"index", func(_ *api.Call, d *Deque, i int) lua.LValue { return orNil(d.index(i)) }, at,
			api.Returns("any value"), example(`deque{ "a", "b" }:get(-1) -- => "b"`)),
		api.Method("set", "Replaces the value at an index that has one.",
			"index value", dequeSet, at, api.ParamDoc("value", valueDoc),
			example(`deque{ "a" }:set(1, "b")`)),
		api.Method("update", "Adds all values of a list at the end.",
			"other", func(c *api.Call, d *Deque, from lua.LValue) error {
				if from == lua.LNil {
					return c.ArgError(1, "a list expected")
				}
				return fillValues(c, d, from, func(v lua.LValue) error {
					d.pushBack(v)
					return nil
				})
			}, api.ParamDoc("other", "a list, or a source of values"),
			api.Example(`local d = require("imd.collections").deque{ 1 }
d:update{ 2, 3 }
return #d -- => 3`)),
		api.Method(
			"values",
			"A list of the values.",
			"",
			dequeList,
			api.Returns("table values"),
			example(`deque{ 1, 2 }:values() -- => { 1, 2 }`),
		),
		api.Method("totable", "A list of the values.",
			"", dequeList, api.Returns("table values"),
			example(`deque{ 1, 2 }:totable() -- => { 1, 2 }`)),
		api.Method(
			"count",
			countDoc,
			"",
			func(_ *api.Call, d *Deque) int { return d.n },
			example(`deque{ 1 }:count() -- => 1`),
		),
		api.Method("equals", "Whether another deque has equal values in the same order.",
			"other", func(_ *api.Call, d, other *Deque) bool { return d.equal(other) },
			api.ParamDoc("other", "a deque"),
			api.Example(`local deque = require("imd.collections").deque
return deque{ 1, 2 }:equals(deque{ 1, 2 }) -- => true`)),
		api.Method("clear", emptyDoc, "", func(_ *api.Call, d *Deque) {
			d.ring, d.head, d.n = nil, d.head+d.n, 0
		}, example(`deque{ 1 }:clear()`)),
		api.Method("iter", "An iterator over the values, see imd.iter.",
			"", func(c *api.Call, _ *Deque) (*iter.Iterator, error) {
				return iter.From(c, 0, c.L.Get(1))
			},
			example(`deque{ 1, 2 }:iter():sum() -- => 3`)),
	}
}

func dequeSet(c *api.Call, d *Deque, i int, v lua.LValue) error {
	at := d.index(i)
	switch {
	case at == nil:
		return c.ArgError(1, "there is no value at %d, the deque has %d", i, d.n)
	case v == lua.LNil:
		return c.ArgError(2, "a value other than nil expected")
	}
	*at = v
	return nil
}

func dequeList(c *api.Call, d *Deque) *lua.LTable { return d.Table(c.L) }
