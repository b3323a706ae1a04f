package plist

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"math/bits"
	"slices"
	"time"
	"unicode/utf16"
)

// binaryWriter encodes the values of a preparer. Equal scalars become one object.
type binaryWriter struct {
	objects []any
	seen    map[objectKey]int
	blobs   map[blobKey]int // data by its position, because one value may have many references
	refs    [][]int         // of each container: its keys, then its values
	refSize int
	out     []byte
}

// objectKey identifies a scalar by its tag and its text or bits. For long data it has
// the digest and the length instead.
type objectKey struct {
	tag  byte
	text string
	bits uint64
}

func encodeBinary(v any) []byte {
	w := &binaryWriter{seen: map[objectKey]int{}, blobs: map[blobKey]int{}, out: []byte("bplist00")}
	w.add(v)
	w.refSize = sizeOf(uint64(len(w.objects)))
	offsets := make([]uint64, len(w.objects))
	for i, o := range w.objects {
		offsets[i] = uint64(len(w.out))
		w.write(o, w.refs[i])
	}
	table := uint64(len(w.out))
	offSize := sizeOf(table)
	for _, o := range offsets {
		w.number(o, offSize)
	}
	w.out = append(w.out, 0, 0, 0, 0, 0, 0, byte(offSize), byte(w.refSize))
	w.number(uint64(len(offsets)), 8)
	w.number(0, 8) // the top object is the first one
	w.number(table, 8)
	return w.out
}

// add assigns a number to v and to each value in it.
func (w *binaryWriter) add(v any) int {
	blob, ok := v.([]byte)
	if !ok || len(blob) == 0 {
		return w.addNew(v)
	}
	at := blobKey{&blob[0], len(blob)}
	n, known := w.blobs[at]
	if !known {
		n = w.addNew(v)
		w.blobs[at] = n
	}
	return n
}

func (w *binaryWriter) addNew(v any) int {
	key, scalar := keyOf(v)
	if n, ok := w.seen[key]; ok && scalar {
		return n
	}
	n := len(w.objects)
	w.objects, w.refs = append(w.objects, v), append(w.refs, nil)
	if scalar {
		w.seen[key] = n
	}
	var refs []int
	switch t := v.(type) {
	case []any:
		for _, e := range t {
			refs = append(refs, w.add(e))
		}
	case map[string]any:
		keys := slices.Sorted(maps.Keys(t))
		for _, k := range keys {
			refs = append(refs, w.add(k))
		}
		for _, k := range keys {
			refs = append(refs, w.add(t[k]))
		}
	}
	w.refs[n] = refs
	return n
}

// keyOf returns the key of a scalar. ok is false for a container.
func keyOf(v any) (key objectKey, ok bool) {
	switch t := v.(type) {
	case string:
		return objectKey{tag: tagASCII, text: t}, true
	case []byte:
		if len(t) > sha256.Size { // avoids a copy
			sum := sha256.Sum256(t)
			return objectKey{tag: tagData, text: string(sum[:]), bits: uint64(len(t))}, true
		}
		return objectKey{tag: tagData, text: string(t)}, true
	case bool:
		if t {
			return objectKey{tag: tagTrue}, true
		}
		return objectKey{tag: tagFalse}, true
	case int64:
		return objectKey{tag: tagInteger, bits: uint64(t)}, true
	case uint64:
		if t <= math.MaxInt64 {
			return objectKey{tag: tagInteger, bits: t}, true
		}
		return objectKey{tag: tagInteger | 4, bits: t}, true
	case float32:
		return objectKey{tag: tagReal | 2, bits: uint64(math.Float32bits(t))}, true
	case float64:
		return objectKey{tag: tagReal | 3, bits: math.Float64bits(t)}, true
	case time.Time:
		return objectKey{tag: tagDate, bits: math.Float64bits(binaryDate(t))}, true
	case UID:
		return objectKey{tag: tagUID, bits: uint64(t)}, true
	}
	return objectKey{}, false
}

// binaryDate returns the encoding of a date. It computes the same sum as the reader, so
// that a decoded date is encoded to the same bits.
func binaryDate(t time.Time) float64 {
	return float64(t.Unix()) + float64(t.Nanosecond())/float64(time.Second) - appleEpoch
}

// sizeOf returns the width of n: 1, 2, 4 or 8 bytes.
func sizeOf(n uint64) int {
	switch {
	case n <= math.MaxUint8:
		return 1
	case n <= math.MaxUint16:
		return 2
	case n <= math.MaxUint32:
		return 4
	}
	return 8
}

func (w *binaryWriter) number(n uint64, size int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	w.out = append(w.out, b[8-size:]...)
}

func (w *binaryWriter) write(v any, refs []int) {
	switch t := v.(type) {
	case string:
		w.text(t)
	case []byte:
		w.counted(tagData, len(t))
		w.out = append(w.out, t...)
	case []any:
		w.counted(tagArray, len(t))
	case map[string]any:
		w.counted(tagDict, len(t))
	default:
		w.scalar(v)
	}
	for _, r := range refs {
		w.number(uint64(r), w.refSize)
	}
}

// scalar writes a value of fixed size.
func (w *binaryWriter) scalar(v any) {
	key, _ := keyOf(v)
	switch key.tag {
	case tagInteger:
		w.integer(key.bits)
	case tagInteger | 4: // sixteen bytes, because eight are signed
		w.out = append(w.out, tagInteger|4)
		w.number(0, 8)
		w.number(key.bits, 8)
	case tagReal | 2:
		w.out = append(w.out, tagReal|2)
		w.number(key.bits, 4)
	case tagReal | 3, tagDate:
		w.out = append(w.out, key.tag)
		w.number(key.bits, 8)
	case tagUID:
		size := sizeOf(key.bits)
		w.out = append(w.out, tagUID|byte(size-1))
		w.number(key.bits, size)
	default:
		w.out = append(w.out, key.tag)
	}
}

// integer writes an int64 in two's complement.
func (w *binaryWriter) integer(n uint64) {
	size := sizeOf(n)
	w.out = append(w.out, tagInteger|byte(bits.TrailingZeros(uint(size))))
	w.number(n, size)
}

func (w *binaryWriter) counted(tag byte, n int) {
	if n < 0xF {
		w.out = append(w.out, tag|byte(n))
		return
	}
	w.out = append(w.out, tag|0xF)
	w.integer(uint64(n))
}

func (w *binaryWriter) text(s string) {
	for _, c := range []byte(s) {
		if c > 0x7F {
			units := utf16.Encode([]rune(s))
			w.counted(tagUTF16, len(units))
			for _, u := range units {
				w.number(uint64(u), 2)
			}
			return
		}
	}
	w.counted(tagASCII, len(s))
	w.out = append(w.out, s...)
}
