package compile

import (
	"fmt"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/luanum"
	"github.com/imdlua/imdlua/runtime/host/vm"
)

// scanDepth reads tokens only as well as is needed to count what makes the
// parser or the compiler recurse, and checks numbers. It returns nil if nothing
// is wrong.
func scanDepth(src string) *Error {
	s := depthScanner{src: src, line: 1, levels: make([]exprLevel, 1, 32)}
	for s.msg == "" && s.at < len(s.src) {
		s.token()
	}
	if s.msg == "" {
		return nil
	}
	return &Error{Message: s.msg, Line: s.line, Column: s.column}
}

// exprLevel counts within one bracket or block.
type exprLevel struct{ right, chain, unary, branches int }

type depthScanner struct {
	src     string
	at      int
	line    int
	column  int // of what is wrong, 0 if unknown
	msg     string
	levels  []exprLevel
	operand bool // the last token ended an operand
}

func (s *depthScanner) fail(format string, args ...any) {
	if s.msg == "" {
		s.msg = fmt.Sprintf(format, args...)
	}
}

func (s *depthScanner) top() *exprLevel { return &s.levels[len(s.levels)-1] }

func (s *depthScanner) open() {
	s.levels = append(s.levels, exprLevel{})
	if len(s.levels) > MaxSyntax {
		s.fail("chunk has too many syntax levels (limit is %d)", MaxSyntax)
	}
	s.operand = false
}

func (s *depthScanner) close() {
	if len(s.levels) > 1 {
		s.levels = s.levels[:len(s.levels)-1]
	}
}

// fresh begins a new expression.
func (s *depthScanner) fresh() {
	l := s.top()
	l.right, l.chain, l.unary = 0, 0, 0
	s.operand = false
}

func (s *depthScanner) link(right bool) {
	l := s.top()
	l.unary = 0
	if right {
		if l.right++; l.right > maxConcat {
			s.fail(
				"expression has too many operators that group to the right (limit is %d)",
				maxConcat,
			)
		}
	}
	if l.chain++; l.chain > maxChain {
		s.fail("expression is too long (limit is %d operators)", maxChain)
	}
}

func (s *depthScanner) unary() {
	l := s.top()
	if l.unary++; l.unary > MaxSyntax {
		s.fail("chunk has too many syntax levels (limit is %d)", MaxSyntax)
	}
	s.operand = false
}

func (s *depthScanner) token() {
	c := s.src[s.at]
	switch {
	case c == '\n':
		s.line++
		s.at++
	case c == ' ' || c == '\t' || c == '\r':
		s.at++
	case strings.HasPrefix(s.src[s.at:], "--"):
		s.comment()
	case c == '"' || c == '\'':
		s.quoted(c)
		s.operandToken()
	case c == '[' && s.longLevel() >= 0:
		s.longBracket(s.longLevel())
		s.operandToken()
	case isNameByte(c):
		s.word()
	case c == '.' && s.at+1 < len(s.src) && vm.Digits(s.src[s.at+1:s.at+2]):
		s.word()
	default:
		s.operator(c)
	}
}

// operandToken notes an operand. Two in a row are a call with a string or a
// table, or a new statement.
func (s *depthScanner) operandToken() {
	if s.operand {
		s.link(false)
	}
	s.operand = true
	s.top().unary = 0
}

func (s *depthScanner) operator(c byte) {
	rest := s.src[s.at:]
	s.at++
	switch c {
	case '(', '[', '{':
		if s.operand {
			s.link(false)
		}
		s.open()
	case ')', ']', '}':
		s.close()
		s.operand = true
	case ',', ';':
		s.fresh()
	case '=', '~', '<', '>':
		if len(rest) > 1 && rest[1] == '=' {
			s.at++
			s.link(false)
			s.operand = false
		} else if c == '=' {
			s.fresh()
		} else {
			s.link(false)
			s.operand = false
		}
	case '-', '#':
		if s.operand {
			s.link(false)
			s.operand = false
		} else {
			s.unary()
		}
	case '.':
		if strings.HasPrefix(rest, "...") {
			s.at += 2
			s.operandToken()
			return
		}
		if strings.HasPrefix(rest, "..") {
			s.at++
			s.link(true)
			s.operand = false
			return
		}
		s.link(false)
		s.operand = false
	case '^':
		s.link(true)
		s.operand = false
	default: // + * / % :
		s.link(false)
		s.operand = false
	}
}

