package dtx

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
)

// The arguments of a call are a dictionary of primitives whose keys are all
// null. It begins with a header of 16 bytes: u32 capacity of the sender's
// buffer, whose low byte is the tag 0xF0; u32 0; u64 length of what follows.
const (
	auxHeaderSize = 16
	auxCapacity   = 512 // the capacity and the header together are a multiple of it

	maxArgs      = 1024 // arguments of a message
	maxArgsDepth = 8    // dictionaries in dictionaries
)

// ArgKind is the tag of a primitive.
type ArgKind uint8

// Kinds of primitives. Of these, peers were observed to send int32, int64, double
// and buffers. A peer may send an archived number in place of any number.
const (
	ArgString ArgKind = 1    // u32 length, UTF-8
	ArgBuffer ArgKind = 2    // u32 length, an archive; empty for nil
	ArgInt32  ArgKind = 3    // 4 bytes
	ArgUint32 ArgKind = 4    // 4 bytes
	ArgFloat  ArgKind = 5    // 4 bytes IEEE 754
	ArgInt64  ArgKind = 6    // 8 bytes
	ArgDouble ArgKind = 9    // 8 bytes IEEE 754
	ArgNull   ArgKind = 10   // nothing
	ArgDict   ArgKind = 0xF0 // u32 0, u64 length, keys and values in turn
)

// Arg is an argument as it is sent on the wire.
type Arg struct {
	Kind  ArgKind
	Bits  uint64 // of a number
	Bytes []byte // of a string or buffer
	Pairs []Arg  // of a dictionary: keys and values in turn
}

// Int32 returns an argument that is sent as a number without an archive. A few
// methods require this form.
func Int32(v int32) Arg { return Arg{Kind: ArgInt32, Bits: uint64(uint32(v))} }

// Int64 returns an argument that is sent as a number without an archive.
func Int64(v int64) Arg { return Arg{Kind: ArgInt64, Bits: uint64(v)} }

// Double returns an argument that is sent as a number without an archive.
func Double(v float64) Arg { return Arg{Kind: ArgDouble, Bits: math.Float64bits(v)} }

// Buffer returns an argument that is sent as the bytes b, which are an archive
// that the caller made. An empty b stands for nil.
func Buffer(b []byte) Arg { return Arg{Kind: ArgBuffer, Bytes: b} }

// AppendArgs appends an argument list with its header. A message without
// arguments has no list, so AppendArgs appends nothing if args is empty.
func AppendArgs(b []byte, args []Arg) []byte {
	if len(args) == 0 {
		return b
	}
	start := len(b)
	b = append(b, make([]byte, auxHeaderSize)...)
	for i := range args {
		b = binary.LittleEndian.AppendUint32(b, uint32(ArgNull))
		b = appendArg(b, &args[i])
	}
	putArgsHeader(b[start:])
	return b
}

// appendValues is AppendArgs for values. An Arg is appended as it is, nil as an
// empty buffer, and any other value as a buffer with its archive.
func appendValues(b []byte, values []any) ([]byte, error) {
	if len(values) == 0 {
		return b, nil
	}
	start := len(b)
	b = append(b, make([]byte, auxHeaderSize)...)
	for i, v := range values {
		b = binary.LittleEndian.AppendUint32(b, uint32(ArgNull))
		if a, ok := v.(Arg); ok {
			b = appendArg(b, &a)
			continue
		}
		b = appendArg(b, &Arg{Kind: ArgBuffer})
		if v == nil {
			continue
		}
		at := len(b)
		var err error
		b, err = nskeyed.Append(b, v)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		binary.LittleEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	}
	putArgsHeader(b[start:])
	return b, nil
}

// putArgsHeader fills in the header of a list. The capacity is computed as
// Apple's programs do it, from a multiple of auxCapacity.
func putArgsHeader(b []byte) {
	room := (len(b)+auxCapacity-1)/auxCapacity*auxCapacity - auxHeaderSize
	binary.LittleEndian.PutUint32(b, uint32(room))
	binary.LittleEndian.PutUint64(b[8:], uint64(len(b)-auxHeaderSize))
}

func appendArg(b []byte, a *Arg) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(a.Kind))
	switch a.Kind {
	case ArgString, ArgBuffer:
		b = binary.LittleEndian.AppendUint32(b, uint32(len(a.Bytes)))
		b = append(b, a.Bytes...)
	case ArgInt32, ArgUint32, ArgFloat:
		b = binary.LittleEndian.AppendUint32(b, uint32(a.Bits))
	case ArgInt64, ArgDouble:
		b = binary.LittleEndian.AppendUint64(b, a.Bits)
	case ArgDict:
		b = binary.LittleEndian.AppendUint32(b, 0)
		at := len(b)
		b = append(b, make([]byte, 8)...)
		for i := range a.Pairs {
			b = appendArg(b, &a.Pairs[i])
		}
		binary.LittleEndian.PutUint64(b[at:], uint64(len(b)-at-8))
	}
	return b
}

// DecodeArgs reads an argument list with its header. Buffers and strings are
// slices of b.
func DecodeArgs(b []byte) ([]Arg, error) {
	if len(b) == 0 {
		return nil, nil
	}
	d := argDecoder{room: 2 * maxArgs}
	a, rest, err := d.dict(b, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes left over", len(rest))
	}
	if err != nil {
		return nil, &Error{Err: fmt.Errorf("%w: %w", ErrPrimitive, err)}
	}
	args := a.Pairs[:0]
	for i := 1; i < len(a.Pairs); i += 2 { // the keys are null
		args = append(args, a.Pairs[i])
	}
	return args, nil
}

