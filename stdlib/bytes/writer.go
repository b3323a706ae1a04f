package bytes

import (
	"bytes"
	"fmt"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Writer appends encoded values to a byte slice.
type Writer struct{ b []byte }

// Size returns the size of the memory that holds the bytes.
func (w *Writer) Size(func(lua.LValue)) int { return cap(w.b) }

// reserve checks the memory limit before n bytes are appended.
func (w *Writer) reserve(c *api.Call, n int) {
	if len(w.b)+n > cap(w.b) {
		host.MakeString(c.L, float64(len(w.b))+float64(n))
	}
}

func writerClass() *api.Class {
	c := api.NewClass[*Writer]("BytesWriter", "Puts values together as bytes. Every method but "+
		"data returns the writer.")
	c.Var = "writer"
	c.String = func(w *Writer) string { return fmt.Sprintf("BytesWriter<%d>", len(w.b)) }
	c.Fields = []*api.Field{
		api.Property("position", "how many bytes were written",
			func(w *Writer) int { return len(w.b) }),
	}
	for _, n := range numbers() {
		c.Methods = append(c.Methods, api.Method(n.name, "Writes "+n.doc+".",
			"value:"+n.typeText(), func(c *api.Call, w *Writer, v lua.LValue) (*Writer, error) {
				w.reserve(c, n.item.size)
				b, err := appendItem(c, w.b, n.item, 1, v)
				if err == nil {
					w.b = b
				}
				return w, err
			},
			api.ParamDoc("value", "the number"),
			api.Example(`return #require("imd.bytes").writer():`+n.name+`(0):data() -- => `+
				fmt.Sprint(n.item.size))))
	}
	c.Methods = append(c.Methods, writerMethods()...)
	return c
}

func writerMethods() []*api.Func {
	return []*api.Func{
		api.Method(
			"cstring",
			"Writes a text and a zero byte.",
			"text:string|Data",
			writeCString,
			api.ParamDoc("text", "text without a zero byte"),
			api.Example(
				`return require("imd.bytes").writer():cstring("a"):data() -- => data("a\0")`,
			),
		),
		api.Method(
			"bytes",
			"Writes bytes as they are.",
			"value:string|Data",
			writeBytes,
			api.ParamDoc("value", "what is written"),
			api.Example(
				`return require("imd.bytes").writer():bytes("ab"):data() -- => data("ab")`,
			),
		),
		api.Method("skip", "Writes zero bytes.",
			"count", writeZeros,
			api.ParamDoc("count", "how many"),
			api.Example(`return require("imd.bytes").writer():skip(2):data() -- => data("\0\0")`)),
		api.Method("data", "Returns what was written so far.",
			"", func(c *api.Call, w *Writer) []byte {
				host.MakeString(c.L, float64(len(w.b)))
				return bytes.Clone(w.b)
			},
			api.Returns("Data"),
			api.Example(`return require("imd.bytes").writer():u8(65):data() -- => data("A")`)),
	}
}

func writeCString(c *api.Call, w *Writer, text []byte) (*Writer, error) {
	at := bytes.IndexByte(text, 0)
	if at >= 0 {
		return nil, c.ArgError(1, "the text contains a zero at byte %d", at+1)
	}
	w.reserve(c, len(text)+1)
	w.b = append(append(w.b, text...), 0)
	return w, nil
}

func writeBytes(c *api.Call, w *Writer, value []byte) *Writer {
	w.reserve(c, len(value))
	w.b = append(w.b, value...)
	return w
}

func writeZeros(c *api.Call, w *Writer, count uint32) *Writer {
	w.reserve(c, int(count))
	w.b = append(w.b, make([]byte, count)...)
	return w
}