func (s *depthScanner) word() {
	from := s.at
	for s.at < len(s.src) && (isNameByte(s.src[s.at]) || s.src[s.at] == '.' && vm.Digits(s.src[from:from+1]) && !strings.HasPrefix(s.src[s.at:], "..")) {
		s.at++
	}
	if s.at == from { // ".5"
		for s.at++; s.at < len(s.src) && isNameByte(s.src[s.at]); s.at++ {
		}
	}
	if c := s.src[from]; c == '.' || vm.Digits(s.src[from:from+1]) {
		s.number(from)
		return
	}
	switch s.src[from:s.at] {
	case "function", "do", "if", "repeat":
		s.open()
	case "end", "until":
		s.close()
		s.operand = true
		if s.src[from:s.at] == "until" {
			s.fresh()
		}
	case "elseif":
		s.fresh()
		if l := s.top(); l.branches < maxChain {
			l.branches++
		} else {
			s.fail("too many elseif branches (limit is %d)", maxChain)
		}
	case "and", "or":
		s.link(false)
		s.operand = false
	case "not":
		s.unary()
	case "then", "else", "while", "for", "in", "local", "return", "break", "goto":
		s.fresh()
	default:
		if s.operand { // a new statement
			s.fresh()
		}
		s.operand = true
		s.top().unary = 0
	}
}

// number reads a numeral as far as Lua does, and refuses it if it is malformed.
// The parser of gopher-lua would read 3x as 3 and x.
func (s *depthScanner) number(from int) {
	at := from
	for at < len(s.src) && (s.src[at] == '.' || vm.Digits(s.src[at:at+1])) {
		at++
	}
	if at < len(s.src) && s.src[at]|0x20 == 'e' {
		at++
		if at < len(s.src) && (s.src[at] == '+' || s.src[at] == '-') {
			at++
		}
	}
	for at < len(s.src) && s.src[at] < 0x80 && isNameByte(s.src[at]) {
		at++
	}
	s.at = at
	text := s.src[from:at]
	_, ok := luanum.Parse(text)
	hexFraction := len(text) > 1 && text[1]|0x20 == 'x' && strings.ContainsAny(text, ".pP")
	if !ok || hexFraction {
		s.column = from - strings.LastIndexByte(s.src[:from], '\n')
		s.fail("malformed number near '%s'", text)
	}
	s.operandToken()
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
		c >= 0x80
}

func (s *depthScanner) comment() {
	s.at += 2
	if n := s.longLevel(); n >= 0 {
		s.longBracket(n)
		return
	}
	if i := strings.IndexByte(s.src[s.at:], '\n'); i >= 0 {
		s.at += i
	} else {
		s.at = len(s.src)
	}
}

// longLevel is the number of "=" in a long bracket that begins here, -1 if
// none does.
func (s *depthScanner) longLevel() int {
	if s.at >= len(s.src) || s.src[s.at] != '[' {
		return -1
	}
	n := 0
	for s.at+1+n < len(s.src) && s.src[s.at+1+n] == '=' {
		n++
	}
	if s.at+1+n < len(s.src) && s.src[s.at+1+n] == '[' {
		return n
	}
	return -1
}

func (s *depthScanner) longBracket(n int) {
	end := "]" + strings.Repeat("=", n) + "]"
	body := s.src[s.at:]
	i := strings.Index(body, end)
	if i < 0 {
		i = len(body) - len(end)
	}
	i = min(max(i+len(end), 0), len(body))
	s.line += strings.Count(body[:i], "\n")
	s.at += i
}

func (s *depthScanner) quoted(q byte) {
	for s.at++; s.at < len(s.src); s.at++ {
		switch s.src[s.at] {
		case '\\':
			if s.at++; s.at < len(s.src) && s.src[s.at] == '\n' {
				s.line++
			}
		case '\n': // an unfinished string: the parser will say so
			return
		case q:
			s.at++
			return
		}
	}
}
