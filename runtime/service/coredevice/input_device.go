package coredevice

import (
	"slices"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

// input decodes the input of an invocation as strictly as a real device, which decodes
// it into structs. A key that is missing or has another type is an error. Only the
// first error is kept; values that are read after it are zero.
type input struct {
	d     xpc.Dict
	path  []any // keys from the root of the input
	first **Error
}

func newInput(d xpc.Dict) *input { return &input{d: d, first: new(*Error)} }

// err returns the first error.
func (in *input) err() error {
	if *in.first == nil {
		return nil
	}
	return *in.first
}

func (in *input) fail(code int64, key, description, debug string) {
	if *in.first == nil {
		*in.first = refuse(DomainCocoa, code, description,
			xpc.Pair{Key: keyDebug, Value: debug},
			xpc.Pair{Key: "NSCodingPath", Value: append(slices.Clone(in.path), clip(key))})
	}
}

func (in *input) missing(key string) {
	in.fail(cocoaMissingValue, key, "The data couldn’t be read because it is missing.",
		"Expected to find key "+key+".")
}

func (in *input) wrong(key, want string) {
	in.fail(cocoaWrongValue, key,
		"The data couldn’t be read because it isn’t in the correct format.",
		"Expected to decode "+want+" for key "+key+".")
}

// absent reports whether a key is missing or null.
func (in *input) absent(key string) bool {
	v, ok := in.d.Get(key)
	_, null := v.(xpc.Null)
	return !ok || null
}

// need reads a required key.
func need[T any](in *input, key, want string, get func(string) (T, bool)) T {
	var zero T
	if in.absent(key) {
		in.missing(key)
		return zero
	}
	v, ok := get(key)
	if !ok {
		in.wrong(key, want)
		return zero
	}
	return v
}

func (in *input) text(key string) string { return need(in, key, "String", in.d.String) }
func (in *input) flag(key string) bool   { return need(in, key, "Bool", in.d.Bool) }
func (in *input) number(key string) int64 {
	return need(in, key, "Int", in.d.Int)
}

// sub reads a nested dictionary.
func (in *input) sub(key string) *input {
	return &input{
		d: need(in, key, "Dictionary", in.d.Dict), path: append(slices.Clone(in.path), key),
		first: in.first,
	}
}

// option reads a flag. The key may be missing.
func (in *input) option(key string) bool {
	if in.absent(key) {
		return false
	}
	return in.flag(key)
}

// texts reads a list of strings. The key may be missing.
func (in *input) texts(key string) []string {
	if in.absent(key) {
		return nil
	}
	var out []string
	for _, v := range need(in, key, "Array<String>", in.d.Array) {
		s, ok := v.(string)
		if !ok {
			in.wrong(key, "Array<String>")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// dictionary reads a dictionary of strings. The key may be missing.
func (in *input) dictionary(key string) map[string]string {
	if in.absent(key) {
		return nil
	}
	out := map[string]string{}
	for _, p := range need(in, key, "Dictionary<String, String>", in.d.Dict) {
		s, ok := p.Value.(string)
		if !ok {
			in.wrong(key, "Dictionary<String, String>")
			return nil
		}
		out[p.Key] = s
	}
	return out
}

// pid reads the process identifier in the dictionary under a key.
func (in *input) pid(key string) int {
	sub := in.sub(key)
	n := sub.number(keyPID)
	if n != int64(int32(n)) {
		sub.wrong(keyPID, "Int32")
		return 0
	}
	return int(n)
}
