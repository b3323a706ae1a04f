package compile_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// libraryKit is a chunk that returns functions for the programs of libraryProgram. show
// returns a text of a value without addresses, safe returns a number whose text is the
// same in both Luas, and keys lists the keys of a table in order.
const libraryKit = `
local function show(v)
  if type(v) == "number" then
    local s = string.format("%.12g", v)
    if s == "-0" then return "0" end
    return s
  end
  if type(v) == "string" then return string.format("%q", v) end
  if type(v) == "boolean" or v == nil then return tostring(v) end
  local mt = getmetatable(v)
  if mt and mt.name then return mt.name .. ":" .. show(rawget(v, "v")) end
  return type(v)
end
local function list(...)
  local out = {}
  for i = 1, select("#", ...) do out[i] = show((select(i, ...))) end
  return select("#", ...) .. ":" .. table.concat(out, " ")
end
local function keys(t)
  local out = {}
  for k, v in pairs(t) do out[#out + 1] = type(k):sub(1, 1) .. show(k) .. "=" .. show(v) end
  table.sort(out)
  return table.concat(out, ",")
end
local function safe(v)
  if type(v) ~= "number" or v ~= v or v == 1 / 0 or v == -1 / 0 then return 0 end
  local n = math.floor(math.fmod(math.abs(v), 100003) * 64) / 64
  if n == 0 then return 0 end
  return n
end
local function small(v) return math.floor(safe(v)) % 5 end
local function try(f, ...) print("try", list(pcall(f, ...))) end
local function say(v) print("say", show(v)) return v end
local V = { name = "vec" }
V.__index = function(t, k) if k == "twice" then return rawget(t, "v") * 2 end return V[k] end
function V.new(v) return setmetatable({ v = v }, V) end
local function raw(x) if type(x) == "table" then return rawget(x, "v") or 0 end return x end
V.__add = function(a, b) return V.new(raw(a) + raw(b)) end
V.__sub = function(a, b) return V.new(raw(a) - raw(b)) end
V.__mul = function(a, b) return raw(a) * raw(b), 99 end
V.__div = function(a, b) return V.new(raw(a) / 2) end
V.__mod = function(a, b) return raw(a) % 7 end
V.__pow = function(a, b) return "pow" .. show(safe(raw(a))) end
V.__unm = function(a) return V.new(-raw(a)) end
V.__concat = function(a, b) return "<" .. show(raw(a)) .. "," .. show(raw(b)) .. ">" end
V.__eq = function(a, b) return raw(a) == raw(b) end
V.__lt = function(a, b) return raw(a) < raw(b) end
V.__call = function(self, ...) return select("#", ...), self.v, ... end
V.__tostring = function(a) return "V" .. show(raw(a)) end
function V:get() return self.v end
function V:set(v) self.v = v return self end
function V.count(...) return select("#", ...) end
local W = { name = "wrap" }
W.__index = V
W.__newindex = function(t, k, v) rawset(t, k, v) rawset(t, "last", k) end
W.__le = function(a, b) return raw(a) <= raw(b) end
W.__eq, W.__lt = V.__eq, V.__lt
local proxies = {}
local function proxy(t) return setmetatable({}, { __index = t, __newindex = t, name = "proxy" }) end
return show, list, keys, safe, small, try, say, V, W, proxy, pcall
`

const libraryHead = `local show, list, keys, safe, small, try, say, V, W, proxy, pcall = ...
local n1, n2, n3 = 3, -2.5, 10
local s1, s2 = "hello world", "a1,b22,c333"
local l1, l2 = { 5, 3, 9, 1 }, { "x", "yy", "z" }
local r1 = { x = 1, y = "two", [1] = "one", ["1"] = "text" }
local o1, o2 = V.new(4), V.new(7)
local w1 = setmetatable({ v = 2 }, W)
local fs = {}
`

const libraryTail = `
print(list(n1, n2, n3, s1, s2, o1, o2, w1))
print(list(unpack(l1)), list(unpack(l2)), keys(r1))
for i = 1, #fs do try(fs[i]) end
`

