package lua51

import (
	"sort"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// tableSort sorts a copy of the items and writes it back at the end. If a comparison fails or the
// task is cancelled, the table is unchanged. A comparison never sees a partly sorted table.
func tableSort(c libCall) int {
	t := c.table(1)
	var order *lua.LFunction
	if !c.missing(2) {
		order = c.function(2)
	}
	n := t.Len()
	host.Reserve(c.LState, n*16)
	items := make([]lua.LValue, n)
	for i := range items {
		items[i] = t.RawGetInt(i + 1)
	}
	s := &sorter{c: c, order: order, items: items}
	s.compare = s.comparison()
	sort.Sort(s)
	if order != nil {
		s.check()
	}
	for i, v := range items {
		t.RawSetInt(i+1, v)
	}
	return 0
}

// sorter implements sort.Interface.
type sorter struct {
	c        libCall
	order    *lua.LFunction
	items    []lua.LValue
	compare  func(a, b lua.LValue) bool
	compared int
}

func (s *sorter) Len() int      { return len(s.items) }
func (s *sorter) Swap(i, j int) { s.items[i], s.items[j] = s.items[j], s.items[i] }

func (s *sorter) Less(i, j int) bool {
	s.compared++
	if s.compared%itemsBetweenTicks == 0 {
		host.Tick(s.c.LState)
	}
	return s.compare(s.items[i], s.items[j])
}

// comparison chooses how two items are compared: by the order function, or as numbers or strings
// if all are, or by the operator <.
func (s *sorter) comparison() func(a, b lua.LValue) bool {
	if s.order != nil {
		return s.ordered
	}
	numbers, strings := true, true
	for _, v := range s.items {
		numbers = numbers && v.Type() == lua.LTNumber
		strings = strings && v.Type() == lua.LTString
	}
	switch {
	case numbers:
		return func(a, b lua.LValue) bool { return a.(lua.LNumber) < b.(lua.LNumber) }
	case strings:
		return func(a, b lua.LValue) bool { return a.(lua.LString) < b.(lua.LString) }
	}
	return s.c.LessThan
}

// ordered calls the order function.
func (s *sorter) ordered(a, b lua.LValue) bool {
	s.c.Push(s.order)
	s.c.Push(a)
	s.c.Push(b)
	return lua.LVAsBool(s.c.result(2))
}

// check raises an error if the items are not in order, because the order function contradicts
// itself. Functions that return true for equal items, such as a <= b, are accepted.
func (s *sorter) check() {
	for i := range len(s.items) - 1 {
		if s.Less(i+1, i) && !s.Less(i, i+1) {
			s.c.RaiseError("invalid order function for sorting")
		}
	}
}
