package collections

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// LRU is a cache in the order of the last use, the oldest first.
type LRU struct {
	ordered
	capacity     int
	hits, misses int
}

// Size visits the keys and values.
func (l *LRU) Size(visit func(lua.LValue)) int { return l.size(visit) }

// Table makes a table of the cache, which encoders write.
func (l *LRU) Table(L *lua.LState) *lua.LTable { return l.table(L) }

func (l *LRU) order() *ordered { return &l.ordered }

func (l *LRU) items(visit func(...lua.LValue) bool) {
	for e := range l.all {
		if !visit(e.key, e.value) {
			return
		}
	}
}

func newLRU(c *api.Call, capacity int) (*LRU, error) {
	if capacity < 1 {
		return nil, c.ArgError(1, "must be at least 1")
	}
	return &LRU{capacity: capacity}, nil
}

func lruClass() *api.Class {
	c := api.NewClass[*LRU]("LRU", "A cache of a limited size. get and set make an entry the one "+
		"that was used last. pairs goes from the entry that would be removed next to the one that "+
		"was used last, and leaves out entries that are used during the loop.")
	c.Var, c.Perm = "cache", "none"
	c.Meta = metamethods("LRU", (*LRU).len, (*LRU).items)
	c.Meta["__pairs"] = pairing((*LRU).order, keyAndValue)
	c.Fields = []*api.Field{
		api.Property(
			"capacity",
			"how many entries it may have",
			func(l *LRU) int { return l.capacity },
		),
		api.Property(
			"hits",
			"how often get and load found a key",
			func(l *LRU) int { return l.hits },
		),
		api.Property("misses", "how often get and load found none",
			func(l *LRU) int { return l.misses }),
	}
	k := api.ParamDoc("key", keyDoc)
	c.Methods = []*api.Func{
		api.Method("get", "The value of a key, nil if there is none.",
			"key", lruGet, k, api.Returns("any value"), example(`lru(1):get("a") -- => nil`)),
		api.Method("peek", "The value of a key, without using it.",
			"key", func(_ *api.Call, l *LRU, k lua.LValue) lua.LValue {
				_, v := pair(l.find(k))
				return v
			}, k,
			api.Returns("any value"), example(`lru(1):peek("a") -- => nil`)),
		api.Method("set", "Sets the value of a key. Returns the key and the value that it "+
			"replaced because the cache was full, nil if there was room.",
			"key value", lruSet, k, api.ParamDoc("value", "any value; nil removes the key"),
			api.Returns("any key", "any value"),
			api.Example(`local cache = require("imd.collections").lru(1)
cache:set("a", 1)
return cache:set("b", 2) -- => "a", 1`)),
		api.Method("load", "The value of a key. If there is none, fn is called for it, and its "+
			"result is kept unless it is nil.",
			"key fn", lruLoad, k, api.ParamDoc("fn", "called with the key"),
			api.Returns("any value"),
			example(`lru(1):load("a", string.upper) -- => "A"`)),
		api.Method("has", "Whether there is a value for a key. Does not count as use.",
			"key", func(_ *api.Call, l *LRU, k lua.LValue) bool { return l.find(k) != nil }, k,
			example(`lru(1):has("a") -- => false`)),
		api.Method("remove", "Removes a key and returns its value.",
			"key", func(_ *api.Call, l *LRU, k lua.LValue) lua.LValue {
				e := l.find(k)
				if e != nil {
					l.ordered.remove(e)
				}
				_, v := pair(e)
				return v
			}, k, api.Returns("any value"), example(`lru(1):remove("a") -- => nil`)),
		api.Method(
			"count",
			countDoc,
			"",
			func(_ *api.Call, l *LRU) int { return l.len() },
			example(`lru(1):count() -- => 0`),
		),
		api.Method("clear", emptyDoc, "", func(_ *api.Call, l *LRU) { l.ordered.clear() },
			example(`lru(1):clear()`)),
		api.Method("totable", "A table of the entries, from the oldest to the last one used.",
			"", func(c *api.Call, l *LRU) *lua.LTable { return l.table(c.L) },
			example(`lru(1):totable() -- => {}`)),
	}
	return c
}

func (l *LRU) find(k lua.LValue) *entry {
	id, ok := api.Key(k)
	if !ok {
		return nil
	}
	return l.ordered.get(id)
}

func lruGet(_ *api.Call, l *LRU, k lua.LValue) lua.LValue {
	e := l.find(k)
	if e == nil {
		l.misses++
		return lua.LNil
	}
	l.hits++
	l.renew(e)
	return e.value
}

func lruSet(c *api.Call, l *LRU, k, v lua.LValue) (oldKey, oldValue lua.LValue, err error) {
	id, err := key(c, 1, k)
	if err != nil {
		return nil, nil, err
	}
	e := l.ordered.get(id)
	switch {
	case v == lua.LNil && e != nil:
		l.ordered.remove(e)
	case v == lua.LNil:
	case e != nil:
		e.value = v
		l.renew(e)
	default:
		l.ordered.set(id, k, v)
		if l.len() > l.capacity {
			old := l.ordered.first()
			l.ordered.remove(old)
			return old.key, old.value, nil
		}
	}
	return lua.LNil, lua.LNil, nil
}

func lruLoad(c *api.Call, l *LRU, k lua.LValue, fn *lua.LFunction) (lua.LValue, error) {
	if _, err := key(c, 1, k); err != nil {
		return nil, err
	}
	if v := lruGet(c, l, k); v != lua.LNil {
		return v, nil
	}
	v := c.Invoke(fn, 1, k)[0]
	_, _, err := lruSet(c, l, k, v)
	return v, err
}
