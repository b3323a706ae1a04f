package compile

import (
	"fmt"
	"strings"
)

const (
	// MaxTokens is the largest number of tokens of a source. It limits the time that
	// compiling takes.
	MaxTokens = 1_000_000
	// MaxSyntax is the largest nesting depth of brackets, blocks and functions. The
	// compiler is recursive, and Go cannot recover from a stack overflow.
	MaxSyntax = 200
	// maxConcat is the largest number of right associative operators in an
	// expression. Each of them needs a register.
	maxConcat = 250
	// maxChain is the largest number of other operators, calls and fields in an
	// expression, and of branches in an if statement.
	maxChain = 2000
)

// grammar checks the syntax of a source, in the order and with the error texts of the
// reference implementation. It also limits the nesting, because the compiler is
// recursive. It does not build a tree. gopher-lua's parser does that, but its errors
// are less precise.
type grammar struct {
	lexer
	tok       token // the current token
	ahead     token // the token after tok, if aheadRead is set
	aheadRead bool
	last      token // the token before tok
	levels    int   // open brackets, blocks, functions and unary operators
	chain     int   // operators, calls and fields of the current expression
	function  *functionSyntax

	// finalAt is the offset after the last return or break, and statementAt the
	// offset of the last assignment or call. Both are for hints.
	finalAt, statementAt int
	// suspect is the first token that opens a block whose end is indented less than
	// the token. Probably the end of that block is missing.
	suspect token
}

type functionSyntax struct {
	outer  *functionSyntax
	vararg bool
	loops  int
}

// check returns the first syntax error of src, and the spans that must be hidden from
// gopher-lua's parser.
func check(src string) (blanks []span, err *Error) {
	g := grammar{
		lexer:    lexer{src: src, line: 1},
		function: &functionSyntax{vararg: true},
		finalAt:  -1, statementAt: -1,
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error:
			e.locate(src)
			if e.Hint == "" {
				e.Hint = g.hint(e)
			}
			err = e
		default:
			panic(e)
		}
	}()
	g.next()
	g.block()
	if g.tok.kind != tokEOF {
		g.wanted(tokEOF)
	}
	return g.blanks, nil
}

func (g *grammar) next() {
	g.last = g.tok
	if g.aheadRead {
		g.tok, g.aheadRead = g.ahead, false
		return
	}
	g.tok = g.scan()
}

func (g *grammar) lookAhead() kind {
	if !g.aheadRead {
		g.ahead, g.aheadRead = g.scan(), true
	}
	return g.ahead.kind
}

// skip advances to the next token if the current one is of kind k, and reports whether
// it did.
func (g *grammar) skip(k kind) bool {
	if g.tok.kind != k {
		return false
	}
	g.next()
	return true
}

// near panics with an error at the current token, which check returns.
func (g *grammar) near(message string) {
	panic(&Error{
		Message:    fmt.Sprintf("%s near '%s'", message, cut(g.tok.text(g.src))),
		Line:       g.tok.line,
		Incomplete: g.tok.kind == tokEOF,
		at:         g.tok,
	})
}

// wanted panics with the error that a token of kind k was expected.
func (g *grammar) wanted(k kind) {
	panic(&Error{
		Message:    fmt.Sprintf("'%s' expected near '%s'", k, cut(g.tok.text(g.src))),
		Line:       g.tok.line,
		Incomplete: g.tok.kind == tokEOF,
		at:         g.tok,
		wants:      k,
	})
}

// need skips a token of kind k, or panics if the current token is of another kind.
func (g *grammar) need(k kind) {
	if !g.skip(k) {
		g.wanted(k)
	}
}

// closes skips a token of kind k, which ends the construct that the token open began.
// It panics if the current token is of another kind.
func (g *grammar) closes(k kind, open token) {
	if g.tok.kind == k {
		if g.suspect.end == 0 && k == tokEnd && g.indent(g.tok) < g.indent(open) {
			g.suspect = open
		}
		g.next()
		return
	}
	if g.tok.line == open.line {
		g.wanted(k)
	}
	panic(&Error{
		Message: fmt.Sprintf("'%s' expected (to close '%s' at line %d) near '%s'", k,
			open.text(g.src), open.line, cut(g.tok.text(g.src))),
		Line:       g.tok.line,
		Incomplete: g.tok.kind == tokEOF,
		at:         g.tok,
		wants:      k,
		Opening:    open.text(g.src),
		OpenLine:   open.line,
	})
}

// indent returns the length of the white space at the beginning of a token's line, in
// bytes. It counts at most 100.
func (g *grammar) indent(t token) int {
	n := 0
	for n < 100 && (g.src[t.lineAt+n] == ' ' || g.src[t.lineAt+n] == '\t') {
		n++
	}
	return n
}

// enter counts a level of nesting. leave must be called at its end.
func (g *grammar) enter() {
	g.levels++
	if g.levels > MaxSyntax {
		g.fail(g.tok, fmt.Sprintf("chunk has too many syntax levels (limit is %d)", MaxSyntax))
	}
}

