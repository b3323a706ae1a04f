package lua51

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/luanum"
	"github.com/imdlua/imdlua/runtime/host/vm"
)

// itemsBetweenTicks is how many items of a table are handled between two checks of the limits.
const itemsBetweenTicks = 10000

// openTable fills the table table, and sets the global unpack.
func openTable(h *host.Host) {
	lib := libraryTable(h, "table")
	addFunctions(h, lib, map[string]func(c libCall) int{
		"concat": tableConcat, "foreach": tableForeach, "foreachi": tableForeachi,
		"getn": tableGetn, "insert": tableInsert, "maxn": tableMaxn, "remove": tableRemove,
		"setn": tableSetn, "sort": tableSort, "unpack": tableUnpack,
	})
	h.SetGlobal("unpack", lib.RawGetString("unpack"))
}

// list is a table, or a userdata with __len and __index such as a list of records.
type list struct {
	L     *lua.LState
	table *lua.LTable
	value lua.LValue
}

// list returns argument n, which must be a table or a userdata that can be used as a list.
func (c libCall) list(n int) list {
	v := c.Get(n)
	t, ok := v.(*lua.LTable)
	if !ok && (v.Type() != lua.LTUserData || c.GetMetaField(v, "__index") == lua.LNil) {
		c.failType(n, "table")
	}
	return list{c.LState, t, v}
}

// len returns the length. Tables are read without metamethods, as in Lua 5.1.
func (l list) len() int {
	if l.table != nil {
		return l.table.Len()
	}
	return l.L.ObjLen(l.value)
}

// at returns the item with number i.
func (l list) at(i int) lua.LValue {
	if l.table != nil {
		v := l.table.RawGetInt(i)
		if v != lua.LNil {
			return v
		}
		// RawGetInt does not find values outside of the array part.
		return l.table.RawGet(lua.LNumber(i))
	}
	return l.L.GetTable(l.value, lua.LNumber(i))
}

// textLen estimates the length of the items from from to to as one text. It stops at the first
// item that is not a string.
func (l list) textLen(from, to, sep int) int {
	n := 0
	if l.table == nil {
		return n
	}
	for i := from; i <= to && n <= maxExpected; i++ {
		s, ok := l.table.RawGetInt(i).(lua.LString)
		if !ok {
			break
		}
		n += len(s) + sep
	}
	return n
}

func tableConcat(c libCall) int {
	l := c.list(1)
	sep := c.textOr(2, "")
	from := c.integerOr(3, 1)
	to := 0
	if c.missing(4) {
		to = l.len()
	} else {
		to = c.integer(4)
	}
	out := textBuilder{L: c.LState}
	out.expect(l.textLen(from, to, len(sep)))
	for i := from; i <= to; i++ {
		switch v := l.at(i).(type) {
		case lua.LString:
			out.add(string(v))
		case lua.LNumber:
			out.add(luanum.Format(float64(v)))
		default:
			c.RaiseError("invalid value (%s) at index %d in table for 'concat'", typeName(v), i)
		}
		if i == to {
			break
		}
		out.add(sep)
		if (i-from)%itemsBetweenTicks == itemsBetweenTicks-1 {
			host.Tick(c.LState)
		}
	}
	return c.pushText(out.String())
}

func tableInsert(c libCall) int {
	t := c.table(1)
	n := t.Len()
	switch c.GetTop() {
	case 2:
		if !c.missing(2) {
			t.RawSetInt(n+1, c.Get(2))
		}
	case 3:
		at := c.integer(2)
		if at < 1 || at > n+1 {
			c.fail(2, "position out of bounds")
		}
		insertAt(t, n, at, c.Get(3))
	default:
		c.RaiseError("wrong number of arguments to 'insert'")
	}
	return 0
}

// insertAt moves the items from index at on up by one and sets index at to v.
func insertAt(t *lua.LTable, n, at int, v lua.LValue) {
	// Insert of gopher-lua would also move the nils after the last item, so that the array would
	// grow each time.
	if v != lua.LNil && vm.ArrayLen(t) == n {
		t.Insert(at, v)
		return
	}
	for i := n; i >= at; i-- {
		t.RawSetInt(i+1, t.RawGetInt(i))
	}
	t.RawSetInt(at, v)
}

// tableRemove returns nothing if there is no item at the position.
func tableRemove(c libCall) int {
	t := c.table(1)
	n := t.Len()
	at := c.integerOr(2, n)
	if at < 1 || at > n {
		return 0
	}
	c.Push(t.RawGetInt(at))
	if vm.ArrayLen(t) == n {
		t.Remove(at)
		return 1
	}
	for i := at; i < n; i++ {
		t.RawSetInt(i, t.RawGetInt(i+1))
	}
	t.RawSetInt(n, lua.LNil)
	return 1
}

func tableUnpack(c libCall) int {
	l := c.list(1)
	from := c.integerOr(2, 1)
	to := 0
	if c.missing(3) {
		to = l.len()
	} else {
		to = c.integer(3)
	}
	if from > to {
		return 0
	}
	// The difference is not negative, but it may exceed an int.
	n := uint64(to) - uint64(from) + 1
	if n == 0 || n > maxResults {
		c.RaiseError("too many results to unpack (%d, limit is %d)", n, maxResults)
	}
	for i := range int(n) {
		c.Push(l.at(from + i))
	}
	return int(n)
}

func tableGetn(c libCall) int {
	c.Push(lua.LNumber(c.list(1).len()))
	return 1
}

func tableSetn(c libCall) int {
	c.table(1)
	c.RaiseError("'setn' is obsolete")
	return 0
}

// tableMaxn returns the largest number that is a key.
func tableMaxn(c libCall) int {
	largest := lua.LNumber(0)
	c.table(1).ForEach(func(key, _ lua.LValue) {
		n, ok := key.(lua.LNumber)
		if ok && n > largest {
			largest = n
		}
	})
	c.Push(largest)
	return 1
}

// tableForeach calls a function with every key and value, until it returns something.
func tableForeach(c libCall) int {
	t, f := c.table(1), c.function(2)
	for key, value := t.Next(lua.LNil); key != lua.LNil; key, value = t.Next(key) {
		c.Push(f)
		c.Push(key)
		c.Push(value)
		result := c.result(2)
		if result != lua.LNil {
			c.Push(result)
			return 1
		}
	}
	return 0
}

// tableForeachi calls a function with every number and item, until it returns something.
func tableForeachi(c libCall) int {
	l, f := c.list(1), c.function(2)
	n := l.len()
	for i := 1; i <= n; i++ {
		item := l.at(i)
		c.Push(f)
		c.Push(lua.LNumber(i))
		c.Push(item)
		result := c.result(2)
		if result != lua.LNil {
			c.Push(result)
			return 1
		}
	}
	return 0
}
