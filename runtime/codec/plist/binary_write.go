package plist

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// binaryWriter numbers the objects first and writes them then, because a
// reference is only as wide as their number asks for.
type binaryWriter struct {
	objects []any // canonical; refs for containers
	texts   map[string]int
	ints    map[any]int // int64 and uint64
	out     []byte
}

// refs is a container whose members are numbered.
type refs struct {
	tag     byte
	count   int
	members []int // of a dictionary the keys, then the values
}

func encodeBinary(v any) ([]byte, error) {
	w := &binaryWriter{texts: map[string]int{}, ints: map[any]int{}}
	if _, err := w.number(v, 0); err != nil {
		return nil, err
	}
	refSize := width(uint64(len(w.objects) - 1))
	w.out = append(w.out, "bplist00"...)
	offsets := make([]int, len(w.objects))
	for i, o := range w.objects {
		offsets[i] = len(w.out)
		w.object(o, refSize)
	}
	table := len(w.out)
	offSize := width(uint64(table))
	for _, o := range offsets {
		w.uint(uint64(o), offSize)
	}
	w.out = append(w.out, 0, 0, 0, 0, 0, 0, byte(offSize), byte(refSize))
	w.out = binary.BigEndian.AppendUint64(w.out, uint64(len(w.objects)))
	w.out = binary.BigEndian.AppendUint64(w.out, 0) // the top object is the first
	return binary.BigEndian.AppendUint64(w.out, uint64(table)), nil
}

// width returns the bytes that readers accept for numbers up to n.
func width(n uint64) int {
	switch l := bits.Len64(n); {
	case l <= 8:
		return 1
	case l <= 16:
		return 2
	case l <= 32:
		return 4
	}
	return 8
}

// number adds v and what is below it to the objects. Equal strings and
// integers become one object, as Apple's writer does; archives repeat them by
// the thousand.
func (w *binaryWriter) number(v any, depth int) (int, error) {
	if depth > MaxDepth {
		return 0, ErrLimit
	}
	v, err := canonical(v)
	if err != nil {
		return 0, err
	}
	switch t := v.(type) {
	case string:
		if n, ok := w.texts[t]; ok {
			return n, nil
		}
		if !utf8.ValidString(t) {
			return 0, errNotUTF8
		}
		w.texts[t] = len(w.objects)
	case int64, uint64:
		if n, ok := w.ints[v]; ok {
			return n, nil
		}
		w.ints[v] = len(w.objects)
	case Dict:
		return w.numberDict(t, depth)
	case []any:
		return w.numberArray(t, depth)
	}
	w.objects = append(w.objects, v)
	return len(w.objects) - 1, nil
}

func (w *binaryWriter) numberDict(d Dict, depth int) (int, error) {
	self := len(w.objects)
	w.objects = append(w.objects, nil)
	keys := sortedKeys(d)
	r := refs{tag: tagDict, count: len(keys), members: make([]int, 2*len(keys))}
	for i, k := range keys {
		n, err := w.number(k, 0)
		if err != nil {
			return 0, inside(k, err)
		}
		r.members[i] = n
	}
	for i, k := range keys {
		n, err := w.number(d[k], depth+1)
		if err != nil {
			return 0, inside(k, err)
		}
		r.members[len(keys)+i] = n
	}
	w.objects[self] = r
	return self, nil
}

func (w *binaryWriter) numberArray(list []any, depth int) (int, error) {
	self := len(w.objects)
	w.objects = append(w.objects, nil)
	r := refs{tag: tagArray, count: len(list), members: make([]int, len(list))}
	for i, e := range list {
		n, err := w.number(e, depth+1)
		if err != nil {
			return 0, insideIndex(i, err)
		}
		r.members[i] = n
	}
	w.objects[self] = r
	return self, nil
}

func (w *binaryWriter) uint(v uint64, size int) {
	for i := size - 1; i >= 0; i-- {
		w.out = append(w.out, byte(v>>(8*i)))
	}
}

func (w *binaryWriter) counted(tag byte, n int) {
	if n < 0xF {
		w.out = append(w.out, tag|byte(n))
		return
	}
	w.out = append(w.out, tag|0xF)
	w.integer(int64(n))
}

// integer writes the smallest form; negative numbers always take eight bytes.
func (w *binaryWriter) integer(n int64) {
	size := 8
	if n >= 0 {
		size = width(uint64(n))
	}
	w.out = append(w.out, tagInteger|byte(bits.TrailingZeros(uint(size))))
	w.uint(uint64(n), size)
}

func (w *binaryWriter) object(o any, refSize int) {
	switch t := o.(type) {
	case bool:
		tag := byte(tagFalse)
		if t {
			tag = tagTrue
		}
		w.out = append(w.out, tag)
	case int64:
		w.integer(t)
	case uint64:
		w.out = append(w.out, tagInteger|4)
		w.uint(0, 8)
		w.uint(t, 8)
	case float32:
		w.out = binary.BigEndian.AppendUint32(append(w.out, tagReal|2), math.Float32bits(t))
	case float64:
		w.out = binary.BigEndian.AppendUint64(append(w.out, tagReal|3), math.Float64bits(t))
	case time.Time:
		seconds := float64(t.Unix()-appleEpoch) + float64(t.Nanosecond())/1e9
		w.out = binary.BigEndian.AppendUint64(append(w.out, tagDate), math.Float64bits(seconds))
	case []byte:
		w.counted(tagData, len(t))
		w.out = append(w.out, t...)
	case string:
		w.text(t)
	case UID:
		size := width(uint64(t))
		w.out = append(w.out, tagUID|byte(size-1))
		w.uint(uint64(t), size)
	case refs:
		w.counted(t.tag, t.count)
		for _, m := range t.members {
			w.uint(uint64(m), refSize)
		}
	}
}

func (w *binaryWriter) text(s string) {
	for _, c := range []byte(s) {
		if c >= utf8.RuneSelf {
			units := utf16.Encode([]rune(s))
			w.counted(tagUTF16, len(units))
			for _, u := range units {
				w.out = binary.BigEndian.AppendUint16(w.out, u)
			}
			return
		}
	}
	w.counted(tagASCII, len(s))
	w.out = append(w.out, s...)
}

var errNotUTF8 = errors.New("string is not valid UTF-8")
