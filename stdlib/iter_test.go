package stdlib_test

import (
	"testing"
	"testing/synctest"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

const requireIter = "local iter = require(\"imd.iter\")\n"

func TestIterSources(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"list", `iter.from({ 3, false, "x" }):collect()`, `{ 3, false, "x" }`},
		{"empty list", `json.encode(iter.from({}):collect())`, `"[]"`},
		{"dictionary", `iter.from({ b = 1, a = 2 }):collect()`, `{ { "b", 1 }, { "a", 2 } }`},
		{"pairs", `iter.from(pairs({ 5, x = 6 })):collect()`, `{ { 1, 5 }, { "x", 6 } }`},
		{"ipairs", `iter.from(ipairs({ 5, 6 })):collect()`, `{ { 1, 5 }, { 2, 6 } }`},
		{"gmatch", `iter.from(("a=1,b=2"):gmatch("(%w)=(%w)")):collect()`,
			`{ { "a", "1" }, { "b", "2" } }`},
		{"gmatch without a capture", `iter.from(("a b"):gmatch("%w")):collect()`, `{ "a", "b" }`},
		{"function", `iter.from(function(s, i)
  if i < 3 then return i + 1, s end
end, "s", 0):collect()`,
			`{ { 1, "s" }, { 2, "s" }, { 3, "s" } }`},
		{"callable table",
			`iter.from(setmetatable({}, { __call = function(_, _, i) i = (i or 0) + 1
  if i < 3 then return i end end })):collect()`, `{ 1, 2 }`},
		{"iterator", `iter.from(iter.of(1, 2)):collect()`, `{ 1, 2 }`},
		{"List", `iter.from(list):collect()`, `{ "x", "y" }`},
		{"Dict", `iter.from(dict):collect()`, `{ { "a", 1 }, { "b", 2 } }`},
		{"nil among values", `iter.of(1, nil, 3):collect()`, `{ 1, null, 3 }`},
		{"range", `iter.range(5, 1, -2):collect()`, `{ 5, 3, 1 }`},
		{"empty range", `iter.range(0):count()`, `0`},
		{"nil after the first value",
			`iter.of(1):map(function(x) return x, nil, nil end):collect()`, `{ 1 }`},
		{"nil between values", `iter.of(1):map(function(x) return x, nil, 3 end):collect()`,
			`{ { 1, null, 3 } }`},
		{"nil for an element", `iter.range(2):map(function(x)
  if x > 1 then return x end
end):collect()`,
			`{ null, 2 }`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			const views = "local list, dict = views()\n"
			iterReturns(t, views+"return "+tc.source, tc.want)
		})
	}
}

// iterReturns calls returns with a script that has required imd.iter.
func iterReturns(t *testing.T, source, want string) {
	t.Helper()
	returns(t, requireIter+`
local function views()
  local lines = setmetatable({}, { __ipairs = function() return ipairs{ "x", "y" } end })
  local dict = setmetatable({}, { __pairs = function() return pairs{ a = 1, b = 2 } end })
  return lines, dict
end
`+source, want)
}

