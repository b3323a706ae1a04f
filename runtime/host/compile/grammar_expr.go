package compile

import "fmt"

// shape says how an expression can be used.
type shape int

const (
	valueExpr  shape = iota // only as a value
	targetExpr              // also as the target of an assignment
	callExpr                // also as a statement
)

// priorities holds the priorities of the binary operators. An operator is right
// associative if its right priority is lower than its left one.
var priorities = map[kind]struct{ left, right int }{
	tokOr: {1, 1}, tokAnd: {2, 2},
	'<': {3, 3}, '>': {3, 3}, tokLessEq: {3, 3}, tokMoreEq: {3, 3}, tokNotEq: {3, 3}, tokEq: {3, 3},
	tokConcat: {5, 4}, '+': {6, 6}, '-': {6, 6},
	'*': {7, 7}, '/': {7, 7}, '%': {7, 7}, '^': {10, 9},
}

const unaryPriority = 8

func (g *grammar) expr() {
	chain := g.chain
	g.operand(0, 0)
	g.chain = chain
}

// operand checks an expression whose operators have a priority above limit. right is
// the number of right associative operators to the left of it.
func (g *grammar) operand(limit, right int) {
	if k := g.tok.kind; k == tokNot || k == '-' || k == '#' {
		g.enter()
		g.next()
		g.operand(unaryPriority, right)
		g.leave()
	} else {
		g.simple()
	}
	for {
		p, ok := priorities[g.tok.kind]
		if !ok || p.left <= limit {
			return
		}
		g.link()
		rights := right
		if p.right < p.left {
			rights++
		}
		if rights > maxConcat {
			g.fail(g.tok, fmt.Sprintf("expression has too many operators that group to the "+
				"right (limit is %d)", maxConcat))
		}
		g.next()
		g.operand(p.right, rights)
	}
}

func (g *grammar) simple() {
	switch open := g.tok; open.kind {
	case tokNumber, tokString, tokNil, tokTrue, tokFalse:
		g.next()
	case tokDots:
		if !g.function.vararg {
			g.near("cannot use '...' outside a vararg function")
		}
		g.next()
	case '{':
		g.table()
	case tokFunction:
		g.next()
		g.body(open)
	default:
		g.suffixed()
	}
}

// suffixed checks a name or an expression in parentheses, and the fields and calls
// after it.
func (g *grammar) suffixed() shape {
	is := g.prefix()
	chain := g.chain
	defer func() { g.chain = chain }()
	for {
		switch g.tok.kind {
		case '.':
			g.link()
			g.next()
			g.name()
			is = targetExpr
		case '[':
			g.link()
			g.index()
			is = targetExpr
		case ':':
			g.link()
			g.next()
			g.name()
			g.arguments()
			is = callExpr
		case '(', '{', tokString:
			g.link()
			g.arguments()
			is = callExpr
		default:
			return is
		}
	}
}

func (g *grammar) prefix() shape {
	switch open := g.tok; open.kind {
	case tokName:
		g.next()
		return targetExpr
	case '(':
		g.enter()
		g.next()
		g.expr()
		g.closes(')', open)
		g.leave()
		return valueExpr
	}
	g.near("unexpected symbol")
	return valueExpr
}

func (g *grammar) index() {
	g.enter()
	g.next()
	g.expr()
	g.need(']')
	g.leave()
}

func (g *grammar) arguments() {
	switch open := g.tok; open.kind {
	case tokString:
		g.next()
	case '{':
		g.table()
	case '(':
		if open.line != g.last.lastLine {
			g.near("ambiguous syntax (function call x new statement)")
		}
		g.enter()
		g.next()
		if g.tok.kind != ')' {
			g.exprs()
		}
		g.closes(')', open)
		g.leave()
	default:
		g.near("function arguments expected")
	}
}

func (g *grammar) table() {
	open := g.tok
	g.enter()
	g.next()
	for g.tok.kind != '}' {
		switch {
		case g.tok.kind == '[':
			g.index()
			g.need('=')
			g.expr()
		case g.tok.kind == tokName && g.lookAhead() == '=':
			g.next()
			g.next()
			g.expr()
		default:
			g.expr()
		}
		if !g.skip(',') && !g.skip(';') {
			break
		}
	}
	g.closes('}', open)
	g.leave()
}
