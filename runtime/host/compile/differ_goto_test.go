package compile_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// gotoGenerator generates programs with goto, which LuaJIT supports as well. Every
// backward jump increments a counter, so that each program ends.
type gotoGenerator struct {
	r      *rand.Rand
	b      strings.Builder
	depth  int
	names  int
	budget int
	// locals lists the names in scope that hold numbers.
	locals []string
	// outs lists the labels after the blocks around the current statement.
	outs []string
}

const gotoHead = `local show, list = ...
local a, b, c = 1, 2, 3
local fs, jumps = {}, 0
local function main(p, ...)
`

const gotoTail = `print(list(a, b, c, p, ...))
return a
end
print(pcall(main, 4, 5))
print(list(a, b, c, jumps))
for i = 1, #fs do print(i, list(fs[i]())) end
for i = 1, #fs do print(i, list(fs[i]())) end
`

func gotoProgram(seed uint64) string {
	g := &gotoGenerator{
		r:      rand.New(rand.NewPCG(seed, 3)),
		budget: 14,
		locals: []string{"a", "b", "c", "p"},
	}
	g.b.WriteString(gotoHead)
	for g.budget > 0 {
		g.statement()
	}
	g.b.WriteString(gotoTail)
	return g.b.String()
}

func (g *gotoGenerator) pick(list ...string) string { return list[g.r.IntN(len(list))] }

func (g *gotoGenerator) line(format string, args ...any) { fmt.Fprintf(&g.b, format+"\n", args...) }

func (g *gotoGenerator) fresh(kind string) string {
	g.names++
	return fmt.Sprintf("%s%d", kind, g.names)
}

func (g *gotoGenerator) local() string { return g.locals[g.r.IntN(len(g.locals))] }

func (g *gotoGenerator) number() string {
	return g.pick(g.local(), g.local(), "1", "7", g.local()+" + 1", g.local()+" % 5",
		g.local()+" * 2 % 11")
}

func (g *gotoGenerator) condition() string {
	return g.pick("true", "false", g.local()+" > 3", g.local()+" % 2 == 0", "jumps % 3 == 1",
		g.local()+" == "+g.local(), "not ("+g.local()+" > 2)", g.local()+" < 5 and jumps < 9",
		"nil", g.local()+" > 9 or "+g.local()+" % 3 == 1")
}

func (g *gotoGenerator) statement() {
	g.budget--
	if g.depth < 4 && g.r.IntN(5) < 3 {
		g.depth++
		locals := g.locals
		compound := []func(){
			g.continueLoop, g.continueLoop, g.backward, g.block, g.branch, g.whileLoop,
			g.repeatLoop, g.nested, g.genericFor, g.skip,
		}
		compound[g.r.IntN(len(compound))]()
		g.locals = locals
		g.depth--
		return
	}
	switch g.r.IntN(7) {
	case 0, 1:
		g.line("%s = %s", g.local(), g.number())
	case 2:
		g.line("print(list(%s, %s))", g.local(), g.number())
	case 3:
		name := g.fresh("v")
		g.line("local %s = %s", name, g.number())
		g.locals = append(g.locals[:len(g.locals):len(g.locals)], name)
	case 4:
		g.capture()
	case 5:
		x, y := g.local(), g.local()
		g.line("%s, %s = %s, %s", x, y, y, g.number())
	case 6:
		if len(g.outs) > 0 {
			g.leave()
		}
	}
}

// capture writes a closure over a local and stores it.
func (g *gotoGenerator) capture() {
	x := g.local()
	g.line("fs[#fs + 1] = function() %s = (%s + 1) %% 100 return %s, %s end", x, x, x, g.local())
}

// leave writes a jump to a label after one of the blocks around.
func (g *gotoGenerator) leave() {
	label := g.outs[g.r.IntN(len(g.outs))]
	g.line("if %s then goto %s end", g.condition(), label)
}

// body writes the statements of a block. Its locals end with it.
func (g *gotoGenerator) body(outs ...string) {
	locals, before := g.locals, g.outs
	g.outs = append(g.outs[:len(g.outs):len(g.outs)], outs...)
	for range 1 + g.r.IntN(3) {
		g.statement()
	}
	if len(g.outs) > 0 && g.r.IntN(3) == 0 {
		g.leave()
	}
	g.locals, g.outs = locals, before
}

func (g *gotoGenerator) loopLocal(name string) {
	g.locals = append(g.locals[:len(g.locals):len(g.locals)], name)
	if g.r.IntN(2) == 0 {
		g.line("fs[#fs + 1] = function() %s = %s + 1 return %s end", name, name, name)
	}
}

// jumpEnd writes a jump that is allowed only at the end of a block.
func (g *gotoGenerator) jumpEnd() {
	switch g.r.IntN(8) {
	case 0:
		g.line("break")
	case 1:
		if len(g.outs) > 0 {
			g.line("goto %s", g.outs[g.r.IntN(len(g.outs))])
		}
	}
}

