// Package number converts between the Go types that stand for the numbers of a format.
// Decoders give int64, uint64 and float64; encoders take every size.
package number

import "math"

// Widen returns an integer of any size as int64 or uint64 and a float32 as float64.
// Other values are returned as they are.
func Widen(v any) any {
	switch t := v.(type) {
	case int:
		return int64(t)
	case int8:
		return int64(t)
	case int16:
		return int64(t)
	case int32:
		return int64(t)
	case uint:
		return uint64(t)
	case uint8:
		return uint64(t)
	case uint16:
		return uint64(t)
	case uint32:
		return uint64(t)
	case float32:
		return float64(t)
	}
	return v
}

// Int returns a decoded integer that fits into int64.
func Int(v any) (int64, bool) {
	switch t := v.(type) {
	case int64:
		return t, true
	case uint64:
		return int64(t), t <= math.MaxInt64
	}
	return 0, false
}

// Uint returns a decoded integer that is not negative.
func Uint(v any) (uint64, bool) {
	switch t := v.(type) {
	case int64:
		return uint64(t), t >= 0
	case uint64:
		return t, true
	}
	return 0, false
}

// Real returns a decoded real or integer.
func Real(v any) (float64, bool) {
	switch t := v.(type) {
	case float64:
		return t, true
	case int64:
		return float64(t), true
	case uint64:
		return float64(t), true
	}
	return 0, false
}
