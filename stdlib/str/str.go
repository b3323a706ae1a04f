// Package str is the script module imd.str: functions for texts, without patterns.
//
//	for _, field in ipairs(require("imd.str").split(line, ",")) do print(field) end
package str

import (
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Module declares the module.
func Module() *api.Module {
	m := &api.Module{
		Name: "str",
		Doc:  "Texts: split, trim, pad, wrap, template and more. No argument is a pattern.",
		Perm: "none",
	}
	m.Funcs = append(m.Funcs, looking()...)
	m.Funcs = append(m.Funcs, cutting()...)
	m.Funcs = append(m.Funcs, changing()...)
	m.Funcs = append(m.Funcs, layout()...)
	return m
}

const textDoc = "the text"

// declare declares a function whose first parameter is the text. example is the text that follows
// "return str.".
func declare(name, doc, params string, fn any, example string, more ...api.Option) *api.Func {
	more = append(more, api.ParamDoc("text", textDoc),
		api.Example("local str = require(\"imd.str\")\nreturn str."+example))
	return api.Function(name, doc, "text "+params, fn, more...)
}

// simple declares a function from text to text. Its result is at most grow times as long as the
// text.
func simple(name, doc, example string, grow float64, change func(s string) string) *api.Func {
	return declare(name, doc, "", func(c *api.Call, s string) string {
		host.MakeString(c.L, grow*float64(len(s)))
		return change(s)
	}, example)
}

// looking returns the functions that test or compare texts.
func looking() []*api.Func {
	part := api.ParamDoc("part", "text to look for")
	other := api.ParamDoc("other", "the other text")
	return []*api.Func{
		declare("starts_with", "Whether the text begins with another.", "part",
			func(_ *api.Call, s, part string) bool { return strings.HasPrefix(s, part) },
			`starts_with("abc", "ab") -- => true`, part),
		declare("ends_with", "Whether the text ends with another.", "part",
			func(_ *api.Call, s, part string) bool { return strings.HasSuffix(s, part) },
			`ends_with("abc", "bc") -- => true`, part),
		declare("contains", "Whether another text is in it.", "part",
			func(_ *api.Call, s, part string) bool { return strings.Contains(s, part) },
			`contains("a.c", ".") -- => true`, part),
		declare("count", "How often another text is in it, without overlap.", "part",
			func(c *api.Call, s, part string) (int, error) {
				if part == "" {
					return 0, c.ArgError(2, "the text is empty")
				}
				return strings.Count(s, part), nil
			}, `count("abab", "ab") -- => 2`, part),
		declare("natural_compare", "Compares two texts. Numbers in them are compared by value. "+
			"Returns -1, 0 or 1.", "other",
			func(_ *api.Call, a, b string) int { return naturalCompare(a, b) },
			`natural_compare("img9", "img10") -- => -1`, other),
		declare("levenshtein", "How many characters must be inserted, removed or replaced to turn "+
			"one text into the other.", "other", levenshtein,
			`levenshtein("kitten", "sitting") -- => 3`, other, api.Raises("too_large")),
		declare("similar", "How similar two texts are: 1 if they are equal, 0 if they have "+
			"nothing in common.", "other", similar, `similar("abcd", "abcx") -- => 0.75`, other,
			api.Raises("too_large")),
	}
}

// cutting returns the functions that return parts of a text.
func cutting() []*api.Func {
	sep := api.ParamDoc("separator", "text between two parts")
	return []*api.Func{
		declare("split", "Cuts the text at a separator. An empty text is one empty part.",
			"separator limit?", split, `split("a,b,c", ",", 2) -- => { "a", "b,c" }`, sep,
			api.ParamDoc("limit", "how many parts at most; the last one is the rest")),
		declare("lines", "The lines, without their ends \\n or \\r\\n.", "", lines,
			`lines("a\r\nb\n") -- => { "a", "b" }`),
		declare("cut", "The text before and after the first separator. Without it, the second "+
			"result is nil.", "separator", cut, `cut("key=a=b", "=") -- => "key", "a=b"`, sep,
			api.Returns("string before", "string? after")),
		simple("trim", "The text without white space at both ends.",
			`trim(" a b\n") -- => "a b"`, 0, strings.TrimSpace),
		simple("ltrim", "The text without white space at its beginning.",
			`ltrim(" a ") -- => "a "`, 0, func(s string) string {
				return strings.TrimLeftFunc(s, unicode.IsSpace)
			}),
		simple("rtrim", "The text without white space at its end.",
			`rtrim(" a ") -- => " a"`, 0, func(s string) string {
				return strings.TrimRightFunc(s, unicode.IsSpace)
			}),
	}
}

func split(c *api.Call, s, sep string, limit *int) ([]string, error) {
	if sep == "" {
		return nil, c.ArgError(2, "the separator is empty")
	}
	n := -1
	if limit != nil {
		n = *limit
		if n < 1 {
			return nil, c.ArgError(3, "must be at least 1")
		}
	}
	host.Reserve(c.L, strings.Count(s, sep)*2*host.SizeString)
	return pieces(c, s, sep, n), nil
}

// piecesPerTick is how many pieces of a text are cut between two calls of host.Tick.
const piecesPerTick = 10_000

// pieces does what strings.SplitN does, and stops if the task is cancelled.
func pieces(c *api.Call, s, sep string, n int) []string {
	var out []string
	for n < 0 || len(out) < n-1 {
		before, after, ok := strings.Cut(s, sep)
		if !ok {
			break
		}
		out, s = append(out, before), after
		if len(out)%piecesPerTick == 0 {
			host.Tick(c.L)
		}
	}
	return append(out, s)
}

func lines(c *api.Call, s string) []string {
	host.Reserve(c.L, strings.Count(s, "\n")*2*host.SizeString)
	out := pieces(c, strings.TrimSuffix(s, "\n"), "\n", -1)
	if s == "" {
		return nil
	}
	for i, line := range out {
		out[i] = strings.TrimSuffix(line, "\r")
	}
	return out
}

func cut(c *api.Call, s, sep string) (api.Values, error) {
	if sep == "" {
		return nil, c.ArgError(2, "the separator is empty")
	}
	before, after, ok := strings.Cut(s, sep)
	if !ok {
		return api.Values{lua.LString(s), lua.LNil}, nil
	}
	return api.Values{lua.LString(before), lua.LString(after)}, nil
}

// changing returns the functions that make other texts.
func changing() []*api.Func {
	return []*api.Func{
		declare("replace", "Replaces a text by another one, everywhere or up to limit times.",
			"old new limit?", replace, `replace("a.b.c", ".", "-") -- => "a-b-c"`,
			api.ParamDoc("old", "what is replaced"), api.ParamDoc("new", "its replacement"),
			api.ParamDoc("limit", "how often at most")),
		simple("capitalize", "The text with its first letter in upper case.",
			`capitalize("äb") -- => "Äb"`, 2, capitalize),
		simple("title", "The text with the first letter of each word in upper case.",
			`title("one two") -- => "One Two"`, 2, title),
		simple("shell_quote", "The text as one word of a POSIX shell.",
			`shell_quote("it's") -- => "'it'\\''s'"`, 4, func(s string) string {
				return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
			}),
		declare("template", "Replaces each {name} by the value of that name. {{ and }} are braces.",
			"values", template, `template("{name} is {age}", { name = "Ana", age = 30 })`+
				` -- => "Ana is 30"`, api.ParamDoc("values", "table by the names"),
			api.Raises("template")),
		api.Function("join", "Joins values with a separator. Numbers and objects become text.",
			"list separator?", join,
			api.ParamDoc("list", "the values"),
			api.ParamDoc("separator", "text between two values, none if it is not given"),
			api.Example(`return require("imd.str").join({ "a", 1, true }, ",") -- => "a,1,true"`)),
		api.Function("random", "A random text of letters and digits, to name things. It is no "+
			"secret.",
			"length", random,
			api.ParamDoc("length", "how many characters"),
			api.Example(`return #require("imd.str").random(8) -- => 8`)),
	}
}

func replace(c *api.Call, s, old, with string, limit *int) (string, error) {
	if old == "" {
		return "", c.ArgError(2, "the text is empty")
	}
	n := strings.Count(s, old)
	if limit != nil {
		n = max(min(n, *limit), 0)
	}
	host.MakeString(c.L, float64(len(s))+float64(n)*(float64(len(with))-float64(len(old))))
	return strings.Replace(s, old, with, n), nil
}

func capitalize(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError {
		return s
	}
	return string(unicode.ToUpper(r)) + s[size:]
}

func title(s string) string {
	var b strings.Builder
	begin := true
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if begin && size > 0 && r != utf8.RuneError {
			b.WriteRune(unicode.ToTitle(r))
		} else {
			b.WriteString(s[:size])
		}
		begin = unicode.IsSpace(r)
		s = s[size:]
	}
	return b.String()
}

