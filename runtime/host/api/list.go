package api

import (
	"reflect"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// List is a slice that scripts see as a read-only list object instead of a table. It is meant for
// long results that are rarely read as a whole.
type List[T any] []T

// Dict is a map that scripts see as a read-only object instead of a table.
type Dict[T any] map[string]T

func (List[T]) view() {}
func (Dict[T]) view() {}

var typeView = reflect.TypeFor[interface{ view() }]()

// listView is the value of a List or Dict userdata. It refers to a Go slice or map and converts an
// element when a script reads it.
type listView struct {
	ix   *Index
	ref  reflect.Value
	push pusher
	// steps holds the positions of running loops of the form `for v in list do`, by
	// the value that the last step of the loop returned.
	steps map[lua.LValue]int
	// skipped is the []*Skipped of a Partial, else nil.
	skipped *reflect.Value
}

// LuaToGo returns a copy of the slice or map in plain types.
func (l *listView) LuaToGo() any { return plainCopy(l.ref) }

// plainCopy copies a value to types that the encoders know, such as []any and map[string]any.
func plainCopy(v reflect.Value) any {
	if g, ok := goValuer(v); ok {
		return g.LuaToGo()
	}
	switch v.Kind() {
	case reflect.Slice:
		if v.Type() == typeBytes {
			return v.Interface()
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plainCopy(v.Index(i))
		}
		return out
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for _, k := range v.MapKeys() {
			out[k.String()] = plainCopy(v.MapIndex(k))
		}
		return out
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plainCopy(v.Elem())
	case reflect.Struct:
		if v.Type() != typeTime {
			return recordMap(v)
		}
	}
	return v.Interface()
}

// goValuer returns v as a host.GoValuer, which an instance of a class may be.
func goValuer(v reflect.Value) (host.GoValuer, bool) {
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, false
	}
	g, ok := v.Interface().(host.GoValuer)
	return g, ok
}

func listOf(v lua.LValue) (*listView, bool) {
	ud, ok := v.(*lua.LUserData)
	if !ok {
		return nil, false
	}
	l, ok := ud.Value.(*listView)
	return l, ok
}

// pushView wraps a List, a Dict, or a plain slice or map inside a record.
func (ix *Index) pushView(L *lua.LState, v reflect.Value) lua.LValue {
	push, err := ix.pusherFor(v.Type().Elem())
	if err != nil {
		return host.ToLua(L, v.Interface())
	}
	if ix.listMT == nil {
		ix.listMT = ix.viewMetatable(L, "List", listIndex)
		ix.listMT.RawSetString("__ipairs", L.NewFunction(viewPairs))
		ix.dictMT = ix.viewMetatable(L, "Dict", dictIndex)
		ix.dictMT.RawSetString("__ipairs", L.NewFunction(dictIpairs))
	}
	mt := ix.listMT
	if v.Kind() == reflect.Map {
		mt = ix.dictMT
	}
	return &lua.LUserData{Value: &listView{ix: ix, ref: v, push: push}, Env: L.Env, Metatable: mt}
}

func (ix *Index) viewMetatable(L *lua.LState, name string, index lua.LGFunction) *lua.LTable {
	mt := L.CreateTable(0, 10)
	mt.RawSetString("__name", lua.LString(name))
	mt.RawSetString("__metatable", lua.LString(name))
	mt.RawSetString("__index", L.NewFunction(index))
	mt.RawSetString("__newindex", L.NewFunction(viewReadOnly))
	mt.RawSetString("__len", L.NewFunction(viewLen))
	mt.RawSetString("__call", L.NewFunction(viewCall))
	mt.RawSetString("__pairs", L.NewFunction(viewPairs))
	mt.RawSetString("__eq", L.NewFunction(viewEqual))
	mt.RawSetString("__tostring", L.NewFunction(viewString))
	return mt
}

func checkView(L *lua.LState) *listView {
	l, ok := listOf(L.Get(1))
	if !ok {
		host.Raise(L, host.Errorf("argument", "List or Dict expected, got %s", typeName(L.Get(1))))
	}
	return l
}

// item returns element i, counted from 1, or nil if there is none.
func (l *listView) item(L *lua.LState, i int) lua.LValue {
	if i < 1 || i > l.ref.Len() {
		return lua.LNil
	}
	return notNil(L, l.push(L, l.ref.Index(i-1)))
}

func (l *listView) keys() []string {
	out := make([]string, 0, l.ref.Len())
	for _, k := range l.ref.MapKeys() {
		out = append(out, k.String())
	}
	slices.Sort(out)
	return out
}

func (l *listView) value(L *lua.LState, key string) lua.LValue {
	e := l.ref.MapIndex(reflect.ValueOf(key).Convert(l.ref.Type().Key()))
	if !e.IsValid() {
		return lua.LNil
	}
	return notNil(L, l.push(L, e))
}

func listIndex(L *lua.LState) int {
	l := checkView(L)
	switch k := L.Get(2).(type) {
	case lua.LNumber:
		L.Push(l.item(L, int(k)))
	case lua.LString:
		switch {
		case k == "totable":
			L.Push(l.ix.totable(L))
		case k == "skipped" && l.skipped != nil:
			L.Push(l.ix.pushView(L, *l.skipped))
		case l.skipped != nil:
			host.Raise(L, unknownMember("List", string(k), []string{"skipped", "totable"}))
		default:
			host.Raise(L, unknownMember("List", string(k), []string{"totable"}))
		}
	default:
		host.Raise(L, unknownMember("List", k.String(), nil))
	}
	return 1
}

