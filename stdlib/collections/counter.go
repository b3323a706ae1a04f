package collections

import (
	"math"
	"slices"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/iter"
)

// Counter counts values. The value of an entry is its count, which is never 0.
type Counter struct{ ordered }

// Size visits the values.
func (n *Counter) Size(visit func(lua.LValue)) int { return n.size(visit) }

// Table makes a table of the counts, which encoders write.
func (n *Counter) Table(L *lua.LState) *lua.LTable { return n.table(L) }

func (n *Counter) order() *ordered { return &n.ordered }

func (n *Counter) items(visit func(...lua.LValue) bool) {
	for e := range n.all {
		if !visit(e.key, e.value) {
			return
		}
	}
}

func newCounter(c *api.Call, from lua.LValue) (*Counter, error) {
	n := &Counter{}
	return n, n.update(c, from)
}

func (n *Counter) update(c *api.Call, from lua.LValue) error {
	return fillValues(c, n, from, func(v lua.LValue) error {
		_, err := n.add(c, v, 1)
		return err
	})
}

func (n *Counter) add(c *api.Call, v lua.LValue, by float64) (float64, error) {
	id, err := key(c, 1, v)
	if err != nil {
		return 0, err
	}
	if math.IsNaN(by) || math.IsInf(by, 0) {
		return 0, c.ArgError(2, "a finite number expected")
	}
	total := n.of(id) + by
	switch e := n.ordered.get(id); {
	case total != 0:
		n.set(id, v, lua.LNumber(total))
	case e != nil:
		n.ordered.remove(e)
	}
	return total, nil
}

func (n *Counter) of(id any) float64 {
	if e := n.ordered.get(id); e != nil {
		return float64(e.value.(lua.LNumber))
	}
	return 0
}

func counterClass() *api.Class {
	c := api.NewClass[*Counter]("Counter", "Counts how often values occur: `for value, count in "+
		"pairs(counter) do`. # is the number of different values.")
	c.Var, c.Perm = "counter", "none"
	c.Meta = metamethods("Counter", (*Counter).len, (*Counter).items)
	c.Meta["__pairs"] = pairing((*Counter).order, keyAndValue)
	v := api.ParamDoc("value", keyDoc)
	c.Methods = []*api.Func{
		api.Method("add", "Adds to the count of a value and returns the new count. A count of 0 "+
			"is removed.",
			"value n?", counterAdd, v,
			api.ParamDoc("n", "what is added, 1 if it is not given; it may be negative"),
			api.Returns("number count"),
			example(`counter():add("a", 3) -- => 3`)),
		api.Method("get", "The count of a value, 0 if there is none.",
			"value", func(_ *api.Call, n *Counter, v lua.LValue) float64 {
				id, _ := api.Key(v)
				return n.of(id)
			}, v,
			example(`counter{ "a" }:get("b") -- => 0`)),
		api.Method("remove", "Removes a value and returns its count.",
			"value", counterRemove, v, api.Returns("number count"),
			example(`counter{ "a", "a" }:remove("a") -- => 2`)),
		api.Method("update", "Counts all values of a list or another source.",
			"other", func(c *api.Call, n *Counter, from lua.LValue) error {
				if from == lua.LNil {
					return c.ArgError(1, "a list expected")
				}
				return n.update(c, from)
			}, api.ParamDoc("other", "a list, or a source of values"),
			api.Example(`local n = require("imd.collections").counter{ "a" }
n:update{ "a", "b" }
return n:get("a") -- => 2`)),
		api.Method("most_common", "A list of values and their counts, the largest count first.",
			"n?", mostCommon,
			api.ParamDoc("n", "how many, all if it is not given"), api.Returns("table list"),
			example(`counter{ "a", "b", "b" }:most_common(1) -- => { { "b", 2 } }`)),
		api.Method("total", "The sum of all counts.",
			"", func(_ *api.Call, n *Counter) (total float64) {
				for e := range n.all {
					total += float64(e.value.(lua.LNumber))
				}
				return total
			},
			example(`counter{ "a", "a", "b" }:total() -- => 3`)),
		api.Method("count", "How many different values there are, the same as #.",
			"", func(_ *api.Call, n *Counter) int { return n.len() },
			example(`counter{ "a", "a" }:count() -- => 1`)),
		api.Method("equals", "Whether another counter has the same counts.",
			"other", func(_ *api.Call, n, other *Counter) bool { return n.equal(&other.ordered) },
			api.ParamDoc("other", "a counter"),
			api.Example(`local counter = require("imd.collections").counter
return counter{ "a", "b" }:equals(counter{ "b", "a" }) -- => true`)),
		api.Method("clear", emptyDoc, "", func(_ *api.Call, n *Counter) { n.ordered.clear() },
			example(`counter{ "a" }:clear()`)),
		api.Method("totable", "A table of the counts.",
			"", func(c *api.Call, n *Counter) *lua.LTable { return n.table(c.L) },
			example(`counter{ "a" }:totable() -- => { a = 1 }`)),
		api.Method("iter", "An iterator over values and counts, see imd.iter.",
			"", func(c *api.Call, _ *Counter) (*iter.Iterator, error) {
				return iter.From(c, 0, c.L.Get(1))
			},
			example(`counter{ "a" }:iter():first() -- => "a", 1`)),
	}
	return c
}

func counterAdd(c *api.Call, n *Counter, v lua.LValue, by *float64) (float64, error) {
	if by == nil {
		return n.add(c, v, 1)
	}
	return n.add(c, v, *by)
}

func counterRemove(_ *api.Call, n *Counter, v lua.LValue) float64 {
	id, _ := api.Key(v)
	e := n.ordered.get(id)
	if e == nil {
		return 0
	}
	n.ordered.remove(e)
	return float64(e.value.(lua.LNumber))
}

func mostCommon(c *api.Call, n *Counter, most *int) *lua.LTable {
	list := slices.Collect(n.all)
	slices.SortStableFunc(list, func(a, b *entry) int {
		switch x, y := a.value.(lua.LNumber), b.value.(lua.LNumber); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	if most != nil {
		list = list[:max(0, min(*most, len(list)))]
	}
	var out []lua.LValue
	for _, e := range list {
		out = append(out, listOf(c.L, []lua.LValue{e.key, e.value}))
	}
	return listOf(c.L, out)
}
