package plist

import (
	"time"

	"github.com/imdlua/imdlua/runtime/codec/number"
)

// Dict is a decoded dictionary. A getter reports false if the key is missing or has a
// value of another type.
type Dict map[string]any

// String returns a string value.
func (d Dict) String(key string) (string, bool) { v, ok := d[key].(string); return v, ok }

// Bool returns a boolean value.
func (d Dict) Bool(key string) (bool, bool) { v, ok := d[key].(bool); return v, ok }

// Data returns a data value; the bytes belong to the dictionary.
func (d Dict) Data(key string) ([]byte, bool) { v, ok := d[key].([]byte); return v, ok }

// Dict returns a nested dictionary.
func (d Dict) Dict(key string) (Dict, bool) {
	switch v := d[key].(type) {
	case Dict:
		return v, true
	case map[string]any:
		return v, true
	}
	return nil, false
}

// Array returns an array value.
func (d Dict) Array(key string) ([]any, bool) { v, ok := d[key].([]any); return v, ok }

// Time returns a date value.
func (d Dict) Time(key string) (time.Time, bool) { v, ok := d[key].(time.Time); return v, ok }

// Int returns an integer that fits into int64.
func (d Dict) Int(key string) (int64, bool) { return Int(d[key]) }

// Uint returns a non-negative integer.
func (d Dict) Uint(key string) (uint64, bool) { return number.Uint(number.Widen(d[key])) }

// Real returns a real or integer value as a float64.
func (d Dict) Real(key string) (float64, bool) { return number.Real(number.Widen(d[key])) }

// Int returns v as int64 if it is a Go integer that fits.
func Int(v any) (int64, bool) { return number.Int(number.Widen(v)) }

// Clone returns a deep copy of a value.
func Clone(v any) any {
	switch t := v.(type) {
	case Dict:
		return t.Clone()
	case map[string]any:
		return Dict(t).Clone()
	case []any:
		out := make([]any, len(t))
		for i, e := range t {
			out[i] = Clone(e)
		}
		return out
	case []byte:
		return append([]byte{}, t...)
	}
	return v
}

// Clone returns a deep copy of the dictionary.
func (d Dict) Clone() Dict {
	if d == nil {
		return nil
	}
	out := make(Dict, len(d))
	for k, v := range d {
		out[k] = Clone(v)
	}
	return out
}