func (g *gotoGenerator) continueLoop() {
	i, label, out := g.fresh("i"), g.fresh("continue"), g.fresh("out")
	if g.r.IntN(3) == 0 {
		label = "continue"
	}
	g.line("for %s = %s do", i, g.pick("1, 3", "1, 4", "3, 1, -1", "1, 2, 0.5"))
	g.loopLocal(i)
	g.line("do")
	g.body(label, out)
	g.line("if %s then goto %s end", g.condition(), label)
	g.body(label, out)
	g.line("end")
	if g.r.IntN(2) == 0 {
		g.line("if %s then", g.condition())
		g.body(out)
		if g.r.IntN(2) == 0 {
			g.line("%s", g.pick("break", "goto "+label, "goto "+out))
		}
		g.line("end")
	}
	g.line("::%s::", label)
	g.line("end")
	g.line("::%s::", out)
}

// backward writes a loop of backward jumps that is limited by a counter.
func (g *gotoGenerator) backward() {
	n, again := g.fresh("n"), g.fresh("again")
	g.line("local %s = 0", n)
	g.line("::%s::", again)
	g.line("do")
	g.body()
	g.line("end")
	switch g.r.IntN(3) {
	case 0:
		g.line("%s = %s + 1 jumps = jumps + 1", n, n)
		g.line("if %s < %d then goto %s end", n, 2+g.r.IntN(3), again)
	case 1:
		x := g.fresh("x")
		g.line(
			"do local %s = %s + 1 fs[#fs + 1] = function() %s = %s + 1 return %s, %s end",
			x,
			n,
			x,
			x,
			x,
			n,
		)
		g.line("%s = %s if %s < %d then goto %s end end", n, x, n, 2+g.r.IntN(3), again)
	case 2:
		g.line("%s = %s + 1", n, n)
		g.line("if %s >= %d then goto %s_end end goto %s", n, 1+g.r.IntN(3), again, again)
		g.line("::%s_end::", again)
	}
}

func (g *gotoGenerator) block() {
	out := g.fresh("out")
	g.line("do")
	g.body(out)
	if g.r.IntN(3) == 0 {
		g.line("goto %s", out)
	}
	g.line("end")
	g.line("::%s::", out)
}

func (g *gotoGenerator) branch() {
	out := g.fresh("out")
	g.line("if %s then", g.condition())
	g.body(out)
	g.line("else")
	g.body(out)
	g.line("end")
	g.line("::%s::", out)
}

func (g *gotoGenerator) whileLoop() {
	n, out := g.fresh("n"), g.fresh("out")
	g.line("local %s = 0 while %s do", n, g.pick("true", n+" < 3", "1", "not false"))
	g.line("%s = %s + 1 if %s > 3 then break end", n, n, n)
	g.body(out, n+"continue")
	g.line("do")
	g.body(out)
	g.jumpEnd()
	g.line("end")
	g.line("::%scontinue::", n)
	g.line("end")
	g.line("::%s::", out)
}

func (g *gotoGenerator) repeatLoop() {
	n, z, out := g.fresh("n"), g.fresh("z"), g.fresh("out")
	g.line("local %s = 0 repeat local %s = %s + 1 %s = %s", n, z, n, n, z)
	g.loopLocal(z)
	g.line("do")
	g.body(out)
	if g.r.IntN(2) == 0 {
		g.line("if %s then goto %scontinue end", g.condition(), n)
		g.body(n + "continue")
	}
	g.line("::%scontinue::", n)
	g.line("end")
	g.line("until %s > %d or %s == 9", n, g.r.IntN(3), z)
	g.line("::%s::", out)
}

// nested writes a function whose labels are its own.
func (g *gotoGenerator) nested() {
	f, outs := g.fresh("f"), g.outs
	g.outs = nil
	g.line("local function %s(q, ...)", f)
	locals := g.locals
	g.locals = append(g.locals[:len(g.locals):len(g.locals)], "q")
	g.body()
	g.line("for i = 1, 2 do if q > i then goto continue end q = q + i ::continue:: end")
	g.line("return q, %s end", g.number())
	g.locals, g.outs = locals, outs
	g.line("print(list(%s(%s)))", f, g.number())
}

func (g *gotoGenerator) genericFor() {
	k, v, out := g.fresh("k"), g.fresh("v"), g.fresh("out")
	g.line("for %s, %s in ipairs({ %s, %s, 3 }) do", k, v, g.number(), g.number())
	g.loopLocal(k)
	g.loopLocal(v)
	g.body(out)
	g.line("do")
	g.body(out)
	g.jumpEnd()
	g.line("end")
	g.line("end")
	g.line("::%s::", out)
}

// skip writes a jump over statements. Sometimes it jumps into the scope of a local,
// which is an error.
func (g *gotoGenerator) skip() {
	label := g.fresh("skip")
	g.line("do if %s then goto %s end", g.condition(), label)
	if g.r.IntN(40) == 0 {
		g.line("local late = 1")
	} else {
		g.line("do")
		g.body(label)
		g.line("end")
	}
	g.line("::%s::", label)
	if g.r.IntN(2) == 0 {
		g.line("print(%s)", g.number())
	}
	g.line("end")
}
