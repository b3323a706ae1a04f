package collections

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/iter"
)

// Map is an ordered map.
type Map struct{ ordered }

// Size visits the keys and values.
func (m *Map) Size(visit func(lua.LValue)) int { return m.size(visit) }

// Table makes a table of the map, which encoders write.
func (m *Map) Table(L *lua.LState) *lua.LTable { return m.table(L) }

func (m *Map) order() *ordered { return &m.ordered }

func (m *Map) items(visit func(...lua.LValue) bool) {
	for e := range m.all {
		if !visit(e.key, e.value) {
			return
		}
	}
}

func newMap(c *api.Call, from lua.LValue) (*Map, error) {
	m := &Map{}
	return m, m.update(c, from)
}

// update sets the entries of a table or of another source of keys and values.
func (m *Map) update(c *api.Call, from lua.LValue) error {
	if t, ok := from.(*lua.LTable); ok && c.L.GetMetaField(t, "__pairs") == lua.LNil {
		// The keys of a list are its indices.
		for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
			if err := m.setEntry(c, k, v); err != nil {
				return err
			}
		}
		return nil
	}
	return fill(c, m, from, func(values ...lua.LValue) error {
		if len(values) < 2 {
			return c.ArgError(1, "the source gives single values, not keys and values")
		}
		return m.setEntry(c, values[0], values[1])
	})
}

// setEntry sets the value of a key. Unlike mapSet it does not remove the key if the value is nil.
func (m *Map) setEntry(c *api.Call, k, v lua.LValue) error {
	id, err := key(c, 1, k)
	if err == nil {
		m.set(id, k, v)
	}
	return err
}

func mapClass() *api.Class {
	c := api.NewClass[*Map]("Map", "A map that keeps its keys in the order in which they were set "+
		"first: `for k, v in pairs(map) do`.")
	c.Var, c.Perm = "map", "none"
	c.Meta = metamethods("Map", (*Map).len, (*Map).items)
	c.Meta["__pairs"] = pairing((*Map).order, keyAndValue)
	c.Methods = append(mapEntries(), mapWhole()...)
	return c
}

func mapEntries() []*api.Func {
	k, v := api.ParamDoc("key", keyDoc), api.ParamDoc("value", "any value; nil removes the key")
	return []*api.Func{
		api.Method("get", "The value of a key, nil or default if there is none.",
			"key default?", mapGet, k,
			api.ParamDoc("default", "what is returned if there is no value"),
			api.Returns("any value"),
			example(`map{ a = 1 }:get("b", 0) -- => 0`)),
		api.Method("set", "Sets the value of a key. A key that is new comes last.",
			"key value", mapSet, k, v,
			api.Example(`local m = require("imd.collections").map()
m:set("b", 1)
m:set("a", 2)
return tostring(m) -- => 'Map{"b" = 1, "a" = 2}'`)),
		api.Method("remove", "Removes a key and returns its value, nil if it had none.",
			"key", mapRemove, k, api.Returns("any value"),
			example(`map{ a = 1 }:remove("a") -- => 1`)),
		api.Method("has", "Whether there is a value for a key.",
			"key", func(c *api.Call, m *Map, k lua.LValue) bool { return m.find(k) != nil }, k,
			example(`map{ a = false }:has("a") -- => true`)),
		api.Method("first", "The first key and its value, nil if the map is empty.",
			"", func(_ *api.Call, m *Map) (k, v lua.LValue) { return pair(m.ordered.first()) },
			api.Returns("any key", "any value"),
			example(`map{ a = 1 }:first() -- => "a", 1`)),
		api.Method("last", "The last key and its value, nil if the map is empty.",
			"", func(_ *api.Call, m *Map) (k, v lua.LValue) { return pair(m.ordered.last()) },
			api.Returns("any key", "any value"),
			example(`map{ a = 1, b = 2 }:last() -- => "b", 2`)),
	}
}

func mapWhole() []*api.Func {
	other := api.ParamDoc("other", "a map, a table, or another source of keys and values")
	return []*api.Func{
		api.Method("update", "Sets all keys of another map or table.",
			"other", func(c *api.Call, m *Map, from lua.LValue) error {
				if from == lua.LNil {
					return c.ArgError(1, "a map or a table expected")
				}
				return m.update(c, from)
			}, other,
			api.Example(`local m = require("imd.collections").map{ a = 1 }
m:update{ a = 2, b = 3 }
return m:totable() -- => { a = 2, b = 3 }`)),
		api.Method("keys", "A list of the keys.",
			"", func(c *api.Call, m *Map) *lua.LTable { return listOf(c.L, m.ordered.keys()) },
			api.Returns("table keys"),
			example(`map{ a = 1 }:keys() -- => { "a" }`)),
		api.Method("values", "A list of the values.",
			"", func(c *api.Call, m *Map) *lua.LTable { return listOf(c.L, m.ordered.values()) },
			api.Returns("table values"),
			example(`map{ a = 1 }:values() -- => { 1 }`)),
		api.Method("count", "How many keys there are, the same as #.",
			"", func(_ *api.Call, m *Map) int { return m.len() },
			example(`map{ a = 1 }:count() -- => 1`)),
		api.Method(
			"equals",
			"Whether another map has the same keys with equal values, in any order.",
			"other",
			func(_ *api.Call, m, other *Map) bool { return m.equal(&other.ordered) },
			api.ParamDoc("other", "a map"),
			api.Example(`local map = require("imd.collections").map
return map{ a = 1 }:equals(map{ a = 1 }) -- => true`),
		),
		api.Method("copy", "A new map with the same entries.",
			"", func(_ *api.Call, m *Map) *Map {
				n := &Map{}
				m.copyTo(&n.ordered)
				return n
			},
			example(`map{ a = 1 }:copy():get("a") -- => 1`)),
		api.Method("clear", emptyDoc, "", func(_ *api.Call, m *Map) { m.ordered.clear() },
			example(`map{ a = 1 }:clear()`)),
		api.Method("totable", "A table of the entries, in their order.",
			"", func(c *api.Call, m *Map) *lua.LTable { return m.table(c.L) },
			example(`map{ a = 1 }:totable() -- => { a = 1 }`)),
		api.Method(
			"iter",
			"An iterator over keys and values, see imd.iter.",
			"",
			func(c *api.Call, _ *Map) (*iter.Iterator, error) {
				return iter.From(c, 0, c.L.Get(1))
			},
			example(`map{ a = 1, b = 2 }:iter():count() -- => 2`),
		),
	}
}

// find returns the entry of a key, nil if there is none.
func (m *Map) find(k lua.LValue) *entry {
	id, ok := api.Key(k)
	if !ok {
		return nil
	}
	return m.ordered.get(id)
}

func pair(e *entry) (k, v lua.LValue) {
	if e == nil {
		return lua.LNil, lua.LNil
	}
	return e.key, e.value
}

func mapGet(_ *api.Call, m *Map, k, fallback lua.LValue) lua.LValue {
	if e := m.find(k); e != nil {
		return e.value
	}
	return fallback
}

func mapSet(c *api.Call, m *Map, k, v lua.LValue) error {
	id, err := key(c, 1, k)
	if err != nil {
		return err
	}
	if v != lua.LNil {
		m.set(id, k, v)
	} else if e := m.ordered.get(id); e != nil {
		m.ordered.remove(e)
	}
	return nil
}

func mapRemove(_ *api.Call, m *Map, k lua.LValue) lua.LValue {
	e := m.find(k)
	if e == nil {
		return lua.LNil
	}
	m.ordered.remove(e)
	return e.value
}
