package nskeyed

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
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
	texts index[string]
	ints  index[any] // int64 and uint64
	flags [2]int32   // the objects false and true, 0 for none
	out   []byte
}

// item is an object of the property list. The elements of containers are in refs. A UID
// is stored in start, with isUID as its value, and a string is the text at start. This
// saves an allocation for each.
type item struct {
	value       any
	start, refs int32
}

// What stands in place of the value of an item.
type (
	isUID  struct{}
	isText struct{}
	isDict struct{}
	isList struct{}
)

// archive numbers the outside of an archive and all that is in it.
func (w *writer) archive(top record, objects []any) {
	keys := [...]string{keyVersion, keyArchiver, keyTop, keyObjects}
	refs := w.container(isDict{}, 2*len(keys))
	for i, key := range keys {
		w.set(refs+i, w.numberText(key))
	}
	refs += len(keys)
	w.set(refs, w.number(int64(version)))
	w.set(refs+1, w.numberText(archiver))
	w.set(refs+2, w.numberRecord(top))
	w.set(refs+3, numberAll(w, objects, w.number))
}

// write appends the property list of what was numbered to b.
func (w *writer) write(b []byte) []byte {
	w.out = slices.Grow(b, w.size())
	start := len(b)
	w.out = append(w.out, header...)
	refSize := width(uint64(len(w.items) - 1))
	offsets := make([]int, 0, fewItems)
	for i := range w.items {
		offsets = append(offsets, len(w.out)-start)
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

// size estimates the length of the property list, and is seldom too small.
func (w *writer) size() int {
	n := len(header) + trailerSize + 4*len(w.items) + 2*len(w.refs)
	for i := range w.items {
		if data, ok := w.items[i].value.([]byte); ok {
			n += len(data) + 8
		}
	}
	for i := range w.texts.list {
		n += len(w.texts.list[i].key)
	}
	return n
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
		if n, ok := w.ints.find(v); ok {
			return n
		}
		w.ints.add(v, self)
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
		return w.numberRecord(t)
	case []any:
		return numberAll(w, t, w.number)
	case []uid:
		return numberAll(w, t, w.numberUID)
	case []string:
		return numberAll(w, t, w.numberText)
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

func (w *writer) set(ref int, n int32) { w.refs[ref] = n }

func (w *writer) numberRecord(r record) int32 {
	self := int32(len(w.items))
	refs := w.container(isDict{}, 2*len(r))
	for i := range r {
		w.set(refs+i, w.numberText(r[i].key))
	}
	for i := range r {
		w.set(refs+len(r)+i, w.number(r[i].value))
	}
	return self
}

func (w *writer) numberText(s string) int32 {
	n, ok := w.texts.find(s)
	if !ok {
		n = int32(len(w.items))
		w.items = append(w.items, item{value: isText{}, start: w.texts.add(s, n)})
	}
	return n
}

// numberUID adds an object for each occurrence, as Apple's writer does.
func (w *writer) numberUID(u uid) int32 {
	w.items = append(w.items, item{value: isUID{}, start: int32(u)})
	return int32(len(w.items) - 1)
}

func numberAll[T any](w *writer, list []T, number func(T) int32) int32 {
	self := int32(len(w.items))
	refs := w.container(isList{}, len(list))
	for i, e := range list {
		w.set(refs+i, number(e))
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
	case isText:
		w.text(w.texts.list[it.start].key)
		return
	case isUID:
		size := width(uint64(uint32(it.start)))
		w.out = append(w.out, tagUID|byte(size-1))
		w.uint(uint64(uint32(it.start)), size)
		return
	case isDict:
		w.head(tagDict, int(it.refs)/2)
	case isList:
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
