package compile_test

import (
	"fmt"
	"strings"
)

var patternsForText = []string{
	"'l+'", "'%w+'", "'(%w)(%d*)'", "'.'", "''", "'o.-l'", "'^h'", "'d$'", "'[^,]+'", "'()'",
	"'%s'", "'(a)(b?)'", "'%f[%w]%w'", "'x*'", "'%d+'", "'[%a,]-%d'", "'%b12'", "'(.)%1'",
}

var numberTexts = []string{
	"'10'", "' 10 '", "'0x1F'", "'1e2'", "'.5'", "'5.'", "'-3'", "'- 3'", "''", "' '", "'1 2'",
	"'0x'", "'1e'", "'abc'", "'0b11'", "'1_0'", "'010'", "'1e400'", "'+7'", "'--1'", "'0x1p4'",
	"'1,5'", "'\\t7\\n'", "'0x10.8'", "'ff'", "'zz'", "'7f'",
}

func (g *libraryGenerator) values(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = g.value()
	}
	return strings.Join(out, ", ")
}

// value returns an expression of any type.
func (g *libraryGenerator) value() string {
	switch g.r.IntN(9) {
	case 0, 1, 2:
		return g.number(2)
	case 3, 4:
		return g.text(2)
	case 5:
		return g.boolean(1)
	case 6:
		return g.pick("nil", "o1", "r1.x", "r1[1]", "r1['1']", "l1[1]", "l2[#l2]", "true")
	case 7:
		return fmt.Sprintf("say(%s)", g.number(1))
	}
	return g.pick("...", "(...)", "select('#', ...)", "l1[n1]", "r1[n1]", "o1.twice", "w1.v")
}

// number returns an expression for a number.
func (g *libraryGenerator) number(depth int) string {
	if depth == 0 || g.r.IntN(5) == 0 {
		return g.pick(append([]string{"1", "2", "0.5", "-7", "#s1", "#l1", "1e3", "0x10",
			"2^10", "100", "1e15", "2^53", "-0.25"}, g.nums...)...)
	}
	x, y := g.number(depth-1), g.number(depth-1)
	switch g.r.IntN(16) {
	case 0, 1, 2:
		return fmt.Sprintf("(%s %s %s)", x, g.pick("+", "-", "*", "/"), y)
	case 3:
		return fmt.Sprintf("(safe(%s) %% %s)", x, g.pick("3", "-3", "0.75", "7", "0", "1e10"))
	case 4:
		return fmt.Sprintf("-%s", x)
	case 5:
		return fmt.Sprintf("math.%s(%s)", g.pick("floor", "ceil", "abs", "sqrt"), x)
	case 6:
		return fmt.Sprintf("math.%s(%s, %s)", g.pick("max", "min"), x, y)
	case 7:
		return fmt.Sprintf("#%s", g.atom())
	case 8:
		return fmt.Sprintf("(safe(%s) ^ %s)", x, g.pick("2", "0.5", "-1", "0"))
	case 9:
		return fmt.Sprintf("(tonumber(%s) or %s)", g.pick(numberTexts...), x)
	case 10:
		return fmt.Sprintf("(%s + '%d')", x, g.r.IntN(20))
	case 11:
		return fmt.Sprintf("(%s and %s or %s)", g.boolean(depth-1), x, y)
	case 12:
		return fmt.Sprintf("say(%s)", x)
	case 13:
		return fmt.Sprintf("math.fmod(%s, %s)", x, g.pick("3", "-3", "0.7"))
	case 14:
		return fmt.Sprintf("(select(%d, %s, %s))", 1+g.r.IntN(2), x, y)
	}
	return fmt.Sprintf("(function(a, b) %s return a end)(%s, %s)",
		g.pick("a = b", "a, b = b, a", "b = a", "if a then a = b end", "local a = b"), x, y)
}

// atom returns an expression for a string that may stand before a colon.
func (g *libraryGenerator) atom() string {
	return g.pick("s1", "s2", "('abc')", "(s1 .. s2)", "tostring(safe(n1))")
}

