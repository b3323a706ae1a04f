package compile

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/imdlua/imdlua/runtime/host/luanum"
)

// kind is the kind of a token. The kind of an operator of one character is the
// character.
type kind rune

const (
	tokEOF kind = -1 - iota
	tokName
	tokNumber
	tokString
	tokConcat // ..
	tokDots   // ...
	tokEq
	tokNotEq
	tokLessEq
	tokMoreEq
	tokLabel // ::
	tokAnd
	tokBreak
	tokDo
	tokElse
	tokElseif
	tokEnd
	tokFalse
	tokFor
	tokFunction
	tokGoto
	tokIf
	tokIn
	tokLocal
	tokNil
	tokNot
	tokOr
	tokRepeat
	tokReturn
	tokThen
	tokTrue
	tokUntil
	tokWhile
)

var keywords = map[string]kind{
	"and": tokAnd, "break": tokBreak, "do": tokDo, "else": tokElse, "elseif": tokElseif,
	"end": tokEnd, "false": tokFalse, "for": tokFor, "function": tokFunction, "goto": tokGoto,
	"if": tokIf, "in": tokIn, "local": tokLocal, "nil": tokNil, "not": tokNot, "or": tokOr,
	"repeat": tokRepeat, "return": tokReturn, "then": tokThen, "true": tokTrue,
	"until": tokUntil, "while": tokWhile,
}

// kindTexts holds the names in error texts of the kinds that are not keywords or single
// characters.
var kindTexts = map[kind]string{
	tokEOF: "<eof>", tokName: "<name>", tokConcat: "..", tokDots: "...", tokEq: "==",
	tokNotEq: "~=", tokLessEq: "<=", tokMoreEq: ">=", tokLabel: "::",
}

// String returns the name of the kind in error texts.
func (k kind) String() string {
	if text, ok := kindTexts[k]; ok {
		return text
	}
	for text, keyword := range keywords {
		if keyword == k {
			return text
		}
	}
	return string(rune(k))
}

// token is one token of the source. Its text is src[at:end]. It begins in line, which
// begins at lineAt, and ends in lastLine.
type token struct {
	kind           kind
	at, end        int
	line, lastLine int
	lineAt         int
}

// lexer reads tokens. For an error it panics with an *Error.
type lexer struct {
	src    string
	at     int
	line   int
	lineAt int // the offset at which the line begins
	// blanks holds the spans of comments and white space that gopher-lua's lexer
	// would reject.
	blanks []span
	tokens int
}

type span struct{ from, to int }

// scan returns the next token.
func (l *lexer) scan() token {
	l.space()
	l.tokens++
	if l.tokens > MaxTokens {
		l.fail(token{at: l.at, end: l.at, line: l.line},
			fmt.Sprintf("the source has more than %d names, operators and values", MaxTokens))
	}
	t := token{kind: tokEOF, at: l.at, end: l.at, line: l.line, lineAt: l.lineAt}
	if l.at == len(l.src) {
		return t
	}
	c := l.src[l.at]
	switch {
	case isNameStart(c):
		t.kind = l.name()
	case isDigit(c) || c == '.' && isDigit(l.peek(1)):
		t.kind = tokNumber
		l.number(t)
	case c == '"' || c == '\'':
		t.kind = tokString
		l.quoted(t)
	case c == '[' && longLevel(l.src[l.at:]) >= 0:
		t.kind = tokString
		l.long(t, "string")
	case c == '[' && l.peek(1) == '=':
		for l.at++; l.peek(0) == '='; l.at++ {
		}
		l.fail(t, "invalid long string delimiter near '"+l.src[t.at:l.at]+"'")
	default:
		t.kind = l.operator()
	}
	t.end, t.lastLine = l.at, l.line
	return t
}

// peek returns the byte that is n bytes ahead, or 0 at the end.
func (l *lexer) peek(n int) byte {
	if l.at+n < len(l.src) {
		return l.src[l.at+n]
	}
	return 0
}

// space skips white space and comments.
func (l *lexer) space() {
	for l.at < len(l.src) {
		switch c := l.src[l.at]; {
		case c == '\n' || c == '\r':
			l.newline()
		case c == '\v' || c == '\f':
			l.blanks = append(l.blanks, span{l.at, l.at + 1})
			l.at++
		case c == ' ' || c == '\t':
			l.at++
		case c == '-' && l.peek(1) == '-':
			l.comment()
		default:
			return
		}
	}
}

// newline skips the end of a line, which may have two bytes.
func (l *lexer) newline() {
	c := l.src[l.at]
	l.at++
	if next := l.peek(0); next != c && (next == '\n' || next == '\r') {
		l.at++
	}
	l.line++
	l.lineAt = l.at
}

func (l *lexer) comment() {
	t := token{at: l.at, line: l.line}
	l.at += 2
	if longLevel(l.src[l.at:]) >= 0 {
		l.long(t, "comment")
		return
	}
	if l.peek(0) == '[' && l.peek(1) == '=' {
		l.blanks = append(l.blanks, span{l.at, l.at + 1})
	}
	if n := strings.IndexAny(l.src[l.at:], "\r\n"); n >= 0 {
		l.at += n
	} else {
		l.at = len(l.src)
	}
}

