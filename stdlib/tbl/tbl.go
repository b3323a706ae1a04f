// Package tbl is the script module imd.tbl: functions for lists and tables. None of them changes
// its argument, except set.
//
//	local names = tbl.map(apps, function(app) return app.name end)
package tbl

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

const (
	listDoc  = "a list"
	tableDoc = "a table"
	fnDoc    = "called with each value and its key"
)

// Module declares the module.
func Module() *api.Module {
	m := &api.Module{
		Name: "tbl",
		Doc:  "Lists and tables: map, filter, sort_by, deep_copy, diff and more.",
		Perm: "none",
	}
	m.Funcs = append(m.Funcs, calling()...)
	m.Funcs = append(m.Funcs, lists()...)
	m.Funcs = append(m.Funcs, tables()...)
	m.Funcs = append(m.Funcs, deep()...)
	return m
}

// declare declares a function. example is the text that follows "return tbl.".
func declare(name, doc, params string, fn any, example string, more ...api.Option) *api.Func {
	more = append(more, api.Example("local tbl = require(\"imd.tbl\")\nreturn tbl."+example))
	return api.Function(name, doc, params, fn, more...)
}

// list is a list that is being built.
type list struct {
	L *lua.LState
	t *lua.LTable
}

func newList(c *api.Call) *list { return &list{c.L, c.L.CreateTable(0, 0)} }

func (l *list) add(v lua.LValue) { l.t.Append(v) }

// done returns the list. An empty one is marked, so that it stays a list when it is encoded.
func (l *list) done() lua.LValue {
	if l.t.Len() == 0 {
		return host.ToLua(l.L, []any{})
	}
	return l.t
}

// each visits the entries of a table until visit returns false. A list is visited in its order.
func each(t *lua.LTable, visit func(k, v lua.LValue) bool) {
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		if !visit(k, v) {
			return
		}
	}
}

// isList reports whether the keys of a table are 1 to n.
func isList(t *lua.LTable) bool {
	n, size := t.Len(), 0
	each(t, func(_, _ lua.LValue) bool {
		size++
		return size <= n
	})
	return size == n && n > 0
}

// one calls a function and returns its first result.
func one(c *api.Call, fn *lua.LFunction, args ...lua.LValue) lua.LValue {
	return c.Invoke(fn, 1, args...)[0]
}

// isTrue calls a function and reports whether its first result is true.
func isTrue(c *api.Call, fn *lua.LFunction, args ...lua.LValue) bool {
	return lua.LVAsBool(one(c, fn, args...))
}

// calling returns the functions that have a callback.
func calling() []*api.Func {
	t, fn := api.ParamDoc("t", tableDoc), api.ParamDoc("fn", fnDoc)
	return []*api.Func{
		declare("map", "A table with what fn returns for each value, under the same keys.",
			"t fn", mapTable, `map({ 1, 2 }, function(v) return v * 2 end) -- => { 2, 4 }`,
			t, fn),
		declare("filter", "The entries for which fn returns a true value. A list stays a list.",
			"t fn", filter, `filter({ 1, 2, 3 }, function(v) return v > 1 end) -- => { 2, 3 }`,
			t, fn),
		declare("reduce", "Combines all values to one: fn gets the result so far and a value.",
			"t fn initial?", reduce,
			`reduce({ 1, 2, 3 }, function(a, v) return a + v end, 0) -- => 6`,
			t, api.ParamDoc("fn", "called with the result so far, the value and its key"),
			api.ParamDoc("initial", "the first result; the first value if it is not given")),
		declare("find", "Returns the first value for which fn returns a true value, and its key. "+
			"Returns nil if there is none.",
			"t fn", find, `find({ 5, 6 }, function(v) return v > 5 end) -- => 6, 2`,
			t, fn, api.Returns("any value", "any key")),
		declare("any", "Whether fn returns a true value for any value.",
			"t fn", anyOf, `any({ 1, 2 }, function(v) return v > 1 end) -- => true`, t, fn),
		declare("all", "Whether fn returns a true value for all values.",
			"t fn", allOf, `all({ 1, 2 }, function(v) return v > 1 end) -- => false`, t, fn),
		declare("count", "For how many values fn returns a true value.",
			"t fn", count, `count({ 1, 2, 3 }, function(v) return v > 1 end) -- => 2`, t, fn),
		declare("group_by", "A table of lists: the keys are the results of fn, each list has the values "+
			"with that result.",
			"t fn", groupBy,
			`group_by({ 1, 2, 3 }, function(v) return v > 1 end)[true] -- => { 2, 3 }`, t, fn),
		declare("sort_by", "A list sorted by the result of fn for each value, a number or a text. "+
			"Values with equal results keep their order.",
			"t fn", sortBy,
			`sort_by({ "ccc", "a", "bb" }, function(s) return #s end) -- => { "a", "bb", "ccc" }`,
			t, fn),
	}
}