func (g *grammar) leave() { g.levels-- }

// link counts an operator, a call or a field.
func (g *grammar) link() {
	g.chain++
	if g.chain > maxChain {
		g.fail(g.tok, fmt.Sprintf("expression is too long (limit is %d operators)", maxChain))
	}
}

// block checks statements up to a token that ends a block.
func (g *grammar) block() {
	g.enter()
	defer g.leave()
	for {
		switch g.tok.kind {
		case tokEOF, tokEnd, tokElse, tokElseif, tokUntil:
			return
		case tokReturn:
			g.next()
			if !g.blockEnds() && g.tok.kind != ';' {
				g.exprs()
			}
			g.skip(';')
			g.finalAt = g.tok.at
			return
		case tokBreak:
			g.next()
			if g.function.loops == 0 {
				g.near("no loop to break")
			}
			g.skip(';')
			g.finalAt = g.tok.at
			return
		case ';':
			g.next()
		default:
			g.statement()
		}
	}
}

func (g *grammar) blockEnds() bool {
	switch g.tok.kind {
	case tokEOF, tokEnd, tokElse, tokElseif, tokUntil:
		return true
	}
	return false
}

func (g *grammar) statement() {
	open := g.tok
	switch open.kind {
	case tokIf:
		g.ifStatement()
	case tokWhile:
		g.next()
		g.expr()
		g.need(tokDo)
		g.loop()
		g.closes(tokEnd, open)
	case tokDo:
		g.next()
		g.block()
		g.closes(tokEnd, open)
	case tokFor:
		g.forStatement()
	case tokRepeat:
		g.next()
		g.loop()
		g.closes(tokUntil, open)
		g.expr()
	case tokFunction:
		g.next()
		g.name()
		for g.skip('.') {
			g.name()
		}
		if g.skip(':') {
			g.name()
		}
		g.body(open)
	case tokLocal:
		g.localStatement()
	case tokLabel:
		g.next()
		g.name()
		g.need(tokLabel)
	case tokGoto:
		g.next()
		g.name()
	default:
		g.exprStatement()
	}
}

func (g *grammar) name() { g.need(tokName) }

func (g *grammar) names() {
	g.name()
	for g.skip(',') {
		g.name()
	}
}

func (g *grammar) loop() {
	g.function.loops++
	g.block()
	g.function.loops--
}

func (g *grammar) ifStatement() {
	open := g.tok
	for branches := 0; branches == 0 || g.tok.kind == tokElseif; branches++ {
		if branches > maxChain {
			g.fail(g.tok, fmt.Sprintf("too many elseif branches (limit is %d)", maxChain))
		}
		g.next()
		g.expr()
		g.need(tokThen)
		g.block()
	}
	if g.skip(tokElse) {
		g.block()
	}
	g.closes(tokEnd, open)
}

func (g *grammar) forStatement() {
	open := g.tok
	g.next()
	g.name()
	switch g.tok.kind {
	case '=':
		g.next()
		g.expr()
		g.need(',')
		g.expr()
		if g.skip(',') {
			g.expr()
		}
	case ',', tokIn:
		for g.skip(',') {
			g.name()
		}
		g.need(tokIn)
		g.exprs()
	default:
		g.near("'=' or 'in' expected")
	}
	g.need(tokDo)
	g.loop()
	g.closes(tokEnd, open)
}

func (g *grammar) localStatement() {
	g.next()
	if open := g.tok; g.skip(tokFunction) {
		g.name()
		g.body(open)
		return
	}
	g.names()
	if g.skip('=') {
		g.exprs()
	}
}

// body checks the parameters and the block of a function that began with open.
func (g *grammar) body(open token) {
	g.function = &functionSyntax{outer: g.function}
	g.need('(')
	for g.tok.kind != ')' {
		if g.skip(tokDots) {
			g.function.vararg = true
			break
		}
		if g.tok.kind != tokName {
			g.near("<name> or '...' expected")
		}
		g.next()
		if !g.skip(',') {
			break
		}
		if g.tok.kind == ')' {
			g.near("<name> or '...' expected")
		}
	}
	g.need(')')
	g.block()
	g.closes(tokEnd, open)
	g.function = g.function.outer
}

// exprStatement checks a call or an assignment.
func (g *grammar) exprStatement() {
	g.statementAt = g.tok.at
	switch g.suffixed() {
	case callExpr:
		return
	case valueExpr:
		g.near("syntax error")
	}
	for targets := 1; g.skip(','); targets++ {
		if targets > MaxSyntax {
			g.fail(g.tok, fmt.Sprintf("too many variables in assignment (limit is %d)", MaxSyntax))
		}
		if g.suffixed() != targetExpr {
			g.near("syntax error")
		}
	}
	g.need('=')
	g.exprs()
}

func (g *grammar) exprs() {
	g.expr()
	for g.skip(',') {
		g.expr()
	}
}

// cut shortens the text of a token for an error message.
func cut(text string) string {
	const limit = 60
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > limit {
		return text[:limit] + "..."
	}
	return text
}
