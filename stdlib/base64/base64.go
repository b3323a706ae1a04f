// Package base64 is the script module base64.
package base64

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

type encodeOptions struct {
	URL bool `lua:"url" doc:"use the alphabet that is safe in URLs, without padding"`
}

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name:   "base64",
		Doc:    "Bytes as text in base64.",
		Global: true,
		Perm:   "none",
		Funcs: []*api.Func{
			api.Function("encode", "Turns bytes into base64.",
				"data opts?", encode,
				api.ParamDoc("data", "string or Data"),
				api.Example(`return base64.encode("hello") -- => "aGVsbG8="`)),
			api.Function("decode", "Turns base64 into bytes. Both alphabets are read, and white "+
				"space and missing padding are fine.",
				"text", decode,
				api.ParamDoc("text", "base64"),
				api.Raises("decode"),
				api.Example(`return base64.decode("aGVsbG8=") -- => "hello"`)),
		},
	}
}

func encode(c *api.Call, data []byte, o encodeOptions) string {
	enc := base64.StdEncoding
	if o.URL {
		enc = base64.RawURLEncoding
	}
	host.MakeString(c.L, float64(enc.EncodedLen(len(data))))
	var text strings.Builder
	text.Grow(enc.EncodedLen(len(data)))
	w := base64.NewEncoder(enc, &text)
	for piece := range slices.Chunk(data, bytesPerTick) {
		w.Write(piece) // a Builder does not fail
		host.Tick(c.L)
	}
	w.Close()
	return text.String()
}

// bytesPerTick is how many bytes are encoded between two calls of host.Tick.
const bytesPerTick = 256 << 10

// standard replaces the URL alphabet by the standard one and removes white space.
var standard = strings.NewReplacer("-", "+", "_", "/", " ", "", "\n", "", "\r", "", "\t", "")

func decode(c *api.Call, text string) (string, error) {
	host.Reserve(c.L, len(text))
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(standard.Replace(text), "="))
	if err != nil {
		return "", host.Errorf("decode", "base64: %s", err)
	}
	return string(b), nil
}
