package stdlib_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

var (
	requiredName = regexp.MustCompile(`require ?\(?"imd\.(\w+)"\)?(?:\.(\w+))?`)
	dottedName   = regexp.MustCompile(`\b([a-z]\w*)\.([a-z]\w*)`)
)

// TestHintsNameWhatExists looks up every module and function that a hint names.
func TestHintsNameWhatExists(t *testing.T) {
	t.Parallel()
	h := newHost(t, host.Options{})
	ix := api.Registry(h)
	modules := map[string]*api.Module{}
	for _, m := range ix.Modules() {
		modules[m.Name] = m
	}
	has := func(m *api.Module, name string) bool {
		return slices.ContainsFunc(m.Funcs, func(f *api.Func) bool { return f.Name == name }) ||
			slices.ContainsFunc(m.Consts, func(k api.Const) bool { return k.Name == name })
	}
	names, required := host.Hints()
	maps.Copy(names, required)
	for name, hint := range names {
		for _, found := range requiredName.FindAllStringSubmatch(hint, -1) {
			m := modules[found[1]]
			switch {
			case m == nil:
				t.Errorf(
					"the hint for %s names the module %s, which does not exist",
					name,
					found[1],
				)
			case found[2] != "" && !has(m, found[2]):
				t.Errorf("the hint for %s names %s.%s, which does not exist", name, found[1],
					found[2])
			}
		}
		rest := requiredName.ReplaceAllString(hint, "")
		for _, found := range dottedName.FindAllStringSubmatch(rest, -1) {
			m := modules[found[1]]
			if m != nil && !has(m, found[2]) {
				t.Errorf("the hint for %s names %s, which does not exist", name, found[0])
			}
		}
	}
}

// TestHintedNamesAreMissing checks that no name with a hint exists.
func TestHintedNamesAreMissing(t *testing.T) {
	t.Parallel()
	h := newHost(t, host.Options{})
	names, required := host.Hints()
	for _, m := range api.Registry(h).Modules() {
		for _, f := range m.Funcs {
			if hint := names[f.FullName()]; hint != "" {
				t.Errorf("%s exists and has the hint %q", f.FullName(), hint)
			}
		}
	}
	for name := range required {
		if slices.Contains(h.Modules(), "imd."+name) && !strings.Contains(name, ".") {
			t.Errorf("imd.%s exists, so that its hint is never shown", name)
		}
	}
}

// TestHints makes mistakes of people who know other versions of Lua.
func TestHints(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, hint string }{
		{`sleep(1)`, `write time.sleep(seconds)`},
		{`os.execute("ls")`, `write require("imd.exec").run{ "program", "argument" }`},
		{`require "socket"`, `write require "imd.http" for HTTP`},
		{`require "csv"`, `write require "imd.csv"`},
		{`require "json"`, `write require "imd.json"; json is a global as well`},
		{`require "jsn"`, `did you mean imd.json? Looked for jsn.lua, jsn/init.lua`},
		{`require "imd.jsn"`, `did you mean imd.json?`},
		{`require "no_such_thing_at_all"`, `looked for no_such_thing_at_all.lua`},
		{`print(utf8.len("x"))`, `write local utf8 = require "imd.utf8"`},
		{`csv.read("x")`, `write local csv = require "imd.csv"`},
		{`return ("a,b"):split(",")`, `write require("imd.str").split(text, separator)`},
		{`return ("a"):startsWith("b")`, `write require("imd.str").starts_with(text, part)`},
		{`return table.deep_copy({})`, `write require("imd.tbl").deep_copy(t)`},
		{`return coroutine.close`, `let it end by itself`},
		{`return package.cpath`, `modules in C cannot be loaded`},
	} {
		_, err := run(t, host.Options{}, tc.source)
		e, ok := err.(*host.Error)
		if !ok {
			t.Errorf("%s: error = %v, want a *host.Error", tc.source, err)
			continue
		}
		if !strings.Contains(e.Hint, tc.hint) {
			t.Errorf("%s: hint = %q, want %q in it", tc.source, e.Hint, tc.hint)
		}
	}
	for _, name := range []string{"string.split", "text:split"} {
		prints(t, `help("`+name+`")`, "nothing is called \""+name+
			"\": write require(\"imd.str\").split(text, separator)\n")
	}
}

// TestPackagePath requires a module from a place that the script adds.
func TestPackagePath(t *testing.T) {
	t.Parallel()
	prints(t, `
local dir = fs.temp_dir()
fs.write(path.join(dir, "one.lua"), "return 1")
fs.write(path.join(dir, "two/init.lua"), "return 2", { mkdir = true })
fs.write(path.join(dir, "x.three"), "return 3")
package.path = package.path .. ";" .. dir .. ";" .. path.join(dir, "?.three")
print(require("one"), require("two"), require("x"))
package.path = nil
print(pcall(require, "four"))`, "1\t2\t3\nfalse\ttest.lua:9: module 'four' not found (module)\n")
}
