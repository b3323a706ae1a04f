// Package hex is the script module hex.
package hex

import (
	"encoding/hex"
	"strings"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name:   "hex",
		Doc:    "Bytes as hexadecimal digits.",
		Global: true,
		Perm:   "none",
		Funcs: []*api.Func{
			api.Function("encode", "Turns bytes into digits.",
				"data", encode,
				api.ParamDoc("data", "string or Data"),
				api.Example(`return hex.encode("Az") -- => "417a"`)),
			api.Function("decode", "Turns digits into bytes. White space and colons between them "+
				"are ignored.",
				"text", decode,
				api.ParamDoc("text", "digits"),
				api.Raises("decode"),
				api.Example(`return hex.decode("41:7A") -- => "Az"`)),
			api.Function("dump", "Shows bytes with offsets and characters, sixteen a line.",
				"data", dump,
				api.ParamDoc("data", "string or Data"),
				api.Example(`print(hex.dump("bplist00"))`)),
		},
	}
}

func encode(c *api.Call, data []byte) string {
	host.MakeString(c.L, float64(hex.EncodedLen(len(data))))
	return hex.EncodeToString(data)
}

const (
	// dumpLine is how many bytes a line of a dump shows.
	dumpLine = 16
	// dumpText is the length of that line: offset, digits, characters.
	dumpText = len("00000000") + len("  00 00 00 00 00 00 00 00")*2 + len("  |0123456789abcdef|\n")
)

func dump(c *api.Call, data []byte) string {
	lines := (len(data) + dumpLine - 1) / dumpLine
	host.MakeString(c.L, float64(lines*dumpText))
	return hex.Dump(data)
}

// separators removes the characters that may separate digits.
var separators = strings.NewReplacer(":", "", " ", "", "\n", "", "\r", "", "\t", "")

func decode(c *api.Call, text string) (string, error) {
	host.Reserve(c.L, len(text))
	b, err := hex.DecodeString(separators.Replace(text))
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "encoding/hex: ")
		return "", host.Errorf("decode", "hex: %s", text)
	}
	return string(b), nil
}
