// Package utf8 is the script module imd.utf8, whose functions treat texts as sequences of
// characters. Positions count bytes, as in Lua 5.3, except in sub.
//
//	for at, code in require("imd.utf8").codes(name) do print(at, code) end
package utf8

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

const textDoc = "UTF-8 text"

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name:  "utf8",
		Doc:   "Texts by character instead of byte. Bytes that are not UTF-8 are errors.",
		Perm:  "none",
		Funcs: append(positions(), changes()...),
		Consts: []api.Const{{
			Name:  "charpattern",
			Doc:   "pattern of Lua that matches one character of a valid text",
			Value: "[%z\x01-\x7F\xC2-\xF4][\x80-\xBF]*",
		}},
	}
}

// invalid returns the offset of the first byte that is not UTF-8, -1 if there is none.
func invalid(s string) int {
	for at, r := range s {
		if r != utf8.RuneError {
			continue
		}
		_, size := utf8.DecodeRuneInString(s[at:])
		if size == 1 {
			return at
		}
	}
	return -1
}

// check returns an error of code "decode" for a text that is not UTF-8.
func check(s string) error {
	at := invalid(s)
	if at < 0 {
		return nil
	}
	e := host.Errorf("decode", "utf8: byte %d (0x%02x) is not valid UTF-8", at+1, s[at])
	e.Details = map[string]any{"position": at + 1}
	return e
}

func or(p *int, none int) int {
	if p == nil {
		return none
	}
	return *p
}

// start returns the offset of a position. The position must be in the text or just after it, and
// not inside a character.
func start(c *api.Call, n int, s string, position int) (int, error) {
	at := position - 1
	if position < 0 {
		at = len(s) + position
	}
	if at < 0 || at > len(s) {
		return 0, c.ArgError(n, "position %d is outside of %d bytes", position, len(s))
	}
	if at < len(s) && !utf8.RuneStart(s[at]) {
		return 0, c.ArgError(n, "position %d is inside a character", position)
	}
	return at, nil
}

// positions returns the functions of Lua 5.3, and valid.
func positions() []*api.Func {
	return []*api.Func{
		api.Function("len", "Returns the number of characters.",
			"text", count,
			api.ParamDoc("text", textDoc),
			api.Raises("decode"),
			api.Example(`return require("imd.utf8").len("häß") -- => 3`)),
		api.Function("valid", "Whether the text is UTF-8. If not, the position of the first "+
			"invalid byte is the second result.",
			"text", valid,
			api.ParamDoc("text", "any bytes"),
			api.Returns("boolean", "integer? position"),
			api.Example(`return require("imd.utf8").valid("a\255") -- => false, 2`)),
		api.Function(
			"codes",
			"Goes over the characters: for position, code in utf8.codes(text) do.",
			"text",
			codes,
			api.ParamDoc("text", textDoc),
			api.Raises("decode"),
			api.Returns("fun(): integer?, integer"),
			api.Example(`local t = {}
for at, code in require("imd.utf8").codes("äb") do table.insert(t, { at, code }) end
return t -- => {{1, 228}, {3, 98}}`),
		),
		api.Function("char", "Makes a text of code points.",
			"codes...", char,
			api.ParamDoc("codes", "code points"),
			api.Example(`return require("imd.utf8").char(228, 98) -- => "äb"`)),
		api.Function("codepoint", "Returns the code points of the characters that begin between "+
			"two positions.",
			"text first? last?", codepoint,
			api.ParamDoc("text", textDoc),
			api.ParamDoc("first", "position of a byte, 1 if it is not given"),
			api.ParamDoc("last", "position of a byte, first if it is not given"),
			api.Raises("decode", "too_large"),
			api.Returns("integer ..."),
			api.Example(`return require("imd.utf8").codepoint("äb", 1, -1) -- => 228, 98`)),
		api.Function(
			"offset",
			"Returns the position of the n-th character, counted from a "+
				"position; nil if there is none.",
			"text n position?",
			offset,
			api.ParamDoc("text", textDoc),
			api.ParamDoc(
				"n",
				"1 is the character at the position, negative counts backwards, 0 is "+
					"the character that the byte at the position belongs to",
			),
			api.ParamDoc("position", "position of a byte; 1 for positive n, else after the end"),
			api.Raises("decode"),
			api.Returns("integer? position"),
			api.Example(`return require("imd.utf8").offset("äb", 2) -- => 3`),
		),
	}
}

func count(_ *api.Call, s string) (int, error) { return utf8.RuneCountInString(s), check(s) }

func valid(_ *api.Call, s string) api.Values {
	at := invalid(s)
	if at < 0 {
		return api.Values{lua.LTrue}
	}
	return api.Values{lua.LFalse, lua.LNumber(at + 1)}
}

