package xpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/number"
)

var errNUL = errors.New("string holds a NUL")

// Append appends a message to b. It writes the flags unchanged.
func Append(b []byte, m *Message) ([]byte, error) {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, wrapperMagic)
	b = binary.LittleEndian.AppendUint32(b, m.Flags)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint64(b, m.ID)
	if m.Body == nil {
		return b, nil
	}
	b = binary.LittleEndian.AppendUint32(b, bodyMagic)
	b = binary.LittleEndian.AppendUint32(b, bodyVersion)
	e := encoder{start: start}
	b, err := e.value(b, m.Body, 0)
	if err != nil {
		return nil, &Error{Op: "encode", Offset: len(b) - start, Err: err}
	}
	binary.LittleEndian.PutUint64(b[start+8:], uint64(len(b)-start-WrapperSize))
	return b, nil
}

// AppendObject appends one object to b. In addition to the types that Decode returns,
// it accepts nil for Null, every Go integer (signed ones become int64, the others
// uint64) and float32.
func AppendObject(b []byte, v any) ([]byte, error) {
	e := encoder{start: len(b)}
	out, err := e.value(b, v, 0)
	if err != nil {
		return nil, &Error{Op: "encode", Offset: len(out) - e.start, Err: err}
	}
	return out, nil
}

// encoder encodes objects. Its methods return what they have written even if they fail,
// so that the error can state the offset.
type encoder struct {
	start int // start of the message or object
	nodes int
}

func (e *encoder) value(b []byte, v any, depth int) ([]byte, error) {
	e.nodes++
	if e.nodes > MaxNodes || depth > MaxDepth || len(b)-e.start > MaxBody {
		return b, ErrLimit
	}
	switch t := v.(type) {
	case nil, Null:
		return appendType(b, typeNull), nil
	case bool:
		if t {
			return append(appendType(b, typeBool), 1, 0, 0, 0), nil
		}
		return append(appendType(b, typeBool), 0, 0, 0, 0), nil
	case string:
		return e.text(b, t)
	case []byte:
		return e.data(b, t)
	case UUID:
		return append(appendType(b, typeUUID), t[:]...), nil
	case []any:
		return e.array(b, t, depth)
	case Dict:
		return e.dict(b, t, depth)
	case FileTransfer:
		b = binary.LittleEndian.AppendUint64(appendType(b, typeFileTransfer), t.ID)
		return e.value(b, t.Info, depth+1)
	case FD:
		return binary.LittleEndian.AppendUint32(appendType(b, typeFD), uint32(t)), nil
	case SharedMemory:
		b = binary.LittleEndian.AppendUint32(appendType(b, typeSharedMemory), t.Length)
		return binary.LittleEndian.AppendUint32(b, t.Reserved), nil
	}
	return appendNumber(b, v)
}

func appendType(b []byte, typ uint32) []byte { return binary.LittleEndian.AppendUint32(b, typ) }

func appendNumber(b []byte, v any) ([]byte, error) {
	typ := uint32(typeUint64)
	var n uint64
	switch t := number.Widen(v).(type) {
	case int64:
		typ, n = typeInt64, uint64(t)
	case uint64:
		n = t
	case float64:
		typ, n = typeDouble, math.Float64bits(t)
	case time.Time:
		ns := t.UnixNano()
		if !time.Unix(0, ns).Equal(t) {
			return b, fmt.Errorf("year %d has no XPC form", t.Year())
		}
		typ, n = typeDate, uint64(ns)
	default:
		return b, fmt.Errorf("%T has no XPC form", v)
	}
	return binary.LittleEndian.AppendUint64(appendType(b, typ), n), nil
}

var zeros [4]byte

func (e *encoder) text(b []byte, s string) ([]byte, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return b, errNUL
	}
	if len(s) >= MaxBody-(len(b)-e.start) {
		return b, ErrLimit
	}
	b = binary.LittleEndian.AppendUint32(appendType(b, typeString), uint32(len(s)+1))
	b = append(append(b, s...), 0)
	return append(b, zeros[:fill(len(s)+1)]...), nil
}

func (e *encoder) data(b, d []byte) ([]byte, error) {
	if len(d) > MaxBody-(len(b)-e.start) {
		return b, ErrLimit
	}
	b = binary.LittleEndian.AppendUint32(appendType(b, typeData), uint32(len(d)))
	b = append(b, d...)
	return append(b, zeros[:fill(len(d))]...), nil
}

// open writes the head of an array or a dictionary without its length, and close adds
// the length.
func open(b []byte, typ uint32, count int) (out []byte, body int) {
	b = binary.LittleEndian.AppendUint32(appendType(b, typ), 0)
	return binary.LittleEndian.AppendUint32(b, uint32(count)), len(b)
}

func (e *encoder) close(b []byte, body int) ([]byte, error) {
	if len(b)-e.start > WrapperSize+MaxBody {
		return b, ErrLimit
	}
	binary.LittleEndian.PutUint32(b[body-4:], uint32(len(b)-body))
	return b, nil
}

func (e *encoder) array(b []byte, list []any, depth int) ([]byte, error) {
	b, body := open(b, typeArray, len(list))
	var err error
	for i, v := range list {
		b, err = e.value(b, v, depth+1)
		if err != nil {
			return b, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return e.close(b, body)
}

func (e *encoder) dict(b []byte, d Dict, depth int) ([]byte, error) {
	b, body := open(b, typeDict, len(d))
	var keys keySet
	var err error
	for i, p := range d {
		if strings.IndexByte(p.Key, 0) >= 0 {
			return b, fmt.Errorf("key %q: %w", p.Key, errNUL)
		}
		if !keys.add(d[:i], p.Key) {
			return b, fmt.Errorf("dictionary holds %q twice", p.Key)
		}
		if len(p.Key) >= MaxBody-(len(b)-e.start) {
			return b, ErrLimit
		}
		b = append(append(b, p.Key...), 0)
		b = append(b, zeros[:fill(len(p.Key)+1)]...)
		b, err = e.value(b, p.Value, depth+1)
		if err != nil {
			return b, fmt.Errorf("%q: %w", p.Key, err)
		}
	}
	return e.close(b, body)
}
