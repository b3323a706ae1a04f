package plist

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// A binary property list is a sequence of objects behind "bplist00", the table
// of their offsets, and the trailer that says where the table is and how wide
// offsets and references are:
//
//	trailer, last 32 bytes: 6 unused, offset size u8, reference size u8,
//	                        objects u64 BE, top object u64 BE, offset table u64 BE
//
// An object begins with a tag, whose low half says its size, or with 0xF there
// that an integer object with the count follows.
const (
	tagFalse   = 0x08
	tagTrue    = 0x09
	tagInteger = 0x10 // 2^low bytes, big endian; 1, 2 and 4 unsigned, 8 signed, 16 for large uint64
	tagReal    = 0x20 // 2^low bytes
	tagDate    = 0x33 // float64, seconds since 2001
	tagData    = 0x40
	tagASCII   = 0x50
	tagUTF16   = 0x60 // count of 16-bit units
	tagUID     = 0x80 // low+1 bytes
	tagArray   = 0xA0 // references
	tagSet     = 0xC0 // references
	tagDict    = 0xD0 // references of the keys, then of the values

	trailerSize = 32
)

// appleEpoch is the zero of binary dates, 2001-01-01.
const appleEpoch = 978307200

var (
	errTruncated = errors.New("binary property list is truncated or its offsets point outside")
	errCycle     = errors.New("an object contains itself")
)

// binaryReader decodes in two passes: the first measures the object graph, so
// that the second may build without looking back.
type binaryReader struct {
	b        []byte
	table    uint64
	offSize  int
	refSize  int
	objects  uint64
	maxNodes uint64
	measured []measure
	// Text and data are made once, however often they are referred to: a
	// megabyte named a million times must stay a megabyte.
	texts map[uint64]string
	data  map[uint64][]byte
}

// measure is what an object unfolds to. A height of 0 means not measured yet.
type measure struct {
	nodes  uint64
	height uint16
	open   bool // being measured
}

func decodeBinary(b []byte) (any, error) {
	if len(b) < 8+trailerSize {
		return nil, errTruncated
	}
	t := b[len(b)-trailerSize:]
	r := &binaryReader{
		b: b, offSize: int(t[6]), refSize: int(t[7]),
		objects:  binary.BigEndian.Uint64(t[8:]),
		table:    binary.BigEndian.Uint64(t[24:]),
		maxNodes: spareNodes + uint64(len(b)),
		texts:    map[uint64]string{},
		data:     map[uint64][]byte{},
	}
	top, end := binary.BigEndian.Uint64(t[16:]), uint64(len(b)-trailerSize)
	sizesOK := r.offSize >= 1 && r.offSize <= 8 && r.refSize >= 1 && r.refSize <= 8
	if !sizesOK || r.table < 9 || r.table > end || r.objects == 0 || r.objects > (end-r.table)/uint64(r.offSize) || top >= r.objects {
		return nil, errTruncated
	}
	r.measured = make([]measure, r.objects)
	if err := r.measure(top, 0); err != nil {
		return nil, err
	}
	return r.build(top)
}

// uintAt reads size bytes, which the caller knows to be there.
func (r *binaryReader) uintAt(off uint64, size int) uint64 {
	var v uint64
	for _, x := range r.b[off : off+uint64(size)] {
		v = v<<8 | uint64(x)
	}
	return v
}

func (r *binaryReader) offset(object uint64) uint64 {
	return r.uintAt(r.table+object*uint64(r.offSize), r.offSize)
}

func (r *binaryReader) ref(start, i uint64) uint64 {
	return r.uintAt(start+i*uint64(r.refSize), r.refSize)
}

// measure finds how many values an object unfolds to and how deep they nest.
// The height is kept as well: a chain that was measured from its middle must
// still count in full when it hangs at the end of another.
func (r *binaryReader) measure(object uint64, depth int) error {
	if object >= r.objects {
		return errTruncated
	}
	m := &r.measured[object]
	switch {
	case m.open:
		return errCycle
	case m.height > 0:
		if depth+int(m.height) > MaxDepth+1 {
			return ErrLimit
		}
		return nil
	case depth > MaxDepth:
		return ErrLimit
	}
	_, refs, start, err := r.extent(r.offset(object))
	if err != nil {
		return err
	}
	m.open = true
	nodes, height := uint64(1), uint16(0)
	for i := range refs {
		child := r.ref(start, i)
		if err := r.measure(child, depth+1); err != nil {
			return err
		}
		nodes += r.measured[child].nodes
		height = max(height, r.measured[child].height)
		if nodes > r.maxNodes {
			return ErrLimit
		}
	}
	*m = measure{nodes: nodes, height: height + 1}
	return nil
}