func codes(c *api.Call, s string) (lua.LValue, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	at := 0
	return c.L.NewFunction(func(L *lua.LState) int {
		if at == len(s) {
			return 0
		}
		r, size := utf8.DecodeRuneInString(s[at:])
		L.Push(lua.LNumber(at + 1))
		L.Push(lua.LNumber(r))
		at += size
		return 2
	}), nil
}

func char(c *api.Call, codes ...int) (string, error) {
	var b strings.Builder
	for i, code := range codes {
		if code < 0 || code > unicode.MaxRune || !utf8.ValidRune(rune(code)) {
			return "", c.ArgError(i+1, "%d is not a code point", code)
		}
		b.WriteRune(rune(code))
	}
	return b.String(), nil
}

func codepoint(c *api.Call, s string, first, last *int) (api.Values, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	at, err := start(c, 2, s, or(first, 1))
	if err != nil {
		return nil, err
	}
	_, to := host.StringRange(len(s), at+1, or(last, at+1))
	var out api.Values
	for i, r := range s[at:] {
		if at+i >= to {
			break
		}
		if len(out) == 200 {
			return nil, host.Errorf("too_large", "utf8: more than 200 characters, use codes")
		}
		out = append(out, lua.LNumber(r))
	}
	return out, nil
}

func offset(c *api.Call, s string, n int, position *int) (*int, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	from := or(position, 1)
	if position == nil && n <= 0 {
		from = len(s) + 1
	}
	if n == 0 {
		at := from - 1
		if at < 0 || at > len(s) {
			return nil, c.ArgError(3, "position %d is outside of %d bytes", from, len(s))
		}
		for at > 0 && at < len(s) && !utf8.RuneStart(s[at]) {
			at--
		}
		at++
		return &at, nil
	}
	at, err := start(c, 3, s, from)
	if err != nil {
		return nil, err
	}
	for ; n > 1 && at < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	for ; n < 0 && at > 0; n++ {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	if n > 1 || n < 0 {
		return nil, nil
	}
	at++
	return &at, nil
}

// changing declares a function from text to text.
func changing(name, doc, example string, change func(s string) string) *api.Func {
	fn := func(c *api.Call, s string) (string, error) {
		if err := check(s); err != nil {
			return "", err
		}
		host.MakeString(c.L, float64(len(s)))
		out := change(s)
		host.MakeString(c.L, float64(len(out)))
		return out, nil
	}
	return api.Function(name, doc,
		"text", fn,
		api.ParamDoc("text", textDoc),
		api.Raises("decode"),
		api.Example(example))
}

func changes() []*api.Func {
	return []*api.Func{
		api.Function("sub", "Returns the characters from one to another, counted in characters. "+
			"Negative numbers count from the end.",
			"text first last?", sub,
			api.ParamDoc("text", textDoc),
			api.ParamDoc("first", "number of the first character"),
			api.ParamDoc("last", "number of the last character, -1 if it is not given"),
			api.Raises("decode"),
			api.Example(`return require("imd.utf8").sub("häß", -2) -- => "äß"`)),
		changing("reverse", "The characters in reverse order. Accents that are characters of "+
			"their own move to the next letter.",
			`return require("imd.utf8").reverse("äb") -- => "bä"`, reverse),
		changing("upper", "The text in upper case, all scripts.",
			`return require("imd.utf8").upper("äb") -- => "ÄB"`, strings.ToUpper),
		changing("lower", "The text in lower case, all scripts.",
			`return require("imd.utf8").lower("ÄB") -- => "äb"`, strings.ToLower),
		api.Function("width", "Returns how many cells of a terminal the text takes.",
			"text", width,
			api.ParamDoc("text", textDoc),
			api.Raises("decode"),
			api.Example(`return require("imd.utf8").width("日本") -- => 4`)),
		api.Function("escape", "Makes valid UTF-8 of any bytes: each invalid byte becomes \\xNN.",
			"text", escape,
			api.ParamDoc("text", "any bytes"),
			api.Example(`return require("imd.utf8").escape("a\255") -- => "a\\xff"`)),
	}
}

func sub(_ *api.Call, s string, first int, last *int) (string, error) {
	if err := check(s); err != nil {
		return "", err
	}
	from, to := host.StringRange(utf8.RuneCountInString(s), first, or(last, -1))
	begin, end, n := 0, 0, 0
	for at, r := range s {
		if n == from {
			begin = at
		}
		n++
		if n == to {
			end = at + utf8.RuneLen(r)
			break
		}
	}
	if from == to {
		return "", nil
	}
	return s[begin:end], nil
}

func reverse(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		_, size := utf8.DecodeLastRuneInString(s)
		b.WriteString(s[len(s)-size:])
		s = s[:len(s)-size]
	}
	return b.String()
}

func width(_ *api.Call, s string) (int, error) { return runewidth.StringWidth(s), check(s) }

func escape(c *api.Call, s string) string {
	if invalid(s) < 0 {
		return s
	}
	host.MakeString(c.L, 4*float64(len(s)))
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}
