package iter

import (
	"sort"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// then makes a step that takes elements from the receiver of the call and from sources. hold has
// the Lua values that the step uses, among them those of sources.
func then(
	c *api.Call, name string, step func(r *run) (element, bool), sources []*Iterator,
	hold ...lua.LValue,
) (*Iterator, error) {
	it := &Iterator{name: name, step: step, from: sources, hold: append(hold, c.L.Get(1))}
	for _, f := range sources {
		it.depth = max(it.depth, f.depth+1)
	}
	if it.depth > maxSteps {
		return nil, host.Errorf("value", "iter: a chain of more than %d steps", maxSteps)
	}
	return it, nil
}

func mapEach(c *api.Call, src *Iterator, fn *lua.LFunction) (*Iterator, error) {
	return then(c, "map", func(r *run) (element, bool) {
		e, ok := src.next(r)
		if ok {
			e = apply(r.L, fn, e)
			e.first = orNull(r.L, e.first)
		}
		return e, ok
	}, []*Iterator{src}, fn)
}

func filter(c *api.Call, src *Iterator, fn *lua.LFunction) (*Iterator, error) {
	return then(c, "filter", func(r *run) (element, bool) {
		for {
			e, ok := src.next(r)
			if !ok || holds(r.L, fn, e) {
				return e, ok
			}
		}
	}, []*Iterator{src}, fn)
}

func take(c *api.Call, src *Iterator, n int) (*Iterator, error) {
	taken := 0
	return then(c, "take", func(r *run) (element, bool) {
		if taken >= n {
			return element{}, false // does not call the source, which might wait
		}
		taken++
		return src.next(r)
	}, []*Iterator{src})
}

func drop(c *api.Call, src *Iterator, n int) (*Iterator, error) {
	dropped := 0
	return then(c, "drop", func(r *run) (element, bool) {
		for ; dropped < n; dropped++ {
			if _, ok := src.next(r); !ok {
				return element{}, false
			}
		}
		return src.next(r)
	}, []*Iterator{src})
}

func takeWhile(c *api.Call, src *Iterator, fn *lua.LFunction) (*Iterator, error) {
	return then(c, "take_while", func(r *run) (element, bool) {
		e, ok := src.next(r)
		return e, ok && holds(r.L, fn, e)
	}, []*Iterator{src}, fn)
}

func dropWhile(c *api.Call, src *Iterator, fn *lua.LFunction) (*Iterator, error) {
	dropping := true
	return then(c, "drop_while", func(r *run) (element, bool) {
		e, ok := src.next(r)
		for dropping && ok && holds(r.L, fn, e) {
			e, ok = src.next(r)
		}
		dropping = false
		return e, ok
	}, []*Iterator{src}, fn)
}

func enumerate(c *api.Call, src *Iterator, first *float64) (*Iterator, error) {
	n := lua.LNumber(1)
	if first != nil {
		n = lua.LNumber(*first)
	}
	return then(c, "enumerate", func(r *run) (element, bool) {
		e, ok := src.next(r)
		if ok {
			e = element{first: n, rest: e.values()}
			n++
		}
		return e, ok
	}, []*Iterator{src})
}

// sources makes iterators of the receiver and of arguments.
func sources(c *api.Call, src *Iterator, others []lua.LValue) ([]*Iterator, error) {
	list := []*Iterator{src}
	for i, v := range others {
		it, err := From(c, i+1, v)
		if err != nil {
			return nil, err
		}
		list = append(list, it)
	}
	return list, nil
}

func zip(c *api.Call, src *Iterator, others ...lua.LValue) (*Iterator, error) {
	list, err := sources(c, src, others)
	if err != nil {
		return nil, err
	}
	return then(c, "zip", func(r *run) (element, bool) {
		values := make([]lua.LValue, len(list))
		for i, it := range list {
			e, ok := it.next(r)
			if !ok {
				return e, false
			}
			values[i] = e.packed(r.L)
		}
		return element{first: values[0], rest: values[1:]}, true
	}, list, others...)
}

func chain(c *api.Call, src *Iterator, others ...lua.LValue) (*Iterator, error) {
	list, err := sources(c, src, others)
	if err != nil {
		return nil, err
	}
	at := 0
	return then(c, "chain", func(r *run) (element, bool) {
		for ; at < len(list); at++ {
			if e, ok := list[at].next(r); ok {
				return e, true
			}
		}
		return element{}, false
	}, list, others...)
}

func flatten(c *api.Call, src *Iterator) (*Iterator, error) {
	var inner *Iterator
	var list lua.LValue // whose elements inner returns
	it, err := then(c, "flatten", func(r *run) (element, bool) {
		for {
			if inner != nil {
				if e, ok := inner.next(r); ok {
					return e, true
				}
				inner, list = nil, nil
			}
			e, ok := src.next(r)
			if !ok || len(e.rest) > 0 {
				return e, ok
			}
			list = e.first
			inner = nested(r.L, e.first)
			if inner == nil {
				return e, true
			}
		}
	}, []*Iterator{src})
	if err == nil {
		it.sized = func(visit visit) int {
			if list != nil {
				visit(list)
			}
			return 0
		}
	}
	return it, err
}

// nested makes an iterator of a list or of another iterator. It returns nil for any other value.
func nested(L *lua.LState, v lua.LValue) *Iterator {
	if it, ok := api.To[*Iterator](v); ok {
		return it
	}
	if L.GetMetaField(v, "__ipairs") != lua.LNil {
		return object(L, v)
	}
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil
	}
	if k, _ := t.Next(lua.LNil); t.Len() == 0 && k != lua.LNil {
		return nil
	}
	return list(t)
}