func mapTable(c *api.Call, t *lua.LTable, fn *lua.LFunction) lua.LValue {
	out := c.L.CreateTable(t.Len(), 0)
	n := 0
	each(t, func(k, v lua.LValue) bool {
		n++
		out.RawSet(k, one(c, fn, v, k))
		return true
	})
	if n == 0 {
		return host.ToLua(c.L, []any{})
	}
	return out
}

func filter(c *api.Call, t *lua.LTable, fn *lua.LFunction) lua.LValue {
	if isList(t) {
		out := newList(c)
		each(t, func(k, v lua.LValue) bool {
			if isTrue(c, fn, v, k) {
				out.add(v)
			}
			return true
		})
		return out.done()
	}
	out := c.L.CreateTable(0, 0)
	each(t, func(k, v lua.LValue) bool {
		if isTrue(c, fn, v, k) {
			out.RawSet(k, v)
		}
		return true
	})
	return out
}

func reduce(c *api.Call, t *lua.LTable, fn *lua.LFunction, initial lua.LValue) lua.LValue {
	begun := c.NArgs() > 2
	each(t, func(k, v lua.LValue) bool {
		if begun {
			initial = one(c, fn, initial, v, k)
		} else {
			initial, begun = v, true
		}
		return true
	})
	return initial
}

func find(c *api.Call, t *lua.LTable, fn *lua.LFunction) api.Values {
	out := api.Values{lua.LNil}
	each(t, func(k, v lua.LValue) bool {
		if !isTrue(c, fn, v, k) {
			return true
		}
		out = api.Values{v, k}
		return false
	})
	return out
}

func anyOf(c *api.Call, t *lua.LTable, fn *lua.LFunction) bool {
	return len(find(c, t, fn)) == 2
}

func allOf(c *api.Call, t *lua.LTable, fn *lua.LFunction) bool {
	all := true
	each(t, func(k, v lua.LValue) bool {
		all = isTrue(c, fn, v, k)
		return all
	})
	return all
}

func count(c *api.Call, t *lua.LTable, fn *lua.LFunction) int {
	n := 0
	each(t, func(k, v lua.LValue) bool {
		if isTrue(c, fn, v, k) {
			n++
		}
		return true
	})
	return n
}

func groupBy(c *api.Call, t *lua.LTable, fn *lua.LFunction) (*lua.LTable, error) {
	out := c.L.CreateTable(0, 0)
	var err error
	each(t, func(k, v lua.LValue) bool {
		key := one(c, fn, v, k)
		if !usable(key) {
			err = c.ArgError(2, "the function returned %s, which cannot be a key", key)
			return false
		}
		group, ok := out.RawGet(key).(*lua.LTable)
		if !ok {
			group = c.L.CreateTable(0, 0)
			out.RawSet(key, group)
		}
		group.Append(v)
		return true
	})
	return out, err
}

// usable reports whether a table can have the key.
func usable(k lua.LValue) bool {
	n, ok := k.(lua.LNumber)
	return k != lua.LNil && (!ok || n == n)
}
