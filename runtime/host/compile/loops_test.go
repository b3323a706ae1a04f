package compile_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/stdlib/lua51"
)

// TestLoopsOverCalls runs forms of the generic for that gopher-lua compiles wrongly, and
// similar ones.
func TestLoopsOverCalls(t *testing.T) {
	const setup = `
local function dev() return { files = { glob = function(_, n) local i = 0 return function() i = i + 1 if i <= n then return i end end end,
  list = function(...) return pairs({ ... }) end } } end
local out = {}
local function say(...) for i = 1, select("#", ...) do out[#out + 1] = tostring((select(i, ...))) end end
`
	for _, c := range []struct{ name, body, want string }{
		{"method of a field of a call", `for x in dev().files:glob(3) do say(x) end`, "1 2 3"},
		{
			"function of a field of a call",
			`for k, v in dev().files.list("a", "b") do say(k, v) end`, "1 a 2 b",
		},
		{"method of a local", `local f = dev().files for x in f:glob(2) do say(x) end`, "1 2"},
		{"three expressions", `for i, v in next, { 7, 8 }, nil do say(i, v) end`, "1 7 2 8"},
		{
			"nested",
			`for a in dev().files:glob(2) do for b in dev().files:glob(a) do say(a .. b) end end`,
			"11 21 22",
		},
		{
			"break and goto",
			`for x in dev().files:glob(9) do if x == 2 then goto continue end if x == 4 then break end say(x) ::continue:: end`,
			"1 3",
		},
		{"goto at the beginning",
			`local n = 0 for i = 1, 3 do for k in pairs{ 1, 2 } do goto out end ::out:: n = n + 1 end say(n)`,
			"3"},
		{"goto backwards to a goto",
			`local n = 0 ::again:: do goto on end ::on:: n = n + 1 if n < 4 then goto again end say(n)`,
			"4"},
		{
			"return out of it",
			`local function f() for x in dev().files:glob(9) do if x == 3 then return x end end end say(f())`,
			"3",
		},
		{
			"closures get their own variable",
			`local fs = {} for x in dev().files:glob(2) do fs[x] = function() return x end end say(fs[1](), fs[2]())`,
			"1 2",
		},
		{
			"inside expressions",
			`local t = { f = function() for x in dev().files:glob(1) do say(x) end end } t.f() say(#{ (function() local n = 0 for _ in dev().files:glob(4) do n = n + 1 end return n end)() })`,
			"1 1",
		},
		{
			"in branches and loops",
			`if true then for x in dev().files:glob(1) do say(x) end else end local n = 0 while n < 1 do n = n + 1 for x in dev().files:glob(1) do say(x) end end repeat for x in dev().files:glob(1) do say(x) end until true`,
			"1 1 1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			h := host.New(host.Options{Stdout: &out})
			defer h.Close()
			lua51.Open(h)
			source := setup + c.body + "\nio.write(table.concat(out, ' '))"
			if err := h.Run(context.Background(), "t.lua", source); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("%s gave %q, want %q", c.body, out.String(), c.want)
			}
		})
	}
}