func TestIterSteps(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"false is an element", `iter.of(false, 1):map(function(x) return not x end):collect()`,
			`{ true, false }`},
		{"several values", `iter.from({ a = 1 }):map(function(k, v) return v, k end):collect()`,
			`{ { 1, "a" } }`},
		{"filter by several", `iter.from({ a = 1, b = 2 })
:filter(function(k, v) return v > 1 end):first()`,
			`"b", 2`},
		{"take none", `iter.of(1):take(0):collect()`, `{}`},
		{"take less than 0", `iter.of(1):take(-1):collect()`, `{}`},
		{"drop more than there is", `iter.of(1):drop(5):collect()`, `{}`},
		{"take in turn", `(function() local it = iter.range(5)
return it:take(2):collect(), it:collect() end)()`, `{ 1, 2 }, { 3, 4, 5 }`},
		{"enumerate from 0", `iter.from({ a = 1 }):enumerate(0):collect()`, `{ { 0, "a", 1 } }`},
		{"zip of three", `iter.range(9):zip({ "a", "b" }, { x = 1, y = 2 }):collect()`,
			`{ { 1, "a", { "x", 1 } }, { 2, "b", { "y", 2 } } }`},
		{"flatten", `iter.of({}, { 1, false }, iter.of(2), "x", { k = 1 }):flatten():collect()`,
			`{ 1, false, 2, "x", { k = 1 } }`},
		{"window longer than the source", `iter.range(2):window(3):collect()`, `{}`},
		{"unique by value",
			`iter.of(int64("5"), uint64("5"), data("x"), data("x"), null, null)
:unique():count()`, `3`},
		{"unique of nan", `iter.of(0/0, 0/0):unique():count()`, `2`},
		{"unique by a function", `iter.of("a", "bb", "c")
:unique(function(s) return #s end):collect()`,
			`{ "a", "bb" }`},
		{"sorted is stable", `iter.of("b2", "a1", "b1"):sorted(function(a, b)
  return a:sub(1, 1) < b:sub(1, 1)
end):collect()`,
			`{ "a1", "b2", "b1" }`},
		{"group_by", `iter.from({ "a", "bb", "c" }):group_by(function(s) return #s end):to_dict()`,
			`{ { "a", "c" }, { "bb" } }`},
		{"group_by nil", `iter.of(1):group_by(function() end):first()`, `null, { 1 }`},
		{"tee", `(function() local a, b = iter.range(3):tee()
return a:collect(), b:first(), b:collect() end)()`, `{ 1, 2, 3 }, 1, { 2, 3 }`},
		{"min of none", `iter.of():min(), iter.of():max(), iter.of():sum(), iter.of():last()`,
			`nil, nil, 0, nil`},
		{"min of a field", `iter.of({ n = 2 }, { n = 1 }):min(function(t) return t.n end).n`, `1`},
		{"first of equals", `iter.of("b", "a"):max(function(s) return #s end)`, `"b"`},
		{"all of none", `iter.of():all(), iter.of():any()`, `true, false`},
		{"fold of one", `iter.of(5):fold(error)`, `5`},
		{"fold of none", `iter.of():fold(error), iter.of():fold(error, 1)`, `nil, 1`},
		{"partition", `iter.from({ a = 1 }):partition(function(k, v) return v == 1 end)`,
			`{ { "a", 1 } }, {}`},
		{"find none", `iter.of(1):find(function() end)`, `nil`},
		{"by hand", `(function()
  local it = iter.of(1)
  return it:next(), it(), it:next()
end)()`,
			`1, nil, nil`},
		{"printed", `tostring(iter.of(1):take(1))`, `"Iterator<take>"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			iterReturns(t, "return "+tc.source, tc.want)
		})
	}
}

func TestIterLoop(t *testing.T) {
	t.Parallel()
	prints(t, requireIter+`
local asked = 0
local function source() asked = asked + 1 return asked end
for i, x in iter.from(source):map(function(x) return x * 10 end):enumerate() do
  print(i, x)
  if i == 2 then break end
end
print(asked)
print(iter.from(source):take(1):first(), asked)
for x in iter.of(false, nil):take(2) do print(x) end`,
		"1\t10\n2\t20\n2\n3\t3\nfalse\nnull\n")
}

func TestIterClose(t *testing.T) {
	t.Parallel()
	prints(t, requireIter+`
local file = fs.temp_file()
fs.write(file, "1\n2\n3\n")
local lines = fs.lines(file)
local it = iter.from(lines):map(tonumber):chain({ 4 })
print(it:first())
it:close()
it:close()
print(it:next(), select(2, try(lines)).code)
local closed = 0
local source = setmetatable({ close = function() closed = closed + 1 end },
  { __call = function() return 1 end })
with(iter.of(0):zip(source), function(it) print(it:next()) end)
print(closed)
local q = task.queue()
iter.from(q):take(1):close()
print(q.closed)`, "1\nnil\tclosed\n0\t1\n1\ntrue\n")
}

func TestIterErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, code, text string }{
		{`iter.from()`, "argument", "values"},
		{`iter.from(nil)`, "argument", "got nil"},
		{`iter.from("text")`, "argument", "gmatch"},
		{`iter.from(5)`, "argument", "iter.range"},
		{`iter.from(true)`, "argument", "got boolean"},
		{`iter.from(int64(5))`, "argument", "got Int64"},
		{`iter.range(0/0)`, "argument", "a number"},
		{`iter.range(1, 2, 0)`, "argument", "step"},
		{`iter.of(1):map()`, "argument", "fn"},
		{`iter.of(1):map("x")`, "argument", "function expected"},
		{`iter.of(1):chunks(0)`, "argument", "at least 1"},
		{`iter.of(1):take(1.5)`, "argument", "integer"},
		{`iter.of(1):chain(5)`, "argument", "argument #1"},
		{`iter.of(1, "x"):sum()`, "value", "element 2 of the sum is a string"},
		{`iter.of(1):to_dict()`, "value", "element 1 is not a key and a value"},
		{`iter.of(1):group_by(function() return 0/0 end):first()`, "value", "nan"},
		{`iter.of(1, "x"):sorted():collect()`, "error", "compare"},
		{`iter.of(1):map(function() error("in fn") end):collect()`, "error", "in fn"},
		{`iter.of(1):mpa(print)`, "no_field", "map"},
		{`local it = iter.of(1) for _ = 1, 2000 do it = it:take(1) end`, "value", "1000 steps"},
		{`local t = { 1 } local it = iter.from(t):flatten() t[2] = it it:last()`, "value",
			"1000 steps"},
		{`local it = iter.of(1) for _ = 1, 2000 do it = iter.of(it):flatten() end it:first()`,
			"value", "1000 steps"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{}, requireIter+tc.source, tc.code, tc.text)
		})
	}
}

// TestIterEnds stops chains that would never end. None of them runs an instruction of the script.
func TestIterEnds(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		`iter.range(math.huge):count()`,
		`iter.range(math.huge):drop(1e15):first()`,
		`iter.range(math.huge):collect()`,
		`iter.range(math.huge):zip(iter.range(math.huge)):last()`,
		`iter.range(math.huge):sorted():first()`,
		`iter.range(math.huge):unique():last()`,
		`iter.range(math.huge):chunks(1e9):first()`,
		`iter.range(math.huge):window(1e9):first()`,
		`iter.range(math.huge):group_by(type):first()`,
		`iter.range(math.huge):tee():last()`,
		`for _ in iter.range(math.huge) do end`,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{MaxInstructions: 1e5}, requireIter+source, "instructions", "")
			fails(t, host.Options{}, requireIter+"task.timeout(0.01, function() "+source+" end)",
				"timeout", "")
		})
	}
}

// TestIterMemory fills the buffers of steps. The memory limit must count their values.
func TestIterMemory(t *testing.T) {
	const text = `:map(function(i) return ("x"):rep(100000) .. i end)`
	for _, source := range []string{
		`iter.range(math.huge)` + text + `:collect()`,
		`iter.range(math.huge)` + text + `:sorted():first()`,
		`iter.range(math.huge)` + text + `:unique():last()`,
		`iter.range(math.huge)` + text + `:window(1e9):first()`,
		`iter.range(math.huge)` + text + `:chunks(1e9):first()`,
		`iter.range(math.huge)` + text + `:partition(type)`,
		`iter.range(math.huge)` + text + `:group_by(type):first()`,
		`local a, b = iter.range(math.huge)` + text + `:tee() a:last() b:last()`,
	} {
		t.Run(source, func(t *testing.T) {
			o := host.Options{MaxMemory: 16 << 20, MaxInstructions: 1e8}
			fails(t, o, requireIter+source, "memory", "")
		})
	}
}

// TestIterWaits takes elements from an empty queue with a deadline.
func TestIterWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		prints(t, requireIter+`
local q = task.queue()
q:put(1)
local got = {}
local ok, e = try(task.timeout, 5, function()
  iter.from(q):each(function(x) table.insert(got, x) end)
end)
print(ok, e.code, #got)
local t = task.spawn(function() return iter.from(q):map(tostring):first() end)
task.sleep(1)
q:put(2)
print(t:join())`, "false\ttimeout\t1\n2\n")
	})
}

// BenchmarkIter measures a chain of a map, a filter and a fold, for each element.
func BenchmarkIter(b *testing.B) {
	for _, bc := range []struct{ name, source string }{
		{"go", `iter.range(N):map(double):filter(odd):fold(add, 0)`},
		{"lua", `fold(filter(map(range(N), double), odd), add, 0)`},
		{"loop", `for x in iter.range(N) do end`},
		{"count", `iter.range(N):count()`},
	} {
		b.Run(bc.name, func(b *testing.B) {
			h := newHost(b, host.Options{})
			h.SetGlobal("N", lua.LNumber(b.N))
			h.SetGlobal(
				"start",
				h.L().NewFunction(func(*lua.LState) int { b.ResetTimer(); return 0 }),
			)
			b.ReportAllocs()
			if err := h.Run(b.Context(), "bench.lua", requireIter+closures+bc.source); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// closures has the steps of the benchmark in Lua.
const closures = `
local function double(x) return x * 2 end
local function odd(x) return x % 4 == 2 end
local function add(a, x) return a + x end
local function range(n)
  local i = 0
  return function() i = i + 1 if i <= n then return i end end
end
local function map(it, fn)
  return function() local x = it() if x ~= nil then return fn(x) end end
end
local function filter(it, fn)
  return function()
    local x = it()
    while x ~= nil and not fn(x) do x = it() end
    return x
  end
end
local function fold(it, fn, acc)
  local x = it()
  while x ~= nil do acc = fn(acc, x) x = it() end
  return acc
end
start()
`
