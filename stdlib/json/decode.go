package json

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// decoder decodes JSON to Lua values without Go values in between, so that the order of keys is
// kept and integers stay exact.
type decoder struct {
	L    *lua.LState
	h    *host.Host
	text []byte
	pos  int
	drop bool // whether null values are left out
	made int  // size of the values that were not reported to the memory guard yet
}

// madeBytes is the size of the values that are made between two reports to the memory guard and two
// checks of the limits.
const madeBytes = 64 << 10

// count adds n bytes of new values. It raises an error of code "memory" if the script has too many.
func (d *decoder) count(n int) {
	d.made += n
	if d.made >= madeBytes {
		host.Converted(d.L, d.made)
		host.Tick(d.L)
		d.made = 0
	}
}

var errEnd = errors.New("the text ends too early")

// line is the number of the line that pos is in.
func (d *decoder) line() int {
	return bytes.Count(d.text[:min(d.pos, len(d.text))], []byte("\n")) + 1
}

func (d *decoder) document() (lua.LValue, error) {
	defer host.Converting(d.L).Done()
	d.text = bytes.TrimPrefix(d.text, []byte("\xef\xbb\xbf"))
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	d.space()
	if d.pos < len(d.text) {
		return nil, d.unexpected()
	}
	return v, nil
}

