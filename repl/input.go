package repl

import (
	"regexp"
	"strings"

	"github.com/imdlua/imdlua/runtime/host"
)

// input is one input of the user: Lua code, a command, or a request for help.
type input struct {
	text   string // as typed
	code   string // the Lua code to run
	silent bool   // the input ended with ";", so its value is not printed
	help   string // the name in "name?" or "name??"
	source bool   // the input was "name??", which shows the source
	meta   string // the name of a command, without its colon
	arg    string // the argument of the command
}

var (
	metaLine = regexp.MustCompile(`(?s)^\s*:([a-z?]+)(?:\s+(.*?))?\s*$`)
	helpLine = regexp.MustCompile(`^\s*([A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)*)?(\?{1,2})\s*$`)
)

// classify determines what an input is. more is set if the text is incomplete and
// needs further lines. err is a syntax error that further lines cannot correct.
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
	rest, ok := strings.CutPrefix(strings.TrimLeft(code, " \t"), "=")
	if ok && !strings.HasPrefix(rest, "=") {
		code = rest
	}
	// The text is tried as an expression first, so that the value of f() is printed.
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
		// An input such as "= f(" can only be an expression.
		if e := h.Compile(chunk, "return "+expression); host.Incomplete(e) {
			return in, true, nil
		}
	}
	return in, false, err
}

// globalise converts the local declarations of the outermost block to assignments to
// globals. Each input is a chunk of its own, so the next input could not use its
// locals. The numbers of lines do not change.
func globalise(src string) string {
	var b strings.Builder
	toks := tokens(src)
	copied, depth := 0, 0
	for i := 0; i < len(toks); i++ {
		switch toks[i].text {
		case "do", "then", "function", "repeat", "(", "{", "[":
			depth++
		case "elseif": // its "then" increments depth again, for the same block
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

// token is a token of Lua source: a name, keyword or number, a comparison or
// assignment operator, "string" for a string, or a single other character. Comments
// are left out.
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

// quoted returns the index after the string that begins at i.
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

// longBracket returns the index after the [[...]] or [==[...]==] at i, or 0 if there
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