// text returns an expression for a string.
func (g *libraryGenerator) text(depth int) string {
	if depth == 0 || g.r.IntN(5) == 0 {
		return g.pick("s1", "s2", "'abc'", "''", "'a\\0b'", "'x,y;z'", `"it's"`, "'l\\nm'", "'%d'")
	}
	i := g.pick("1", "2", "-2", "0", "-100", "100", "n1", "3.7", "#s1", "'2'")
	switch g.r.IntN(14) {
	case 0:
		return fmt.Sprintf("(%s):sub(%s, %s)", g.text(depth-1), i, g.pick("3", "-1", "n1", "-2"))
	case 1:
		return fmt.Sprintf("(%s):rep(small(%s))", g.text(depth-1), g.number(depth-1))
	case 2:
		return fmt.Sprintf("%s:%s()", g.atom(), g.pick("upper", "lower", "reverse"))
	case 3, 4:
		return fmt.Sprintf("(%s .. %s)", g.part(depth-1), g.part(depth-1))
	case 5:
		return fmt.Sprintf("(%s .. %s .. %s)", g.part(0), g.part(depth-1), g.part(0))
	case 6:
		return g.format()
	case 7:
		return fmt.Sprintf("(%s:gsub(%s, %s))", g.atom(), g.pick(patternsForText...),
			g.pick("'-'", "'<%0>'", "''", "{ l = 'L' }", "function(c) return c .. '_' end"))
	case 8:
		return fmt.Sprintf("(%s:match(%s) or 'none')", g.atom(), g.pick(patternsForText...))
	case 9:
		return fmt.Sprintf("string.char(%s)", g.pick("65", "65, 66", "", "'67'", "68.9"))
	case 10:
		return fmt.Sprintf("table.concat(%s, %s)", g.pick("l1", "l2"), g.pick("','", "''", "5"))
	case 11:
		return fmt.Sprintf(
			"tostring(%s)",
			g.pick("safe("+g.number(depth-1)+")", "true", "nil", "o1",
				"s1", "1e13", "123456789012", "-1.5", "0x7fffffff", "1e-3", "2^31"),
		)
	case 12:
		return fmt.Sprintf("(%s and %s or %s)", g.boolean(depth-1), g.text(depth-1), g.text(0))
	}
	return fmt.Sprintf("say(%s)", g.text(depth-1))
}

// part returns an operand of a concatenation.
func (g *libraryGenerator) part(depth int) string {
	if g.r.IntN(3) == 0 {
		return fmt.Sprintf("safe(%s)", g.number(depth))
	}
	return g.text(depth)
}

func (g *libraryGenerator) format() string {
	n := g.number(1)
	t := fmt.Sprintf("(%s):gsub('%%z', '0')", g.text(0))
	return g.pick(
		fmt.Sprintf("('%%d|%%5d|%%-5d|%%05d'):format(n1, safe(%s), 7, 42)", n),
		fmt.Sprintf("('%%5.2f|%%g|%%.3g|%%e'):format(safe(%s), n2, 1234567, 0.00012)", n),
		fmt.Sprintf("('%%s|%%10s|%%-10s|%%.2s'):format((%s), 'ab', 'cd', 'efgh')", t),
		fmt.Sprintf("('%%q'):format((%s))", t),
		"('%x %X %o %#x %c'):format(255, 255, 8, 16, 65)",
		fmt.Sprintf("('%%i %%u %%+d %%%%'):format(safe(%s), 3, 5)", n),
		fmt.Sprintf("('%%s %%s'):format((s1:gsub('%%z', '')), %s)", "safe("+n+")"),
		"('%.14g %.0f %5.1f'):format(2^53, 0.5, 1/3)",
	)
}

// boolean returns an expression for a condition.
func (g *libraryGenerator) boolean(depth int) string {
	if depth <= 0 || g.r.IntN(5) == 0 {
		return g.pick("true", "false", "nil", "n1 > 2", "s1 == s2", "#l1 > 2", "r1.x", "n2")
	}
	switch g.r.IntN(10) {
	case 0, 1:
		return fmt.Sprintf("%s %s %s", g.number(depth-1), g.pick("<", "<=", ">", ">=", "==", "~="),
			g.number(depth-1))
	case 2:
		return fmt.Sprintf("%s %s %s", g.text(depth-1), g.pick("<", "<=", ">", ">=", "==", "~="),
			g.text(depth-1))
	case 3:
		return fmt.Sprintf(
			"(%s %s %s)",
			g.boolean(depth-1),
			g.pick("and", "or"),
			g.boolean(depth-1),
		)
	case 4:
		return fmt.Sprintf("not (%s)", g.boolean(depth-1))
	case 5:
		return fmt.Sprintf("%s %s %s", g.pick("o1", "o2"), g.pick("<", "<=", ">", ">=", "==", "~="),
			g.pick("o1", "o2", "V.new(4)"))
	case 6:
		return fmt.Sprintf("%s:find(%s%s)", g.atom(), g.pick(patternsForText...),
			g.pick("", ", 2", ", -1", ", 1, true", ", 100"))
	case 7:
		return fmt.Sprintf("type(%s) == %s", g.value(), g.pick("'number'", "'string'", "'nil'"))
	case 8:
		return fmt.Sprintf("%s == %s", g.value(), g.value())
	}
	return fmt.Sprintf("say(%s)", g.pick("true", "false", "nil", "n1"))
}

