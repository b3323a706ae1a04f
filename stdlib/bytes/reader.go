package bytes

import (
	"bytes"
	"fmt"
	"strconv"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Reader reads values one after the other.
type Reader struct {
	b  []byte
	at int
}

// Size counts the bytes.
func (r *Reader) Size(func(lua.LValue)) int { return len(r.b) }

func (r *Reader) remaining() int { return len(r.b) - r.at }

func plural(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return strconv.Itoa(n) + " bytes"
}

// take returns the next n bytes. If fewer are left, it returns an error and the position stays.
func (r *Reader) take(n int, what string) ([]byte, error) {
	if n > r.remaining() {
		return nil, host.Errorf("eof", "bytes: %s at offset %d takes %s, and %d are left",
			what, r.at, plural(n), r.remaining())
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at], nil
}

func (r *Reader) cstring() (lua.LValue, error) {
	n := bytes.IndexByte(r.b[r.at:], 0)
	if n < 0 {
		return nil, host.Errorf("eof", "bytes: the string at offset %d has no zero in the %s that "+
			"are left", r.at, plural(r.remaining()))
	}
	r.at += n + 1
	return lua.LString(r.b[r.at-n-1 : r.at-1]), nil
}

// number is one of the types that the reader and the writer have a method for.
type number struct {
	name, doc string
	item      item
}

// numbers lists u8, i8, u16le and so on.
func numbers() []number {
	out := []number{
		{"u8", "an unsigned byte", item{kind: kindUint, size: 1}},
		{"i8", "a signed byte", item{kind: kindInt, size: 1}},
	}
	for _, size := range []int{2, 4, 8} {
		for _, big := range []bool{false, true} {
			end, order := "le", "little-endian"
			if big {
				end, order = "be", "big-endian"
			}
			bits := strconv.Itoa(8 * size)
			out = append(out,
				number{"u" + bits + end, "an unsigned " + order + " integer of " + bits + " bits",
					item{kind: kindUint, size: size, big: big}},
				number{"i" + bits + end, "a signed " + order + " integer of " + bits + " bits",
					item{kind: kindInt, size: size, big: big}})
			if size > 2 {
				out = append(out, number{"f" + bits + end, "a " + order + " float of " + bits +
					" bits", item{kind: kindFloat, size: size, big: big}})
			}
		}
	}
	return out
}

func (n number) typeText() string {
	if n.item.kind == kindFloat {
		return "number"
	}
	return "integer"
}

func readerClass() *api.Class {
	c := api.NewClass[*Reader]("BytesReader", "Reads values from bytes one after the other. When "+
		"a value is not there as a whole, the position stays where it was.")
	c.Var = "reader"
	c.String = func(r *Reader) string { return fmt.Sprintf("BytesReader<%d/%d>", r.at, len(r.b)) }
	c.Fields = []*api.Field{
		api.Property("position", "offset of the next byte, 0 at first",
			func(r *Reader) int { return r.at }),
		api.Property("remaining", "how many bytes are left", (*Reader).remaining),
		api.Property("at_end", "whether no byte is left",
			func(r *Reader) bool { return r.remaining() == 0 }),
	}
	for _, n := range numbers() {
		c.Methods = append(c.Methods, api.Method(n.name, "Reads "+n.doc+".",
			"", func(c *api.Call, r *Reader) (lua.LValue, error) { return r.item(c.L, n.item) },
			api.Raises("eof"),
			api.Returns(n.typeText()+" value"),
			api.Example(`return require("imd.bytes").reader(("\0"):rep(8)):`+n.name+`() -- => 0`)))
	}
	c.Methods = append(c.Methods, readerMethods()...)
	return c
}

func readerMethods() []*api.Func {
	return []*api.Func{
		api.Method("cstring", "Reads a text that ends with a zero byte, and leaves the zero out.",
			"", func(_ *api.Call, r *Reader) (lua.LValue, error) { return r.cstring() },
			api.Raises("eof"),
			api.Returns("string text"),
			api.Example(`return require("imd.bytes").reader("ab\0"):cstring() -- => "ab"`)),
		api.Method("bytes", "Reads a number of bytes as Data.",
			"count", readBytes,
			api.ParamDoc("count", "how many bytes; all that are left if it is not given"),
			api.Raises("eof"),
			api.Example(`return require("imd.bytes").reader("abc"):bytes(2) -- => data("ab")`)),
		api.Method("skip", "Leaves bytes out. Returns the reader.",
			"count", skip,
			api.ParamDoc("count", "how many bytes"),
			api.Raises("eof"),
			api.Example(`return require("imd.bytes").reader("abc"):skip(2).position -- => 2`)),
		api.Method("seek", "Goes to an offset from the beginning. Returns the reader.",
			"offset", seek,
			api.ParamDoc("offset", "0 is the first byte; negative counts from the end"),
			api.Raises("eof"),
			api.Example(`return require("imd.bytes").reader("abc"):seek(-1):u8() -- => 99`)),
	}
}

func readBytes(_ *api.Call, r *Reader, count *uint32) ([]byte, error) {
	if count == nil {
		return r.take(r.remaining(), "data")
	}
	return r.take(int(*count), "data")
}

func skip(_ *api.Call, r *Reader, count uint32) (*Reader, error) {
	_, err := r.take(int(count), "what is skipped")
	return r, err
}

func seek(_ *api.Call, r *Reader, offset int) (*Reader, error) {
	at := offset
	if at < 0 {
		at += len(r.b)
	}
	if at < 0 || at > len(r.b) {
		return nil, host.Errorf(
			"eof",
			"bytes: offset %d is outside of %s",
			offset,
			plural(len(r.b)),
		)
	}
	r.at = at
	return r, nil
}
