// Package yaml is the script module imd.yaml. It treats values as the module json does:
// dictionaries keep their order, integers of up to 64 bits stay exact, and an absent value is null.
//
//	local yaml = require("imd.yaml")
//	local config = yaml.read("devices.yaml")
package yaml

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/fs"
)

const (
	// maxText is the size of the largest text that is decoded. The nodes that the library makes of
	// it take much more memory than the text.
	maxText = 16 << 20
	// maxDepth is how deeply values may be nested.
	maxDepth = 200
	// maxAliased is how many values the aliases of a text may expand to.
	maxAliased = 100000
)

type encodeOptions struct {
	Sort bool `lua:"sort" doc:"sort keys instead of keeping their order"`
}

type decodeOptions struct {
	Nulls string `lua:"nulls" doc:"keep or drop null values" default:"keep" enum:"keep|drop"`
}

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name: "yaml",
		Doc: "YAML 1.2. Dictionaries keep their order, integers beyond 2^53 become Int64 or " +
			"UInt64, null is the value null, timestamps are Date and !!binary is Data. yes, no, " +
			"on and off are texts. As in YAML 1.1, 0777 is octal like 0o777, and 1_000 is a " +
			"number. Keys are always texts, as they are written. Each alias becomes a copy, and " +
			"<< merges. Tags that are not part of YAML are ignored. Comments are lost.",
		Perm:  "none",
		Funcs: append(append(decoding(), encoding()...), files()...),
		Consts: []api.Const{{
			Name:  "null",
			Doc:   "The same as the global null.",
			Value: func(h *host.Host) lua.LValue { return h.Null() },
		}},
	}
}

func decoding() []*api.Func {
	return []*api.Func{
		api.Function("decode", "Turns YAML into a value, null if the text is empty.",
			"text opts?", decodeText,
			api.ParamDoc("text", "string or Data, one document of at most 16 MB"),
			api.Raises("decode", "too_large"),
			api.Returns("any value"),
			api.Example(`local yaml = require("imd.yaml")
return yaml.decode("country: no\nports: [80, 0x1f]\n").ports[2] -- => 31`)),
		api.Function("decode_all", "Turns YAML into the list of its documents.",
			"text opts?", decodeAll,
			api.ParamDoc("text", "string or Data, at most 16 MB"),
			api.Raises("decode", "too_large"),
			api.Returns("table documents"),
			api.Example(`local yaml = require("imd.yaml")
return yaml.decode_all("a: 1\n---\na: 2\n") -- => { { a = 1 }, { a = 2 } }`)),
	}
}

func encoding() []*api.Func {
	return []*api.Func{
		api.Function("encode", "Turns a value into YAML. Texts that are not texts in YAML 1.1, "+
			"such as no, are quoted. A text that is not UTF-8 becomes "+
			"!!binary, as Data does. An empty table is {} unless array{} made it.",
			"value opts?", encodeValue,
			api.ParamDoc("value", "what to encode"),
			api.Raises("value"),
			api.Returns("string text"),
			api.Example(`local yaml = require("imd.yaml")
local value = { name = "no", ports = { 80, 443 } }
return yaml.encode(value) -- => 'name: "no"\nports:\n  - 80\n  - 443\n'`)),
		api.Function("encode_all", "Turns a list of values into one text with a document for each.",
			"documents opts?", encodeAll,
			api.ParamDoc("documents", "list of the values"),
			api.Raises("value"),
			api.Returns("string text"),
			api.Example(`local yaml = require("imd.yaml")
return yaml.encode_all{ { a = 1 }, "x" } -- => "a: 1\n---\nx\n"`)),
	}
}

func files() []*api.Func {
	return []*api.Func{
		api.Function("read", "Reads a YAML file with one document.",
			"path opts?", readFile,
			fs.PathParam("path", "the file", host.AccessRead),
			api.Perm("file-read"),
			api.Raises("not_found", "too_large", "decode"),
			api.Returns("any value"),
			api.Example(`local yaml, f = require("imd.yaml"), fs.temp_file(".yaml")
yaml.write(f, { 1, 2 })
return #yaml.read(f) -- => 2`)),
		api.Function("write", "Writes a YAML file, in one step.",
			"path value opts?", writeFile,
			fs.PathParam("path", "the file", host.AccessWrite),
			api.ParamDoc("value", "what to encode"),
			api.Perm("file-write"),
			api.Raises("value"),
			api.Example(`require("imd.yaml").write(fs.temp_file(".yaml"), { ok = true })`)),
	}
}

func decodeText(c *api.Call, text []byte, o decodeOptions) (lua.LValue, error) {
	return decodeOne(c, text, o, "yaml")
}

func decodeAll(c *api.Call, text []byte, o decodeOptions) (lua.LValue, error) {
	documents, err := parse(c, text, "yaml", 0)
	if err != nil {
		return nil, err
	}
	return newDecoder(c, o, "yaml").documents(documents)
}

// decodeOne decodes a text with one document. where is put before the text of an error.
func decodeOne(c *api.Call, text []byte, o decodeOptions, where string) (lua.LValue, error) {
	documents, err := parse(c, text, where, 2)
	if err != nil {
		return nil, err
	}
	d := newDecoder(c, o, where)
	switch len(documents) {
	case 0:
		return c.Host().Null(), nil
	case 1:
		return d.document(documents[0])
	}
	return nil, d.refuse(documents[1], "a second document begins here: use decode_all")
}

func encodeValue(c *api.Call, v lua.LValue, o encodeOptions) (string, error) {
	b, err := encode(c, o, v)
	return string(b), err
}

func encodeAll(c *api.Call, documents []lua.LValue, o encodeOptions) (string, error) {
	b, err := encode(c, o, documents...)
	return string(b), err
}

func readFile(c *api.Call, path string, o decodeOptions) (lua.LValue, error) {
	text, err := fs.ReadFile(c, "yaml", path)
	if err != nil {
		return nil, err
	}
	return decodeOne(c, text, o, "yaml: "+path)
}

func writeFile(c *api.Call, path string, v lua.LValue, o encodeOptions) error {
	text, err := encode(c, o, v)
	if err != nil {
		return err
	}
	return fs.WriteFile(c, "yaml", path, text)
}
