package stdlib_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

func TestStr(t *testing.T) {
	t.Parallel()
	const require = "local str = require(\"imd.str\")\n"
	for _, tc := range []struct{ source, want string }{
		{`json.encode({ str.split("", ","), str.lines(""), str.lines("\n"), str.lines("a\n\n") })`,
			`[[""],[],[""],["a",""]]`},
		{`str.trim("\0 "):byte(), str.cut("a", "=")`, "0\ta\tnil"},
		{`str.template("{{{a}}}", { a = 1 })`, "{1}"},
		{`str.pad_left("日本", 5), str.pad_right("\255", 1) == "\255"`, " 日本\ttrue"},
		{`str.natural_compare("a01", "a1"), str.natural_compare("", "a")`, "1\t-1"},
		{`str.title("\255a b"), str.capitalize(""), str.dedent("\ta\n  b")`, "\xffa B\t\t\ta\n  b"},
		{`str.similar("", ""), str.levenshtein("", "abc")`, "1\t3"},
		{`str.replace("aaa", "a", "b", 2), str.replace("aaa", "a", "b", -1)`, "bba\taaa"},
	} {
		prints(t, require+"print("+tc.source+")", tc.want+"\n")
	}
	for _, tc := range []struct{ source, code, text string }{
		{`str.template("{nmae}", { name = 1 })`, "template", "{nmae} at byte 1"},
		{`str.template("a{b", {})`, "template", "{ at byte 2"},
		{`str.template("a}", {})`, "template", "} at byte 2"},
		{`str.split("a", "")`, "argument", "empty"},
		{`str.split("a", ",", 0)`, "argument", "at least 1"},
		{`str.pad_left("a", 3, "ab")`, "argument", "one character"},
		{`str.pad_left("a", 1e6)`, "memory", ""},
		{`str.random(1e6)`, "memory", ""},
		{`str.replace(("x"):rep(900), "x", "yy")`, "memory", ""},
		{`str.join({ ("x"):rep(900), ("x"):rep(900) })`, "memory", ""},
		{`str.trim(5)`, "argument", "string expected"},
	} {
		fails(t, host.Options{MaxString: 1000}, require+tc.source, tc.code, tc.text)
	}
}
