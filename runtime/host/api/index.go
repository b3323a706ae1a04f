package api

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Index holds all declarations of a host. Its methods build plans and Lua values on demand, so they
// must be called with the interpreter lock held, or while the host runs nothing.
type Index struct {
	host    *host.Host
	modules []*Module
	byName  map[string]*Module
	classes map[reflect.Type]*boundClass
	records map[reflect.Type]*boundRecord
	options map[reflect.Type]*options
	pushers map[reflect.Type]pusher
	tables  map[*lua.LTable]*Module

	describe        []func() []*Module
	declareOnce     sync.Once
	libraries       []*Module // the libraries that Describe documents
	standardClasses map[*Class]*boundClass
	linked          bool // the functions of the libraries are in byFunction

	byFunction map[*lua.LFunction]*Func
	listMT     *lua.LTable
	dictMT     *lua.LTable
	totableFn  *lua.LFunction

	openMu sync.Mutex
	open   map[any]*handle // closable objects that are open
}

// registryKey is the key of a host's Index in the Lua registry.
const registryKey = "imdlua.api"

// Registry returns the declarations of h. The first call must come before the host runs code. Every
// call returns the same Index.
func Registry(h *host.Host) *Index {
	reg := h.L().Get(lua.RegistryIndex).(*lua.LTable)
	if ud, ok := reg.RawGetString(registryKey).(*lua.LUserData); ok {
		return ud.Value.(*Index)
	}
	ix := &Index{
		host:       h,
		byName:     map[string]*Module{},
		classes:    map[reflect.Type]*boundClass{},
		records:    map[reflect.Type]*boundRecord{},
		options:    map[reflect.Type]*options{},
		pushers:    map[reflect.Type]pusher{},
		tables:     map[*lua.LTable]*Module{},
		byFunction: map[*lua.LFunction]*Func{},
		open:       map[any]*handle{},
	}
	ud := h.L().NewUserData()
	ud.Value = ix
	reg.RawSetString(registryKey, ud)
	return ix
}

// Install adds modules to h. It may be called several times, but each name only once.
func Install(h *host.Host, mods ...*Module) error {
	ix := Registry(h)
	for _, m := range mods {
		if ix.byName[m.Name] != nil {
			return fmt.Errorf("api: module %q is installed already", m.Name)
		}
		m.link()
		if err := ix.types(m); err != nil {
			return err
		}
		ix.byName[m.Name] = m
		ix.modules = append(ix.modules, m)
	}
	for _, m := range mods {
		ix.install(m)
	}
	return nil
}

// types registers the classes and records of m.
func (ix *Index) types(m *Module) error {
	for _, c := range m.Classes {
		if err := checkClass(c); err != nil {
			return fmt.Errorf("api: %w", err)
		}
		if ix.classes[c.Of] != nil {
			return fmt.Errorf("api: %s is declared as a class twice", c.Of)
		}
		b := &boundClass{ix: ix, decl: c}
		ix.classes[c.Of] = b
		ix.host.RegisterType(c.Of, func(L *lua.LState, v any) lua.LValue { return ix.Wrap(L, v) })
	}
	for _, r := range m.Records {
		if r.Of == nil || r.Of.Kind() != reflect.Struct {
			return fmt.Errorf("api: record %s: Of must be a struct type", r.Name)
		}
		if ix.records[r.Of] != nil {
			return fmt.Errorf("api: %s is declared as a record twice", r.Of)
		}
		b := &boundRecord{ix: ix, decl: r}
		ix.records[r.Of] = b
		wrap := func(L *lua.LState, v any) lua.LValue { return ix.Wrap(L, v) }
		ix.host.RegisterType(r.Of, wrap)
		ix.host.RegisterType(reflect.PointerTo(r.Of), wrap)
	}
	return nil
}

func (ix *Index) classOf(t reflect.Type) *boundClass { return ix.classes[t] }

// recordOf returns the record for T or *T, or nil if there is none.
func (ix *Index) recordOf(t reflect.Type) *boundRecord {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return ix.records[t]
}

