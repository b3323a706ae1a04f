package tbl

import (
	"math"
	"sort"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// lists returns the functions for lists.
func lists() []*api.Func {
	t, v := api.ParamDoc("t", listDoc), api.ParamDoc("value", "value to look for")
	return []*api.Func{
		declare("index_of", "The position of a value, nil if it is not in the list.",
			"t value", indexOf, `index_of({ "a", "b" }, "b") -- => 2`, t, v,
			api.Returns("integer?")),
		declare("contains", "Whether a table has the value.",
			"t value", contains, `contains({ x = 1 }, 1) -- => true`,
			api.ParamDoc("t", tableDoc), v),
		declare("reverse", "The list in reverse order.",
			"t", reverse, `reverse({ 1, 2, 3 }) -- => { 3, 2, 1 }`, t),
		declare("slice", "The values from one position to another. Negative positions count "+
			"from the end.",
			"t first last?", slice, `slice({ 1, 2, 3 }, -2) -- => { 2, 3 }`, t,
			api.ParamDoc("first", "position of the first value"),
			api.ParamDoc("last", "position of the last value, -1 if it is not given")),
		declare("concat", "One list with the values of several lists.",
			"lists...", concat, `concat({ 1 }, { 2, 3 }) -- => { 1, 2, 3 }`,
			api.ParamDoc("lists", "the lists")),
		declare("unique", "The list without repeated values.",
			"t", unique, `unique({ 1, 2, 1 }) -- => { 1, 2 }`, t),
		declare("chunk", "Lists of n values each; the last one may be shorter.",
			"t n", chunk, `chunk({ 1, 2, 3 }, 2) -- => { { 1, 2 }, { 3 } }`, t,
			api.ParamDoc("n", "how many values")),
		declare(
			"zip",
			"Lists of the values at the same position, as many as the shortest list has.",
			"lists...",
			zip,
			`zip({ 1, 2 }, { "a", "b" }) -- => { { 1, "a" }, { 2, "b" } }`,
			api.ParamDoc("lists", "the lists"),
		),
		declare("range", "A list of numbers.",
			"first last? step?", numbers, `range(2, 6, 2) -- => { 2, 4, 6 }`,
			api.ParamDoc("first", "the first number; if it is alone, the last one, from 1"),
			api.ParamDoc("last", "the limit of the numbers"),
			api.ParamDoc("step", "difference of two numbers, 1 if it is not given")),
	}
}

func indexOf(c *api.Call, t *lua.LTable, v lua.LValue) *int {
	for i := 1; i <= t.Len(); i++ {
		if c.L.Equal(t.RawGetInt(i), v) {
			return &i
		}
	}
	return nil
}

func contains(c *api.Call, t *lua.LTable, v lua.LValue) bool {
	found := false
	each(t, func(_, x lua.LValue) bool {
		found = c.L.Equal(x, v)
		return !found
	})
	return found
}

func reverse(c *api.Call, t *lua.LTable) lua.LValue {
	out := newList(c)
	for i := t.Len(); i > 0; i-- {
		out.add(t.RawGetInt(i))
	}
	return out.done()
}

func slice(c *api.Call, t *lua.LTable, first int, last *int) lua.LValue {
	n := t.Len()
	from, to := first, n
	if last != nil {
		to = *last
	}
	if from < 0 {
		from += n + 1
	}
	if to < 0 {
		to += n + 1
	}
	out := newList(c)
	for i := max(from, 1); i <= min(to, n); i++ {
		out.add(t.RawGetInt(i))
	}
	return out.done()
}

func concat(c *api.Call, lists ...*lua.LTable) lua.LValue {
	out := newList(c)
	for _, t := range lists {
		for i := 1; i <= t.Len(); i++ {
			out.add(t.RawGetInt(i))
		}
	}
	return out.done()
}

func unique(c *api.Call, t *lua.LTable) lua.LValue {
	out, seen := newList(c), map[lua.LValue]bool{}
	for i := 1; i <= t.Len(); i++ {
		v := t.RawGetInt(i)
		if !seen[v] {
			seen[v] = true
			out.add(v)
		}
	}
	return out.done()
}

func chunk(c *api.Call, t *lua.LTable, n int) (lua.LValue, error) {
	if n < 1 {
		return nil, c.ArgError(2, "must be at least 1")
	}
	out := newList(c)
	var last *lua.LTable
	for i := 1; i <= t.Len(); i++ {
		if last == nil || last.Len() == n {
			last = c.L.CreateTable(0, 0)
			out.add(last)
		}
		last.Append(t.RawGetInt(i))
	}
	return out.done(), nil
}

func zip(c *api.Call, lists ...*lua.LTable) lua.LValue {
	n := 0
	for i, t := range lists {
		if i == 0 || t.Len() < n {
			n = t.Len()
		}
	}
	host.Reserve(c.L, n*(host.SizeTable+len(lists)*host.SizeSlot))
	out := newList(c)
	for i := 1; i <= n; i++ {
		row := c.L.CreateTable(len(lists), 0)
		for _, t := range lists {
			row.Append(t.RawGetInt(i))
		}
		out.add(row)
	}
	return out.done()
}

// maxRange is the largest number of values in a range, the limit of the array part of a table.
const maxRange = 1 << 26

func numbers(c *api.Call, first float64, last, step *float64) (lua.LValue, error) {
	from, to, by := 1.0, first, 1.0
	if last != nil {
		from, to = first, *last
	}
	if step != nil {
		by = *step
	}
	n := math.Floor((to-from)/by) + 1
	switch {
	case by == 0 || math.IsNaN(n) || math.IsInf(by, 0):
		return nil, c.ArgError(3, "the step must be a number other than 0")
	case n > maxRange:
		return nil, c.ArgError(2, "a range has at most %d numbers", maxRange)
	}
	host.Reserve(c.L, int(max(n, 0))*host.SizeSlot)
	out := newList(c)
	for i := range int(max(n, 0)) {
		out.add(lua.LNumber(from + float64(i)*by))
	}
	return out.done(), nil
}

// sortKey orders values: numbers come first, then texts, then all others.
type sortKey struct {
	rank   int
	number float64
	text   string
}

func keyOf(v lua.LValue) sortKey {
	switch x := v.(type) {
	case lua.LNumber:
		return sortKey{number: float64(x)}
	case lua.LString:
		return sortKey{rank: 1, text: string(x)}
	case lua.LBool:
		return sortKey{rank: 2, text: x.String()}
	}
	return sortKey{rank: 3}
}

func (a sortKey) less(b sortKey) bool {
	switch {
	case a.rank != b.rank:
		return a.rank < b.rank
	case a.rank == 0:
		return a.number < b.number
	}
	return a.text < b.text
}

func sortBy(c *api.Call, t *lua.LTable, fn *lua.LFunction) (lua.LValue, error) {
	type entry struct {
		key   sortKey
		value lua.LValue
	}
	var all []entry
	var err error
	each(t, func(k, v lua.LValue) bool {
		key := one(c, fn, v, k)
		by := keyOf(key)
		if by.rank > 1 {
			err = c.ArgError(2, "the function returned a %s, number or string expected", key.Type())
			return false
		}
		all = append(all, entry{by, v})
		return true
	})
	if err != nil {
		return nil, err
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].key.less(all[j].key) })
	out := newList(c)
	for _, e := range all {
		out.add(e.value)
	}
	return out.done(), nil
}
