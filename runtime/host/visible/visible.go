// Package visible makes text from outside safe to show on a terminal.
//
// A device, a daemon or a file can put any text into a name or a log line. A
// terminal obeys control characters in the text: they set its title, move its
// cursor, fill its clipboard, or make it send input as if the user had typed it.
// Control characters for bidirectional text change the order in which a line is
// read. The functions of this package replace such characters by escape sequences
// such as `\x1b` and `\u202e`.
//
// Text that goes to a pipe or a file must not be changed, because programs read it.
package visible

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Text returns s with all characters escaped that a terminal would obey, except
// line breaks and tabs.
func Text(s string) string { return show(s, spacing) }

// Line is like Text but escapes line breaks and tabs as well. It is for text that
// must stay on one line, such as a name in a table.
func Line(s string) string { return show(s, nothing) }

// Row escapes only line breaks and tabs. It is for values that are written to a
// program, one on a line.
func Row(s string) string {
	return rows.Replace(s)
}

// Mark is the text that Marked puts before every line but the first.
const Mark = "  | "

// Marked returns s as a part of a report. Every line of s but the first begins with
// Mark, so that it cannot be mistaken for a line of the report. Line breaks at the
// end of s are removed. Every character counts as a line break that a terminal, an
// editor or a log viewer may treat as one.
func Marked(s string) string {
	s = strings.TrimRight(s, breaks)
	if !strings.ContainsAny(s, breaks) {
		return s
	}
	return marks.Replace(s)
}

const breaks = "\n\r\v\f\u0085\u2028\u2029"

var marks = func() *strings.Replacer {
	pairs := []string{"\r\n", "\n" + Mark}
	for _, r := range breaks {
		pairs = append(pairs, string(r), "\n"+Mark)
	}
	return strings.NewReplacer(pairs...)
}()

// Joined returns s as one line: it escapes the line breaks of Marked and nothing
// else.
func Joined(s string) string {
	if !strings.ContainsAny(s, breaks) {
		return s
	}
	return joins.Replace(s)
}

var joins = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\v", `\v`, "\f", `\f`,
	"\u0085", `\u0085`, "\u2028", `\u2028`, "\u2029", `\u2029`)

var rows = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`)

// Styled is like Text but keeps the colours that Style accepts. It is for text that
// a script has composed. Colours end with s, so that they cannot hide the text that
// is written next.
func Styled(s string) string {
	shown := show(s, func(s string) int { return max(spacing(s), Style(s)) })
	body := strings.TrimRight(shown, "\r\n")
	return ended(body) + shown[len(body):]
}

// reset ends all colours.
const reset = "\x1b[0m"

// ended appends reset to s if a colour is still set at its end. s must contain no
// control sequences except colours.
func ended(s string) string {
	last := strings.LastIndexByte(s, 0x1b)
	if last < 0 || strings.HasPrefix(s[last:], reset) || strings.HasPrefix(s[last:], "\x1b[m") {
		return s
	}
	return s + reset
}

// Label is like Styled but replaces line breaks and tabs by spaces. It is for texts
// in a drawing, such as a progress bar or a table.
func Label(s string) string {
	if strings.ContainsAny(s, "\n\r\t") {
		s = spaces.Replace(s)
	}
	return ended(show(s, Style))
}

var spaces = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ", "\t", " ")

// spacing returns the length of a line break or tab at the beginning of s.
func spacing(s string) int {
	switch {
	case s[0] == '\n', s[0] == '\t':
		return 1
	case strings.HasPrefix(s, "\r\n"):
		return 2
	}
	return 0
}

func nothing(string) int { return 0 }

// show escapes control characters. keep is called with the rest of the text at each
// of them, and returns how many bytes to keep unchanged, or 0 to escape the
// character.
func show(s string, keep func(s string) int) string {
	var b strings.Builder
	done := 0 // s[:done] is in b
	for at := 0; at < len(s); {
		if s[at] >= ' ' && s[at] < 0x7f {
			at++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[at:])
		text := ""
		switch {
		case r == utf8.RuneError && size == 1:
			text = hexadecimal(s[at])
		case !obeyed(r):
		case keep(s[at:]) > 0:
			size = keep(s[at:])
		default:
			text = escape(r)
		}
		if text != "" {
			b.WriteString(s[done:at])
			b.WriteString(text)
			done = at + size
		}
		at += size
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// obeyed reports whether a terminal obeys r instead of showing it. This includes
// the C1 controls, which are escape sequences of one character, and the controls of
// bidirectional text, with which one name can look like another one.
func obeyed(r rune) bool {
	return r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e ||
		r >= 0x2066 && r <= 0x2069
}

// escape returns the escape sequence of a character. Above the ASCII controls it is
// that of JSON, so that escaped JSON is still valid JSON.
func escape(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < ' ':
		return hexadecimal(byte(r))
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// hexadecimal returns the escape sequence of a byte. It avoids fmt because binary
// data can contain many such bytes.
func hexadecimal(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{'\\', 'x', digits[c>>4], digits[c&15]})
}

// Style returns the length of a control sequence for colours at the beginning of s,
// or 0 if there is none. It does not accept sequences that hide text or make it
// blink.
func Style(s string) int {
	const begin = "\x1b["
	if !strings.HasPrefix(s, begin) {
		return 0
	}
	const most = 64 // the longest accepted sequence, in bytes
	for i := len(begin); i < min(len(s), most); i++ {
		switch c := s[i]; {
		case c == 'm':
			if harmless(s[len(begin):i]) {
				return i + 1
			}
			return 0
		case c != ';' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}

// harmless reports whether the numbers of a control sequence for colours contain
// none that makes text blink (5 and 6) or hides it (8). The numbers after 38, 48 and
// 58 are the parts of a colour and are skipped.
func harmless(codes string) bool {
	list := strings.Split(codes, ";")
	for i := 0; i < len(list); i++ {
		switch strings.TrimLeft(list[i], "0") {
		case "5", "6", "8":
			return false
		case "38", "48", "58":
			i += colour(list[i+1:])
		}
	}
	return true
}

// colour returns how many numbers the extended colour at the beginning of list has.
func colour(list []string) int {
	if len(list) == 0 {
		return 0
	}
	switch list[0] {
	case "5":
		return 2
	case "2":
		return 4
	}
	return 0
}
