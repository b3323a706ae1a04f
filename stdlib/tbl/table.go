package tbl

import (
	"sort"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// tables returns the functions for tables with any keys.
func tables() []*api.Func {
	t := api.ParamDoc("t", tableDoc)
	keys := api.ParamDoc("keys", "a list of keys")
	return []*api.Func{
		declare("keys", "The keys, in the order of pairs.",
			"t", func(c *api.Call, t *lua.LTable) lua.LValue { return column(c, t, true) },
			`keys({ x = 1 }) -- => { "x" }`, t),
		declare("values", "The values, in the order of pairs.",
			"t", func(c *api.Call, t *lua.LTable) lua.LValue { return column(c, t, false) },
			`values({ x = 1 }) -- => { 1 }`, t),
		declare("sorted_pairs", "Goes over the entries in the order of their keys: numbers first, "+
			"then texts. Entries that are added during the loop are left out.",
			"t", sortedPairs, `sorted_pairs({ b = 1, a = 2 })() -- => "a", 2`, t,
			api.Returns("fun(): any, any")),
		declare("size", "How many entries the table has.",
			"t", size, `size({ 1, x = 2 }) -- => 2`, t),
		declare("is_empty", "Whether the table has no entry.",
			"t", func(_ *api.Call, t *lua.LTable) bool {
				k, _ := t.Next(lua.LNil)
				return k == lua.LNil
			}, `is_empty({}) -- => true`, t),
		declare("copy", "A copy of the table, not of the tables in it.",
			"t", func(c *api.Call, t *lua.LTable) *lua.LTable { return merge(c, t) },
			`copy({ 1, x = 2 }) -- => { 1, x = 2 }`, t),
		declare("merge", "The entries of all tables; later ones replace earlier ones.",
			"tables...", merge, `merge({ a = 1, b = 1 }, { b = 2 }) -- => { a = 1, b = 2 }`,
			api.ParamDoc("tables", "the tables")),
		declare("pick", "The entries with the keys.",
			"t keys", pick, `pick({ a = 1, b = 2 }, { "a", "c" }) -- => { a = 1 }`, t, keys),
		declare("omit", "All entries except those with the keys.",
			"t keys", omit, `omit({ a = 1, b = 2 }, { "a" }) -- => { b = 2 }`, t, keys),
		declare("invert", "A table with the values as keys and the keys as values.",
			"t", invert, `invert({ a = "x" }) -- => { x = "a" }`, t),
	}
}

func column(c *api.Call, t *lua.LTable, keys bool) lua.LValue {
	out := newList(c)
	each(t, func(k, v lua.LValue) bool {
		if keys {
			v = k
		}
		out.add(v)
		return true
	})
	return out.done()
}

func sortedKeys(t *lua.LTable) []lua.LValue {
	var keys []lua.LValue
	each(t, func(k, _ lua.LValue) bool {
		keys = append(keys, k)
		return true
	})
	sort.SliceStable(keys, func(i, j int) bool { return keyOf(keys[i]).less(keyOf(keys[j])) })
	return keys
}

func sortedPairs(c *api.Call, t *lua.LTable) lua.LValue {
	keys := sortedKeys(t)
	return c.L.NewFunction(func(L *lua.LState) int {
		for len(keys) > 0 {
			k := keys[0]
			keys = keys[1:]
			v := t.RawGet(k)
			if v == lua.LNil {
				continue // it was removed in the loop
			}
			L.Push(k)
			L.Push(v)
			return 2
		}
		return 0
	})
}

func size(_ *api.Call, t *lua.LTable) int {
	n := 0
	each(t, func(_, _ lua.LValue) bool {
		n++
		return true
	})
	return n
}

func merge(c *api.Call, tables ...*lua.LTable) *lua.LTable {
	out := c.L.CreateTable(0, 0)
	for i, t := range tables {
		if i == 0 {
			out.Metatable = t.Metatable
		}
		each(t, func(k, v lua.LValue) bool {
			out.RawSet(k, v)
			return true
		})
	}
	return out
}

func pick(c *api.Call, t *lua.LTable, keys []lua.LValue) *lua.LTable {
	out := c.L.CreateTable(0, 0)
	for _, k := range keys {
		v := t.RawGet(k)
		if v != lua.LNil {
			out.RawSet(k, v)
		}
	}
	return out
}

func omit(c *api.Call, t *lua.LTable, keys []lua.LValue) *lua.LTable {
	out := merge(c, t)
	for _, k := range keys {
		if usable(k) {
			out.RawSet(k, lua.LNil)
		}
	}
	return out
}

func invert(c *api.Call, t *lua.LTable) (*lua.LTable, error) {
	out := c.L.CreateTable(0, 0)
	var err error
	each(t, func(k, v lua.LValue) bool {
		if !usable(v) {
			err = c.ArgError(1, "the value nan cannot be a key")
			return false
		}
		out.RawSet(v, k)
		return true
	})
	return out, err
}
