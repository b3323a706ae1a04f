package bytes

import (
	"math"
	"strconv"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// maxSize is the size of the largest integer, and maxFormat that of the longest format.
const (
	maxSize   = 16
	maxFormat = 1 << 16
	native    = 8 // the native alignment
)

// kind says how an item of a format is encoded.
type kind int

const (
	kindNone kind = iota // only padding
	kindInt
	kindUint
	kindFloat
	kindString // a length and the bytes
	kindZero   // bytes that end with a 0
)

// item is one item of a format.
type item struct {
	kind kind
	size int // of the number, or of the length of a string
	pad  int // bytes of padding before it
	big  bool
}

// format reads a format of Lua 5.3's string.pack item by item.
type format struct {
	text  string
	at    int
	big   bool
	align int // the largest alignment
}

func newFormat(text string) (*format, error) {
	if len(text) > maxFormat {
		return nil, host.Errorf("format", "bytes: the format is longer than %d bytes", maxFormat)
	}
	return &format{text: text, align: 1}, nil
}

// errorf returns an error about the format.
func (f *format) errorf(text string, args ...any) error {
	e := host.Errorf("format", "bytes: "+text, args...)
	return e.WithHint("the letters are those of string.pack in Lua 5.3, see help(\"bytes.pack\")")
}

// number reads the digits that follow a letter. It returns def if there are none.
func (f *format) number(def int) (int, error) {
	start := f.at
	for f.at < len(f.text) && f.text[f.at] >= '0' && f.text[f.at] <= '9' {
		f.at++
	}
	if start == f.at {
		return def, nil
	}
	n, err := strconv.Atoi(f.text[start:f.at])
	if err != nil || n < 1 || n > maxSize {
		return 0, f.errorf("size %s in the format is not in 1 to %d", f.text[start:f.at], maxSize)
	}
	return n, nil
}

// next returns the next item, or false at the end. offset is where the item begins, which decides
// how much padding aligns it.
func (f *format) next(offset int) (it item, ok bool, err error) {
	for f.at < len(f.text) {
		c := f.text[f.at]
		f.at++
		if c == 'X' {
			return f.alignAs(offset)
		}
		it, ok, err = f.letter(c)
		if err != nil {
			return item{}, false, err
		}
		if ok {
			if it.kind != kindNone && it.kind != kindZero {
				it.pad, err = f.padding(it.size, offset)
			}
			return it, err == nil, err
		}
	}
	return item{}, false, nil
}

// alignAs reads the letter after X and returns the padding that would align its item.
func (f *format) alignAs(offset int) (item, bool, error) {
	if f.at == len(f.text) {
		return item{}, false, f.errorf("X at the end of the format has no letter after it")
	}
	c := f.text[f.at]
	f.at++
	it, ok, err := f.letter(c)
	if err != nil {
		return item{}, false, err
	}
	if !ok || it.kind == kindNone || it.kind == kindZero {
		return item{}, false, f.errorf("X%c in the format: %c has no alignment", c, c)
	}
	pad, err := f.padding(it.size, offset)
	return item{pad: pad}, err == nil, err
}

// letter reads one letter. It returns false if the letter only sets a mode for later letters.
func (f *format) letter(c byte) (it item, ok bool, err error) {
	it.big = f.big
	sized := func(k kind, size int, err error) (item, bool, error) {
		return item{kind: k, size: size, big: f.big}, err == nil, err
	}
	switch c {
	case ' ':
		return it, false, nil
	case '<', '=':
		f.big = false
		return it, false, nil
	case '>':
		f.big = true
		return it, false, nil
	case '!':
		f.align, err = f.number(native)
		return it, false, err
	case 'b', 'h', 'l', 'j':
		return sized(kindInt, sizes[c], nil)
	case 'B', 'H', 'L', 'J', 'T':
		return sized(kindUint, sizes[c], nil)
	case 'f', 'd', 'n':
		return sized(kindFloat, sizes[c], nil)
	case 'i', 'I', 's':
		n, err := f.number(sizes[c])
		return sized(kinds[c], n, err)
	case 'z':
		return sized(kindZero, 0, nil)
	case 'x':
		return item{pad: 1}, true, nil
	}
	return it, false, f.errorf("unknown letter %q in the format", string(rune(c)))
}

var (
	sizes = map[byte]int{
		'b': 1, 'B': 1, 'h': 2, 'H': 2, 'l': 8, 'L': 8, 'j': 8, 'J': 8, 'T': 8,
		'f': 4, 'd': 8, 'n': 8, 'i': 4, 'I': 4, 's': 8,
	}
	kinds = map[byte]kind{'i': kindInt, 'I': kindUint, 's': kindString}
)

// padding returns how many bytes of padding align an item of a size.
func (f *format) padding(size, offset int) (int, error) {
	size = min(size, f.align)
	if size <= 1 {
		return 0, nil
	}
	if size&(size-1) != 0 {
		return 0, f.errorf("an alignment of %d bytes is not a power of 2", size)
	}
	return -offset & (size - 1), nil
}

// integer is a value of 64 bits with its sign.
type integer struct {
	bits uint64
	neg  bool
}

// integerOf converts a number, Int64 or UInt64. If it cannot, it returns the text of an argument
// error.
func integerOf(v lua.LValue) (integer, string) {
	switch x := v.(type) {
	case lua.LNumber:
		f := float64(x)
		switch {
		case f != math.Trunc(f):
			return integer{}, "number has no integer representation"
		case f >= -(1<<63) && f < 0:
			return integer{uint64(int64(f)), true}, ""
		case f >= 0 && f < 1<<64:
			return integer{uint64(f), false}, ""
		}
		return integer{}, "number does not fit in 64 bits"
	case *lua.LUserData:
		switch n := x.Value.(type) {
		case host.Int64:
			return integer{uint64(n), n < 0}, ""
		case host.UInt64:
			return integer{uint64(n), false}, ""
		}
	}
	return integer{}, "integer expected, got " + v.Type().String()
}

// fits reports whether the value can be written in size bytes.
func (n integer) fits(size int, signed bool) bool {
	switch {
	case n.neg && !signed:
		return false
	case n.neg:
		return size >= 8 || int64(n.bits) >= -1<<(8*size-1)
	case signed:
		return size > 8 || n.bits < 1<<(8*size-1)
	}
	return size >= 8 || n.bits < 1<<(8*size)
}

// appendInt appends the value in size bytes.
func appendInt(b []byte, n integer, size int, big bool) []byte {
	for i := range size {
		at := i
		if big {
			at = size - 1 - i
		}
		switch {
		case at < 8:
			b = append(b, byte(n.bits>>(8*at)))
		case n.neg:
			b = append(b, 0xff)
		default:
			b = append(b, 0)
		}
	}
	return b
}

// readInt reads a value of len(b) bytes. It returns false if the value does not fit in 64 bits.
func readInt(b []byte, signed, big bool) (integer, bool) {
	var n integer
	at := func(i int) byte {
		if big {
			return b[len(b)-1-i]
		}
		return b[i]
	}
	n.neg = signed && at(len(b)-1)&0x80 != 0
	fill := byte(0)
	if n.neg {
		fill = 0xff
		n.bits = ^uint64(0)
	}
	for i := range b {
		if i >= 8 {
			if at(i) != fill {
				return n, false
			}
			continue
		}
		n.bits = n.bits&^(0xff<<(8*i)) | uint64(at(i))<<(8*i)
	}
	// The bits above the lowest 64 decide the sign of a longer value.
	return n, !signed || len(b) <= 8 || n.neg == (int64(n.bits) < 0)
}

// value returns the number as a Lua value.
func (n integer) value(L *lua.LState) lua.LValue {
	if n.neg {
		return host.ToLua(L, int64(n.bits))
	}
	return host.ToLua(L, n.bits)
}
