package bytes

import (
	"bytes"
	"math"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// maxValues is the largest number of values that unpack returns.
const maxValues = 200

func pack(c *api.Call, text string, values ...lua.LValue) ([]byte, error) {
	f, err := newFormat(text)
	if err != nil {
		return nil, err
	}
	var out []byte
	used := 0
	for {
		it, ok, err := f.next(len(out))
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		out = append(out, make([]byte, it.pad)...)
		if it.kind == kindNone {
			continue
		}
		if used == len(values) {
			return nil, c.ArgError(used+2, "the format has more items than there are values")
		}
		out, err = appendItem(c, out, it, used+2, values[used])
		if err != nil {
			return nil, err
		}
		used++
	}
	if used < len(values) {
		return nil, c.ArgError(used+2, "the format has only %d items", used)
	}
	return out, nil
}

// appendItem appends the value of argument n.
func appendItem(c *api.Call, b []byte, it item, n int, v lua.LValue) ([]byte, error) {
	switch it.kind {
	case kindFloat:
		x, ok := v.(lua.LNumber)
		if !ok {
			return nil, c.ArgError(n, "number expected, got %s", v.Type())
		}
		return appendFloat(b, float64(x), it), nil
	case kindInt, kindUint:
		x, text := integerOf(v)
		if text != "" {
			return nil, c.ArgError(n, "%s", text)
		}
		signed := it.kind == kindInt
		if !x.fits(it.size, signed) {
			return nil, c.ArgError(n, "%s", tooLarge(c, v, it.size, signed))
		}
		return appendInt(b, x, it.size, it.big), nil
	}
	s, ok := host.Bytes(v)
	if !ok {
		return nil, c.ArgError(n, "string or Data expected, got %s", v.Type())
	}
	host.MakeString(c.L, float64(len(b))+float64(len(s))+maxSize)
	if it.kind == kindZero {
		if at := bytes.IndexByte(s, 0); at >= 0 {
			return nil, c.ArgError(n, "the string contains a zero at byte %d", at+1)
		}
		return append(append(b, s...), 0), nil
	}
	size := integer{bits: uint64(len(s))}
	if !size.fits(it.size, false) {
		return nil, c.ArgError(n, "%d bytes are too many for a length of %d bytes", len(s), it.size)
	}
	return append(appendInt(b, size, it.size, it.big), s...), nil
}

// tooLarge returns the text of the error for an integer that does not fit.
func tooLarge(c *api.Call, v lua.LValue, size int, signed bool) string {
	what := " does not fit in an unsigned integer of "
	if signed {
		what = " does not fit in a signed integer of "
	}
	return host.ToString(c.L, v) + what + plural(size)
}

func appendFloat(b []byte, f float64, it item) []byte {
	n := integer{bits: math.Float64bits(f)}
	if it.size == 4 {
		n.bits = uint64(math.Float32bits(float32(f)))
	}
	return appendInt(b, n, it.size, it.big)
}

func readFloat(b []byte, big bool) float64 {
	n, _ := readInt(b, false, big)
	if len(b) == 4 {
		return float64(math.Float32frombits(uint32(n.bits)))
	}
	return math.Float64frombits(n.bits)
}

func unpack(c *api.Call, text string, b []byte, position *int) (api.Values, error) {
	f, err := newFormat(text)
	if err != nil {
		return nil, err
	}
	r := &Reader{b: b}
	if position != nil {
		r.at = *position - 1
		if *position < 0 {
			r.at = len(b) + *position
		}
		if r.at < 0 || r.at > len(b) {
			return nil, c.ArgError(3, "position %d is outside of %s", *position, plural(len(b)))
		}
	}
	var out api.Values
	for {
		it, ok, err := f.next(r.at)
		if err != nil {
			return nil, err
		}
		if !ok {
			return append(out, lua.LNumber(r.at+1)), nil
		}
		if _, err := r.take(it.pad, "padding"); err != nil {
			return nil, err
		}
		if it.kind == kindNone {
			continue
		}
		if len(out) == maxValues {
			return nil, host.Errorf("too_large", "bytes: more than %d values at once", maxValues)
		}
		v, err := r.item(c.L, it)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
}

// item reads one item.
func (r *Reader) item(L *lua.LState, it item) (lua.LValue, error) {
	switch it.kind {
	case kindZero:
		return r.cstring()
	case kindFloat:
		b, err := r.take(it.size, "a float")
		if err != nil {
			return nil, err
		}
		return lua.LNumber(readFloat(b, it.big)), nil
	}
	start := r.at
	b, err := r.take(it.size, "an integer")
	if err != nil {
		return nil, err
	}
	n, ok := readInt(b, it.kind == kindInt, it.big)
	if !ok {
		r.at = start
		return nil, host.Errorf("decode", "bytes: the integer of %s at offset %d does not fit "+
			"in 64 bits", plural(it.size), start)
	}
	if it.kind != kindString {
		return n.value(L), nil
	}
	if n.bits > uint64(r.remaining()) {
		r.at = start
		return nil, host.Errorf("eof", "bytes: the string at offset %d has a length of %d, and %s "+
			"are left", start, n.bits, plural(len(r.b)-start-it.size))
	}
	s, err := r.take(int(n.bits), "a string")
	return lua.LString(s), err
}

func packsize(_ *api.Call, text string) (int, error) {
	f, err := newFormat(text)
	if err != nil {
		return 0, err
	}
	size := 0
	for {
		it, ok, err := f.next(size)
		if err != nil {
			return 0, err
		}
		if !ok {
			return size, nil
		}
		if it.kind == kindString || it.kind == kindZero {
			return 0, f.errorf("the size of s and z depends on the value")
		}
		size += it.pad + it.size
	}
}
