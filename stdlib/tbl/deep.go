package tbl

import (
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// maxDepth is how deeply tables may be nested, for all functions except walk.
const maxDepth = 10000

// deep returns the functions for nested tables.
func deep() []*api.Func {
	t, path := api.ParamDoc("t", tableDoc), api.ParamDoc("path", "keys, as in \"a.b[2].c\"")
	return []*api.Func{
		declare("deep_copy", "A copy in which all nested tables are copied, too. A table that occurs "+
			"twice or contains itself does so in the copy.",
			"t", deepCopy, `deep_copy({ { 1 } }) -- => { { 1 } }`, t, api.Raises("value")),
		declare("deep_equal", "Whether two values are equal, tables by their entries.",
			"a b", deepEqual, `deep_equal({ { 1 } }, { { 1 } }) -- => true`,
			api.ParamDoc("a", "a value"), api.ParamDoc("b", "the other value"),
			api.Raises("value")),
		declare("deep_merge", "Like merge, but tables under the same key are merged. Lists "+
			"are replaced.",
			"tables...", deepMerge,
			`deep_merge({ a = { x = 1 } }, { a = { y = 2 } }) -- => { a = { x = 1, y = 2 } }`,
			api.ParamDoc("tables", "the tables"), api.Raises("value")),
		declare("flatten", "One list of the values of all lists in a list.",
			"t depth?", flatten, `flatten({ 1, { 2, { 3 } } }) -- => { 1, 2, 3 }`,
			api.ParamDoc("t", listDoc), api.ParamDoc("depth", "how many levels, all if not given"),
			api.Raises("value")),
		declare(
			"diff",
			"The differences of two values: a list of { path, a, b }, without a or b "+
				"where that one has no value.",
			"a b",
			diff,
			`diff({ x = { 1 } }, { x = { 2 } }) -- => { { path = "x[1]", a = 1, b = 2 } }`,
			api.ParamDoc("a", "a value"),
			api.ParamDoc("b", "the other value"),
			api.Raises("value"),
		),
		declare("get", "The value at a path, nil or default if there is none.",
			"t path default?", get, `get({ a = { { b = 5 } } }, "a[1].b") -- => 5`, t, path,
			api.ParamDoc("default", "what is returned if there is no value"),
			api.Returns("any value")),
		declare("set", "Changes the value at a path. Makes tables that are missing. Returns t.",
			"t path value", set, `set({}, "a.b[1]", 5) -- => { a = { b = { 5 } } }`, t, path,
			api.ParamDoc("value", "the new value; nil removes it")),
		declare("walk", "Calls fn for all values in nested tables, however deep. A table is "+
			"entered once; it is not entered if fn returns false for it.",
			"t fn", walk, `walk({ { 1 } }, function(v, k, depth) end)`, t,
			api.ParamDoc("fn", "called with the value, its key and the depth, from 1")),
	}
}

func tooDeep(depth int) error {
	if depth <= maxDepth {
		return nil
	}
	return host.Errorf("value", "tbl: tables are nested deeper than %d levels", maxDepth)
}

func deepCopy(c *api.Call, t *lua.LTable) (*lua.LTable, error) {
	return copyAll(c, t, map[*lua.LTable]*lua.LTable{}, 0)
}

func copyAll(c *api.Call, t *lua.LTable, seen map[*lua.LTable]*lua.LTable, depth int) (
	*lua.LTable, error,
) {
	if out := seen[t]; out != nil {
		return out, nil
	}
	err := tooDeep(depth)
	out := c.L.CreateTable(0, 0)
	out.Metatable = t.Metatable
	seen[t] = out
	each(t, func(k, v lua.LValue) bool {
		inner, ok := v.(*lua.LTable)
		if ok && err == nil {
			v, err = copyAll(c, inner, seen, depth+1)
		}
		out.RawSet(k, v)
		return err == nil
	})
	return out, err
}

// pair holds two tables that are being compared.
type pair struct{ a, b *lua.LTable }

// differ finds the differences of two values.
type differ struct {
	L     *lua.LState
	on    map[pair]bool
	found func(path string, a, b lua.LValue) bool // false ends the search
	over  bool
	err   error
}

func (d *differ) compare(path string, a, b lua.LValue, depth int) {
	ta, okA := a.(*lua.LTable)
	tb, okB := b.(*lua.LTable)
	if d.over || d.err != nil || okA && okB && d.on[pair{ta, tb}] {
		return
	}
	if !okA || !okB {
		if !d.L.Equal(a, b) {
			d.over = !d.found(path, a, b)
		}
		return
	}
	d.on[pair{ta, tb}] = true
	d.err = tooDeep(depth)
	for _, k := range sortedKeys(ta) {
		d.compare(join(path, k), ta.RawGet(k), tb.RawGet(k), depth+1)
	}
	for _, k := range sortedKeys(tb) {
		if ta.RawGet(k) == lua.LNil {
			d.compare(join(path, k), lua.LNil, tb.RawGet(k), depth+1)
		}
	}
}

// join adds a key to a path.
func join(path string, k lua.LValue) string {
	s, ok := k.(lua.LString)
	switch {
	case !ok:
		return path + "[" + k.String() + "]"
	case path == "":
		return string(s)
	}
	return path + "." + string(s)
}

func deepEqual(c *api.Call, a, b lua.LValue) (bool, error) {
	d := &differ{L: c.L, on: map[pair]bool{}}
	d.found = func(string, lua.LValue, lua.LValue) bool { return false }
	d.compare("", a, b, 0)
	return !d.over, d.err
}

func diff(c *api.Call, a, b lua.LValue) (lua.LValue, error) {
	out := newList(c)
	d := &differ{L: c.L, on: map[pair]bool{}}
	d.found = func(path string, a, b lua.LValue) bool {
		row := c.L.CreateTable(0, 3)
		row.RawSetString("path", lua.LString(path))
		row.RawSetString("a", a)
		row.RawSetString("b", b)
		out.add(row)
		return true
	}
	d.compare("", a, b, 0)
	return out.done(), d.err
}

func deepMerge(c *api.Call, tables ...*lua.LTable) (*lua.LTable, error) {
	out := c.L.CreateTable(0, 0)
	for _, t := range tables {
		if err := mergeInto(c, out, t, 0); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func mergeInto(c *api.Call, out, t *lua.LTable, depth int) error {
	err := tooDeep(depth)
	each(t, func(k, v lua.LValue) bool {
		if err != nil {
			return false
		}
		inner, ok := v.(*lua.LTable)
		if !ok {
			out.RawSet(k, v)
			return true
		}
		old, ok := out.RawGet(k).(*lua.LTable)
		if ok && !isList(inner) && !isList(old) {
			err = mergeInto(c, old, inner, depth+1)
			return true
		}
		var copied *lua.LTable
		copied, err = deepCopy(c, inner)
		out.RawSet(k, copied)
		return true
	})
	return err
}

func flatten(c *api.Call, t *lua.LTable, depth *int) (lua.LValue, error) {
	limit := maxDepth + 1
	if depth != nil {
		limit = *depth
	}
	out := newList(c)
	var add func(t *lua.LTable, level int) error
	add = func(t *lua.LTable, level int) error {
		if err := tooDeep(level); err != nil {
			return err
		}
		for i := 1; i <= t.Len(); i++ {
			v := t.RawGetInt(i)
			inner, ok := v.(*lua.LTable)
			if !ok || level >= limit || !isList(inner) && inner.Len() == 0 && !empty(inner) {
				out.add(v)
				continue
			}
			if err := add(inner, level+1); err != nil {
				return err
			}
		}
		return nil
	}
	err := add(t, 0)
	return out.done(), err
}

func empty(t *lua.LTable) bool {
	k, _ := t.Next(lua.LNil)
	return k == lua.LNil
}

// keysOf reads a path.
func keysOf(c *api.Call, path string) ([]lua.LValue, error) {
	var keys []lua.LValue
	for rest := path; rest != ""; {
		if rest[0] == '[' {
			digits, after, ok := strings.Cut(rest[1:], "]")
			n, err := strconv.Atoi(digits)
			if !ok || err != nil {
				return nil, c.ArgError(2, "the path %q needs a number and ] after [", path)
			}
			keys = append(keys, lua.LNumber(n))
			rest = strings.TrimPrefix(after, ".")
			continue
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return nil, c.ArgError(2, "the path %q has an empty key", path)
		}
		keys = append(keys, lua.LString(rest[:end]))
		rest = strings.TrimPrefix(rest[end:], ".")
	}
	if len(keys) == 0 {
		return nil, c.ArgError(2, "the path is empty")
	}
	return keys, nil
}

func get(c *api.Call, t *lua.LTable, path string, none lua.LValue) (lua.LValue, error) {
	keys, err := keysOf(c, path)
	if err != nil {
		return nil, err
	}
	var v lua.LValue = t
	for _, k := range keys {
		t, ok := v.(*lua.LTable)
		if !ok {
			return none, nil
		}
		v = t.RawGet(k)
	}
	if v == lua.LNil {
		return none, nil
	}
	return v, nil
}

func set(c *api.Call, t *lua.LTable, path string, value lua.LValue) (*lua.LTable, error) {
	keys, err := keysOf(c, path)
	if err != nil {
		return nil, err
	}
	at, last := t, len(keys)-1
	for _, k := range keys[:last] {
		switch next := at.RawGet(k).(type) {
		case *lua.LTable:
			at = next
		case *lua.LNilType:
			inner := c.L.CreateTable(0, 0)
			at.RawSet(k, inner)
			at = inner
		default:
			return nil, c.ArgError(2, "%s in the path %q is a %s", k, path, next.Type())
		}
	}
	at.RawSet(keys[last], value)
	return t, nil
}

func walk(c *api.Call, t *lua.LTable, fn *lua.LFunction) {
	type level struct {
		t   *lua.LTable
		key lua.LValue
	}
	seen := map[*lua.LTable]bool{t: true}
	stack := []level{{t, lua.LNil}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		k, v := top.t.Next(top.key)
		if k == lua.LNil {
			stack = stack[:len(stack)-1]
			continue
		}
		top.key = k
		enter := one(c, fn, v, k, lua.LNumber(len(stack))) != lua.LFalse
		inner, ok := v.(*lua.LTable)
		if ok && enter && !seen[inner] {
			seen[inner] = true
			stack = append(stack, level{inner, lua.LNil})
		}
	}
}
