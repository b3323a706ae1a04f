package opack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// decoder decodes one object of b.
type decoder struct {
	b        []byte
	off      int
	seen     []scalar // the scalars that back references can name
	unfolded int
}

// scalar is a value of more than one byte, with its encoding. Two scalars are the same
// if their encodings are.
type scalar struct {
	wire  []byte
	value any
}

// Decode decodes one object, which must take up all of b. Strings and data are copies.
func Decode(b []byte) (any, error) {
	d := &decoder{b: b}
	err := ErrLimit
	if len(b) <= MaxSize {
		var v any
		v, err = d.value(0)
		if err == nil && d.off == len(b) {
			return v, nil
		}
		if err == nil {
			err = errTrailing
		}
	}
	return nil, &Error{Op: "decode", Offset: d.off, Err: err}
}

// DecodeDict decodes an object that must be a dictionary.
func DecodeDict(b []byte) (Dict, error) {
	v, err := Decode(b)
	if err != nil {
		return nil, err
	}
	d, ok := v.(Dict)
	if !ok {
		return nil, &Error{Op: "decode", Err: fmt.Errorf("object is %T, want a dictionary", v)}
	}
	return d, nil
}

// take returns the next n bytes.
func (d *decoder) take(n int) ([]byte, error) {
	if n > len(d.b)-d.off {
		return nil, ErrTruncated
	}
	b := d.b[d.off : d.off+n]
	d.off += n
	return b, nil
}

// atEnd reports whether the end mark of an open container is next, and removes it.
func (d *decoder) atEnd() bool {
	if d.off < len(d.b) && d.b[d.off] == tagEnd {
		d.off++
		return true
	}
	return false
}

func (d *decoder) value(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, ErrLimit
	}
	start := d.off
	t, err := d.take(1)
	if err != nil {
		return nil, err
	}
	switch tag := t[0]; {
	case tag == tagTrue, tag == tagFalse:
		return tag == tagTrue, nil
	case tag == tagNull:
		return nil, nil
	case tag >= tagSmall && tag <= tagSmallLast:
		return int64(tag - tagSmall), nil
	case tag >= tagArray && tag <= tagOpenArray:
		return d.array(tag, depth)
	case tag >= tagDict:
		return d.dict(tag, depth)
	case tag >= tagRef && tag <= tagRefLast:
		return d.reference(int(tag - tagRef))
	case tag == tagEnd:
		d.off = start
		return nil, errEnd
	default:
		v, err := d.scalar(tag)
		if err != nil {
			d.off = start
			return nil, err
		}
		d.remember(d.b[start:d.off], v)
		return v, d.unfold(v)
	}
}

// scalar decodes the value for a tag that is neither a container nor a constant.
func (d *decoder) scalar(tag byte) (any, error) {
	switch {
	case tag >= tagString && tag <= tagString16:
		b, err := d.content(tag, tagString, tagString8)
		if err != nil {
			return nil, err
		}
		if !utf8.Valid(b) {
			return nil, errUTF8
		}
		return string(b), nil
	case tag >= tagData && tag <= tagData16:
		b, err := d.content(tag, tagData, tagData8)
		if err != nil {
			return nil, err
		}
		return append(make([]byte, 0, len(b)), b...), nil
	case tag >= tagUint8 && tag <= tagUint64:
		b, err := d.take(1 << (tag - tagUint8))
		if err != nil {
			return nil, err
		}
		return integer(b), nil
	}
	var size int
	switch tag {
	case tagUUID:
		size = 16
	case tagTime, tagFloat64:
		size = 8
	case tagFloat32:
		size = 4
	default:
		return nil, fmt.Errorf("%w: %#02x", ErrTag, tag)
	}
	b, err := d.take(size)
	if err != nil {
		return nil, err
	}
	switch tag {
	case tagUUID:
		return UUID(b), nil
	case tagTime:
		return Time(binary.LittleEndian.Uint64(b)), nil
	case tagFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b)), nil
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(b)), nil
}

// content reads the bytes of a string or of data. The tag first + n has n bytes. The
// tags wide and wide+1 are followed by the length in one or two bytes.
func (d *decoder) content(tag, first, wide byte) ([]byte, error) {
	n := int(tag - first)
	if tag >= wide {
		l, err := d.take(int(tag-wide) + 1)
		if err != nil {
			return nil, err
		}
		n = int(l[0])
		if len(l) == 2 {
			n = int(binary.LittleEndian.Uint16(l))
		}
	}
	return d.take(n)
}

func integer(b []byte) any {
	var n uint64
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	if n > math.MaxInt64 {
		return n
	}
	return int64(n)
}

func (d *decoder) remember(wire []byte, v any) {
	if len(wire) < 2 || len(d.seen) == maxRefs {
		return
	}
	for _, s := range d.seen {
		if bytes.Equal(s.wire, wire) {
			return
		}
	}
	d.seen = append(d.seen, scalar{wire, v})
}

func (d *decoder) reference(n int) (any, error) {
	if n >= len(d.seen) {
		return nil, errReference
	}
	v := d.seen[n].value
	return v, d.unfold(v)
}

func (d *decoder) unfold(v any) error {
	switch t := v.(type) {
	case string:
		d.unfolded += len(t)
	case []byte:
		d.unfolded += len(t)
	}
	if d.unfolded > maxUnfolded {
		return ErrLimit
	}
	return nil
}

func (d *decoder) array(tag byte, depth int) (any, error) {
	list := []any{}
	for n := int(tag - tagArray); tag == tagOpenArray || len(list) < n; {
		if tag == tagOpenArray && d.atEnd() {
			break
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// manyKeys is the number of entries from which a map is used to find a duplicate key.
const manyKeys = 16

func (d *decoder) dict(tag byte, depth int) (any, error) {
	dict := Dict{}
	var keys map[string]bool
	for n := int(tag - tagDict); tag == tagOpenDict || len(dict) < n; {
		if tag == tagOpenDict && d.atEnd() {
			break
		}
		k, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		key, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("dictionary key is %T, want a string", k)
		}
		switch {
		case len(dict) == manyKeys:
			keys = make(map[string]bool, 2*manyKeys)
			for _, p := range dict {
				keys[p.Key] = true
			}
			fallthrough
		case len(dict) > manyKeys:
			ok = !keys[key]
			keys[key] = true
		default:
			_, found := dict.Get(key)
			ok = !found
		}
		if !ok {
			return nil, errors.New("dictionary holds a key twice")
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		dict = append(dict, Pair{key, v})
	}
	return dict, nil
}
