package collections

import (
	"container/heap"
	"math"
	"slices"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// Queue is a priority queue.
type Queue struct {
	heap   waiting
	number uint64
}

// item is a value in the queue.
type item struct {
	value    lua.LValue
	priority float64
	number   uint64 // items of equal priority come in the order of their numbers
}

// waiting implements heap.Interface.
type waiting struct {
	items   []item
	highest bool
}

func (w *waiting) Len() int           { return len(w.items) }
func (w *waiting) Less(i, j int) bool { return w.compare(w.items[i], w.items[j]) < 0 }
func (w *waiting) Swap(i, j int)      { w.items[i], w.items[j] = w.items[j], w.items[i] }
func (w *waiting) Push(x any)         { w.items = append(w.items, x.(item)) }

func (w *waiting) Pop() any {
	n := len(w.items) - 1
	x := w.items[n]
	w.items[n] = item{}
	w.items = w.items[:n]
	if n < cap(w.items)/4 {
		w.items = slices.Clip(slices.Clone(w.items))
	}
	return x
}

// compare returns -1 if pop returns a before b, and 1 otherwise.
func (w *waiting) compare(a, b item) int {
	switch {
	case a.priority == b.priority && a.number < b.number:
		return -1
	case a.priority == b.priority:
		return 1
	case a.priority < b.priority != w.highest:
		return -1
	}
	return 1
}

// Size visits the values.
func (q *Queue) Size(visit func(lua.LValue)) int {
	for _, x := range q.heap.items {
		visit(x.value)
	}
	return 32 * cap(q.heap.items)
}

// LuaToGo refuses a conversion.
func (q *Queue) LuaToGo() any { return refusePlain() }

func (q *Queue) len() int { return q.heap.Len() }

// sorted returns the items in the order in which pop gives them.
func (q *Queue) sorted() []item {
	list := slices.Clone(q.heap.items)
	slices.SortFunc(list, q.heap.compare)
	return list
}

func (q *Queue) items(visit func(...lua.LValue) bool) {
	for _, x := range q.sorted() {
		if !visit(x.value) {
			return
		}
	}
}

// Table makes a list of the values, which encoders write.
func (q *Queue) Table(L *lua.LState) *lua.LTable {
	var out []lua.LValue
	for _, x := range q.sorted() {
		out = append(out, x.value)
	}
	return listOf(L, out)
}

type queueOptions struct {
	Highest bool `lua:"highest" doc:"give out the value with the highest priority first"`
}

func newQueue(_ *api.Call, o queueOptions) *Queue {
	return &Queue{heap: waiting{highest: o.Highest}}
}

// queuePairs steps through the values that the queue had when the loop began.
func queuePairs(L *lua.LState) int {
	list := self[*Queue](L).sorted()
	n := 0
	L.Push(L.NewFunction(func(L *lua.LState) int {
		if n == len(list) {
			return 0
		}
		n++
		L.Push(lua.LNumber(n))
		L.Push(list[n-1].value)
		return 2
	}))
	return 1
}

func queueClass() *api.Class {
	c := api.NewClass[*Queue]("PriorityQueue", "Gives out the value with the lowest priority "+
		"first. ipairs goes over the values in that order without taking them out.")
	c.Var, c.Perm = "queue", "none"
	c.Meta = metamethods("PriorityQueue", (*Queue).len, (*Queue).items)
	c.Meta["__ipairs"], c.Meta["__pairs"] = queuePairs, queuePairs
	const begin = "local q = require(\"imd.collections\").priority_queue()\nq:push(\"b\", 2)\n" +
		"q:push(\"a\", 1)\n"
	c.Methods = []*api.Func{
		api.Method("push", "Adds a value.",
			"value priority", queuePush,
			api.ParamDoc("value", valueDoc),
			api.ParamDoc("priority", "a number"),
			api.Example(begin+`return #q -- => 2`)),
		api.Method("pop", "Removes the value that comes first. Returns it and its priority, nil "+
			"if there is none.",
			"", queuePop, api.Returns("any value", "number? priority"),
			api.Example(begin+`return q:pop() -- => "a", 1`)),
		api.Method("peek", "The value that comes first and its priority, nil if there is none.",
			"", queuePeek, api.Returns("any value", "number? priority"),
			api.Example(begin+`return q:peek() -- => "a", 1`)),
		api.Method("values", "A list of the values in the order in which they will come.",
			"", queueList, api.Returns("table values"),
			api.Example(begin+`return q:values() -- => { "a", "b" }`)),
		api.Method("totable", "A list of the values in the order in which they will come.",
			"", queueList, api.Returns("table values"),
			api.Example(begin+`return q:totable() -- => { "a", "b" }`)),
		api.Method("count", countDoc,
			"", func(_ *api.Call, q *Queue) int { return q.len() },
			api.Example(begin+`return q:count() -- => 2`)),
		api.Method("clear", emptyDoc, "", func(_ *api.Call, q *Queue) { q.heap.items = nil },
			api.Example(begin+`q:clear()`)),
	}
	return c
}

func queuePush(c *api.Call, q *Queue, v lua.LValue, priority float64) error {
	if v == lua.LNil {
		return c.ArgError(1, "a value other than nil expected")
	}
	if math.IsNaN(priority) {
		return c.ArgError(2, "nan is not a priority")
	}
	q.number++
	heap.Push(&q.heap, item{v, priority, q.number})
	return nil
}

func queuePop(c *api.Call, q *Queue) (value lua.LValue, priority *float64) {
	value, priority = queuePeek(c, q)
	if priority != nil {
		heap.Pop(&q.heap)
	}
	return value, priority
}

func queuePeek(_ *api.Call, q *Queue) (value lua.LValue, priority *float64) {
	if q.len() == 0 {
		return lua.LNil, nil
	}
	first := q.heap.items[0]
	return first.value, &first.priority
}

func queueList(c *api.Call, q *Queue) *lua.LTable { return q.Table(c.L) }
