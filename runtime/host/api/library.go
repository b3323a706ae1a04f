package api

import (
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Describe documents libraries that h has already, such as string and io. Their functions are
// called directly, without the checks of a binding. Their declarations, made by Existing, serve
// documentation only. declare is called when documentation is asked for the first time.
//
// The library is the global with the name of its module. The methods of a class are taken from a
// constant of the library whose type is the class.
func Describe(h *host.Host, declare func() []*Module) {
	ix := Registry(h)
	ix.describe = append(ix.describe, declare)
}

// documented returns the installed modules and the described libraries. It does not touch Lua
// values.
func (ix *Index) documented() []*Module {
	ix.declareOnce.Do(func() {
		ix.standardClasses = map[*Class]*boundClass{}
		for _, declare := range ix.describe {
			for _, m := range declare() {
				m.standard = true
				m.Global = true
				m.link()
				ix.libraries = append(ix.libraries, m)
				for _, c := range m.Classes {
					ix.standardClasses[c] = &boundClass{ix: ix, decl: c, all: c.Methods}
				}
			}
		}
	})
	return slices.Concat(ix.modules, ix.libraries)
}

// boundTo returns the class of this host for a declaration.
func (ix *Index) boundTo(c *Class) *boundClass {
	if b := ix.classOf(c.Of); b != nil {
		return b
	}
	return ix.standardClasses[c]
}

// allClasses lists the classes of modules and libraries, sorted by module.
func (ix *Index) allClasses() []*boundClass {
	var out []*boundClass
	for _, m := range ix.sorted() {
		for _, c := range m.Classes {
			out = append(out, ix.boundTo(c))
		}
	}
	return out
}

// declarationOf returns the declaration of a function, or nil if it has none.
func (ix *Index) declarationOf(fn *lua.LFunction) *Func {
	f := ix.byFunction[fn]
	if f != nil || !fn.IsG {
		return f
	}
	ix.linkLibraries()
	return ix.byFunction[fn]
}

// moduleOf returns the declaration of a module table, or nil if it has none.
func (ix *Index) moduleOf(t *lua.LTable) *Module {
	m := ix.tables[t]
	if m != nil {
		return m
	}
	ix.linkLibraries()
	return ix.tables[t]
}

// linkLibraries connects the functions and tables of the described libraries with their
// declarations.
func (ix *Index) linkLibraries() {
	if ix.linked {
		return
	}
	ix.linked = true
	ix.documented()
	globals := ix.host.L().G.Global
	for _, m := range ix.libraries {
		t := globals
		if !m.Flat {
			lib, ok := globals.RawGetString(m.Name).(*lua.LTable)
			if !ok {
				continue
			}
			t = lib
			ix.tables[t] = m
		}
		ix.linkFunctions(t, m.Funcs)
		for _, c := range m.Classes {
			ix.linkFunctions(methodsIn(t, m, c), c.Methods)
		}
	}
}

// linkFunctions connects the functions of a table with their declarations. A function that a script
// has put into the table keeps its own declaration, if it has one.
func (ix *Index) linkFunctions(t *lua.LTable, funcs []*Func) {
	if t == nil {
		return
	}
	for _, f := range funcs {
		fn, ok := t.RawGetString(f.Name).(*lua.LFunction)
		if ok && fn.IsG && ix.byFunction[fn] == nil {
			ix.byFunction[fn] = f
		}
	}
}

// methodsIn returns the table of the methods of a class, or nil if the library has no instance of
// it.
func methodsIn(t *lua.LTable, m *Module, c *Class) *lua.LTable {
	for _, k := range m.Consts {
		if k.Type != c.Name {
			continue
		}
		ud, ok := t.RawGetString(k.Name).(*lua.LUserData)
		if !ok {
			continue
		}
		mt, ok := ud.Metatable.(*lua.LTable)
		if !ok {
			continue
		}
		methods, _ := mt.RawGetString("__index").(*lua.LTable)
		return methods
	}
	return nil
}

// asMethod returns the form of a call of a library function as a method of a value, such as
// text:sub(from, [to]). It returns "" if that is not possible.
func (f *Func) asMethod() string {
	m := f.module
	if m == nil || m.Var == "" || f.class != nil || len(f.Params) == 0 ||
		f.Params[0].Name != m.Var {
		return ""
	}
	return m.Var + ":" + f.Name + "(" + usageOf(f.Params[1:]) + ")"
}

// standardMethod returns the declaration of a library function that is named as a method, such as
// string.sub for text:sub.
func (ix *Index) standardMethod(owner, member string) *Func {
	ix.documented()
	for _, m := range ix.libraries {
		if m.Var == "" || owner != m.Var && owner != m.Name {
			continue
		}
		for _, f := range m.Funcs {
			if f.Name == member && (owner == m.Name || f.asMethod() != "") {
				return f
			}
		}
	}
	return nil
}

// standardName returns the name of the library function for the name of a method, such as
// string.split for text:split.
func (ix *Index) standardName(name string) string {
	name = strings.ReplaceAll(name, ":", ".")
	owner, member, isMember := strings.Cut(name, ".")
	ix.documented()
	for _, m := range ix.libraries {
		if isMember && m.Var != "" && owner == m.Var {
			return m.Name + "." + member
		}
	}
	return name
}

// stringMethods lists the methods of a string.
func (c *completer) stringMethods() []Candidate {
	var out []Candidate
	c.ix.documented()
	for _, m := range c.ix.libraries {
		if m.Name != lua.StringLibName {
			continue
		}
		for _, f := range m.Funcs {
			if usage := f.asMethod(); usage != "" {
				out = append(out, Candidate{f.Name, "method", usage})
			}
		}
	}
	if c.L == nil {
		return out
	}
	lib, ok := c.L.G.Global.RawGetString(lua.StringLibName).(*lua.LTable)
	if !ok {
		return out
	}
	for _, k := range c.keys(lib) {
		isDeclared := slices.ContainsFunc(c.ix.libraries, func(m *Module) bool {
			return m.Name == lua.StringLibName && slices.Contains(m.names(), k.Text)
		})
		if !isDeclared {
			out = append(out, k)
		}
	}
	return out
}

// standardClass returns the class of a library by the type name of its instances, such as File for
// file.
func (ix *Index) standardClass(name string) *boundClass {
	ix.documented()
	for c, b := range ix.standardClasses {
		if strings.EqualFold(c.Name, name) {
			return b
		}
	}
	return nil
}
