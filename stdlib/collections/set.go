package collections

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/iter"
)

// Set is a set of values in the order in which they were added.
type Set struct{ ordered }

// Size visits the values.
func (s *Set) Size(visit func(lua.LValue)) int { return s.size(visit) }

// Table makes a list of the set, which encoders write.
func (s *Set) Table(L *lua.LState) *lua.LTable { return listOf(L, s.keys()) }

func (s *Set) order() *ordered { return &s.ordered }

func (s *Set) items(visit func(...lua.LValue) bool) {
	for e := range s.all {
		if !visit(e.key) {
			return
		}
	}
}

func newSet(c *api.Call, from lua.LValue) (*Set, error) {
	s := &Set{}
	return s, fillValues(c, s, from, func(v lua.LValue) error { return s.put(c, v) })
}

func (s *Set) put(c *api.Call, v lua.LValue) error {
	id, err := key(c, 1, v)
	if err == nil && s.ordered.get(id) == nil {
		s.set(id, v, lua.LTrue)
	}
	return err
}

// setOf returns an argument as a set. The argument may be a list or another source of values.
func setOf(c *api.Call, v lua.LValue) (*Set, error) {
	if s, ok := api.To[*Set](v); ok {
		return s, nil
	}
	if v == lua.LNil {
		return nil, c.ArgError(1, "a set or a list expected, got nil")
	}
	return newSet(c, v)
}

func setClass() *api.Class {
	c := api.NewClass[*Set]("Set", "A set of values in the order in which they were added: `for "+
		"_, value in ipairs(set) do`. The methods for two sets take lists and other sources as "+
		"well.")
	c.Var, c.Perm = "set", "none"
	c.Meta = metamethods("Set", (*Set).len, (*Set).items)
	c.Meta["__ipairs"] = pairing((*Set).order, func(n int, e *entry) (a, b lua.LValue) {
		return lua.LNumber(n), e.key
	})
	c.Meta["__pairs"] = pairing((*Set).order, keyAndValue)
	c.Methods = append(append(setValues(), setAlgebra()...), setComparisons()...)
	return c
}

func setValues() []*api.Func {
	v := api.ParamDoc("value", keyDoc)
	return []*api.Func{
		api.Method("add", "Adds a value. Returns true if the set did not have it.",
			"value", setAdd, v, api.Returns("boolean added"), example(`set():add("a") -- => true`)),
		api.Method("remove", "Removes a value. Returns true if the set had it.",
			"value", setRemove, v, api.Returns("boolean removed"),
			example(`set{ "a" }:remove("a") -- => true`)),
		api.Method("has", "Whether a value is in the set.",
			"value", func(_ *api.Call, s *Set, v lua.LValue) bool { return s.has(v) }, v,
			example(`set{ "a" }:has("b") -- => false`)),
		api.Method("update", "Adds all values of another set or list.",
			"other", func(c *api.Call, s *Set, other lua.LValue) error {
				o, err := setOf(c, other)
				if err == nil {
					o.copyTo(&s.ordered)
				}
				return err
			}, api.ParamDoc("other", "a set or a list"),
			api.Example(`local s = require("imd.collections").set{ 1 }
s:update{ 1, 2 }
return #s -- => 2`)),
		api.Method(
			"values",
			"A list of the values.",
			"",
			setList,
			api.Returns("table values"),
			example(`set{ 2, 1 }:values() -- => { 2, 1 }`),
		),
		api.Method(
			"totable",
			"A list of the values.",
			"",
			setList,
			api.Returns("table values"),
			example(`set{ 2, 1 }:totable() -- => { 2, 1 }`),
		),
		api.Method(
			"count",
			countDoc,
			"",
			func(_ *api.Call, s *Set) int { return s.len() },
			example(`set{ 1 }:count() -- => 1`),
		),
		api.Method("copy", "A new set of the same values.",
			"", func(_ *api.Call, s *Set) *Set { return s.where(func(any) bool { return true }) },
			example(`set{ 1 }:copy():has(1) -- => true`)),
		api.Method("clear", emptyDoc, "", func(_ *api.Call, s *Set) { s.ordered.clear() },
			example(`set{ 1 }:clear()`)),
		api.Method(
			"iter",
			"An iterator over the values, see imd.iter.",
			"",
			func(c *api.Call, _ *Set) (*iter.Iterator, error) {
				return iter.From(c, 0, c.L.Get(1))
			},
			example(`set{ 1, 2 }:iter():sum() -- => 3`),
		),
	}
}

