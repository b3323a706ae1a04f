package json

import (
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// encoder encodes Lua values. It does not convert them to Go values, because a Go map would lose
// the order of keys.
type encoder struct {
	L            *lua.LState
	out          []byte
	pretty, sort bool
	open         []*lua.LTable // the tables around the value that is being written
}

// room raises an error of code "memory" if the text would be too long with n more bytes. It checks
// only when the buffer has to grow.
func (e *encoder) room(n int) {
	n += len(e.out)
	if n > cap(e.out) {
		host.MakeString(e.L, float64(n))
	}
}

// refuse returns the error of the value at path.
func refuse(path, format string, args ...any) error {
	return host.Errorf("value", "json: %s: %s", path, fmt.Sprintf(format, args...))
}

func (e *encoder) value(v lua.LValue, depth int, path string) error {
	if depth > maxDepth {
		return refuse("value", "nested deeper than %d levels", maxDepth)
	}
	switch x := v.(type) {
	case lua.LBool:
		e.out = strconv.AppendBool(e.out, bool(x))
	case lua.LNumber:
		return e.number(float64(x), path)
	case lua.LString:
		e.text(string(x))
	case *lua.LTable:
		return e.table(x, depth, path)
	case *lua.LUserData:
		return e.object(x, depth, path)
	default:
		return refuse(path, "cannot encode %s", v.Type())
	}
	return nil
}

func (e *encoder) number(f float64, path string) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return refuse(path, "JSON has no %s", strconv.FormatFloat(f, 'g', -1, 64))
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<63 {
		e.out = strconv.AppendInt(e.out, int64(f), 10)
		return nil
	}
	e.out = strconv.AppendFloat(e.out, f, 'g', -1, 64)
	return nil
}

const digits = "0123456789abcdef"

// plain reports whether a byte is written without an escape in a JSON string.
func plain(c byte) bool {
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'
}