// libraryGenerator generates programs that use the libraries of Lua.
type libraryGenerator struct {
	r      *rand.Rand
	b      strings.Builder
	depth  int
	names  int
	budget int
	// nums lists the locals in scope that hold numbers.
	nums []string
	// inLoop is set where break is allowed, and inCoroutine where yield is.
	inLoop, inCoroutine bool
}

func libraryProgram(seed uint64) string {
	g := &libraryGenerator{
		r:      rand.New(rand.NewPCG(seed, 2)),
		budget: 12,
		nums:   []string{"n1", "n2", "n3"},
	}
	g.b.WriteString(libraryHead)
	for g.budget > 0 {
		g.statement()
	}
	g.b.WriteString(libraryTail)
	return g.b.String()
}

func (g *libraryGenerator) pick(list ...string) string { return list[g.r.IntN(len(list))] }

func (g *libraryGenerator) line(format string, args ...any) {
	fmt.Fprintf(&g.b, format+"\n", args...)
}

func (g *libraryGenerator) fresh(kind string) string {
	g.names++
	return fmt.Sprintf("%s_%d", kind, g.names)
}

// statement writes one statement.
func (g *libraryGenerator) statement() {
	g.budget--
	simple := []func(){
		g.printing, g.printing, g.assignment, g.assignment, g.listChange, g.recordChange, g.closure,
		g.guarded, g.guarded, g.objectChange,
	}
	compound := []func(){
		g.branch, g.numericFor, g.whileLoop, g.repeatLoop, g.genericFor, g.function, g.coroutine,
		g.protected, g.sorting, g.replacing, g.counter, g.iterator,
	}
	if g.inCoroutine && g.r.IntN(3) == 0 {
		g.yield()
		return
	}
	if g.depth < 3 && g.r.IntN(5) < 2 {
		g.depth++
		compound[g.r.IntN(len(compound))]()
		g.depth--
		return
	}
	simple[g.r.IntN(len(simple))]()
}

func (g *libraryGenerator) printing() {
	g.line("print(list(%s))", g.values(1+g.r.IntN(4)))
}

func (g *libraryGenerator) assignment() {
	switch g.r.IntN(5) {
	case 0:
		g.line("%s = safe(%s)", g.pick("n1", "n2", "n3"), g.number(2))
	case 1:
		g.line("%s = (%s):sub(1, 40)", g.pick("s1", "s2"), g.text(2))
	case 2:
		g.line("n1, s1, n2 = safe(%s), (%s):sub(1, 30), safe(%s)", g.number(1), g.text(1),
			g.number(1))
	case 3:
		g.line("n1, n2, n3 = n%d, n%d, n%d", 1+g.r.IntN(3), 1+g.r.IntN(3), 1+g.r.IntN(3))
	case 4:
		name := g.pick("n1", "n2", "s1")
		if name == "s1" {
			g.line("local s1 = %s", g.text(2))
			return
		}
		g.line("local %s = safe(%s)", name, g.number(2))
	}
}

func (g *libraryGenerator) listChange() {
	l := g.pick("l1", "l2")
	value := fmt.Sprintf("safe(%s)", g.number(1))
	if l == "l2" {
		value = g.text(1)
	}
	switch g.r.IntN(6) {
	case 0:
		g.line("if #%s < 12 then table.insert(%s, %s) end", l, l, value)
	case 1:
		g.line("if #%s < 12 then table.insert(%s, small(%s) %% (#%s + 1) + 1, %s) end", l, l,
			g.number(1), l, value)
	case 2:
		g.line("print(show(table.remove(%s)))", l)
	case 3:
		g.line("if #%s > 0 then print(show(table.remove(%s, small(%s) %% #%s + 1))) end", l, l,
			g.number(1), l)
	case 4:
		g.line("if #%s < 12 then %s[#%s + 1] = %s end", l, l, l, value)
	case 5:
		g.line("%s[#%s] = nil", l, l)
	}
}

