// Package bytes is the script module imd.bytes: binary data in the format of Lua 5.3's string.pack,
// readers and writers of single values, and dumps.
//
//	local size, kind = require("imd.bytes").unpack(">I4 I2", header)
package bytes

import (
	"strings"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

const formatDoc = "letters of string.pack: < > = byte order, ![n] alignment, b B h H l L j J T " +
	"i[n] I[n] integers, f d n floats, s[n] string with its length, z string with a zero, " +
	"x padding, Xop alignment"

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name: "bytes",
		Doc: "Binary data: pack and unpack, readers and writers. Integers beyond 2^53 are Int64 " +
			"or UInt64.",
		Perm:    "none",
		Classes: []*api.Class{readerClass(), writerClass()},
		Funcs: []*api.Func{
			api.Function("pack", "Encodes values as Data. Byte order is little-endian unless the "+
				"format says otherwise.",
				"format values...", pack,
				api.ParamDoc("format", formatDoc),
				api.ParamDoc("values", "one value for each item"),
				api.Raises("format"),
				api.Returns("Data"),
				api.Example(`return require("imd.bytes").pack(">I2 z", 258, "a") -- => `+
					`data("\1\2a\0")`)),
			api.Function("unpack", "Decodes values. Returns them, then the position after them. "+
				"s and z give strings.",
				"format data position?", unpack,
				api.ParamDoc("format", formatDoc),
				api.ParamDoc("data", "where the values are"),
				api.ParamDoc("position", "first byte, 1 if it is not given"),
				api.Raises("format", "eof", "decode", "too_large"),
				api.Returns("any ..."),
				api.Example(`return require("imd.bytes").unpack("<i2 s1", "\255\255\1x") -- => `+
					`-1, "x", 5`)),
			api.Function("packsize", "Returns how many bytes a format takes.",
				"format", packsize,
				api.ParamDoc("format", formatDoc+"; s and z are errors"),
				api.Raises("format"),
				api.Example(`return require("imd.bytes").packsize("!4 b i4") -- => 8`)),
			api.Function("reader", "Returns a reader of single values.",
				"data:string|Data", func(_ *api.Call, b []byte) *Reader { return &Reader{b: b} },
				api.ParamDoc("data", "what is read"),
				api.Example(`local r = require("imd.bytes").reader("\1\2\3")
return r:u8(), r:u16be(), r.at_end -- => 1, 515, true`)),
			api.Function(
				"writer",
				"Returns a writer of single values.",
				"",
				func(_ *api.Call) *Writer { return &Writer{} },
				api.Example(
					`return require("imd.bytes").writer():u16be(258):data() -- => data("\1\2")`,
				),
			),
			api.Function("hexdump", "Shows every byte in lines of an offset, hex digits and ASCII.",
				"data:string|Data opts?", hexdump,
				api.ParamDoc("data", "what is shown"),
				api.Example(`return require("imd.bytes").hexdump("Hi\0", { width = 4 })`+
					` -- => "00000000  48 69 00     |Hi.|\n"`)),
		},
	}
}

type dumpOptions struct {
	Width int `lua:"width" doc:"bytes in a line, 1 to 256" default:"16"`
}

const hexDigits = "0123456789abcdef"

func hexdump(c *api.Call, b []byte, o dumpOptions) (string, error) {
	if o.Width < 1 || o.Width > 256 {
		return "", c.ArgError(2, "width must be 1 to 256")
	}
	lines := (len(b) + o.Width - 1) / o.Width
	host.MakeString(c.L, float64(lines)*float64(14+3*o.Width)+float64(len(b)))
	var out strings.Builder
	for at := 0; at < len(b); at += o.Width {
		line := b[at:min(at+o.Width, len(b))]
		for shift := 28; shift >= 0; shift -= 4 {
			out.WriteByte(hexDigits[at>>shift&15])
		}
		out.WriteString("  ")
		for i := range o.Width {
			if i < len(line) {
				out.Write([]byte{hexDigits[line[i]>>4], hexDigits[line[i]&15], ' '})
			} else {
				out.WriteString("   ")
			}
		}
		out.WriteString(" |")
		for _, x := range line {
			if x < ' ' || x > '~' {
				x = '.'
			}
			out.WriteByte(x)
		}
		out.WriteString("|\n")
	}
	return out.String(), nil
}