func chunks(c *api.Call, src *Iterator, n int) (*Iterator, error) {
	if n < 1 {
		return nil, c.ArgError(1, "must be at least 1")
	}
	return then(c, "chunks", func(r *run) (element, bool) {
		t := r.L.CreateTable(0, 0)
		r.L.Push(t) // the memory guard counts what is on the stack
		defer r.L.Pop(1)
		for t.Len() < n {
			e, ok := src.next(r)
			if !ok {
				break
			}
			t.Append(e.packed(r.L))
		}
		return element{first: t}, t.Len() > 0
	}, []*Iterator{src})
}

func window(c *api.Call, src *Iterator, n int) (*Iterator, error) {
	if n < 1 {
		return nil, c.ArgError(1, "must be at least 1")
	}
	var last []element
	it, err := then(c, "window", func(r *run) (element, bool) {
		if len(last) == n {
			last = append(last[:0], last[1:]...)
		}
		for len(last) < n {
			e, ok := src.next(r)
			if !ok {
				return element{}, false
			}
			last = append(last, e)
		}
		t := r.L.CreateTable(n, 0)
		for _, e := range last {
			t.Append(e.packed(r.L))
		}
		return element{first: t}, true
	}, []*Iterator{src})
	if err == nil {
		it.sized = func(visit visit) int { return sizeOf(last, visit) }
	}
	return it, err
}

func unique(c *api.Call, src *Iterator, fn *lua.LFunction) (*Iterator, error) {
	seen := map[any]lua.LValue{}
	by := lua.LValue(lua.LNil)
	if fn != nil {
		by = fn
	}
	it, err := then(c, "unique", func(r *run) (element, bool) {
		for {
			e, ok := src.next(r)
			if !ok {
				return e, false
			}
			v := e.first
			if by != lua.LNil {
				v = apply(r.L, by, e).first
			}
			k, isKey := api.Key(v)
			if _, known := seen[k]; isKey && known {
				continue
			}
			if isKey {
				seen[k] = v
			}
			return e, true
		}
	}, []*Iterator{src}, by)
	if err == nil {
		it.sized = func(visit visit) int {
			for _, v := range seen {
				visit(v)
			}
			return len(seen) * host.SizeEntry
		}
	}
	return it, err
}