// withOther declares a method of a set and another one.
func withOther[R any](name, doc, code string, do func(s, other *Set) R) *api.Func {
	fn := func(c *api.Call, s *Set, other lua.LValue) (R, error) {
		o, err := setOf(c, other)
		if err != nil {
			var none R
			return none, err
		}
		return do(s, o), nil
	}
	return api.Method(
		name,
		doc,
		"other",
		fn,
		api.ParamDoc("other", "a set or a list"),
		example(code),
	)
}

func setAlgebra() []*api.Func {
	return []*api.Func{
		withOther("union", "The values of both.", `set{ 1 }:union{ 2 }:values() -- => { 1, 2 }`,
			func(s, other *Set) *Set {
				all := s.where(func(any) bool { return true })
				other.copyTo(&all.ordered)
				return all
			}),
		withOther("intersect", "The values that are in both.",
			`set{ 1, 2 }:intersect{ 2, 3 }:values() -- => { 2 }`,
			func(s, other *Set) *Set { return s.where(other.contains) }),
		withOther("difference", "The values that are not in the other one.",
			`set{ 1, 2 }:difference{ 2, 3 }:values() -- => { 1 }`, without),
		withOther("symmetric_difference", "The values that are in one of them only.",
			`set{ 1, 2 }:symmetric_difference{ 2, 3 }:values() -- => { 1, 3 }`,
			func(s, other *Set) *Set {
				all := without(s, other)
				without(other, s).copyTo(&all.ordered)
				return all
			}),
	}
}

func setComparisons() []*api.Func {
	return []*api.Func{
		withOther("equals", "Whether both have the same values, in any order.",
			`set{ 1, 2 }:equals{ 2, 1 } -- => true`,
			func(s, other *Set) bool { return s.len() == other.len() && within(s, other) }),
		withOther("is_subset", "Whether all values are in the other one, too.",
			`set{ 1 }:is_subset{ 1, 2 } -- => true`, within),
		withOther("is_superset", "Whether all values of the other one are in this one, too.",
			`set{ 1, 2 }:is_superset{ 1 } -- => true`,
			func(s, other *Set) bool { return within(other, s) }),
		withOther("is_disjoint", "Whether no value is in both.",
			`set{ 1 }:is_disjoint{ 2 } -- => true`,
			func(s, other *Set) bool { return s.where(other.contains).len() == 0 }),
	}
}

func (s *Set) contains(id any) bool { return s.ordered.get(id) != nil }

// where makes a set of the values for which keep returns true.
func (s *Set) where(keep func(id any) bool) *Set {
	out := &Set{}
	for e := range s.all {
		if keep(e.id) {
			out.set(e.id, e.key, e.value)
		}
	}
	return out
}

func without(s, other *Set) *Set {
	return s.where(func(id any) bool { return !other.contains(id) })
}

func within(s, other *Set) bool { return s.len() <= other.len() && without(s, other).len() == 0 }

func (s *Set) has(v lua.LValue) bool {
	id, ok := api.Key(v)
	return ok && s.contains(id)
}

func setAdd(c *api.Call, s *Set, v lua.LValue) (bool, error) {
	before := s.len()
	err := s.put(c, v)
	return s.len() > before, err
}

func setRemove(_ *api.Call, s *Set, v lua.LValue) bool {
	id, ok := api.Key(v)
	if !ok {
		return false
	}
	e := s.ordered.get(id)
	if e != nil {
		s.ordered.remove(e)
	}
	return e != nil
}

func setList(c *api.Call, s *Set) *lua.LTable { return s.Table(c.L) }
