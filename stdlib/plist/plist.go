// Package plist is the script module plist: property lists in XML and binary form, as devices speak them.
//
//	local info = plist.read("Payload/Shop.app/Info.plist")
//	plist.write("out.plist", info, { format = "binary" })
package plist

import (
	"context"
	"fmt"
	"os"
	"reflect"

	lua "github.com/yuin/gopher-lua"

	codec "github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	stdfs "github.com/imdlua/imdlua/stdlib/fs"
)

// maxFile is the largest file that is read.
const maxFile = 256 << 20

type encodeOptions struct {
	Format string `lua:"format" doc:"form of the result" default:"xml" enum:"xml|binary"`
}

// UID is a reference inside a keyed archive.
type UID struct{ codec.UID }

// LuaToGo gives the codec its own type.
func (u *UID) LuaToGo() any { return u.UID }

// Real is a number that is encoded as real also when it is integral.
type Real struct{ value float64 }

// LuaToGo gives the number.
func (r *Real) LuaToGo() any { return r.value }

// Module declares the module.
func Module() *api.Module {
	value, file := api.ParamDoc("value", "what to encode"), api.ParamDoc("path", "the file")
	return &api.Module{
		Name: "plist", Global: true, Perm: "none", Classes: []*api.Class{uidClass(), realClass()},
		Doc: "Property lists. Binary data is Data, dates are Date, integers beyond 2^53 are Int64 or UInt64, so that nothing is lost between reading and writing.",
		Funcs: []*api.Func{
			api.Function("encode", "Turns a value into a property list, with sorted keys.", "value opts?", encode, value, api.Raises("value"),
				api.Returns("string bytes"), api.Example(`return plist.decode(plist.encode({ a = { 1, "x", true } })).a[2] -- => "x"`)),
			api.Function("decode", "Turns a property list into a value. The form is recognised.", "bytes", decodeBytes,
				api.ParamDoc("bytes", "string or Data"), api.Raises("decode"), api.Returns("any value"),
				api.Example(`return plist.decode(plist.encode({ 1.5 }, { format = "binary" }))[1] -- => 1.5`)),
			api.Function("format", "Tells the form of a property list: xml, binary, or nil when it is none.", "bytes", formatOf,
				api.ParamDoc("bytes", "string or Data"), api.Returns("string? form"),
				api.Example(`return plist.format("bplist00"), plist.format("x") -- => "binary", nil`)),
			api.Function("read", "Reads a property list file.", "path", readFile, file, api.StringKind("path", "path"), api.Perm("file-read"),
				api.Raises("not_found", "decode"), api.Returns("any value"),
				api.Example(`local f = fs.temp_file(".plist")
plist.write(f, { Name = "x" })
return plist.read(f).Name -- => "x"`)),
			api.Function("write", "Writes a property list file, in one step.", "path value opts?", writeFile, file, value,
				api.StringKind("path", "path"), api.Perm("file-write"), api.Raises("value"),
				api.Example(`plist.write(fs.temp_file(".plist"), { ok = true })`)),
			api.Function("uid", "Makes a reference, as keyed archives have them.", "n", func(_ *api.Call, n uint64) *UID { return &UID{codec.UID(n)} },
				api.ParamDoc("n", "number of the object"), api.Example(`return plist.uid(3).value -- => 3`)),
			api.Function("real", "Makes a number that is encoded as real also when it is integral.", "n",
				func(_ *api.Call, n float64) *Real { return &Real{n} }, api.ParamDoc("n", "the number"),
				api.Example(`return plist.encode({ plist.real(1) }):match("<real>1</real>") -- => "<real>1</real>"`)),
		},
	}
}

func uidClass() *api.Class {
	c := api.NewClass[*UID]("PlistUID", "A reference inside a keyed archive.")
	c.Var = "uid"
	c.String = func(u *UID) string { return fmt.Sprintf("PlistUID<%d>", uint64(u.UID)) }
	c.Fields = []*api.Field{api.Property("value", "number of the object", func(u *UID) uint64 { return uint64(u.UID) })}
	return c
}

func realClass() *api.Class {
	c := api.NewClass[*Real]("PlistReal", "A number that is encoded as real.")
	c.Var = "real"
	c.String = func(r *Real) string { return lua.LNumber(r.value).String() }
	c.Fields = []*api.Field{api.Property("value", "the number", func(r *Real) float64 { return r.value })}
	return c
}

// Register tells h how references that a decoder finds look in Lua.
func Register(h *host.Host) {
	ix := api.Registry(h)
	h.RegisterType(reflect.TypeFor[codec.UID](), func(L *lua.LState, v any) lua.LValue {
		return ix.Wrap(L, &UID{v.(codec.UID)})
	})
}

func encode(_ *api.Call, v lua.LValue, o encodeOptions) (string, error) {
	x, err := api.Plain(v)
	if err != nil {
		return "", err
	}
	f := codec.XML
	if o.Format == "binary" {
		f = codec.Binary
	}
	b, err := codec.Encode(x, f)
	if err != nil {
		return "", host.Errorf("value", "%s", err)
	}
	return string(b), nil
}

func decodeBytes(c *api.Call, b []byte) (lua.LValue, error) {
	v, err := codec.Decode(b)
	if err != nil {
		return nil, host.Errorf("decode", "%s", err)
	}
	return host.ToLua(c.L, v), nil
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
	var v any
	err := c.TryBlock(func(context.Context) error {
		b, err := stdfs.ReadFile(path, maxFile)
		if err != nil {
			return fmt.Errorf("plist: %w", err)
		}
		if v, err = codec.Decode(b); err != nil {
			return host.Errorf("decode", "%s: %s", path, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return host.ToLua(c.L, v), nil
}

func writeFile(c *api.Call, path string, v lua.LValue, o encodeOptions) error {
	text, err := encode(c, v, o)
	if err != nil {
		return err
	}
	err = c.TryBlock(func(context.Context) error { return stdfs.WriteFile(path, []byte(text), os.FileMode(0o644), true) })
	if err != nil {
		return fmt.Errorf("plist: %w", err)
	}
	return nil
}
