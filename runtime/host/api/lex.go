package api

import "strings"

// token is a token of Lua text for completion. kind is 'n' for a name or keyword, 's' for a string,
// '0' for a number or the operator .., or else the character itself.
type token struct {
	kind       byte
	text       string
	start, end int
	open       bool // a string without its end, because the text ends inside of it
}

// isNameByte reports whether c can be in a name, or can be the first byte of one.
func isNameByte(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
		!first && c >= '0' && c <= '9'
}

// isName reports whether s has the form of a name or keyword.
func isName(s string) bool {
	if s == "" || !isNameByte(s[0], true) {
		return false
	}
	return span(s, 0, func(c byte) bool { return isNameByte(c, false) }) == len(s)
}

// lex splits text into tokens. It accepts unfinished input and never fails.
func lex(text string) []token {
	var out []token
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case strings.HasPrefix(text[i:], "--"):
			i = skipComment(text, i)
			continue
		}
		t := token{kind: c, start: i, end: i + 1}
		switch {
		case isNameByte(c, true):
			t.kind, t.end = 'n', span(text, i, func(c byte) bool { return isNameByte(c, false) })
		case c >= '0' && c <= '9':
			t.kind, t.end = '0', span(
				text,
				i,
				func(c byte) bool { return isNameByte(c, false) || c == '.' },
			)
		case c == '"' || c == '\'':
			t.kind = 's'
			t.end, t.open = quotedEnd(text, i)
		case c == '[':
			if n := longBracket(text, i); n > 0 {
				t.kind = 's'
				t.end, t.open = longEnd(text, i, n)
			}
		case strings.HasPrefix(text[i:], ".."):
			t.kind, t.end = '0', i+2 // not a dot after which a member could follow
		}
		t.text = text[t.start:t.end]
		out = append(out, t)
		i = t.end
	}
	return out
}

// span returns the index of the first byte from i on for which in is false.
func span(text string, i int, in func(byte) bool) int {
	for i < len(text) && in(text[i]) {
		i++
	}
	return i
}

func skipComment(text string, i int) int {
	if n := longBracket(text, i+2); n > 0 {
		end, _ := longEnd(text, i+2, n)
		return end
	}
	if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(text)
}

func quotedEnd(text string, i int) (end int, open bool) {
	for j := i + 1; j < len(text); j++ {
		switch text[j] {
		case '\\':
			j++
		case text[i]:
			return j + 1, false
		}
	}
	return len(text), true
}

// longBracket returns the length of a long bracket such as [[ or [==[ at i, or 0.
func longBracket(text string, i int) int {
	if i >= len(text) || text[i] != '[' {
		return 0
	}
	j := span(text, i+1, func(c byte) bool { return c == '=' })
	if j < len(text) && text[j] == '[' {
		return j + 1 - i
	}
	return 0
}

func longEnd(text string, i, n int) (end int, open bool) {
	mark := "]" + strings.Repeat("=", n-2) + "]"
	if j := strings.Index(text[i+n:], mark); j >= 0 {
		return i + n + j + len(mark), false
	}
	return len(text), true
}
