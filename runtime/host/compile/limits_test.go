package compile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host/compile"
)

// numbered repeats a text n times, with the numbers from 1 to n in it.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i+1)
	}
	return b.String()
}

// TestSlowSources compiles sources for which the compiler would take long. Compile
// must fail with a message that names the limit.
func TestSlowSources(t *testing.T) {
	for name, test := range map[string]struct{ source, want string }{
		"a million lines": {strings.Repeat("x=1\n", 1e6), "1000000 names, operators and values"},
		"constants":       {"return {" + numbered("'k%d',", 25600) + "}", "10000 different texts"},
		"numbers":         {"return {" + numbered("%d,", 25600) + "}", "10000 different texts"},
		"globals":         {numbered("g%d=1\n", 25600), "10000 different texts"},
		"fields":          {"local x " + numbered("x.f%d=1\n", 25600), "10000 different texts"},
		"methods":         {"local x " + numbered("x:f%d()\n", 25600), "10000 different texts"},
		"uses": {"local x\n" + strings.Repeat(numbered("x='k%d'\n", 9000), 12),
			"limit is 100000000 steps"},
		"labels": {numbered("goto l%d ", 20000) + numbered("::l%d:: ", 20000),
			"limit is 100000000 steps"},
		"long": {strings.Repeat("-- comment\n", 500000), "longer than 4 MB"},
	} {
		_, err := compile.Compile("t.lua", test.source)
		if err == nil {
			t.Errorf("%s: Compile() = nil, want an error with %q", name, test.want)
			continue
		}
		if !strings.Contains(err.Message, test.want) {
			t.Errorf("%s: Compile() = %v, want an error with %q", name, err, test.want)
		}
	}
}

// TestLargeSources compiles large sources within the limits.
func TestLargeSources(t *testing.T) {
	for name, source := range map[string]string{
		"lines":     strings.Repeat("x=1\n", 300000),
		"constants": "return {" + numbered("'k%d',", 9900) + "}",
		"records":   "return {" + strings.Repeat("{ name = 'a', size = 1 },\n", 80000) + "}",
		"functions": numbered("function f%d() return 'x' end\n", 9000),
		"one local": "local x = 1\n" + strings.Repeat("x = x + 1\n", 150000),
		"nested functions": strings.Repeat("local f = function() ", 150) +
			strings.Repeat("f() ", 200000) + strings.Repeat("end ", 150),
		"one line of ends": strings.Repeat("if a then b() elseif c then d() else e() end ", 40000),
	} {
		if _, err := compile.Compile("t.lua", source); err != nil {
			t.Errorf("%s: Compile() = %v, want no error", name, err)
		}
	}
}