// extent checks that the object at off lies inside the object area. It returns
// where its content begins, and for containers how many references that is; for
// the others count is the size of the content in bytes.
func (r *binaryReader) extent(off uint64) (count, refs, body uint64, err error) {
	if off < 8 || off >= r.table {
		return 0, 0, 0, errTruncated
	}
	tag := r.b[off]
	body = off + 1
	switch tag & 0xF0 {
	case 0x00:
		if tag != tagFalse && tag != tagTrue {
			return 0, 0, 0, errors.New("null has no value here")
		}
	case tagInteger, tagReal:
		if tag&0xF > 4 || tag&0xF0 == tagReal && tag&0xF != 2 && tag&0xF != 3 {
			return 0, 0, 0, errTruncated
		}
		count = 1 << (tag & 0xF)
	case tagDate & 0xF0:
		if tag != tagDate {
			return 0, 0, 0, errTruncated
		}
		count = 8
	case tagUID:
		if count = uint64(tag&0xF) + 1; count > 8 {
			return 0, 0, 0, errTruncated
		}
	default:
		if count, body, err = r.count(tag, body); err != nil {
			return 0, 0, 0, err
		}
		switch tag & 0xF0 {
		case tagData, tagASCII:
		case tagUTF16:
			count *= 2
		case tagArray, tagSet:
			refs, count = count, count*uint64(r.refSize)
		case tagDict:
			refs, count = 2*count, 2*count*uint64(r.refSize)
		default:
			return 0, 0, 0, errTruncated
		}
	}
	if count > r.table-body {
		return 0, 0, 0, errTruncated
	}
	return count, refs, body, nil
}

// count reads the size of an object whose tag carries one.
func (r *binaryReader) count(tag byte, body uint64) (n, rest uint64, err error) {
	n = uint64(tag & 0xF)
	if n == 0xF {
		if body >= r.table || r.b[body]&0xF0 != tagInteger || r.b[body]&0xF > 3 {
			return 0, 0, errTruncated
		}
		size := 1 << (r.b[body] & 0xF)
		if body+1+uint64(size) > r.table {
			return 0, 0, errTruncated
		}
		n = r.uintAt(body+1, size)
		body += 1 + uint64(size)
	}
	if n > uint64(len(r.b)) { // so that no product of it overflows
		return 0, 0, errTruncated
	}
	return n, body, nil
}

// build makes the value of an object that measure has gone through.
func (r *binaryReader) build(object uint64) (any, error) {
	off := r.offset(object)
	tag := r.b[off]
	count, refs, body, err := r.extent(off)
	if err != nil {
		return nil, err
	}
	content := r.b[body : body+count]
	switch tag & 0xF0 {
	case 0x00:
		return tag == tagTrue, nil
	case tagInteger:
		return buildInteger(content)
	case tagReal:
		if len(content) == 4 {
			return float64(math.Float32frombits(binary.BigEndian.Uint32(content))), nil
		}
		return math.Float64frombits(binary.BigEndian.Uint64(content)), nil
	case tagDate & 0xF0:
		return buildDate(math.Float64frombits(binary.BigEndian.Uint64(content)))
	case tagData:
		d, ok := r.data[object]
		if !ok {
			d = append(make([]byte, 0, len(content)), content...)
			r.data[object] = d
		}
		return d, nil
	case tagASCII, tagUTF16:
		s, ok := r.texts[object]
		if !ok {
			s = buildText(tag, content)
			r.texts[object] = s
		}
		return s, nil
	case tagUID:
		return UID(r.uintAt(body, len(content))), nil
	case tagDict:
		return r.buildDict(body, refs/2)
	}
	list := make([]any, refs)
	for i := range refs {
		if list[i], err = r.build(r.ref(body, i)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (r *binaryReader) buildDict(body, n uint64) (any, error) {
	d := make(Dict, n)
	for i := range n {
		k, err := r.build(r.ref(body, i))
		if err != nil {
			return nil, err
		}
		key, ok := k.(string)
		if !ok {
			return nil, errors.New("dictionary key is " + TypeName(k) + ", want a string")
		}
		if d[key], err = r.build(r.ref(body, n+i)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func buildInteger(b []byte) (any, error) {
	switch len(b) {
	case 8:
		return int64(binary.BigEndian.Uint64(b)), nil
	case 16:
		high, low := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
		switch {
		case high == 0 && low > math.MaxInt64:
			return low, nil
		case high == 0, high == math.MaxUint64 && low > math.MaxInt64:
			return int64(low), nil
		}
		return nil, errors.New("integer is wider than 64 bits")
	}
	var v int64
	for _, x := range b {
		v = v<<8 | int64(x)
	}
	return v, nil
}

// Dates are limited to the years 0 to 9999, which have an XML form. Apple's
// distant past lies two days before the year 1.
const (
	minYear, maxYear = 0, 9999
	minDate, endDate = -63145526400, 252423993600
)

func buildDate(seconds float64) (any, error) {
	if !(seconds >= minDate && seconds < endDate) { // not a number fails both
		return nil, errors.New("date is out of range")
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole)+appleEpoch, int64(math.Round(part*1e9))).UTC(), nil
}

// buildText makes valid UTF-8. Some writers put UTF-8 where ASCII is meant,
// older ones Latin-1.
func buildText(tag byte, b []byte) string {
	if tag&0xF0 == tagASCII {
		if utf8.Valid(b) {
			return string(b)
		}
		runes := make([]rune, len(b))
		for i, c := range b {
			runes[i] = rune(c)
		}
		return string(runes)
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}