func (g *libraryGenerator) recordChange() {
	key := g.pick("x", "y", "new", "1")
	switch g.r.IntN(6) {
	case 0:
		g.line("r1.%s = %s", g.pick("x", "y", "new"), g.value())
	case 1:
		g.line("r1[%s] = %s", g.pick("1", "'1'", "1.5", "-1", "true", "2^53", "0", "n1", "s1"),
			g.value())
	case 2:
		g.line("r1[%q] = nil", key)
	case 3:
		g.line("print(keys(r1))")
	case 4:
		g.line("do local q = proxy(r1) q.x = %s print(list(q.x, q.y, rawget(q, 'x'))) end",
			g.value())
	case 5:
		g.line("r1 = { %s, x = %s, [%s] = %s; %s }", g.value(), g.value(),
			g.pick("'1'", "10", "'y'", "n1"), g.value(), g.pick("...", g.value(), "unpack(l1)"))
	}
}

func (g *libraryGenerator) closure() {
	switch g.r.IntN(4) {
	case 0:
		g.line("fs[#fs + 1] = function() return %s end", g.values(1+g.r.IntN(2)))
	case 1:
		n := g.pick(g.nums...)
		g.line("fs[#fs + 1] = function() %s = safe(%s + 1) return %s end", n, n, n)
	case 2:
		g.line("fs[#fs + 1] = function(...) local n1 = %s return n1, ... end", g.number(1))
	case 3:
		g.line("if #fs > 0 then try(fs[#fs]) end")
	}
}

// guarded writes a call that may fail.
func (g *libraryGenerator) guarded() {
	g.line("try(function() return %s end)", g.doubtful())
}

func (g *libraryGenerator) objectChange() {
	switch g.r.IntN(5) {
	case 0:
		g.line("o1 = V.new(safe(%s))", g.number(1))
	case 1:
		g.line("o2:set(safe(%s)):set(o2.v + 1)", g.number(1))
	case 2:
		g.line("w1.%s = %s print(show(w1.last), list(w1:get()))", g.pick("v", "q"), g.number(0))
	case 3:
		g.line("o1.v = safe(%s)", g.number(1))
	case 4:
		g.line("print(list(%s))", g.object())
	}
}

func (g *libraryGenerator) body() {
	for range 1 + g.r.IntN(3) {
		g.statement()
	}
}

// loopBody writes the body of a loop. names are locals of the loop that hold numbers.
func (g *libraryGenerator) loopBody(names ...string) {
	nums, inLoop := g.nums, g.inLoop
	g.nums = append(g.nums[:len(g.nums):len(g.nums)], names...)
	g.inLoop = true
	if g.r.IntN(2) == 0 {
		for _, name := range names {
			g.line("fs[#fs + 1] = function() return %s, %s end", name, g.number(0))
		}
	}
	g.body()
	if g.r.IntN(3) == 0 {
		inner := g.fresh("k")
		g.line(
			"if %s then local %s = %s fs[#fs + 1] = function() %s = %s + 1 return %s end break end",
			g.boolean(1),
			inner,
			g.number(0),
			inner,
			inner,
			inner,
		)
	}
	g.nums, g.inLoop = nums, inLoop
}

func (g *libraryGenerator) branch() {
	g.line("if %s then", g.boolean(2))
	g.body()
	if g.r.IntN(2) == 0 {
		g.line("elseif %s then", g.boolean(1))
		g.body()
	}
	if g.r.IntN(2) == 0 {
		g.line("else")
		g.body()
	}
	g.line("end")
}

func (g *libraryGenerator) numericFor() {
	i := g.fresh("i")
	g.line("for %s = %s do", i, g.pick("1, 3", "3, 1, -1", "1, 2, 0.5", "5, 1", "0.1, 0.35, 0.1",
		"-1, 1", "10, 0, -4", "1, 1", "1.5, 3", "3, 3.9", "'1', 2", "1, '2'", "-3, -1.5, 0.75",
		"2^53, 2^53 + 2, 2", "1, 0", "small(n1), small(n2)", "1, 3, 1.5"))
	g.loopBody(i)
	g.line("end")
}

func (g *libraryGenerator) whileLoop() {
	i := g.fresh("i")
	g.line("local %s = 0 while %s < 3 and (%s or true) do %s = %s + 1", i, i, g.boolean(1), i, i)
	g.loopBody(i)
	g.line("end")
}