// later makes a step that reads its source to the end when its first element is needed.
func later(
	c *api.Call, name string, src *Iterator, fn *lua.LFunction,
	read func(r *run, out *[]element),
) (*Iterator, error) {
	var out, pending []element
	begun := false
	hold := []lua.LValue{}
	if fn != nil {
		hold = append(hold, fn)
	}
	it, err := then(c, name, func(r *run) (element, bool) {
		if !begun {
			begun = true
			read(r, &pending)
			out, pending = pending, nil
		}
		if len(out) == 0 {
			return element{}, false
		}
		e := out[0]
		out[0] = element{}
		out = out[1:]
		return e, true
	}, []*Iterator{src}, hold...)
	if err == nil {
		it.sized = func(visit visit) int { return sizeOf(out, visit) + sizeOf(pending, visit) }
	}
	return it, err
}

func groupBy(c *api.Call, src *Iterator, fn *lua.LFunction) (*Iterator, error) {
	return later(c, "group_by", src, fn, func(r *run, out *[]element) {
		at := map[any]int{}
		src.each(r, func(e element) bool {
			v := orNull(r.L, apply(r.L, fn, e).first)
			k, ok := api.Key(v)
			if !ok {
				host.Raise(r.L, host.Errorf("value", "iter: group_by: the function returned nan"))
			}
			i, known := at[k]
			if !known {
				i = len(*out)
				at[k] = i
				*out = append(*out, element{first: v, rest: []lua.LValue{r.L.CreateTable(0, 0)}})
			}
			(*out)[i].rest[0].(*lua.LTable).Append(e.packed(r.L))
			return true
		})
	})
}

func sorted(c *api.Call, src *Iterator, less *lua.LFunction) (*Iterator, error) {
	return later(c, "sorted", src, less, func(r *run, out *[]element) {
		src.each(r, func(e element) bool {
			*out = append(*out, e)
			return true
		})
		items := *out
		compared := 0
		sort.SliceStable(items, func(i, j int) bool {
			compared++
			if compared%stepsBetweenTicks == 0 {
				host.Tick(r.L)
			}
			if less == nil {
				return isLess(r.L, items[i].first, items[j].first)
			}
			a, b := items[i].packed(r.L), items[j].packed(r.L)
			return holds(r.L, less, element{first: a, rest: []lua.LValue{b}})
		})
	})
}

// isLess compares as the operator < does.
func isLess(L *lua.LState, a, b lua.LValue) bool {
	switch x := a.(type) {
	case lua.LNumber:
		if y, ok := b.(lua.LNumber); ok {
			return x < y
		}
	case lua.LString:
		if y, ok := b.(lua.LString); ok {
			return x < y
		}
	}
	return L.LessThan(a, b)
}

// node is an element that some of the branches of a tee have not taken yet.
type node struct {
	e    element
	next *node
}

func tee(c *api.Call, src *Iterator, n *int) (api.Values, error) {
	count := 2
	if n != nil {
		count = *n
	}
	if count < 1 || count > 100 {
		return nil, c.ArgError(1, "must be 1 to 100")
	}
	last := &node{}
	var out api.Values
	for range count {
		at := last
		it, err := then(c, "tee", func(r *run) (element, bool) {
			if at.next == nil {
				e, ok := src.next(r)
				if !ok {
					return e, false
				}
				last.next = &node{e: e}
				last = last.next
			}
			at = at.next
			return at.e, true
		}, []*Iterator{src})
		if err != nil {
			return nil, err
		}
		it.sized = func(visit visit) int {
			size := 0
			for n := at.next; n != nil; n = n.next {
				size += 64 + sizeOf([]element{n.e}, visit)
			}
			return size
		}
		out = append(out, c.Wrap(it))
	}
	return out, nil
}
