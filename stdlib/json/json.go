// Package json is the script module json. Integers of up to 64 bits stay exact, dictionaries keep
// their order, and an absent value is null. A document that is read and written again is unchanged.
//
//	json.write("manifest.json", { files = array{} }, { pretty = true })
package json

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// maxDepth is how deeply values may be nested.
const maxDepth = 200

type encodeOptions struct {
	Pretty bool `lua:"pretty" doc:"one entry a line, indented"`
	Sort   bool `lua:"sort" doc:"sort keys instead of keeping their order"`
}

type decodeOptions struct {
	Nulls string `lua:"nulls" doc:"keep or drop null values" default:"keep" enum:"keep|drop"`
}

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name: "json",
		Doc: "JSON. Dictionaries keep their order, integers beyond 2^53 become Int64 or UInt64, " +
			"null is the value null.",
		Global: true,
		Perm:   "none",
		Consts: []api.Const{{
			Name:  "null",
			Doc:   "The same as the global null.",
			Value: func(h *host.Host) lua.LValue { return h.Null() },
		}},
		Funcs: append(texts(), files()...),
	}
}

func texts() []*api.Func {
	return []*api.Func{
		api.Function("encode", "Turns a value into JSON. Data becomes base64, a Date becomes ISO 8601. "+
			"An empty table is {} unless array{} made it.",
			"value opts?", encodeValue,
			api.ParamDoc("value", "what to encode"),
			api.Raises("value"),
			api.Returns("string text"),
			api.Example(`local value = { a = 1, b = array{}, c = null }
return json.encode(value, { sort = true }) -- => '{"a":1,"b":[],"c":null}'`)),
		api.Function("decode", "Turns JSON into a value.",
			"text opts?", decodeText,
			api.ParamDoc("text", "string or Data"),
			api.Raises("decode"),
			api.Returns("any value"),
			api.Example(`return json.decode('{"a": [1, 2.5, "x"]}').a[2] -- => 2.5`)),
	}
}

func files() []*api.Func {
	return []*api.Func{
		api.Function("read", "Reads a JSON file.",
			"path opts?", readFile,
			fs.PathParam("path", "the file", host.AccessRead),
			api.Perm("file-read"),
			api.Raises("not_found", "too_large", "decode"),
			api.Returns("any value"),
			api.Example(`local f = fs.temp_file(".json")
json.write(f, { 1, 2 })
return #json.read(f) -- => 2`)),
		api.Function("write", "Writes a JSON file, in one step.",
			"path value opts?", writeFile,
			fs.PathParam("path", "the file", host.AccessWrite),
			api.ParamDoc("value", "what to encode"),
			api.Perm("file-write"),
			api.Raises("value"),
			api.Example(`json.write(fs.temp_file(".json"), { ok = true }, { pretty = true })`)),
	}
}

func encodeValue(c *api.Call, v lua.LValue, o encodeOptions) (string, error) {
	b, err := encode(c, v, o)
	host.MakeString(c.L, float64(len(b)))
	return string(b), err
}

func encode(c *api.Call, v lua.LValue, o encodeOptions) ([]byte, error) {
	e := &encoder{L: c.L, pretty: o.Pretty, sort: o.Sort}
	if err := e.value(v, 0, "value"); err != nil {
		return nil, err
	}
	return e.out, nil
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

// Encode returns a value as JSON text, for other modules.
func Encode(c *api.Call, v lua.LValue) ([]byte, error) { return encode(c, v, encodeOptions{}) }

// Decode returns the value of a JSON text, for other modules. where begins the error message.
func Decode(c *api.Call, text []byte, where string) (lua.LValue, error) {
	return decode(c, text, decodeOptions{}, where)
}

func readFile(c *api.Call, path string, o decodeOptions) (lua.LValue, error) {
	text, err := fs.ReadFile(c, "json", path)
	if err != nil {
		return nil, err
	}
	return decode(c, text, o, "json: "+path)
}

func writeFile(c *api.Call, path string, v lua.LValue, o encodeOptions) error {
	text, err := encode(c, v, o)
	if err != nil {
		return err
	}
	return fs.WriteFile(c, "json", path, append(text, '\n'))
}
