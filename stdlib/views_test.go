package stdlib_test

import (
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/hosttest"
	"github.com/imdlua/imdlua/stdlib"
)

// viewModule returns lists and dicts to scripts, as bindings do.
func viewModule() *api.Module {
	return &api.Module{
		Name: "views", Doc: "Views of Go values.", Perm: "none",
		Funcs: []*api.Func{
			api.Function("list", "A list.", "", func(*api.Call) api.List[string] {
				return api.List[string]{"a", "b", "c"}
			}, api.Example("local x = 1")),
			api.Function("dict", "A dict.", "", func(*api.Call) api.Dict[int] {
				return api.Dict[int]{"x": 1, "y": 2}
			}, api.Example("local x = 1")),
		},
	}
}

// TestViews uses lists and dicts where scripts use tables.
func TestViews(t *testing.T) {
	setup := hosttest.Setup(func(h *host.Host) {
		if err := stdlib.Install(h); err != nil {
			t.Fatal(err)
		}
		if err := api.Install(h, viewModule()); err != nil {
			t.Fatal(err)
		}
	})
	const head = `local views = require "imd.views" local l, d = views.list(), views.dict() `
	for _, tc := range []struct{ source, want string }{
		{`for i, v in ipairs(l) do io.write(i, v) end`, "1a2b3c"},
		{`for i, v in pairs(l) do io.write(i, v) end`, "1a2b3c"},
		{`for k, v in pairs(d) do io.write(k, v) end`, "x1y2"},
		{`for v in l do io.write(v) end`, "abc"},
		{`io.write(#l, #d)`, "32"},
		{
			`io.write(table.concat(l, ","), table.concat(l, "", 2), table.concat(l, "", 1, 1))`,
			"a,b,cbca",
		},
		{`io.write(unpack(l))`, "abc"},
		{`p(l)`, "{\"a\", \"b\", \"c\"}\n"},
		{`p(d)`, "{x=1, y=2}\n"},
		{`io.write(tostring(d.nothing), tostring(l[4]), tostring(d[1]))`, "nilnilnil"},
		{`io.write(table.concat(l:totable()))`, "abc"},
	} {
		got := hosttest.Run(t, head+tc.source, setup).NoError(t).Stdout
		if got != tc.want {
			t.Errorf("%s\nprinted %q, want %q", tc.source, got, tc.want)
		}
	}
	for _, tc := range []struct{ source, want string }{
		{`for i, v in ipairs(d) do end`, "a Dict has no order: use pairs"},
		{`table.concat(d, ",")`, "invalid value (nil) at index 1"},
		{`l[1] = 5`, "read-only"},
		{`table.insert(l, 5)`, "table expected"},
	} {
		err := hosttest.Run(t, head+tc.source, setup).Error(t)
		if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s\nerror = %v, want %q in it", tc.source, err, tc.want)
		}
	}
}

// TestCallable passes objects with __call where functions are expected.
func TestCallable(t *testing.T) {
	const head = `local c = setmetatable({}, { __call = function(self, ...) return "called", ... end })
local retry = require "imd.retry" `
	for _, tc := range []struct{ source, want string }{
		{`print(pcall(c, 1))`, "true\tcalled\t1\n"},
		{`print(xpcall(c, print))`, "true\tcalled\n"},
		{`print(xpcall(function() error("x", 0) end, c))`, "false\tcalled\n"},
		{`print(try(c, 1))`, "true\tcalled\t1\n"},
		{`print(try{ c })`, "called\n"},
		{`print(try{ error, catch = c })`, "called\tnil\n"},
		{`print(task.spawn(c, 1):join())`, "called\t1\n"},
		{`print(task.spawn{ c, name = "n" }:join())`, "called\n"},
		{`print(task.timeout(5, c, 1))`, "called\t1\n"},
		{`print(scope(c, 1))`, "called\t1\n"},
		{`print(with({ close = function() end }, c))`, "called\ttable\n"},
		{`scope(function()
			defer(setmetatable({}, { __call = function(_, v) print(v) end }), 7) end)`, "7\n"},
		{`print(try(retry, function() return 4 end))`, "true\t4\n"},
		{`print(pcall(retry, function() return 4 end))`, "true\t4\n"},
		{`print(task.spawn(retry, function() return 4 end):join())`, "4\n"},
	} {
		got := hosttest.Run(t, head+tc.source, hosttest.Setup(func(h *host.Host) {
			if err := stdlib.Install(h); err != nil {
				t.Fatal(err)
			}
		})).NoError(t).Stdout
		if i := strings.Index(got, "table: "); i >= 0 {
			got = got[:i] + "table\n"
		}
		if got != tc.want {
			t.Errorf("%s\nprinted %q, want %q", tc.source, got, tc.want)
		}
	}
}