func dictIndex(L *lua.LState) int {
	l := checkView(L)
	k, ok := L.Get(2).(lua.LString)
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	v := l.value(L, string(k))
	if v == lua.LNil && k == "totable" {
		v = l.ix.totable(L)
	}
	L.Push(v)
	return 1
}

// totable returns the function that implements record:totable() and list:totable().
func (ix *Index) totable(L *lua.LState) *lua.LFunction {
	if ix.totableFn == nil {
		ix.totableFn = L.NewFunction(func(L *lua.LState) int {
			ud, ok := L.Get(1).(*lua.LUserData)
			if !ok {
				host.Raise(
					L,
					host.Errorf(
						"argument",
						"totable needs its object before the colon: use x:totable()",
					),
				)
			}
			switch v := ud.Value.(type) {
			case *listView:
				L.Push(host.ToLua(L, v.LuaToGo()))
			default:
				L.Push(host.ToLua(L, plainCopy(reflect.ValueOf(v))))
			}
			return 1
		})
	}
	return ix.totableFn
}

func viewReadOnly(L *lua.LState) int {
	host.Raise(
		L,
		host.Errorf(
			"read_only",
			"%s is read-only: copy it with :totable() first",
			typeName(L.Get(1)),
		),
	)
	return 0
}

func viewLen(L *lua.LState) int {
	L.Push(lua.LNumber(checkView(L).ref.Len()))
	return 1
}

// next returns an iterator over the list or dict. It returns the index or key, and the element.
func (l *listView) next() lua.LGFunction {
	i := 0
	if l.ref.Kind() == reflect.Map {
		keys := l.keys()
		return func(L *lua.LState) int {
			if i >= len(keys) {
				return 0
			}
			i++
			L.Push(lua.LString(keys[i-1]))
			L.Push(l.value(L, keys[i-1]))
			return 2
		}
	}
	return func(L *lua.LState) int {
		i++
		v := l.item(L, i)
		if v == lua.LNil {
			return 0
		}
		L.Push(lua.LNumber(i))
		L.Push(v)
		return 2
	}
}

// viewPairs implements pairs(list) and ipairs(list).
func viewPairs(L *lua.LState) int {
	L.Push(L.NewFunction(checkView(L).next()))
	return 1
}

// dictIpairs raises the error for ipairs(dict), whose keys are strings.
func dictIpairs(L *lua.LState) int {
	host.Raise(L, host.Errorf("argument", "a Dict has no order: use pairs"))
	return 0
}

// viewCall implements calls of the list. list() returns the iterator of the loop
// `for i, v in list() do`. In the loop `for v in list do`, Lua calls the list for each
// step, with the value of the previous step.
func viewCall(L *lua.LState) int {
	l := checkView(L)
	if L.GetTop() < 2 {
		return viewPairs(L)
	}
	return l.step(L, L.Get(3))
}

// step returns the next element of a loop. before is the value that the previous step
// returned, by which the position of the loop is found.
func (l *listView) step(L *lua.LState, before lua.LValue) int {
	i := 0
	if before != lua.LNil {
		at, ok := l.steps[before]
		if !ok {
			host.Raise(
				L,
				host.Errorf(
					"argument",
					"two loops over one list lost their place: use ipairs(list) for one of them",
				),
			)
		}
		delete(l.steps, before)
		i = at
	}
	var k, v lua.LValue
	if l.ref.Kind() == reflect.Map {
		keys := l.keys()
		if i == len(keys) {
			return 0
		}
		k, v = lua.LString(keys[i]), l.value(L, keys[i])
	} else if k = l.item(L, i+1); k == lua.LNil {
		return 0
	}
	if l.steps == nil {
		l.steps = map[lua.LValue]int{}
	}
	l.steps[k] = i + 1
	L.Push(k)
	if v == nil {
		return 1
	}
	L.Push(v)
	return 2
}

func viewEqual(L *lua.LState) int {
	a, _ := listOf(L.Get(1))
	b, _ := listOf(L.Get(2))
	L.Push(lua.LBool(a != nil && b != nil && sameReference(a.ref, b.ref)))
	return 1
}

// sameReference reports whether two slices or maps share their memory.
func sameReference(a, b reflect.Value) bool {
	return a.Type() == b.Type() && a.Len() == b.Len() && a.Pointer() == b.Pointer()
}

func viewString(L *lua.LState) int {
	l := checkView(L)
	var b strings.Builder
	sep := "{"
	step := l.next()
	for n := 0; ; n++ {
		top := L.GetTop()
		if step(L) == 0 {
			break
		}
		b.WriteString(sep)
		if k, ok := L.Get(top + 1).(lua.LString); ok {
			b.WriteString(string(k) + "=")
		}
		b.WriteString(quoted(L, L.Get(top+2)))
		L.SetTop(top)
		sep = ", "
		if n == 19 && l.ref.Len() > 20 {
			b.WriteString(", ...")
			break
		}
	}
	if sep == "{" {
		b.WriteString("{")
	}
	L.Push(lua.LString(b.String() + "}"))
	return 1
}