func template(c *api.Call, s string, values *lua.LTable) (string, error) {
	var b strings.Builder
	for at := 0; at < len(s); {
		next := strings.IndexAny(s[at:], "{}")
		if next < 0 {
			b.WriteString(s[at:])
			break
		}
		b.WriteString(s[at : at+next])
		at += next
		brace := s[at]
		if at+1 < len(s) && s[at+1] == brace {
			b.WriteByte(brace)
			at += 2
			continue
		}
		end := strings.IndexByte(s[at:], '}')
		if brace == '}' || end < 0 {
			return "", host.Errorf("template", "str: the %c at byte %d has no counterpart",
				brace, at+1)
		}
		name := s[at+1 : at+end]
		v := c.L.GetField(values, name)
		if v == lua.LNil {
			return "", missing(values, name, at)
		}
		text := host.ToString(c.L, v)
		host.MakeString(c.L, float64(b.Len())+float64(len(text)))
		b.WriteString(text)
		at += end + 1
	}
	return b.String(), nil
}

// missing returns the error for a name that has no value.
func missing(values *lua.LTable, name string, at int) error {
	var known []string
	for k, _ := values.Next(lua.LNil); k != lua.LNil; k, _ = values.Next(k) {
		known = append(known, k.String())
	}
	e := host.Errorf("template", "str: no value for {%s} at byte %d", name, at+1)
	near := host.Suggest(name, known)
	if near != "" {
		return e.WithHint("did you mean {%s}?", near)
	}
	return e.WithHint("write {{ and }} for braces")
}

func join(c *api.Call, list *lua.LTable, sep *string) string {
	between := ""
	if sep != nil {
		between = *sep
	}
	var b strings.Builder
	for i := 1; i <= list.Len(); i++ {
		text := host.ToString(c.L, list.RawGetInt(i))
		if i > 1 {
			b.WriteString(between)
		}
		host.MakeString(c.L, float64(b.Len())+float64(len(text)+len(between)))
		b.WriteString(text)
	}
	return b.String()
}

const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func random(c *api.Call, n uint32) string {
	host.MakeString(c.L, float64(n))
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return string(b)
}