// install makes the global and the loader of a module. Its table stays empty until a script reads a
// field of it.
func (ix *Index) install(m *Module) {
	h, L := ix.host, ix.host.L()
	if m.Flat {
		for _, f := range m.Funcs {
			if fn, ok := L.G.Global.RawGetString(f.Name).(*lua.LFunction); ok && f.existing {
				ix.byFunction[fn] = f
				continue
			}
			h.SetGlobal(f.Name, ix.bind(L, f, 0))
		}
		for _, k := range m.Consts {
			h.SetGlobal(k.Name, k.value(h, L))
		}
		return
	}
	t := L.CreateTable(0, 0)
	ix.tables[t] = m
	mt := L.CreateTable(0, 6)
	build := func(L *lua.LState) {
		mt.RawSetString(
			"__index",
			L.NewFunction(func(L *lua.LState) int { return ix.unknown(L, m) }),
		)
		mt.RawSetString("__pairs", lua.LNil)
		ix.fill(L, m, t)
	}
	mt.RawSetString("__index", L.NewFunction(func(L *lua.LState) int {
		build(L)
		L.Push(L.GetTable(t, L.Get(2)))
		return 1
	}))
	mt.RawSetString("__pairs", L.NewFunction(func(L *lua.LState) int {
		build(L)
		for _, v := range host.Call(L, L.GetGlobal("pairs"), 3, t) {
			L.Push(v)
		}
		return 3
	}))
	mt.RawSetString("__name", lua.LString("module "+m.Name))
	mt.RawSetString("__metatable", lua.LString("module "+m.Name))
	text := lua.LString("module " + m.Name)
	mt.RawSetString("__tostring", L.NewFunction(func(L *lua.LState) int { L.Push(text); return 1 }))
	if m.Call != nil {
		mt.RawSetString("__call", ix.bind(L, m.Call, 1))
	}
	t.Metatable = mt
	if m.Global {
		h.SetGlobal(m.Name, t)
	}
	h.Preload("imd."+m.Name, func(L *lua.LState) int { L.Push(t); return 1 })
}

func (ix *Index) bind(L *lua.LState, f *Func, skip int) *lua.LFunction {
	return (&bound{ix: ix, decl: f, skip: skip}).function(L)
}

// fill adds the functions and constants of a module to its table.
func (ix *Index) fill(L *lua.LState, m *Module, t *lua.LTable) {
	for _, f := range m.Funcs {
		t.RawSetString(f.Name, ix.bind(L, f, 0))
	}
	for _, k := range m.Consts {
		t.RawSetString(k.Name, k.value(ix.host, L))
	}
	if m.Setup != nil {
		m.Setup(L, t)
	}
}

// unknown raises the error for a name that a module does not have. Keys that are not strings are
// nil.
func (ix *Index) unknown(L *lua.LState, m *Module) int {
	key, ok := L.Get(2).(lua.LString)
	if !ok {
		return 0
	}
	host.Raise(L, unknownMember("module "+m.Name, string(key), m.names()))
	return 0
}

func (m *Module) names() []string {
	var out []string
	for _, f := range m.Funcs {
		out = append(out, f.Name)
	}
	for _, k := range m.Consts {
		out = append(out, k.Name)
	}
	slices.Sort(out)
	return out
}

// sorted returns the modules and libraries by name.
func (ix *Index) sorted() []*Module {
	return slices.SortedFunc(slices.Values(ix.documented()), func(a, b *Module) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
}

// Modules lists the installed modules and the described libraries by name.
func (ix *Index) Modules() []*Module { return ix.sorted() }

// print prints text with the global function print, so that a script can redirect it.
func (ix *Index) print(L *lua.LState, text string) {
	host.Call(L, L.GetGlobal("print"), 0, lua.LString(strings.TrimSuffix(text, "\n")))
}

// Sample is one example of the documentation, with the name of the module or function that has it.
type Sample struct{ Name, Source string }

// Examples lists all examples by module.
func (ix *Index) Examples() []Sample {
	var out []Sample
	add := func(name string, list []string) {
		for _, e := range list {
			out = append(out, Sample{name, e})
		}
	}
	for _, m := range ix.sorted() {
		add(m.Name, m.Examples)
		for _, f := range m.functions() {
			add(f.FullName(), f.Examples)
		}
		for _, c := range m.Classes {
			for _, f := range c.Methods {
				add(f.FullName(), f.Examples)
			}
		}
	}
	return out
}
