// Package plist is the script module plist: property lists in the XML and binary forms that devices
// use.
//
//	local info = plist.read("Payload/Shop.app/Info.plist")
//	plist.write("out.plist", info, { format = "binary" })
package plist

import (
	"context"
	"fmt"
	"reflect"

	lua "github.com/yuin/gopher-lua"

	codec "github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// large is the largest number of bytes that are decoded with the interpreter lock held.
const large = 64 << 10

type encodeOptions struct {
	Format string `lua:"format" doc:"form of the result" default:"xml" enum:"xml|binary"`
}

// UID is a reference inside a keyed archive.
type UID struct{ codec.UID }

// LuaToGo returns the type of the codec.
func (u *UID) LuaToGo() any { return u.UID }

// Real is a number that is encoded as real even if it is an integer.
type Real struct{ value float64 }

// LuaToGo returns the number.
func (r *Real) LuaToGo() any { return r.value }

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name: "plist",
		Doc: "Property lists. Binary data is Data, a date is Date, and an integer beyond 2^53 is " +
			"Int64 or UInt64, so that nothing is lost between reading and writing.",
		Global:  true,
		Perm:    "none",
		Classes: []*api.Class{uidClass(), realClass()},
		Funcs:   append(append(texts(), files()...), values()...),
	}
}

func texts() []*api.Func {
	return []*api.Func{
		api.Function("encode", "Turns a value into a property list, with sorted keys.",
			"value opts?", encodeValue,
			api.ParamDoc("value", "what to encode"),
			api.Raises("value"),
			api.Returns("string bytes"),
			api.Example(`local bytes = plist.encode({ a = { 1, "x", true } })
return plist.decode(bytes).a[2] -- => "x"`)),
		api.Function("decode", "Turns a property list, XML or binary, into a value.",
			"bytes", decodeBytes,
			api.ParamDoc("bytes", "string or Data"),
			api.Raises("decode"),
			api.Returns("any value"),
			api.Example(`local bytes = plist.encode({ 1.5 }, { format = "binary" })
return plist.decode(bytes)[1] -- => 1.5`)),
		api.Function("format", "The form of a property list: xml, binary, or nil when it is "+
			"neither.",
			"bytes", formatOf,
			api.ParamDoc("bytes", "string or Data"),
			api.Returns("string? form"),
			api.Example(`return plist.format("bplist00"), plist.format("x") -- => "binary", nil`)),
	}
}

func files() []*api.Func {
	return []*api.Func{
		api.Function("read", "Reads a property list file.",
			"path", readFile,
			fs.PathParam("path", "the file", host.AccessRead),
			api.Perm("file-read"),
			api.Raises("not_found", "too_large", "decode"),
			api.Returns("any value"),
			api.Example(`local f = fs.temp_file(".plist")
plist.write(f, { Name = "x" })
return plist.read(f).Name -- => "x"`)),
		api.Function("write", "Writes a property list file, in one step.",
			"path value opts?", writeFile,
			fs.PathParam("path", "the file", host.AccessWrite),
			api.ParamDoc("value", "what to encode"),
			api.Perm("file-write"),
			api.Raises("value"),
			api.Example(`plist.write(fs.temp_file(".plist"), { ok = true })`)),
	}
}

// values returns the functions that make values for which Lua has no type.
func values() []*api.Func {
	return []*api.Func{
		api.Function("uid", "Makes a reference, as keyed archives have them.",
			"n", func(_ *api.Call, n uint64) *UID { return &UID{codec.UID(n)} },
			api.ParamDoc("n", "number of the object"),
			api.Example(`return plist.uid(3).value -- => 3`)),
		api.Function("real", "Makes a number that is encoded as real even if it is an integer.",
			"n", func(_ *api.Call, n float64) *Real { return &Real{n} },
			api.ParamDoc("n", "the number"),
			api.Example(`local text = plist.encode({ plist.real(1) })
return text:match("<real>1</real>") -- => "<real>1</real>"`)),
	}
}

func uidClass() *api.Class {
	c := api.NewClass[*UID]("PlistUID", "A reference inside a keyed archive.")
	c.Var = "uid"
	c.String = func(u *UID) string { return fmt.Sprintf("PlistUID<%d>", uint64(u.UID)) }
	c.Fields = []*api.Field{
		api.Property("value", "number of the object", func(u *UID) uint64 { return uint64(u.UID) }),
	}
	return c
}

func realClass() *api.Class {
	c := api.NewClass[*Real]("PlistReal", "A number that is encoded as real.")
	c.Var = "real"
	c.String = func(r *Real) string { return lua.LNumber(r.value).String() }
	c.Fields = []*api.Field{
		api.Property("value", "the number", func(r *Real) float64 { return r.value }),
	}
	return c
}

// Register makes h convert a UID of the codec to the class PlistUID.
func Register(h *host.Host) {
	ix := api.Registry(h)
	h.RegisterType(reflect.TypeFor[codec.UID](), func(L *lua.LState, v any) lua.LValue {
		return ix.Wrap(L, &UID{v.(codec.UID)})
	})
}

func encodeValue(c *api.Call, v lua.LValue, o encodeOptions) (string, error) {
	b, err := encode(v, o)
	host.MakeString(c.L, float64(len(b)))
	return string(b), err
}

func encode(v lua.LValue, o encodeOptions) ([]byte, error) {
	x, err := api.Plain(v)
	if err != nil {
		return nil, err
	}
	f := codec.XML
	if o.Format == "binary" {
		f = codec.Binary
	}
	b, err := codec.Encode(x, f)
	if err != nil {
		return nil, host.Errorf("value", "%s", err)
	}
	return b, nil
}

func decodeBytes(c *api.Call, b []byte) (lua.LValue, error) {
	return decode(c, b, "")
}

// decode turns a property list into a value. where is put before the text of an error.
func decode(c *api.Call, b []byte, where string) (lua.LValue, error) {
	var v any
	var err error
	if len(b) < large {
		v, err = codec.Decode(b)
	} else {
		c.Timeout(api.NoTimeout).Block(func(context.Context) error {
			v, err = codec.Decode(b)
			return nil
		})
	}
	if err != nil {
		return nil, host.Errorf("decode", "%s%s", where, err)
	}
	return host.ToLua(c.L, v), nil // ToLua reports what it makes to the memory guard
}

func formatOf(_ *api.Call, b []byte) *string {
	name := "xml"
	f, err := codec.FormatOf(b)
	if err != nil {
		return nil
	}
	if f == codec.Binary {
		name = "binary"
	}
	return &name
}

func readFile(c *api.Call, path string) (lua.LValue, error) {
	b, err := fs.ReadFile(c, "plist", path)
	if err != nil {
		return nil, err
	}
	return decode(c, b, path+": ")
}

func writeFile(c *api.Call, path string, v lua.LValue, o encodeOptions) error {
	b, err := encode(v, o)
	if err != nil {
		return err
	}
	return fs.WriteFile(c, "plist", path, b)
}