// longLevel returns the number of "=" in the long bracket at the beginning of s, or -1
// if there is no long bracket.
func longLevel(s string) int {
	n := 1
	for n < len(s) && s[n] == '=' {
		n++
	}
	if n < len(s) && s[0] == '[' && s[n] == '[' {
		return n - 1
	}
	return -1
}

// long skips a long string or comment.
func (l *lexer) long(t token, what string) {
	n := longLevel(l.src[l.at:])
	closing := "]" + strings.Repeat("=", n) + "]"
	body := l.src[l.at+n+2:]
	size := strings.Index(body, closing)
	if size < 0 {
		text := fmt.Sprintf("unfinished long %s (starting at line %d)", what, l.line)
		for l.at < len(l.src) {
			l.step()
		}
		l.failOpen(t, text)
	}
	for to := l.at + n + 2 + size + len(closing); l.at < to; {
		l.step()
	}
}

// step skips one byte, or the end of a line.
func (l *lexer) step() {
	if c := l.src[l.at]; c == '\n' || c == '\r' {
		l.newline()
	} else {
		l.at++
	}
}

func (l *lexer) quoted(t token) {
	quote := l.src[l.at]
	for l.at++; l.at < len(l.src); {
		switch c := l.src[l.at]; c {
		case quote:
			l.at++
			return
		case '\n', '\r':
			t.end = l.at
			l.fail(t, "unfinished string near '"+t.text(l.src)+"'")
		case '\\':
			l.escape(t)
		default:
			l.at++
		}
	}
	if strings.HasSuffix(l.src, "\\") {
		l.failOpen(t, "unfinished string")
	}
	l.fail(t, "unfinished string near '<eof>'")
}

func (l *lexer) escape(t token) {
	from := l.at
	l.at++
	if l.at == len(l.src) {
		return
	}
	if !isDigit(l.src[l.at]) {
		l.step()
		return
	}
	value := 0
	for n := 0; n < 3 && isDigit(l.peek(0)); n++ {
		value = value*10 + int(l.src[l.at]-'0')
		l.at++
	}
	if value > 255 {
		t.end = l.at
		l.fail(token{at: from, end: l.at, line: l.line},
			"escape sequence too large near '"+t.text(l.src)+"'")
	}
}

func (l *lexer) name() kind {
	from := l.at
	for l.at < len(l.src) && (isNameStart(l.src[l.at]) || isDigit(l.src[l.at])) {
		l.at++
	}
	if l.at-from <= len("function") {
		if k, ok := keywords[l.src[from:l.at]]; ok {
			return k
		}
	}
	return tokName
}

// number reads a number as far as Lua 5.1 does, and fails if it is malformed. The
// parser of gopher-lua would read 3x as 3 and x.
func (l *lexer) number(t token) {
	for l.peek(0) == '.' || isDigit(l.peek(0)) {
		l.at++
	}
	if l.peek(0)|0x20 == 'e' {
		l.at++
		if c := l.peek(0); c == '+' || c == '-' {
			l.at++
		}
	}
	for isNameStart(l.peek(0)) || isDigit(l.peek(0)) {
		l.at++
	}
	t.end = l.at
	text := t.text(l.src)
	_, ok := luanum.Parse(text)
	hexFraction := len(text) > 1 && text[1]|0x20 == 'x' && strings.ContainsAny(text, ".pP")
	if !ok || hexFraction {
		l.fail(t, "malformed number near '"+text+"'")
	}
}

// operator reads an operator, or a character that has no meaning in Lua.
func (l *lexer) operator() kind {
	rest := l.src[l.at:]
	for _, o := range [...]struct {
		text string
		kind kind
	}{
		{"...", tokDots}, {"..", tokConcat}, {"==", tokEq}, {"~=", tokNotEq}, {"<=", tokLessEq},
		{">=", tokMoreEq}, {"::", tokLabel},
	} {
		if strings.HasPrefix(rest, o.text) {
			l.at += len(o.text)
			return o.kind
		}
	}
	c, size := utf8.DecodeRuneInString(rest)
	l.at += size
	return kind(c)
}

// text returns the text of a token.
func (t token) text(src string) string {
	if t.kind == tokEOF {
		return "<eof>"
	}
	return src[t.at:t.end]
}

// fail panics with an error at a token.
func (l *lexer) fail(t token, message string) {
	if t.end <= t.at {
		t.end = l.at
	}
	panic(&Error{Message: message, Line: t.line, at: t})
}

// failOpen panics with an error about a string or comment that has no end.
func (l *lexer) failOpen(t token, message string) {
	t.end = t.at + 2
	panic(&Error{Message: message + " near '<eof>'", Line: t.line, at: t, Incomplete: true})
}

// column returns the number of the character at an offset within its line, counted
// from 1.
func column(src string, at int) int {
	from := strings.LastIndexAny(src[:at], "\r\n") + 1
	return utf8.RuneCountInString(src[from:at]) + 1
}

func isNameStart(c byte) bool {
	return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
