// Package collections is the script module imd.collections: ordered maps, sets, deques, counters,
// priority queues and caches. A Lua table does not free the slots of removed keys; the collections
// do.
//
//	local collections = require("imd.collections")
//	local pending = collections.map()
//	pending:set(id, request)
//	pending:remove(id)
package collections

import (
	"math"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/iter"
)

const (
	keyDoc   = "any value but nil and nan"
	valueDoc = "any value but nil"
	fromDoc  = "what to begin with"
	countDoc = "How many there are, the same as #."
	emptyDoc = "Removes everything."
)

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name: "collections",
		Doc: "Collections that give memory back when something is removed, which tables do not. " +
			"All keep an order. # counts, pairs and ipairs work, and print shows what is inside. " +
			"A loop over a collection may change it: it visits what was there when it began and " +
			"has not been removed. Keys are equal as by ==: two Int64, Date, Data or Version of " +
			"the same value are one key, a table is only equal to itself.",
		Perm: "none",
		Classes: []*api.Class{
			mapClass(), setClass(), dequeClass(), counterClass(), queueClass(), lruClass(),
		},
		Funcs: []*api.Func{
			api.Function(
				"map",
				"Makes a map. Keys stay in the order in which they were set first.",
				"from?",
				newMap,
				api.ParamDoc("from", fromDoc+": a table, or a source of keys and values"),
				example(`map{ a = 1 }:get("a") -- => 1`),
			),
			api.Function("set", "Makes a set of values, in the order in which they were added.",
				"from?", newSet, api.ParamDoc("from", fromDoc+": a list, or a source of values"),
				example(`set{ 1, 2, 2 }:values() -- => { 1, 2 }`)),
			api.Function(
				"deque",
				"Makes a list that can be changed at both ends.",
				"from? opts?",
				newDeque,
				api.ParamDoc("from", fromDoc+": a list, or a source of values"),
				example(`deque({ 1, 2, 3 }, { max_size = 2 }):values() -- => { 2, 3 }`),
			),
			api.Function(
				"counter",
				"Makes a counter of how often values occur.",
				"from?",
				newCounter,
				api.ParamDoc("from", fromDoc+": a list, or a source of values"),
				example(`counter{ "a", "b", "a" }:get("a") -- => 2`),
			),
			api.Function("priority_queue", "Makes a queue that gives out the value with the "+
				"lowest priority first. Values of equal priority come in the order in which they "+
				"were added.",
				"opts?", newQueue,
				example(`priority_queue{ highest = true }:pop() -- => nil`)),
			api.Function("lru", "Makes a cache of a limited size. A new entry replaces the one that "+
				"was not used for the longest time.",
				"capacity", newLRU, api.ParamDoc("capacity", "how many entries it may have"),
				example(`lru(100).capacity -- => 100`)),
		},
	}
}

// example makes an example from the text that follows "return collections.".
func example(text string) api.Option {
	return api.Example(
		"local collections = require(\"imd.collections\")\nreturn collections." + text,
	)
}

// key returns the key of argument n of a call.
func key(c *api.Call, n int, v lua.LValue) (any, error) {
	k, ok := api.Key(v)
	if ok {
		return k, nil
	}
	if v == lua.LNil {
		return nil, c.ArgError(n, "a value other than nil expected")
	}
	return nil, c.ArgError(n, "nan is not equal to itself, so it cannot be found again")
}

// fill calls add with the elements of from, which may be nil. It pushes collection, to which they
// are added, on the Lua stack, so that the memory guard counts it.
func fill(
	c *api.Call, collection any, from lua.LValue, add func(values ...lua.LValue) error,
) error {
	if from == lua.LNil {
		return nil
	}
	c.L.Push(c.Wrap(collection))
	return iter.Each(c, 1, from, add)
}

// fillValues is fill for collections of single values.
func fillValues(
	c *api.Call, collection any, from lua.LValue, add func(v lua.LValue) error,
) error {
	return fill(c, collection, from, func(values ...lua.LValue) error {
		if len(values) > 1 {
			return c.ArgError(1, "the source gives keys and values, or several values at once")
		}
		return add(values[0])
	})
}

// metamethods returns what all collections have in their metatables. items calls its function with
// each key and value, or with a value alone, until the function returns false.
func metamethods[T any](name string, length func(T) int, items func(T, func(...lua.LValue) bool),
) map[string]lua.LGFunction {
	printing := map[any]bool{}
	return map[string]lua.LGFunction{
		"__len": func(L *lua.LState) int {
			L.Push(lua.LNumber(length(self[T](L))))
			return 1
		},
		"__newindex": func(L *lua.LState) int {
			e := host.Errorf(
				"read_only",
				"%s: cannot set the field %s",
				name,
				host.ToString(L, L.Get(2)),
			)
			host.Raise(L, e.WithHint("fields are methods; a map is changed by map:set(key, value)"))
			return 0
		},
		"__tostring": func(L *lua.LState) int {
			object := self[T](L)
			if printing[object] {
				L.Push(lua.LString(name + "{...}"))
				return 1
			}
			printing[object] = true
			defer delete(printing, object)
			L.Push(lua.LString(name + "{" + text(L, object, length, items) + "}"))
			return 1
		},
	}
}

// self returns the receiver of a metamethod.
func self[T any](L *lua.LState) T {
	v, ok := api.To[T](L.Get(1))
	if !ok {
		host.Raise(L, host.Errorf("argument", "a collection expected, got %s", L.Get(1).Type()))
	}
	return v
}

const (
	maxShown = 20  // how many entries print shows
	maxText  = 200 // how many bytes it shows of each
)

func text[T any](
	L *lua.LState, object T, length func(T) int, items func(T, func(...lua.LValue) bool),
) string {
	var parts []string
	items(object, func(values ...lua.LValue) bool {
		if len(parts) == maxShown {
			parts = append(parts, "...")
			return false
		}
		part := shown(L, values[len(values)-1])
		if len(values) > 1 {
			part = shown(L, values[0]) + " = " + part
		}
		parts = append(parts, part)
		return true
	})
	return strings.Join(parts, ", ")
}

// shown returns the text of a value on one line.
func shown(L *lua.LState, v lua.LValue) string {
	t := L.CreateTable(1, 0)
	t.Append(v) // a list of tables alone would become several lines
	s := host.Inspect(L, t, host.InspectOptions{Width: math.MaxInt32, Depth: 3, MaxItems: 10})
	s = strings.TrimSuffix(strings.TrimPrefix(s, "{ "), " }")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

// same reports whether two values are equal by ==.
func same(a, b lua.LValue) bool {
	x, okX := api.Key(a)
	y, okY := api.Key(b)
	return okX && okY && x == y
}

// listOf makes a list. An empty one is marked, so that it stays a list when it is encoded.
func listOf(L *lua.LState, values []lua.LValue) *lua.LTable {
	if len(values) == 0 {
		return host.ToLua(L, []any{}).(*lua.LTable)
	}
	host.Converted(L, host.SizeTable+len(values)*host.SizeSlot)
	t := L.CreateTable(len(values), 0)
	for _, v := range values {
		t.Append(v)
	}
	return t
}