// object returns an expression on values with metamethods.
func (g *libraryGenerator) object() string {
	o := g.pick("o1", "o2", "w1")
	x := g.pick("o1", "o2", "2", "n1", "'3'")
	if x == o {
		x = "5"
	}
	return g.pick(
		fmt.Sprintf("o1 %s %s", g.pick("+", "-", "*", "/", "%", "^"), x),
		fmt.Sprintf("%s %s o2", x, g.pick("+", "-", "*", "/", "%", "^")),
		"-o1", "-(-o2)", "o1 .. 'x'", "'x' .. o1", "1 .. o2 .. o1", "o1 .. o2 .. 'y' .. 2",
		"o1(1, nil, 3)", "o2()", "(o1(n1))", "o1:get()", "w1:get()", "o1.count(o1, ...)",
		"o1:set(n1):get()", "o1.twice", "w1.twice", "w1.nothing", "rawget(o1, 'twice')",
		"rawequal(o1, o2), o1 == o2", "tostring(o1)", "o1 + o2 * 2 - 1", "w1 <= w1, w1 == w1",
		"w1 < w1", "select('#', o1 * 2)", "#{ o1 * 2, o1(1) }", "getmetatable(o1) == V",
		fmt.Sprintf("%s.v", o),
	)
}

// doubtful returns an expression that often fails.
func (g *libraryGenerator) doubtful() string {
	v := g.value()
	return g.pick(
		fmt.Sprintf("(%s) + (%s)", v, g.value()),
		fmt.Sprintf("(%s) .. (%s)", g.pick("nil", "true", "s1", "{}", "o1"), g.text(0)),
		fmt.Sprintf("(%s) < (%s)", g.value(), g.value()),
		fmt.Sprintf("-(%s)", g.pick("s1", "'5'", "nil", "o1", "{}", "'0x10'")),
		fmt.Sprintf("#(%s)", g.pick("n1", "nil", "s1", "l1", "true")),
		"r1.x.y.z",
		"n1.x",
		"l1[1].x",
		"(nil).x",
		"l1[nil]",
		"r1.nothing()",
		"n1()",
		"s1()",
		"s1:nothing()",
		"o1:nothing()",
		"l1:nothing()",
		"rawset(r1, nil, 1)",
		"setmetatable(1, {})",
		"r1[0/0]",
		fmt.Sprintf("tonumber((%s):gsub('%%-', ''), %s)", g.pick(numberTexts...),
			g.pick("10", "16", "2", "36", "8")),
		fmt.Sprintf("tonumber(%s)", g.pick(numberTexts...)),
		fmt.Sprintf("(%s) * 2", g.pick(numberTexts...)),
		fmt.Sprintf("string.rep(%s, %s)", g.text(0), g.pick("-1", "0", "'2'", "nil", "2.7")),
		fmt.Sprintf("string.byte(%s, %s)", g.text(0), g.pick("1, -1", "0", "10, 5", "-1", "'1'")),
		fmt.Sprintf("string.char(%s)", g.pick("256", "-1", "nil", "'x'", "300, 5")),
		fmt.Sprintf("string.find(%s, %s, %s)", g.text(0), g.pick(patternsForText...),
			g.pick("1", "-1", "nil", "'2'", "100", "2, true", "-100")),
		fmt.Sprintf("string.match(%s, %s, %s)", g.text(0), g.pick(patternsForText...),
			g.pick("1", "-1", "nil", "3")),
		fmt.Sprintf("string.format(%s, %s)", g.pick("'%y'", "'%5.1f'", "'%'", "'%%'"), g.value()),
		fmt.Sprintf("string.format(%s, safe(%s))", g.pick("'%d'", "'%x'", "'%10.4d'",
			"'%-+5d|'", "'% d'"), g.number(1)),
		fmt.Sprintf("table.concat({ %s, %s }, %s)", g.pick("1", "'a'", "nil", "true"),
			g.pick("2", "'b'", "{}"), g.pick("','", "nil", "5, 1, 2", "',', 2", "',', 2, 1")),
		fmt.Sprintf("select(%s, %s)", g.pick("1", "-1", "0", "'#'", "5", "-5", "'x'", "1.9"), v),
		fmt.Sprintf(
			"unpack({ %s, 2, 3 }, %s)",
			g.value(),
			g.pick("1", "2", "-1, 1", "2, 1", "1, 5"),
		),
		fmt.Sprintf("math.floor(%s)", v),
		fmt.Sprintf("ipairs(%s)", g.pick("nil", "5", "s1")),
		fmt.Sprintf("math.modf(%s)", g.number(0)),
		"math.max()",
		"next({}, 1)",
		"next({ 5 })",
		fmt.Sprintf("tostring(%s)", g.pick("", "nil", "n1")),
		"table.insert(l1, 1, 2, 3)",
		"table.remove({})",
		"coroutine.resume(5)",
		"(coroutine.wrap(function() error('w') end)())",
		"coroutine.yield(1)",
		fmt.Sprintf("assert(n1, %s)", g.value()),
		"assert()",
		"error()",
		"(loadstring('return 1 +'))",
		"loadstring('return ...', '=c')(n1)",
		"(loadstring('x ='))",
		g.object(),
	)
}