func (d *decoder) space() {
	for d.pos < len(d.text) {
		switch d.text[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

// peek returns the next byte that is not white space, 0 at the end.
func (d *decoder) peek() byte {
	d.space()
	if d.pos < len(d.text) {
		return d.text[d.pos]
	}
	return 0
}

func (d *decoder) unexpected() error {
	if d.pos >= len(d.text) {
		return errEnd
	}
	r, _ := utf8.DecodeRune(d.text[d.pos:])
	return fmt.Errorf("unexpected %q", r)
}

func (d *decoder) value(depth int) (lua.LValue, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	switch c := d.peek(); {
	case c == '{':
		return d.dict(depth)
	case c == '[':
		return d.list(depth)
	case c == '"':
		s, err := d.str()
		d.count(host.SizeString + len(s))
		return lua.LString(s), err
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	case d.word("true"):
		return lua.LTrue, nil
	case d.word("false"):
		return lua.LFalse, nil
	case d.word("null"):
		return d.h.Null(), nil
	}
	return nil, d.unexpected()
}

func (d *decoder) word(w string) bool {
	if bytes.HasPrefix(d.text[d.pos:], []byte(w)) {
		d.pos += len(w)
		return true
	}
	return false
}

func (d *decoder) dict(depth int) (lua.LValue, error) {
	d.pos++
	d.count(host.SizeTable)
	if d.peek() == '}' {
		d.pos++
		return host.ToLua(d.L, map[string]any{}), nil
	}
	t := d.L.CreateTable(0, 4)
	n := 0
	for d.peek() != '}' {
		if n > 0 {
			if d.peek() != ',' {
				return nil, d.unexpected()
			}
			d.pos++
		}
		n++
		if d.peek() != '"' {
			return nil, d.unexpected()
		}
		k, err := d.str()
		if err != nil {
			return nil, err
		}
		if d.peek() != ':' {
			return nil, d.unexpected()
		}
		d.pos++
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if !d.drop || v != d.h.Null() {
			d.count(host.SizeEntry + host.SizeString + len(k))
			t.RawSetString(k, v)
		}
	}
	d.pos++
	if k, _ := t.Next(lua.LNil); k == lua.LNil { // all entries were dropped
		return host.ToLua(d.L, map[string]any{}), nil
	}
	return t, nil
}

func (d *decoder) list(depth int) (lua.LValue, error) {
	d.pos++
	d.count(host.SizeTable)
	if d.peek() == ']' {
		d.pos++
		return host.ToLua(d.L, []any{}), nil
	}
	t := d.L.CreateTable(4, 0)
	n := 0
	for d.peek() != ']' {
		if n > 0 {
			if d.peek() != ',' {
				return nil, d.unexpected()
			}
			d.pos++
		}
		n++
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if !d.drop || v != d.h.Null() {
			d.count(host.SizeSlot)
			t.Append(v)
		}
	}
	d.pos++
	if t.Len() == 0 {
		return host.ToLua(d.L, []any{}), nil
	}
	return t, nil
}

// str reads a string that begins at pos.
func (d *decoder) str() (string, error) {
	d.pos++
	start := d.pos
	for i := start; i < len(d.text); i++ {
		switch c := d.text[i]; {
		case c == '"':
			d.pos = i + 1
			return string(d.text[start:i]), nil
		case c == '\\':
			d.pos = i
			return d.escaped(append([]byte(nil), d.text[start:i]...))
		case c < 0x20:
			d.pos = i
			return "", fmt.Errorf("control character %#02x in a string", c)
		}
	}
	d.pos = len(d.text)
	return "", errEnd
}

var escapes = map[byte]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// escaped reads the rest of a string from its first backslash. out holds the text before it.
func (d *decoder) escaped(out []byte) (string, error) {
	for d.pos < len(d.text) {
		c := d.text[d.pos]
		switch {
		case c == '"':
			d.pos++
			return string(out), nil
		case c < 0x20:
			return "", fmt.Errorf("control character %#02x in a string", c)
		case c != '\\':
			out = append(out, c)
			d.pos++
			continue
		}
		if d.pos+1 >= len(d.text) {
			break
		}
		e := d.text[d.pos+1]
		if e == 'u' {
			r, err := d.unicode()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
			continue
		}
		b, ok := escapes[e]
		if !ok {
			return "", fmt.Errorf("unknown escape \\%c", e)
		}
		out = append(out, b)
		d.pos += 2
	}
	d.pos = len(d.text)
	return "", errEnd
}

// unicode reads \uXXXX, or two of them that are one character.
func (d *decoder) unicode() (rune, error) {
	r, err := d.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if bytes.HasPrefix(d.text[d.pos:], []byte(`\u`)) {
		back := d.pos
		low, err := d.hex4()
		if err != nil {
			return 0, err
		}
		if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
			return full, nil
		}
		d.pos = back
	}
	return utf8.RuneError, nil
}

func (d *decoder) hex4() (rune, error) {
	if d.pos+6 > len(d.text) {
		return 0, errEnd
	}
	n, err := strconv.ParseUint(string(d.text[d.pos+2:d.pos+6]), 16, 16)
	if err != nil {
		return 0, errors.New(`\u needs four hexadecimal digits`)
	}
	d.pos += 6
	return rune(n), nil
}

func (d *decoder) digits() int {
	start := d.pos
	for d.pos < len(d.text) && d.text[d.pos] >= '0' && d.text[d.pos] <= '9' {
		d.pos++
	}
	return d.pos - start
}

// number reads a number in the grammar of JSON, in which 01, 1. and +1 are errors.
func (d *decoder) number() (lua.LValue, error) {
	start, integer := d.pos, true
	if d.text[d.pos] == '-' {
		d.pos++
	}
	lead := d.pos
	if n := d.digits(); n == 0 || n > 1 && d.text[lead] == '0' {
		return nil, errors.New("malformed number")
	}
	if d.pos < len(d.text) && d.text[d.pos] == '.' {
		integer = false
		d.pos++
		if d.digits() == 0 {
			return nil, errors.New("malformed number")
		}
	}
	if d.pos < len(d.text) && d.text[d.pos]|0x20 == 'e' {
		integer = false
		d.pos++
		if d.pos < len(d.text) && (d.text[d.pos] == '+' || d.text[d.pos] == '-') {
			d.pos++
		}
		if d.digits() == 0 {
			return nil, errors.New("malformed number")
		}
	}
	s := string(d.text[start:d.pos])
	if integer {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return host.ToLua(d.L, n), nil
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return host.ToLua(d.L, n), nil
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && math.IsInf(f, 0) {
		return nil, errors.New("number out of range")
	}
	return lua.LNumber(f), nil
}
