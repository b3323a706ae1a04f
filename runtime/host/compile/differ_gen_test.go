package compile_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator generates random programs. The same seed gives the same program.
type generator struct {
	r      *rand.Rand
	b      strings.Builder
	depth  int
	loops  int
	budget int
}

// names lists the locals of every program. Functions capture half of them.
var names = []string{"a", "b", "c", "d", "t", "u"}

const differHead = `local a, b, c, d = 1, 2, 3, 4
local t, u = { x = 1, y = 2, 10, 20 }, { x = 5, y = 6, 30 }
local fs, gl = {}, false
local function show(v)
  if type(v) == "number" then return string.format("%.10g", v) end
  if type(v) == "table" then return "table" end
  if type(v) == "function" then return "function" end
  return tostring(v)
end
local function two(v) return v, 7 end
local function bump(v) a = v return a end
local function meet(...) return select("#", ...), (...) end
local add = setmetatable({}, { __index = function(_, k) c = 8 return k end, __call = function(_, v) d = v return v end })
`

const differTail = `
print(show(a), show(b), show(c), show(d), type(t) == "table" and show(t.x) .. show(t.y) .. show(t[1]) .. show(t[2]),
  type(u) == "table" and show(u.x) .. show(u.y) .. show(u[1]))
for i = 1, #fs do print(i, show(fs[i]())) end
`

func program(seed uint64) string {
	g := &generator{r: rand.New(rand.NewPCG(seed, 1)), budget: 14}
	g.b.WriteString(differHead)
	g.b.WriteString("local function main(" + g.pick("", "a", "c, d", "a, b", "t, a") + ", ...)\n")
	body := strings.Replace(g.b.String(), "main(, ", "main(", 1)
	g.b.Reset()
	g.b.WriteString(body)
	for g.budget > 0 {
		g.statement()
	}
	g.b.WriteString("print(show(a), show(b), show(c), show(d))\nend\n")
	g.b.WriteString("print((pcall(main, 1, 2, 3)))\n")
	return g.b.String() + differTail
}

func (g *generator) pick(list ...string) string { return list[g.r.IntN(len(list))] }

func (g *generator) line(format string, args ...any) { fmt.Fprintf(&g.b, format+"\n", args...) }

func (g *generator) statement() {
	g.budget--
	switch n := g.r.IntN(17); {
	case n < 6:
		g.assign()
	case n < 7:
		g.line("local %s, %s = %s", g.pick(names...), g.pick(names...), g.list(1+g.r.IntN(3)))
	case n < 8:
		g.line("local %s = %s", g.pick(names...), g.expr(2))
	case n < 9:
		name := g.pick(names...)
		g.line("fs[#fs + 1] = function() return %s end", name)
	case n < 10:
		g.line(
			"print(show(%s), %s)",
			g.expr(2),
			g.pick(
				"show((...))",
				"select('#', ...)",
				"show((meet(1, ...)))",
				"show((meet(..., 1)))",
			),
		)
	case n < 11:
		g.line(
			"fs[#fs + 1] = function() %s = %s return %s end",
			g.pick("a", "b", "c"),
			g.simple(),
			g.pick("a", "b"),
		)
	case g.depth < 3:
		g.blockStatement()
	}
}

func (g *generator) blockStatement() {
	g.depth++
	counter := fmt.Sprintf("n%d", g.loops)
	g.loops++
	switch g.r.IntN(7) {
	case 0:
		g.line("if %s then", g.expr(2))
		g.body(false)
		g.line("else")
		g.body(false)
		g.line("end")
	case 1:
		g.line("for %s = 1, %d do", g.pick(names...), 1+g.r.IntN(3))
		g.body(true)
		g.line("end")
	case 2:
		g.line("for %s, %s in ipairs({ %s }) do", g.pick(names...), g.pick(names...), g.list(2))
		g.body(true)
		g.line("end")
	case 3:
		g.line("local %s = 0 while %s < 2 do %s = %s + 1", counter, counter, counter, counter)
		g.body(true)
		g.line("end")
	case 4:
		g.line("local %s = 0 repeat local z = %s + 1 %s = z", counter, counter, counter)
		g.line("fs[#fs + 1] = function() return z end")
		g.body(true)
		g.line("until z > %d", g.r.IntN(3))
	case 5:
		g.line("do")
		g.body(false)
		g.line("end")
	case 6:
		g.line("print(pcall(function(...)")
		g.body(false)
		g.line("end, %s) and 1 or 0)", g.list(2))
	}
	g.depth--
}

func (g *generator) body(loop bool) {
	for range 1 + g.r.IntN(3) {
		g.statement()
	}
	if loop && g.r.IntN(3) == 0 {
		name := g.pick("a", "b", "q")
		g.line("if %s then local %s = %s fs[#fs + 1] = function() return %s end break end",
			g.expr(1), name, g.simple(), name)
	}
}

func (g *generator) assign() {
	n := 1 + g.r.IntN(3)
	targets := make([]string, n)
	for i := range targets {
		targets[i] = g.pick(
			"a",
			"b",
			"c",
			"d",
			"d",
			"a",
			"b",
			"t.x",
			"t.y",
			"u.x",
			"t[1]",
			"u[1]",
			"t[b]",
			"gl",
		)
	}
	g.line("%s = %s", strings.Join(targets, ", "), g.list(1+g.r.IntN(3)))
}

func (g *generator) list(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = g.expr(2)
	}
	return strings.Join(out, ", ")
}

func (g *generator) simple() string {
	return g.pick(
		"a",
		"b",
		"c",
		"d",
		"1",
		"2",
		"'3'",
		"nil",
		"true",
		"false",
		"t.x",
		"u.y",
		"t[1]",
		"0.5",
		"gl",
	)
}

func (g *generator) expr(depth int) string {
	if depth == 0 || g.r.IntN(4) == 0 {
		return g.simple()
	}
	x, y := g.expr(depth-1), g.expr(depth-1)
	switch g.r.IntN(16) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", x, g.pick("and", "or"), y)
	case 1:
		return fmt.Sprintf(
			"(%s %s %s) %s %s",
			x,
			g.pick("and", "or"),
			y,
			g.pick("and", "or"),
			g.simple(),
		)
	case 2:
		return fmt.Sprintf("%s %s %s", g.simple(), g.pick("==", "~="), g.simple())
	case 3:
		return fmt.Sprintf("not %s", g.simple())
	case 4:
		return fmt.Sprintf("(tonumber(show(%s)) or 1) %s 3", x, g.pick("+", "-", "*", "/", "%"))
	case 5:
		return fmt.Sprintf("show(%s) .. show(%s)", x, y)
	case 6:
		return fmt.Sprintf("two(%s)", x)
	case 7:
		return fmt.Sprintf("(two(%s))", x)
	case 8:
		return fmt.Sprintf("bump(%s)", x)
	case 9:
		return fmt.Sprintf("{ %s, x = %s, y = %s, two(9) }", x, y, g.simple())
	case 10:
		return g.pick("...", "(...)", "(select(2, ...))")
	case 11:
		return g.pick("add.q", "add(5)", "add[a]", "meet(a, b)")
	case 12:
		return fmt.Sprintf("(function() return %s, %s end)()", g.simple(), g.simple())
	case 13:
		return g.pick("0010", "'010' + 0", "0x10", "-b", "'0x10' * 1")
	case 14:
		return fmt.Sprintf("({ %s, %s })[%d]", x, y, 1+g.r.IntN(2))
	}
	return fmt.Sprintf("((%s) == (%s)) == %s", g.simple(), g.simple(), g.simple())
}
