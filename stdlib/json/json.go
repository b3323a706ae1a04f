// Package json is the script module json. Integers stay exact at any size up to 64 bits, dictionaries keep
// their order, and absence is null, so that a document that is read and written again stays the same.
//
//	json.write("manifest.json", { files = array{} }, { pretty = true })
package json

import (
	"context"
	"fmt"
	"os"

	lua "github.com/yuin/gopher-lua"

	stdfs "github.com/imdlua/imdlua/stdlib/fs"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// maxDepth is how deep values may nest.
const maxDepth = 200

// maxFile is the largest file that is read.
const maxFile = 256 << 20

type encodeOptions struct {
	Pretty bool `lua:"pretty" doc:"one entry a line, indented"`
	Sort   bool `lua:"sort" doc:"sort keys instead of keeping their order"`
}

type decodeOptions struct {
	Nulls string `lua:"nulls" doc:"keep null as the value null, or drop entries that are null" default:"keep" enum:"keep|drop"`
}

// Module declares the module.
func Module() *api.Module {
	value, file := api.ParamDoc("value", "what to encode"), api.ParamDoc("path", "the file")
	return &api.Module{
		Name: "json", Doc: "JSON. Dictionaries keep their order, integers beyond 2^53 become Int64 or UInt64, null is the value null.",
		Global: true, Perm: "none",
		Consts: []api.Const{{Name: "null", Doc: "The same as the global null.", Value: func(h *host.Host) lua.LValue { return h.Null() }}},
		Funcs: []*api.Func{
			api.Function("encode", "Turns a value into JSON. Data becomes base64, a Date ISO 8601. An empty table is {} unless array{} made it.",
				"value opts?", encodeValue, value, api.Raises("value"), api.Returns("string text"),
				api.Example(`return json.encode({ a = 1, b = array{}, c = null }, { sort = true }) -- => '{"a":1,"b":[],"c":null}'`)),
			api.Function("decode", "Turns JSON into a value.", "text opts?", decodeText, api.ParamDoc("text", "string or Data"), api.Raises("decode"),
				api.Returns("any value"), api.Example(`return json.decode('{"a": [1, 2.5, "x"]}').a[2] -- => 2.5`)),
			api.Function("read", "Reads a JSON file.", "path opts?", readFile, file, api.StringKind("path", "path"), api.Perm("file-read"),
				api.Raises("not_found", "decode"), api.Returns("any value"),
				api.Example(`local f = fs.temp_file(".json")
json.write(f, { 1, 2 })
return #json.read(f) -- => 2`)),
			api.Function("write", "Writes a JSON file, in one step.", "path value opts?", writeFile, file, value, api.StringKind("path", "path"), api.Perm("file-write"),
				api.Raises("value"), api.Example(`json.write(fs.temp_file(".json"), { ok = true }, { pretty = true })`)),
		},
	}
}

func encodeValue(c *api.Call, v lua.LValue, o encodeOptions) (string, error) {
	e := &encoder{pretty: o.Pretty, sort: o.Sort}
	if err := e.value(v, 0, "value"); err != nil {
		return "", err
	}
	return string(e.out), nil
}

func decodeText(c *api.Call, text []byte, o decodeOptions) (lua.LValue, error) {
	return decode(c, text, o, "json")
}

func decode(c *api.Call, text []byte, o decodeOptions, where string) (lua.LValue, error) {
	d := &decoder{L: c.L, h: c.Host(), text: text, drop: o.Nulls == "drop"}
	v, err := d.document()
	if err != nil {
		return nil, host.Errorf("decode", "%s: line %d: %s", where, d.line(), err)
	}
	return v, nil
}

func readFile(c *api.Call, path string, o decodeOptions) (lua.LValue, error) {
	var text []byte
	err := c.TryBlock(func(context.Context) (err error) {
		text, err = stdfs.ReadFile(path, maxFile)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	return decode(c, text, o, "json: "+path)
}

func writeFile(c *api.Call, path string, v lua.LValue, o encodeOptions) error {
	text, err := encodeValue(c, v, o)
	if err != nil {
		return err
	}
	err = c.TryBlock(func(context.Context) error {
		return stdfs.WriteFile(path, []byte(text+"\n"), os.FileMode(0o644), true)
	})
	if err != nil {
		return fmt.Errorf("json: %w", err)
	}
	return nil
}