func (g *libraryGenerator) repeatLoop() {
	i, z := g.fresh("i"), g.fresh("z")
	g.line("local %s = 0 repeat local %s = %s + 1 %s = %s", i, z, i, i, z)
	g.line("fs[#fs + 1] = function() %s = %s + 10 return %s end", z, z, z)
	g.loopBody(z)
	g.line("until %s >= %d or %s > 100", z, 1+g.r.IntN(3), z)
}

func (g *libraryGenerator) genericFor() {
	a, b := g.fresh("a"), g.fresh("b")
	switch g.r.IntN(5) {
	case 0:
		g.line("for %s, %s in ipairs(%s) do", a, b, g.pick("l1", "l2", "{ 1, 2, nil, 4 }",
			"{ n1, n2, s1 }"))
		g.line("print(list(%s, %s))", a, b)
		g.loopBody(a)
	case 1:
		g.line("for %s, %s in (%s):gmatch(%s) do", a, b, g.text(1),
			g.pick("'(%a)(%d*)'", "'()(.)'", "'%w+'", "'(%w-)(,)'", "''", "'x*'"))
		g.line("print(list(%s, %s))", a, b)
		g.body()
	case 2:
		g.line("for %s, %s in next, { %s } do", a, b, g.number(0))
		g.loopBody(a)
	case 3:
		g.line("for %s, %s in (function(s, c) if c < s then return c + 1, c * 2 end end), %d, 0 do",
			a, b, 1+g.r.IntN(3))
		g.loopBody(a, b)
	case 4:
		g.line("for %s in pairs({ %s, %s }) do", a, g.value(), g.value())
		g.loopBody(a)
	}
	g.line("end")
}

// function writes a random function and a call of it.
func (g *libraryGenerator) function() {
	f := g.fresh("f")
	inLoop, inCoroutine := g.inLoop, g.inCoroutine
	g.inLoop, g.inCoroutine = false, false
	head := g.pick("local function %s(p, ...)", "local %s = function(p, ...)")
	g.line(head, f)
	nums := g.nums
	g.line("p = safe(p)")
	g.nums = append(g.nums[:len(g.nums):len(g.nums)], "p")
	g.body()
	g.line(
		"%s",
		g.pick("return p, ...", "return ...", "return (...)", "return select('#', ...), ...",
			"return p + 1, (select(2, ..., p))", "if p > 3 then return p end", "return { ..., p }",
			"return select(-1, p, ...)", "return unpack({ p, ... }, 1, 1 + select('#', ...))",
			"return (unpack({ ... }))",
			"return type(...)", "p = ... return p"),
	)
	g.line("end")
	g.nums = nums
	g.inLoop, g.inCoroutine = inLoop, inCoroutine
	g.line("try(%s, %s)", f, g.values(g.r.IntN(4)+1))
	if g.r.IntN(2) == 0 {
		g.line(
			"print(pcall(function() return list(%s(%s), %s(%s)) end))",
			f,
			g.value(),
			f,
			g.value(),
		)
	}
}

func (g *libraryGenerator) yield() {
	switch g.r.IntN(4) {
	case 0:
		g.line("print('got', list(coroutine.yield(%s)))", g.values(1+g.r.IntN(3)))
	case 1:
		y := g.fresh("y")
		g.line("local %s = coroutine.yield() print(show(%s))", y, y)
	case 2:
		g.line("coroutine.yield(%s)", g.values(1+g.r.IntN(3)))
	case 3:
		g.line("n1 = safe((coroutine.yield(%s)))", g.number(1))
	}
}

func (g *libraryGenerator) coroutineBody() {
	inLoop, inCoroutine := g.inLoop, g.inCoroutine
	g.inLoop, g.inCoroutine = false, true
	g.body()
	g.yield()
	g.inLoop, g.inCoroutine = inLoop, inCoroutine
	switch g.r.IntN(5) {
	case 0:
		g.line("error(%s)", g.pick("'x'", "'x', 0", "'x', 2", "{ v = 1 }", "nil", "5"))
	case 1:
		g.line("return coroutine.yield(%s)", g.values(1+g.r.IntN(2)))
	case 2:
		g.line("return %s, ...", g.value())
	case 3:
		g.line("local q = nil + 1")
	}
}

