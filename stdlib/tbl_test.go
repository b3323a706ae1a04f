package stdlib_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

func TestTbl(t *testing.T) {
	t.Parallel()
	const require = "local tbl = require(\"imd.tbl\")\n"
	for _, tc := range []struct{ source, want string }{
		{`print(json.encode({ tbl.keys({}), tbl.map({}, print), tbl.slice({}, 1), tbl.chunk({}, 2) }))`,
			"[[],[],[],[]]\n"},
		{`local a = { 1 } a.self = a
local b = tbl.deep_copy(a)
print(b.self == b, b ~= a, tbl.deep_equal(a, b), #tbl.diff(a, b))`, "true\ttrue\ttrue\t0\n"},
		{`local t = {}
local at = t
for i = 1, 100000 do at[1] = {} at = at[1] end
local deepest = 0
tbl.walk(t, function(_, _, depth) deepest = depth end)
print(deepest)`, "100000\n"},
		{`print(tbl.get({ a = 1 }, "a.b.c", "none"), tbl.get({}, "x"))`, "none\tnil\n"},
		{`print(#tbl.range(0), tbl.reduce({}, print), tbl.contains({ int64(5) }, int64(5)))`,
			"0\tnil\ttrue\n"},
		{`local t = task.spawn(function() tbl.map({ 1, 2 }, function() task.sleep(0.001) end) end)
t:join(60)
print(t:done())`, "true\n"},
		{`print(try(tbl.map, { 1 }, function() error("inner", 0) end))`, "false\tinner\n"},
	} {
		prints(t, require+tc.source, tc.want)
	}
	for _, tc := range []struct{ source, code, text string }{
		{`tbl.map(1, print)`, "argument", "table expected"},
		{`tbl.map({}, 1)`, "argument", "function expected"},
		{`tbl.get({}, "a[x]")`, "argument", "needs a number"},
		{`tbl.get({}, "")`, "argument", "empty"},
		{`tbl.set({ a = 1 }, "a.b", 2)`, "argument", "is a number"},
		{`tbl.range(1, 2, 0)`, "argument", "step"},
		{`tbl.range(1e9)`, "argument", "at most"},
		{`tbl.range(6e7)`, "memory", ""},
		{`tbl.chunk({}, 0)`, "argument", "at least 1"},
		{`local t = {} for i = 1, 20000 do t = { t } end tbl.deep_copy(t)`, "value", "10000"},
		{`local t = {} t[1] = t tbl.flatten(t)`, "value", "10000"},
		{`tbl.sort_by({ 1 }, function() return {} end)`, "argument", "returned a table"},
	} {
		fails(t, host.Options{MaxMemory: 64 << 20}, require+tc.source, tc.code, tc.text)
	}
}
