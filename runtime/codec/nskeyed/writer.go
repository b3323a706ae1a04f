package nskeyed

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// entry is a key of a record with its value, which is a bool, int64, uint64, float64,
// string, []byte, uid, []uid, []string, []any of these, or record.
type entry struct {
	key   string
	value any
}

// record is a dictionary of the property list, in the order of writing.
type record []entry

// uid is an index in $objects, which have at most MaxObjects elements.
type uid uint32

// writer writes a property list in Apple's order: a dictionary, its keys, then its
// values, each followed by the values in it. Package plist sorts keys. Its bytes for a
// selector would differ from those of all other programs.
type writer struct {
	items []item
	refs  []int32
	texts map[string]int32
	ints  map[any]int32 // int64 and uint64
	flags [2]int32      // numbers of the objects false and true, or 0
	out   []byte
}

// item is an object of the property list. The elements of containers are in refs. A UID
// is stored in start, with isUID as its value, which saves an allocation.
type item struct {
	value       any
	start, refs int32
}

type isUID struct{}

// write appends the property list to b.
func write(b []byte, root record) []byte {
	w := &writer{texts: make(map[string]int32, 16), out: b}
	w.number(root)
	start := len(b)
	w.out = append(w.out, header...)
	refSize := width(uint64(len(w.items) - 1))
	offsets := make([]int, len(w.items))
	for i := range w.items {
		offsets[i] = len(w.out) - start
		w.item(&w.items[i], refSize)
	}
	table := len(w.out) - start
	offSize := width(uint64(table))
	for _, o := range offsets {
		w.uint(uint64(o), offSize)
	}
	w.out = append(w.out, 0, 0, 0, 0, 0, 0, byte(offSize), byte(refSize))
	w.out = binary.BigEndian.AppendUint64(w.out, uint64(len(w.items)))
	w.out = binary.BigEndian.AppendUint64(w.out, 0)
	return binary.BigEndian.AppendUint64(w.out, uint64(table))
}

// width returns the number of bytes for integers up to n: 1, 2, 4 or 8.
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

// number assigns numbers to v and the values in it. Equal strings and integers are one
// object.
func (w *writer) number(v any) int32 {
	self := int32(len(w.items))
	switch t := v.(type) {
	case string:
		return w.numberText(t)
	case uid:
		return w.numberUID(t)
	case int64, uint64:
		if n, ok := w.ints[v]; ok {
			return n
		}
		if w.ints == nil {
			w.ints = make(map[any]int32)
		}
		w.ints[v] = self
	case bool:
		i := 0
		if t {
			i = 1
		}
		if w.flags[i] != 0 {
			return w.flags[i]
		}
		w.flags[i] = self
	case record:
		refs := w.container(v, 2*len(t))
		for i := range t {
			n := w.numberText(t[i].key)
			w.refs[refs+i] = n
		}
		for i := range t {
			n := w.number(t[i].value)
			w.refs[refs+len(t)+i] = n
		}
		return self
	case []any:
		return numberAll(w, v, t, w.number)
	case []uid:
		return numberAll(w, v, t, w.numberUID)
	case []string:
		return numberAll(w, v, t, w.numberText)
	}
	w.items = append(w.items, item{value: v})
	return self
}

// container adds a container with room for n references, and returns the position of
// the first one.
func (w *writer) container(v any, n int) int {
	refs := len(w.refs)
	w.items = append(w.items, item{v, int32(refs), int32(n)})
	w.refs = append(w.refs, make([]int32, n)...)
	return refs
}

func (w *writer) numberText(s string) int32 {
	n, ok := w.texts[s]
	if !ok {
		n = int32(len(w.items))
		w.texts[s] = n
		w.items = append(w.items, item{value: s})
	}
	return n
}

// numberUID adds an object for each occurrence, as Apple's writer does.
func (w *writer) numberUID(u uid) int32 {
	w.items = append(w.items, item{value: isUID{}, start: int32(u)})
	return int32(len(w.items) - 1)
}

func numberAll[T any](w *writer, v any, list []T, number func(T) int32) int32 {
	self := int32(len(w.items))
	refs := w.container(v, len(list))
	for i, e := range list {
		n := number(e)
		w.refs[refs+i] = n
	}
	return self
}

func (w *writer) uint(v uint64, size int) {
	for i := size - 1; i >= 0; i-- {
		w.out = append(w.out, byte(v>>(8*i)))
	}
}

func (w *writer) head(tag byte, n int) {
	if n < lowCount {
		w.out = append(w.out, tag|byte(n))
		return
	}
	w.out = append(w.out, tag|lowCount)
	w.integer(int64(n))
}

// integer writes the smallest form. Negative numbers always have eight bytes.
func (w *writer) integer(n int64) {
	size := 8
	if n >= 0 {
		size = width(uint64(n))
	}
	w.out = append(w.out, tagInteger|byte(bits.TrailingZeros(uint(size))))
	w.uint(uint64(n), size)
}

func (w *writer) item(it *item, refSize int) {
	switch t := it.value.(type) {
	case bool:
		low := byte(lowFalse)
		if t {
			low = lowTrue
		}
		w.out = append(w.out, tagSimple|low)
	case int64:
		w.integer(t)
	case uint64:
		w.out = append(w.out, tagInteger|4, 0, 0, 0, 0, 0, 0, 0, 0)
		w.uint(t, 8)
	case float64:
		w.out = binary.BigEndian.AppendUint64(append(w.out, tagReal|3), math.Float64bits(t))
	case []byte:
		w.head(tagData, len(t))
		w.out = append(w.out, t...)
	case string:
		w.text(t)
	case isUID:
		size := width(uint64(uint32(it.start)))
		w.out = append(w.out, tagUID|byte(size-1))
		w.uint(uint64(uint32(it.start)), size)
		return
	case record:
		w.head(tagDict, len(t))
	default:
		w.head(tagArray, int(it.refs))
	}
	for _, n := range w.refs[it.start : it.start+it.refs] {
		w.uint(uint64(n), refSize)
	}
}

func (w *writer) text(s string) {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			units := utf16.Encode([]rune(s))
			w.head(tagUTF16, len(units))
			for _, u := range units {
				w.out = binary.BigEndian.AppendUint16(w.out, u)
			}
			return
		}
	}
	w.head(tagASCII, len(s))
	w.out = append(w.out, s...)
}