// text writes a string. Bytes that are not UTF-8 become U+FFFD, because JSON cannot represent them.
// Scripts use Data for such bytes.
func (e *encoder) text(s string) {
	e.room(2)
	e.out = append(e.out, '"')
	for i := 0; i < len(s); {
		begin := i
		for i < len(s) && plain(s[i]) {
			i++
		}
		e.room(i - begin + 1)
		e.out = append(e.out, s[begin:i]...)
		if i == len(s) {
			break
		}
		switch c := s[i]; {
		case c == '"' || c == '\\':
			e.out = append(e.out, '\\', c)
		case c == '\n':
			e.out = append(e.out, '\\', 'n')
		case c == '\r':
			e.out = append(e.out, '\\', 'r')
		case c == '\t':
			e.out = append(e.out, '\\', 't')
		case c < 0x20 || c == 0x7f:
			e.out = append(e.out, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			e.out = utf8.AppendRune(e.out, r)
			i += n
			continue
		}
		i++
	}
	e.out = append(e.out, '"')
}

func (e *encoder) table(t *lua.LTable, depth int, path string) error {
	if slices.Contains(e.open, t) {
		return refuse(path, "contains itself")
	}
	e.open = append(e.open, t)
	defer func() { e.open = e.open[:len(e.open)-1] }()
	keys, list, err := host.Keys(t)
	if err != nil {
		return refuse(path, "%v", err)
	}
	if list {
		return e.list(t, depth, path)
	}
	if e.sort {
		slices.Sort(keys)
	}
	e.out = append(e.out, '{')
	for i, k := range keys {
		e.key(i, k, depth)
		if err := e.value(t.RawGetString(k), depth+1, path+"."+k); err != nil {
			return err
		}
	}
	e.end(len(keys), '}', depth)
	return nil
}

func (e *encoder) list(t *lua.LTable, depth int, path string) error {
	n := t.Len()
	e.out = append(e.out, '[')
	for i := range n {
		e.separate(i, depth)
		if err := e.value(t.RawGetInt(i+1), depth+1, path+"["+strconv.Itoa(i+1)+"]"); err != nil {
			return err
		}
	}
	e.end(n, ']', depth)
	return nil
}

// separate writes the separator and the line break before the i-th entry.
func (e *encoder) separate(i, depth int) {
	e.room(1)
	if i > 0 {
		e.out = append(e.out, ',')
	}
	if e.pretty {
		e.indent(depth + 1)
	}
}

func (e *encoder) key(i int, k string, depth int) {
	e.separate(i, depth)
	e.text(k)
	e.out = append(e.out, ':')
	if e.pretty {
		e.out = append(e.out, ' ')
	}
}

func (e *encoder) end(n int, bracket byte, depth int) {
	if n > 0 && e.pretty {
		e.indent(depth)
	}
	e.out = append(e.out, bracket)
}

func (e *encoder) indent(depth int) {
	e.room(2*depth + 1)
	e.out = append(e.out, '\n')
	for range depth {
		e.out = append(e.out, ' ', ' ')
	}
}

// object writes userdata: a record in the order of its fields, a collection as a table,
// anything else by its Go value.
func (e *encoder) object(ud *lua.LUserData, depth int, path string) error {
	if t, ok := api.Table(e.L, ud); ok {
		return e.table(t, depth, path)
	}
	i := 0
	begin := len(e.out)
	e.out = append(e.out, '{')
	ok, err := api.EachField(ud, func(name string, v any) error {
		e.key(i, name, depth)
		i++
		return e.goValue(v, depth+1, path+"."+name)
	})
	if ok || err != nil {
		e.end(i, '}', depth)
		return err
	}
	e.out = e.out[:begin]
	v, err := api.Plain(ud)
	if err != nil {
		return refuse(path, "cannot encode %s", ud.Type())
	}
	return e.goValue(v, depth, path)
}

func (e *encoder) goValue(v any, depth int, path string) error {
	if depth > maxDepth {
		return refuse("value", "nested deeper than %d levels", maxDepth)
	}
	switch x := v.(type) {
	case nil:
		e.out = append(e.out, "null"...)
	case bool:
		e.out = strconv.AppendBool(e.out, x)
	case string:
		e.text(x)
	case int64:
		e.out = strconv.AppendInt(e.out, x, 10)
	case uint64:
		e.out = strconv.AppendUint(e.out, x, 10)
	case float64:
		return e.number(x, path)
	case []byte:
		e.base64(x)
	case time.Time:
		e.text(x.UTC().Format(time.RFC3339Nano))
	case []any:
		e.out = append(e.out, '[')
		for i, item := range x {
			e.separate(i, depth)
			if err := e.goValue(item, depth+1, path); err != nil {
				return err
			}
		}
		e.end(len(x), ']', depth)
	case map[string]any:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		e.out = append(e.out, '{')
		for i, k := range keys {
			e.key(i, k, depth)
			if err := e.goValue(x[k], depth+1, path+"."+k); err != nil {
				return err
			}
		}
		e.end(len(x), '}', depth)
	default:
		return e.other(x, path)
	}
	return nil
}

func (e *encoder) base64(b []byte) {
	e.room(base64.StdEncoding.EncodedLen(len(b)) + 2)
	e.out = append(e.out, '"')
	e.out = base64.StdEncoding.AppendEncode(e.out, b)
	e.out = append(e.out, '"')
}

// other writes durations and the remaining types of numbers.
func (e *encoder) other(v any, path string) error {
	switch rv := reflect.ValueOf(v); {
	case rv.CanInt():
		e.out = strconv.AppendInt(e.out, rv.Int(), 10)
	case rv.CanUint():
		e.out = strconv.AppendUint(e.out, rv.Uint(), 10)
	case rv.CanFloat():
		return e.number(rv.Float(), path)
	case rv.Kind() == reflect.String:
		e.text(rv.String())
	case rv.Kind() == reflect.Bool:
		e.out = strconv.AppendBool(e.out, rv.Bool())
	default:
		return refuse(path, "cannot encode a Go %T", v)
	}
	return nil
}
