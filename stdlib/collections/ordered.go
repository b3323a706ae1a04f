package collections

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// entrySize is the approximate size of an entry in memory.
const entrySize = 160

// entry is a key and its value. Entries form a ring: the head of the list comes before the first
// and after the last one.
type entry struct {
	id         any // what api.Key returns for the key
	key, value lua.LValue
	number     uint64 // entries are numbered in their order
	prev, next *entry
	// gone is true if the entry was removed. A loop whose last entry was removed follows prev until
	// it finds an entry that is still in the list.
	gone bool
}

// ordered is a map that keeps the order of its keys.
type ordered struct {
	entries map[any]*entry
	most    int // number of entries that the Go map had room for
	head    entry
	number  uint64
}

// refusePlain returns the error of a conversion to a plain value. Encoders that keep the order of
// the entries use Table.
func refusePlain() error {
	return host.Errorf("value", "a collection is not a plain value: use totable()")
}

// LuaToGo refuses a conversion, which would lose the order.
func (o *ordered) LuaToGo() any { return refusePlain() }

func (o *ordered) len() int { return len(o.entries) }

// size visits the keys and values.
func (o *ordered) size(visit func(lua.LValue)) int {
	for e := range o.all {
		visit(e.key)
		visit(e.value)
	}
	return len(o.entries)*entrySize + o.most*32
}

// all visits the entries from the first to the last. They must not change meanwhile.
func (o *ordered) all(visit func(*entry) bool) {
	for e := o.first(); e != nil; e = e.next {
		if e == &o.head || !visit(e) {
			return
		}
	}
}

// first returns the first entry, nil if there is none.
func (o *ordered) first() *entry {
	if len(o.entries) == 0 {
		return nil
	}
	return o.head.next
}

func (o *ordered) last() *entry {
	if len(o.entries) == 0 {
		return nil
	}
	return o.head.prev
}

func (o *ordered) get(id any) *entry { return o.entries[id] }

// set changes an entry, or adds one at the end.
func (o *ordered) set(id any, key, value lua.LValue) *entry {
	if e := o.entries[id]; e != nil {
		e.value = value
		return e
	}
	if o.entries == nil {
		o.entries = map[any]*entry{}
	}
	e := &entry{id: id, key: key, value: value}
	o.entries[id] = e
	o.most = max(o.most, len(o.entries))
	o.append(e)
	return e
}

// append puts an entry that is in the Go map at the end of the list.
func (o *ordered) append(e *entry) {
	if o.head.next == nil {
		o.head.next, o.head.prev = &o.head, &o.head
	}
	o.number++
	e.number = o.number
	e.prev, e.next = o.head.prev, &o.head
	e.prev.next, o.head.prev = e, e
}

// remove takes an entry out of the collection.
func (o *ordered) remove(e *entry) {
	delete(o.entries, e.id)
	o.unlink(e)
	if len(o.entries) < o.most/4 && o.most > 64 {
		// A Go map does not shrink.
		entries := make(map[any]*entry, len(o.entries))
		for id, e := range o.entries {
			entries[id] = e
		}
		o.entries, o.most = entries, len(entries)
	}
}

func (o *ordered) unlink(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.next, e.gone = nil, true
}

// renew makes an entry the last one.
func (o *ordered) renew(e *entry) {
	if e == o.head.prev {
		return
	}
	o.unlink(e)
	fresh := &entry{id: e.id, key: e.key, value: e.value}
	o.entries[e.id] = fresh
	o.append(fresh)
}

func (o *ordered) clear() {
	for e := o.first(); e != nil && e != &o.head; {
		next := e.next
		e.prev, e.next, e.gone = &o.head, nil, true
		e = next
	}
	o.entries, o.most = nil, 0
	o.head.next, o.head.prev = &o.head, &o.head
}

// walk returns a function that returns one entry after the other, and nil at the end. It visits the
// entries that existed when walk was called and have not been removed since.
func (o *ordered) walk() func() *entry {
	at, end := &o.head, o.number
	return func() *entry {
		for at.gone {
			at = at.prev
		}
		if at.next == nil || at.next == &o.head || at.next.number > end {
			return nil
		}
		at = at.next
		return at
	}
}

func (o *ordered) keys() (out []lua.LValue) {
	for e := range o.all {
		out = append(out, e.key)
	}
	return out
}

func (o *ordered) values() (out []lua.LValue) {
	for e := range o.all {
		out = append(out, e.value)
	}
	return out
}

// table makes a Lua table.
func (o *ordered) table(L *lua.LState) *lua.LTable {
	host.Converted(L, host.SizeTable+len(o.entries)*host.SizeEntry)
	t := L.CreateTable(0, len(o.entries))
	for e := range o.all {
		if n, ok := e.key.(lua.LNumber); ok && n >= 1 && int(n) < lua.MaxArrayIndex {
			host.Reserve(L, int(n)*16) // a table has a place for each number up to the largest
		}
		t.RawSet(e.key, e.value)
	}
	return t
}

func (o *ordered) copyTo(to *ordered) {
	for e := range o.all {
		to.set(e.id, e.key, e.value)
	}
}

// pairing returns a metamethod that steps through the entries of a collection. give returns the two
// values that a loop gets for the n-th entry.
func pairing[T any](of func(T) *ordered, give func(n int, e *entry) (a, b lua.LValue),
) lua.LGFunction {
	return func(L *lua.LState) int {
		next := of(self[T](L)).walk()
		n := 0
		L.Push(L.NewFunction(func(L *lua.LState) int {
			e := next()
			if e == nil {
				return 0
			}
			n++
			a, b := give(n, e)
			L.Push(a)
			L.Push(b)
			return 2
		}))
		L.Push(L.Get(1)) // keeps the collection where the memory guard counts it
		return 2
	}
}

func keyAndValue(_ int, e *entry) (a, b lua.LValue) { return e.key, e.value }

// equal reports whether two collections have the same keys with equal values.
func (o *ordered) equal(p *ordered) bool {
	if len(o.entries) != len(p.entries) {
		return false
	}
	for id, e := range o.entries {
		f := p.entries[id]
		if f == nil || !same(e.value, f.value) {
			return false
		}
	}
	return true
}