func (g *libraryGenerator) coroutine() {
	co := g.fresh("co")
	g.line("local %s = coroutine.create(function(...)", co)
	g.coroutineBody()
	g.line("end)")
	g.line("for i = 1, %d do print(coroutine.status(%s), list(coroutine.resume(%s, i, %s))) end",
		2+g.r.IntN(3), co, co, g.values(1+g.r.IntN(2)))
	g.line("print(coroutine.status(%s), list(coroutine.resume(%s)))", co, co)
}

func (g *libraryGenerator) iterator() {
	a, b := g.fresh("a"), g.fresh("b")
	co := g.fresh("w")
	g.line("local %s = coroutine.wrap(function(...) for i = 1, %d do", co, 1+g.r.IntN(3))
	inCoroutine := g.inCoroutine
	g.inCoroutine = true
	g.body()
	g.inCoroutine = inCoroutine
	g.line("coroutine.yield(i, %s) end end)", g.value())
	g.line(
		"print(pcall(function() for %s, %s in %s do print(list(%s, %s)) end end))",
		a,
		b,
		co,
		a,
		b,
	)
	g.line("try(%s)", co)
}

func (g *libraryGenerator) protected() {
	inLoop, inCoroutine := g.inLoop, g.inCoroutine
	g.inLoop, g.inCoroutine = false, false
	if g.r.IntN(3) == 0 {
		g.line("print(list(xpcall(function()")
	} else {
		g.line("print(list(pcall(function(...)")
	}
	xpcall := strings.HasSuffix(g.b.String(), "xpcall(function()\n")
	g.body()
	switch g.r.IntN(5) {
	case 0:
		g.line("error(%s)", g.pick("'x'", "'x', 0", "'x', 1", "'x', 2", "'x', 3", "{ v = 1 }", "o1",
			"nil", "true", "5", "5.5, 2", "n1", "s1"))
	case 1:
		g.line("return %s", g.doubtful())
	case 2:
		f := g.fresh("e")
		g.line("local function %s(m, l) error(m, l) end", f)
		g.line("%s(%s, %d)", f, g.pick("'deep'", "n1", "nil"), g.r.IntN(4))
	case 3:
		g.line("return assert(n1, %s)", g.value())
	case 4:
		g.line("return %s", g.values(1+g.r.IntN(3)))
	}
	g.inLoop, g.inCoroutine = inLoop, inCoroutine
	if xpcall {
		g.line("end, function(m) %s end)))", g.pick("return m", "return type(m), m", "",
			"return show(m) .. '!'", "return nil"))
		return
	}
	g.line("end, %s)))", g.values(1+g.r.IntN(3)))
}

func (g *libraryGenerator) sorting() {
	switch g.r.IntN(4) {
	case 0:
		g.line("table.sort(l1, function(a, b) return a %s b end)", g.pick("<", ">"))
	case 1:
		g.line(
			"table.sort(l2, function(a, b) if #a ~= #b then return #a < #b end return a < b end)",
		)
	case 2:
		g.line("table.sort(%s)", g.pick("l1", "l2"))
	case 3:
		g.line("do local q = { o1, o2, V.new(%s) } table.sort(q) print(list(unpack(q))) end",
			g.number(0))
	}
	g.line("print(list(unpack(l1)), list(unpack(l2)))")
}

func (g *libraryGenerator) replacing() {
	pattern := g.pick(patternsForText...)
	with := g.pick("'<%0>'", "'%1'", "'%%'", "''", "{ a = 'A', l = 5, o = false, b22 = 'B' }",
		"function() end", "string.upper", "function(a) return false end", "'%1%1'", "5", "{}",
		"function(a, b) n1 = safe(n1 + 1) return (show(a) .. show(b)) end", "setmetatable({}, V)")
	g.line("try(string.gsub, %s, %s, %s%s)", g.text(1), pattern, with, g.pick("", "", ", 1", ", 0"))
}

func (g *libraryGenerator) counter() {
	c := g.fresh("c")
	g.line("local %s do local n, log = %s, {} %s = function(d) n = safe(n + (d or 1)) "+
		"local function back() n = n - 1 return n end log[#log + 1] = n return n, back, #log end end",
		c, g.number(0), c)
	g.line("do local a, back = %s() local b = %s(5) print(list(a, b, back(), back(), (%s()))) end",
		c, c, c)
}
