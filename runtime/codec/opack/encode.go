package opack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/imdlua/imdlua/runtime/codec/number"
)

// Append appends v in its shortest form. It never writes back references, because not
// every reader supports them.
func Append(b []byte, v any) ([]byte, error) {
	start := len(b)
	out, err := appendValue(b, v, 0)
	if err == nil && len(out)-start > MaxSize {
		err = ErrLimit
	}
	if err != nil {
		return nil, &Error{Op: "encode", Offset: max(len(out)-start, 0), Err: err}
	}
	return out, nil
}

// appendValue returns what it has written even if it fails, so that the error can state
// the offset.
func appendValue(b []byte, v any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return b, ErrLimit
	}
	switch t := v.(type) {
	case nil:
		return append(b, tagNull), nil
	case bool:
		if t {
			return append(b, tagTrue), nil
		}
		return append(b, tagFalse), nil
	case string:
		if !utf8.ValidString(t) {
			return b, errUTF8
		}
		b, err := appendLength(b, len(t), tagString, tagString8)
		if err != nil {
			return b, err
		}
		return append(b, t...), nil
	case []byte:
		b, err := appendLength(b, len(t), tagData, tagData8)
		if err != nil {
			return b, err
		}
		return append(b, t...), nil
	case float32:
		return binary.LittleEndian.AppendUint32(append(b, tagFloat32), math.Float32bits(t)), nil
	case float64:
		return binary.LittleEndian.AppendUint64(append(b, tagFloat64), math.Float64bits(t)), nil
	case UUID:
		return append(append(b, tagUUID), t[:]...), nil
	case Time:
		return binary.LittleEndian.AppendUint64(append(b, tagTime), uint64(t)), nil
	case []any:
		return appendArray(b, t, depth)
	case Dict:
		return appendDict(b, t, depth)
	}
	return appendInteger(b, v)
}

func appendLength(b []byte, n int, first, wide byte) ([]byte, error) {
	switch {
	case n <= maxInline:
		return append(b, first+byte(n)), nil
	case n <= math.MaxUint8:
		return append(b, wide, byte(n)), nil
	case n <= MaxContent:
		return append(b, wide+1, byte(n), byte(n>>8)), nil
	}
	return b, ErrLimit
}

func appendInteger(b []byte, v any) ([]byte, error) {
	var n uint64
	switch t := number.Widen(v).(type) {
	case int64:
		if t < 0 {
			return b, errors.New("negative number has no OPACK form")
		}
		n = uint64(t)
	case uint64:
		n = t
	default:
		return b, fmt.Errorf("%T has no OPACK form", v)
	}
	switch {
	case n <= maxSmall:
		return append(b, tagSmall+byte(n)), nil
	case n <= math.MaxUint8:
		return append(b, tagUint8, byte(n)), nil
	case n <= math.MaxUint16:
		return binary.LittleEndian.AppendUint16(append(b, tagUint8+1), uint16(n)), nil
	case n <= math.MaxUint32:
		return binary.LittleEndian.AppendUint32(append(b, tagUint8+2), uint32(n)), nil
	}
	return binary.LittleEndian.AppendUint64(append(b, tagUint64), n), nil
}

func appendArray(b []byte, list []any, depth int) ([]byte, error) {
	tag := byte(tagOpenArray)
	if len(list) < tagOpenArray-tagArray {
		tag = tagArray + byte(len(list))
	}
	b = append(b, tag)
	var err error
	for i, v := range list {
		b, err = appendValue(b, v, depth+1)
		if err != nil {
			return b, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	if tag == tagOpenArray {
		b = append(b, tagEnd)
	}
	return b, nil
}

func appendDict(b []byte, d Dict, depth int) ([]byte, error) {
	tag := byte(tagOpenDict)
	if len(d) < tagOpenDict-tagDict {
		tag = tagDict + byte(len(d))
	}
	b = append(b, tag)
	var err error
	seen := make(map[string]bool, len(d))
	for _, p := range d {
		if seen[p.Key] {
			return b, fmt.Errorf("dictionary holds %q twice", p.Key)
		}
		seen[p.Key] = true
		b, err = appendValue(b, p.Key, depth+1)
		if err != nil {
			return b, fmt.Errorf("key %q: %w", p.Key, err)
		}
		b, err = appendValue(b, p.Value, depth+1)
		if err != nil {
			return b, fmt.Errorf("%q: %w", p.Key, err)
		}
	}
	if tag == tagOpenDict {
		b = append(b, tagEnd)
	}
	return b, nil
}
