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
		Name: "hex", Doc: "Bytes as hexadecimal digits.", Global: true, Perm: "none",
		Funcs: []*api.Func{
			api.Function("encode", "Turns bytes into digits.", "data", func(_ *api.Call, data []byte) string { return hex.EncodeToString(data) },
				api.ParamDoc("data", "string or Data"), api.Example(`return hex.encode("Az") -- => "417a"`)),
			api.Function("decode", "Turns digits into bytes. White space and colons between them are ignored.", "text", decode,
				api.ParamDoc("text", "digits"), api.Raises("decode"), api.Example(`return hex.decode("41:7A") -- => "Az"`)),
			api.Function("dump", "Shows bytes with offsets and characters, sixteen a line.", "data",
				func(_ *api.Call, data []byte) string { return hex.Dump(data) },
				api.ParamDoc("data", "string or Data"), api.Example(`print(hex.dump("bplist00"))`)),
		},
	}
}

func decode(_ *api.Call, text string) (string, error) {
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "", "\n", "", "\r", "", "\t", "").Replace(text))
	if err != nil {
		return "", host.Errorf("decode", "hex: %s", strings.TrimPrefix(err.Error(), "encoding/hex: "))
	}
	return string(b), nil
}