// argDecoder decodes an argument list. room is the number of keys and values
// that it may still decode.
type argDecoder struct{ room int }

// dict decodes the dictionary at the beginning of b and returns the bytes after
// it.
func (d *argDecoder) dict(b []byte, depth int) (Arg, []byte, error) {
	if len(b) < auxHeaderSize || ArgKind(b[0]) != ArgDict {
		return Arg{}, nil, fmt.Errorf("no dictionary")
	}
	n := binary.LittleEndian.Uint64(b[8:])
	b = b[auxHeaderSize:]
	if n > uint64(len(b)) {
		return Arg{}, nil, fmt.Errorf("dictionary of %d bytes in %d", n, len(b))
	}
	if depth == maxArgsDepth {
		return Arg{}, nil, fmt.Errorf("dictionaries nest too deep")
	}
	body, rest := b[:n], b[n:]
	a := Arg{Kind: ArgDict, Pairs: make([]Arg, 0, 8)} // few methods take more than four
	for len(body) > 0 {
		var item Arg
		var err error
		item, body, err = d.arg(body, depth+1)
		if err != nil {
			return Arg{}, nil, err
		}
		a.Pairs = append(a.Pairs, item)
		d.room--
		if d.room < 0 {
			return Arg{}, nil, fmt.Errorf("more than %d arguments", maxArgs)
		}
	}
	if len(a.Pairs)%2 != 0 {
		return Arg{}, nil, fmt.Errorf("key without a value")
	}
	return a, rest, nil
}

func (d *argDecoder) arg(b []byte, depth int) (Arg, []byte, error) {
	if len(b) < 4 {
		return Arg{}, nil, fmt.Errorf("tag cut short")
	}
	a := Arg{Kind: ArgKind(b[0])} // the upper bits of a tag may hold a size
	width := 0
	switch a.Kind {
	case ArgDict:
		return d.dict(b, depth)
	case ArgNull:
	case ArgString, ArgBuffer, ArgInt32, ArgUint32, ArgFloat:
		width = 4
	case ArgInt64, ArgDouble:
		width = 8
	default:
		return Arg{}, nil, fmt.Errorf("kind %d", a.Kind)
	}
	b = b[4:]
	if len(b) < width {
		return Arg{}, nil, fmt.Errorf("value cut short")
	}
	switch width {
	case 4:
		a.Bits = uint64(binary.LittleEndian.Uint32(b))
	case 8:
		a.Bits = binary.LittleEndian.Uint64(b)
	}
	b = b[width:]
	if a.Kind == ArgString || a.Kind == ArgBuffer {
		n := a.Bits
		if n > uint64(len(b)) {
			return Arg{}, nil, fmt.Errorf("buffer of %d bytes in %d", n, len(b))
		}
		a.Bits, a.Bytes, b = 0, b[:n:n], b[n:]
	}
	return a, b, nil
}

// Value returns the value of the argument: nil, a string, an int64 or a float64.
// A buffer gives the value of its archive, or its bytes if it is not an archive.
// A dictionary gives a []any with keys and values in turn.
func (a Arg) Value(c *nskeyed.Classes) (any, error) {
	switch a.Kind {
	case ArgString:
		return string(a.Bytes), nil
	case ArgBuffer:
		if len(a.Bytes) == 0 {
			return nil, nil
		}
		v, _, err := c.Unarchive(a.Bytes)
		return v, err
	case ArgInt32:
		return int64(int32(a.Bits)), nil
	case ArgUint32, ArgInt64:
		return int64(a.Bits), nil
	case ArgFloat:
		return float64(math.Float32frombits(uint32(a.Bits))), nil
	case ArgDouble:
		return math.Float64frombits(a.Bits), nil
	case ArgDict:
		list := make([]any, len(a.Pairs))
		for i, p := range a.Pairs {
			v, err := p.Value(c)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	}
	return nil, nil
}

// Args are the values of a call's arguments. The getters return false if an
// argument is missing or has another type. They accept a number of any kind.
type Args []any

// At returns argument i, counted from 0, or nil if there is none.
func (a Args) At(i int) any {
	if i < 0 || i >= len(a) {
		return nil
	}
	return a[i]
}

// Int returns an argument as an integer. It converts true to 1, false to 0, and
// real numbers that are whole.
func (a Args) Int(i int) (int64, bool) {
	switch v := a.At(i).(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case float64:
		whole := v == math.Trunc(v) && math.Abs(v) < 1<<53
		return int64(v), whole
	default:
		return nskeyed.Int(v)
	}
}

// Bool returns an argument as a boolean. A number is true unless it is 0.
func (a Args) Bool(i int) (bool, bool) {
	if v, ok := a.At(i).(bool); ok {
		return v, true
	}
	n, ok := a.Real(i)
	return ok && n != 0, ok
}

// Real returns an argument as a real number.
func (a Args) Real(i int) (float64, bool) { return nskeyed.Real(a.At(i)) }

// String returns an argument that is a string.
func (a Args) String(i int) (string, bool) { v, ok := a.At(i).(string); return v, ok }

// Data returns an argument that is data. The bytes belong to the message.
func (a Args) Data(i int) ([]byte, bool) { v, ok := a.At(i).([]byte); return v, ok }

// Dict returns an argument that is a dictionary.
func (a Args) Dict(i int) (nskeyed.Dict, bool) { v, ok := a.At(i).(nskeyed.Dict); return v, ok }

// Array returns an argument that is an array or a set.
func (a Args) Array(i int) ([]any, bool) {
	switch v := a.At(i).(type) {
	case []any:
		return v, true
	case nskeyed.Set:
		return v, true
	case nskeyed.OrderedSet:
		return v, true
	}
	return nil, false
}
