package compile

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hint returns what the author of a source probably meant, or "" if that is not known.
// e is the first error of the source.
func (g *grammar) hint(e *Error) string {
	m := mistake{
		src: g.src, tok: e.at, text: e.at.text(g.src), last: g.last.text(g.src),
		lastToken: g.last, wants: e.wants, e: e,
		suspect: g.suspect, final: e.at.at == g.finalAt, statement: e.at.at == g.statementAt,
	}
	m.rest = g.src[min(e.at.at, len(g.src)):]
	m.before = lineBefore(g.src, e.at.at)
	if e.at.kind == tokEOF {
		src := strings.TrimSpace(g.src)
		m.before = lineBefore(src, len(src))
	}
	for _, find := range []func(mistake) string{
		messageHint, characterHint, operatorHint, wordHint, statementHint, tableHint, missingHint,
		valueHint,
	} {
		if hint := find(m); hint != "" {
			return hint
		}
	}
	return ""
}

// mistake describes a syntax error for the functions that find hints.
type mistake struct {
	src       string
	tok       token  // the unexpected token
	text      string // the text of tok
	last      string // the text of lastToken
	lastToken token  // the token before tok
	rest      string // the source from tok on
	before    string // the line up to tok, without white space around it
	wants     kind   // the expected kind, or 0
	e         *Error
	suspect   token // the opening token of a block whose end is probably missing
	final     bool  // tok follows a return or break
	statement bool  // tok begins a statement
}

// lineBefore returns the text of a line up to an offset.
func lineBefore(src string, at int) string {
	at = min(at, len(src))
	return strings.TrimSpace(src[strings.LastIndexAny(src[:at], "\r\n")+1 : at])
}

// line returns the rest of the line from the token on.
func (m mistake) line() string {
	text, _, _ := strings.Cut(m.rest, "\n")
	return text
}

// firstWord returns the first word of the token's line.
func (m mistake) firstWord() string {
	return wordAt(m.before + " " + m.line())
}

// wordAt returns the word at the beginning of text.
func wordAt(text string) string {
	text = strings.TrimSpace(text)
	n := strings.IndexFunc(text, func(r rune) bool {
		return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if n < 0 {
		return text
	}
	return text[:n]
}

// characterHint explains characters that are not part of Lua.
func characterHint(m mistake) string {
	if m.tok.kind < 0 {
		return ""
	}
	switch c, _ := utf8.DecodeRuneInString(m.rest); {
	case strings.ContainsRune("“”„‟‘’‚«»″′＂＇", c):
		return "these are typographic quotes; write \" or '"
	case c == '\u00a0' || c == '\u2007' || c == '\u202f' || c == '\u3000':
		return "this is a no-break space; replace it by a space"
	case c == '\ufeff' || c >= '\u200b' && c <= '\u200f' || c == '\u2060':
		return "this is an invisible character; delete it"
	case strings.ContainsRune("，；：（）＝｛｝［］", c):
		return "this is a full-width character; write the ASCII one"
	case c == '–' || c == '—' || c == '−':
		return "this is a dash; write -"
	case c == '…':
		return "write three dots: ..."
	case c == '×':
		return "multiply with *"
	case c == '≠':
		return "not equal is ~= in Lua"
	case c == '≤' || c == '≥':
		return "write <= or >="
	case c == '`':
		return "texts stand in \"...\" or [[...]]; put values in with string.format or .."
	case c == utf8.RuneError:
		return "the source is not valid UTF-8 here"
	case c > unicode.MaxASCII && unicode.IsLetter(c):
		return "names have only the letters a to z, A to Z, digits and _"
	case c == '\\':
		return "\\ has a meaning only in texts; a statement may simply go on in the next line"
	case c == '@' || c == '$':
		return "Lua has no " + string(c) + "; a name is written without it"
	case c == '#' && (m.before == "" || m.wants == '='):
		return "a comment begins with --"
	}
	return ""
}

// foreignOperators holds hints for operators of other languages.
var foreignOperators = []struct{ text, hint string }{
	{"!==", "not equal is ~= in Lua"},
	{"!=", "not equal is ~= in Lua"},
	{"&&", "and is written `and` in Lua"},
	{"||", "or is written `or` in Lua"},
	{"??", "write a == nil and b or a, or a or b"},
	{"?.", "Lua has no ?.; write a and a.b"},
	{"=>", "a function is written function(x) return x end"},
	{"->", "a function is written function(x) return x end"},
	{"/*", "a comment is written --[[ ... ]] in Lua"},
	{"*/", "a comment is written --[[ ... ]] in Lua"},
	{"<<", "write require(\"imd.bit\").lshift(a, n)"},
	{">>", "write require(\"imd.bit\").rshift(a, n)"},
	{"**", "a power is written a ^ b"},
	{"<>", "not equal is ~= in Lua"},
	{":=", "write local x = 1"},
	{"===", "compare with =="},
	{"&", "write require(\"imd.bit\").band(a, b); the logical one is `and`"},
	{"|", "write require(\"imd.bit\").bor(a, b); the logical one is `or`"},
	{"~", "not equal is ~=, not is `not`; for bits write require(\"imd.bit\").bxor(a, b)"},
	{"!", "not is written `not` in Lua"},
	{"?", "Lua has no ? :; write cond and a or b"},
}

// conditional reports whether the line begins with a condition.
func (m mistake) conditional() bool {
	return slices.Contains([]string{"if", "elseif", "while", "until"}, m.firstWord())
}

// operatorHint explains operators of other languages.
func operatorHint(m mistake) string {
	for _, o := range foreignOperators {
		// If the first character is an operator of Lua, it is the token before.
		split := len(o.text) > 1 && m.last == o.text[:1] && m.lastToken.end == m.tok.at &&
			strings.HasPrefix(m.rest, o.text[1:])
		if split || strings.HasPrefix(m.rest, o.text) && m.tok.kind != tokEOF {
			return o.hint
		}
	}
	return assignmentHint(m)
}

// assignmentHint explains +=, ++, -- and = in conditions.
func assignmentHint(m mistake) string {
	line, name := m.line(), m.last
	if m.lastToken.kind != tokName {
		name = "x"
	}
	for _, o := range []string{"..", "+", "-", "*", "/", "%", "^"} {
		if strings.HasPrefix(line, o+"=") && !strings.HasPrefix(line, o+"==") ||
			m.text == "=" && m.last == o && m.lastToken.end == m.tok.at {
			return "Lua has no " + o + "=; write " + "x = x " + o + " 1"
		}
	}
	between := ""
	if m.lastToken.end <= m.tok.at {
		between = m.src[m.lastToken.end:m.tok.at]
	}
	switch {
	case strings.HasPrefix(line, "++") || m.text == "+" && m.last == "+":
		return "Lua has no ++; write x = x + 1"
	case strings.HasPrefix(between, "--") && m.wants == '=':
		return "-- begins a comment; write " + name + " = " + name + " - 1"
	case strings.HasPrefix(line, "//") && m.before == "", m.text == "/" && m.before == "/":
		return "a comment begins with -- in Lua"
	case strings.HasPrefix(line, "//"), m.text == "/" && m.last == "/":
		return "Lua 5.1 has no //; write math.floor(a / b); a comment begins with --"
	case m.text == "=" && m.last == "=" && m.conditional():
		return "write == without a space"
	case m.text == "=" && m.last == "=":
		return "there is an = too many"
	case m.text == "=" && m.conditional():
		return "compare with == in Lua"
	case m.text == "==" && m.wants == '=':
		return "an assignment is written with one ="
	}
	return ""
}
