package stdlib_test

import (
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/lua51"
)

// libraryTables returns the tables of Lua's own libraries by name.
func libraryTables(L *lua.LState) map[string]*lua.LTable {
	out := map[string]*lua.LTable{}
	for _, m := range lua51.Libraries() {
		if !m.Flat {
			out[m.Name] = L.G.Global.RawGetString(m.Name).(*lua.LTable)
		}
	}
	return out
}

// TestLanguageIsDeclared looks up all names of Lua's libraries and all global functions. Each must
// be documented, as a name and as a value.
func TestLanguageIsDeclared(t *testing.T) {
	t.Parallel()
	h := newHost(t, host.Options{})
	ix, L := api.Registry(h), h.L()
	check := func(name string, value lua.LValue) {
		if text := ix.Help(lua.LString(name)); strings.HasPrefix(text, "nothing is called") {
			t.Errorf("help(%q) = %q", name, text)
		}
		if value.Type() != lua.LTFunction {
			return
		}
		if text := ix.Help(value); strings.HasPrefix(text, "no help for") {
			t.Errorf("help(%s) = %q", name, text)
		}
	}
	L.G.Global.ForEach(func(key, value lua.LValue) { check(key.String(), value) })
	for library, table := range libraryTables(L) {
		table.ForEach(func(key, value lua.LValue) { check(library+"."+key.String(), value) })
	}
	methods := fileMethods(L)
	methods.ForEach(func(key, value lua.LValue) { check("f:"+key.String(), value) })
}

func fileMethods(L *lua.LState) *lua.LTable {
	io := L.G.Global.RawGetString("io").(*lua.LTable)
	stdout := io.RawGetString("stdout").(*lua.LUserData)
	return stdout.Metatable.(*lua.LTable).RawGetString("__index").(*lua.LTable)
}

// TestDeclarationsExist checks that the declared functions and constants of Lua exist, and that the
// constants have the declared values.
func TestDeclarationsExist(t *testing.T) {
	t.Parallel()
	h := newHost(t, host.Options{})
	L := h.L()
	tables := libraryTables(L)
	for _, m := range lua51.Libraries() {
		table := tables[m.Name]
		if m.Flat {
			table = L.G.Global
		}
		for _, f := range m.Funcs {
			if table.RawGetString(f.Name).Type() != lua.LTFunction {
				t.Errorf("%s has no function %s", m.Name, f.Name)
			}
		}
		for _, k := range m.Consts {
			got := table.RawGetString(k.Name)
			if got == lua.LNil {
				t.Errorf("%s has no %s", m.Name, k.Name)
			}
			if n, ok := k.Value.(float64); ok && got != lua.LNumber(n) {
				t.Errorf("%s.%s = %v, want %v", m.Name, k.Name, got, n)
			}
		}
		for _, c := range m.Classes {
			for _, f := range c.Methods {
				if fileMethods(L).RawGetString(f.Name).Type() != lua.LTFunction {
					t.Errorf("%s has no method %s", c.Name, f.Name)
				}
			}
		}
	}
}

// TestLanguageExamplesStateResults checks that examples state results for TestExamples.
func TestLanguageExamplesStateResults(t *testing.T) {
	t.Parallel()
	without := []string{"exit", "flush", "read"} // they end the script, print, or wait for input
	for _, m := range lua51.Libraries() {
		for _, f := range m.Funcs {
			stated := strings.Contains(f.Examples[0], "-- => ")
			if !stated && !slices.Contains(without, f.Name) {
				t.Errorf("the example of %s.%s states no result", m.Name, f.Name)
			}
		}
	}
}

// TestLanguageHelp checks the help texts of names and values.
func TestLanguageHelp(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, want string }{
		{`help(string.format)`, "string.format(format, ...) -> string\n"},
		{`help("string.format")`, "string.format(format, ...) -> string\n"},
		{`help("text:gsub")`, "as a method: text:gsub(pattern, replacement, [limit])"},
		{`help("string:sub")`, "string.sub(text, from, [to]) -> string\n"},
		{`help(("x").rep)`, "string.rep(text, count, [separator]) -> string\n"},
		{`help(string)`, "module string\n"},
		{`help(io.stdout)`, "class File\n"},
		{`help(io.stdout.seek)`, "f:seek([whence], [offset])"},
		{`help("math.pi")`, "The number pi."},
		{`help("os.getenv")`, "permission: env"},
		{`help(pcall)`, "pcall(fn, args...) -> boolean ok, any ..."},
		{`help("package.path")`, "package.path\n"},
		// A function that the script has put into a library has no documentation.
		{`string.format = function() end help(string.format)`, "function defined at test.lua:1\n"},
		{`string.format = print help(string.format)`, "print(values...)"},
	} {
		got, err := run(t, host.Options{}, tc.source)
		if err != nil {
			t.Errorf("%s\n%v", tc.source, err)
		}
		if !strings.Contains(got, tc.want) {
			t.Errorf("%s\nprinted %q, want %q in it", tc.source, got, tc.want)
		}
	}
}

// TestLanguageCompletion completes with and without a state.
func TestLanguageCompletion(t *testing.T) {
	t.Parallel()
	h := newHost(t, host.Options{})
	ix := api.Registry(h)
	for _, tc := range []struct{ text, want string }{
		{"string.for", "string.format(format, ...)"},
		{"math.", "math.abs(x)"},
		{"coroutine.wr", "coroutine.wrap(fn)"},
		{"setm", "setmetatable(t, metatable)"},
		{`io.open("x"):se`, "f:seek([whence], [offset])"},
		{`fs.read("x"):su`, "text:sub(from, [to])"},
		{"package.pre", "Functions that make modules, by name: require calls them instead of " +
			"reading a file."},
	} {
		for _, L := range []*lua.LState{nil, h.L()} {
			var docs []string
			for _, item := range ix.Complete(L, tc.text).Items {
				docs = append(docs, item.Doc)
			}
			if !slices.Contains(docs, tc.want) {
				t.Errorf("Complete(%q) with state %v = %q, want %q in it", tc.text, L != nil, docs,
					tc.want)
			}
		}
	}
}

// TestLanguageStubs looks for the names by which lua-language-server knows the libraries.
func TestLanguageStubs(t *testing.T) {
	t.Parallel()
	ix := api.Registry(newHost(t, host.Options{}))
	stubs := ix.Stubs()
	for _, want := range []string{
		"---@class stringlib\nstring = {}\n",
		"---@field pi number The number pi.\n",
		"---@param limit? integer how many at most\n",
		"\nfunction string.gsub(text, pattern, replacement, limit) end\n",
		"\nfunction File:seek(whence, offset) end\n",
		"---@field stdin File The standard input.\n",
		"\nfunction pcall(fn, ...) end\n",
	} {
		if !strings.Contains(stubs, want) {
			t.Errorf("the stubs lack %q", want)
		}
	}
	if page := ix.Reference()["table"]; !strings.Contains(page, "## table.concat(list,") {
		t.Errorf("the page of table is %q", page)
	}
}
