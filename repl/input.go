package repl

import (
	"regexp"
	"strings"

	"github.com/imdlua/imdlua/runtime/host"
)

// input is what one or more lines turned out to be.
type input struct {
	text   string // as typed
	code   string // Lua to run
	silent bool   // ended in ";": the value is not printed
	help   string // name? asks for help on this
	source bool   // name?? asks for the source
	meta   string // :command
	arg    string // of the command
}

var (
	metaLine = regexp.MustCompile(`(?s)^\s*:([a-z?]+)(?:\s+(.*?))?\s*$`)
	helpLine = regexp.MustCompile(`^\s*([A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)*)?(\?{1,2})\s*$`)
)

// classify finds out what text is. more is true when text is the beginning of
// something that needs further lines; err is why it can never be right.
func classify(h *host.Host, chunk, text string) (in input, more bool, err error) {
	in = input{text: text}
	if m := metaLine.FindStringSubmatch(text); m != nil {
		in.meta, in.arg = m[1], m[2]
		return in, false, nil
	}
	if m := helpLine.FindStringSubmatch(text); m != nil {
		in.help, in.source = m[1], m[2] == "??" && m[1] != ""
		in.meta = "help"
		return in, false, nil
	}
	code := text
	if rest, ok := strings.CutPrefix(strings.TrimLeft(code, " \t"), "="); ok &&
		!strings.HasPrefix(rest, "=") {
		code = rest
	}
	// An expression first: f() is one too, and its value is wanted.
	expression := code
	if cut, ok := strings.CutSuffix(strings.TrimRight(code, " \t\r\n"), ";"); ok {
		expression, in.silent = cut, true
	}
	in.code = "return " + expression
	if h.Compile(chunk, in.code) == nil {
		return in, false, nil
	}
	in.code = globalise(code)
	err = h.Compile(chunk, in.code)
	if err != nil && host.Incomplete(err) {
		return in, true, nil
	}
	if err != nil && code != text {
		// "= f(" is an expression that goes on.
		if e := h.Compile(chunk, "return "+expression); host.Incomplete(e) {
			return in, true, nil
		}
	}
	return in, false, err
}

// globalise turns the local declarations of the outermost block into
// assignments to globals, because each input is a chunk of its own and its
// locals would be gone when the next one wants them. Lines stay where they are.
func globalise(src string) string {
	var b strings.Builder
	toks := tokens(src)
	copied, depth := 0, 0
	for i := 0; i < len(toks); i++ {
		switch toks[i].text {
		case "do", "then", "function", "repeat", "(", "{", "[":
			depth++
		case "elseif": // its "then" opens again what the first one opened
			depth--
		case "end", "until", ")", "}", "]":
			depth--
		case "local":
			if depth != 0 || i+1 >= len(toks) {
				continue
			}
			b.WriteString(src[copied:toks[i].start] + "     ")
			copied = toks[i].end
			if toks[i+1].text == "function" {
				continue
			}
			last := i + 1
			for last+2 < len(toks) && toks[last+1].text == "," {
				last += 2
			}
			i = last
			if last+1 < len(toks) && toks[last+1].text == "=" {
				continue
			}
			b.WriteString(src[copied:toks[last].end] + " = nil")
			copied = toks[last].end
		}
	}
	return b.String() + src[copied:]
}

// token is a piece of Lua source: a name or keyword, or one character of
// anything else. Strings, numbers and comments are left out or hold no names.
type token struct {
	text       string
	start, end int
}

func tokens(src string) []token {
	var out []token
	for i := 0; i < len(src); {
		c := src[i]
		start := i
		switch {
		case strings.HasPrefix(src[i:], "--"):
			i += 2
			if end := longBracket(src, i); end > 0 {
				i = end
			} else if n := strings.IndexByte(src[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(src)
			}
			continue
		case c == '"' || c == '\'':
			i = quoted(src, i)
			out = append(out, token{"string", start, i})
			continue
		case c == '[' && longBracket(src, i) > 0:
			i = longBracket(src, i)
			out = append(out, token{"string", start, i})
			continue
		case isName(c):
			for i < len(src) && isName(src[i]) {
				i++
			}
			out = append(out, token{src[start:i], start, i})
			continue
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			i++
			if i < len(src) && src[i] == '=' && strings.IndexByte("=~<>", c) >= 0 {
				i++
			}
			out = append(out, token{src[start:i], start, i})
			continue
		}
		i++
	}
	return out
}

func isName(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
		c >= 0x80
}

// quoted returns where the string that begins at i ends.
func quoted(src string, i int) int {
	q := src[i]
	for i++; i < len(src); i++ {
		switch src[i] {
		case '\\':
			i++
		case q:
			return i + 1
		}
	}
	return len(src)
}

// longBracket returns where the [[...]] or [==[...]==] at i ends, 0 when there
// is none.
func longBracket(src string, i int) int {
	if i >= len(src) || src[i] != '[' {
		return 0
	}
	j := i + 1
	for j < len(src) && src[j] == '=' {
		j++
	}
	if j >= len(src) || src[j] != '[' {
		return 0
	}
	end := "]" + src[i+1:j] + "]"
	if n := strings.Index(src[j:], end); n >= 0 {
		return j + n + len(end)
	}
	return len(src)
}
