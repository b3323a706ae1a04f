// Package visible makes text from outside safe to show on a terminal.
//
// A device, a daemon or a file can put anything into a name or a log line. A
// terminal obeys control characters: they set its title, move its cursor, fill
// its clipboard, or answer as if the user had typed. Marks for the direction of
// text reorder what is read. The functions of this package replace such
// characters by what a programmer would type for them, such as `\x1b` and
// `\u202e`.
//
// What is written to a pipe or a file stays as it is: that is for programs.
package visible

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Text returns s with everything shown that a terminal would obey. Line breaks
// and tabs stay.
func Text(s string) string { return show(s, spacing) }

// Line is Text for what must stay on one line, such as a name in a table. Line
// breaks and tabs are shown as well.
func Line(s string) string { return show(s, nothing) }

// Row shows line breaks and tabs alone. It keeps a value on its line where the
// output goes to a program, which gets all other characters as they are.
func Row(s string) string {
	return rows.Replace(s)
}

// Mark is how Marked begins every line but the first.
const Mark = "  | "

// Marked returns s for a place where lines of our own follow, such as a report: every
// line of s but the first begins with Mark, so that none of them looks like one of ours.
// Line breaks at the end of s are removed. A line break is whatever a terminal, an editor
// or a viewer of logs takes for one.
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

// Joined returns s with its line breaks shown, those of Marked, and all else as it is.
func Joined(s string) string {
	if !strings.ContainsAny(s, breaks) {
		return s
	}
	return joins.Replace(s)
}

var joins = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\v", `\v`, "\f", `\f`,
	"\u0085", `\u0085`, "\u2028", `\u2028`, "\u2029", `\u2029`)

var rows = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`)

// Styled is Text for what a script has composed: the colours of Style stay. They
// end with s, so that those of a name cannot hide what is written next.
func Styled(s string) string {
	shown := show(s, func(s string) int { return max(spacing(s), Style(s)) })
	body := strings.TrimRight(shown, "\r\n")
	return ended(body) + shown[len(body):]
}

// reset ends all colours.
const reset = "\x1b[0m"

// ended ends the colours of a text that holds no other sequences.
func ended(s string) string {
	last := strings.LastIndexByte(s, 0x1b)
	if last < 0 || strings.HasPrefix(s[last:], reset) || strings.HasPrefix(s[last:], "\x1b[m") {
		return s
	}
	return s + reset
}

// Label is Styled for one line of a picture, such as a bar or a table. Line
// breaks and tabs become spaces.
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

// show replaces control characters, except those at which keep returns how many
// bytes stay.
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

// obeyed reports whether a terminal does something else with r than showing it.
// The C1 controls are escape sequences of one character. The marks of
// bidirectional text that reach beyond their own word let a name look like
// another one.
func obeyed(r rune) bool {
	return r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e ||
		r >= 0x2066 && r <= 0x2069
}

// escape writes a character as a programmer would. Above the ASCII controls the
// form is that of JSON, so that JSON shown on a terminal stays JSON.
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

// hexadecimal writes a byte. Binary data can have very many of them.
func hexadecimal(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{'\\', 'x', digits[c>>4], digits[c&15]})
}

// Style returns the length of a sequence for colours at the beginning of s, 0 if
// there is none. Sequences that hide text or make it blink are none.
func Style(s string) int {
	const begin = "\x1b["
	if !strings.HasPrefix(s, begin) {
		return 0
	}
	const most = 64 // bytes of a sequence
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

// harmless checks the numbers of a sequence for colours: 5 and 6 blink, 8 hides.
// Behind 38 and 48 the next numbers are a colour.
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

// colour returns how many numbers an extended colour takes.
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
