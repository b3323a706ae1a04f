package nskeyed

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf16"
	"unicode/utf8"
)

// Tags of a binary property list. The low half of a tag is the size. If it is 0xF, an
// integer with the count follows.
const (
	tagSimple  = 0x00 // 8 is false, 9 is true
	tagInteger = 0x10 // 2^low bytes; 1, 2 and 4 unsigned, 8 signed, 16 for large uint64
	tagReal    = 0x20 // 2^low bytes
	tagDate    = 0x30 // low 3: float64, seconds since 2001
	tagData    = 0x40
	tagASCII   = 0x50
	tagUTF16   = 0x60 // count of 16-bit units
	tagUID     = 0x80 // low+1 bytes
	tagArray   = 0xA0 // references
	tagSet     = 0xC0 // references
	tagDict    = 0xD0 // references of the keys, then of the values

	lowFalse = 0x08
	lowTrue  = 0x09
	lowDate  = 0x03
	lowCount = 0x0F

	header      = "bplist00"
	trailerSize = 32 // 6 unused, offset size u8, reference size u8, objects u64, top u64, table u64
)

// reader finds the objects of a binary property list. It does not decode them.
type reader struct {
	b       []byte
	table   int // start of the offsets
	offSize int
	refSize int
	count   int // number of objects
	steps   int // how many objects may still be examined
}

// object is the position of an object.
type object struct {
	tag byte // without its low half
	low byte
	n   int // elements of arrays and sets, pairs of dictionaries, bytes of others
	at  int // of the content
}

// spareSteps is how many objects may be examined in addition to four for each byte. A
// few megabytes could otherwise keep the decoder busy for hours, by referring to one
// large object a million times.
const spareSteps = 1 << 22

// open reads the trailer and returns the number of the top object.
func (r *reader) open(b []byte) (top int, err error) {
	if len(b) < len(header)+trailerSize {
		return 0, ErrTruncated
	}
	t := b[len(b)-trailerSize:]
	end := uint64(len(b) - trailerSize)
	r.b, r.offSize, r.refSize = b, int(t[6]), int(t[7])
	r.steps = spareSteps + 4*len(b)
	objects, first, table := binary.BigEndian.Uint64(
		t[8:],
	), binary.BigEndian.Uint64(t[16:]), binary.BigEndian.Uint64(t[24:])
	if r.offSize < 1 || r.offSize > 8 || r.refSize < 1 || r.refSize > 8 ||
		table <= uint64(len(header)) || table > end || objects > (end-table)/uint64(r.offSize) ||
		first >= objects {
		return 0, ErrTruncated
	}
	r.table, r.count = int(table), int(objects)
	return int(first), nil
}

func (r *reader) uint(at, size int) uint64 {
	switch size {
	case 1:
		return uint64(r.b[at])
	case 2:
		return uint64(binary.BigEndian.Uint16(r.b[at:]))
	}
	var v uint64
	for _, x := range r.b[at : at+size] {
		v = v<<8 | uint64(x)
	}
	return v
}

// ref returns the i-th reference of a container. It returns -1 for an invalid
// reference.
func (r *reader) ref(o object, i int) int {
	n := r.uint(o.at+i*r.refSize, r.refSize)
	if n >= uint64(r.count) {
		return -1
	}
	return int(n)
}

// object finds an object and checks that it is inside of the object area.
func (r *reader) object(number int) (object, error) {
	r.steps--
	if r.steps < 0 {
		return object{}, ErrLimit
	}
	if number < 0 || number >= r.count {
		return object{}, ErrTruncated
	}
	off := r.uint(r.table+number*r.offSize, r.offSize)
	if off < uint64(len(header)) || off >= uint64(r.table) {
		return object{}, ErrTruncated
	}
	tag := r.b[off]
	o := object{tag: tag & 0xF0, low: tag & 0x0F, at: int(off) + 1}
	size := uint64(0) // size of the content
	switch o.tag {
	case tagSimple:
	case tagInteger, tagReal:
		size = 1 << o.low
		if o.low > 4 || o.tag == tagReal && o.low != 2 && o.low != 3 {
			return object{}, ErrTruncated
		}
	case tagDate:
		size = 8
		if o.low != lowDate {
			return object{}, ErrTruncated
		}
	case tagUID:
		size = uint64(o.low) + 1
		if size > 8 {
			return object{}, ErrTruncated
		}
	default:
		return r.counted(o)
	}
	if size > uint64(r.table-o.at) {
		return object{}, ErrTruncated
	}
	o.n = int(size)
	return o, nil
}

// counted completes an object with a count.
func (r *reader) counted(o object) (object, error) {
	n := uint64(o.low)
	if o.low == lowCount {
		if o.at >= r.table || r.b[o.at]&0xF0 != tagInteger || r.b[o.at]&0x0F > 3 {
			return object{}, ErrTruncated
		}
		size := 1 << (r.b[o.at] & 0x0F)
		if size >= r.table-o.at {
			return object{}, ErrTruncated
		}
		n = r.uint(o.at+1, size)
		o.at += 1 + size
	}
	if n > uint64(len(r.b)) { // so that products with n do not overflow
		return object{}, ErrTruncated
	}
	size := n
	switch o.tag {
	case tagData, tagASCII:
	case tagUTF16:
		size *= 2
		n = size
	case tagArray, tagSet:
		size *= uint64(r.refSize)
	case tagDict:
		size *= 2 * uint64(r.refSize)
	default:
		return object{}, ErrTruncated
	}
	if size > uint64(r.table-o.at) {
		return object{}, ErrTruncated
	}
	o.n = int(n)
	return o, nil
}

// find returns the number of a dictionary's value for a key in ASCII.
func (r *reader) find(o object, key string) (number int, ok bool, err error) {
	for i := range o.n {
		k, err := r.object(r.ref(o, i))
		if err != nil {
			return 0, false, err
		}
		if k.tag == tagASCII && string(r.b[k.at:k.at+k.n]) == key {
			return r.ref(o, o.n+i), true, nil
		}
	}
	return 0, false, nil
}

func (r *reader) integer(o object) (any, error) {
	if o.n < 16 {
		return int64(r.uint(o.at, o.n)), nil
	}
	high, low := binary.BigEndian.Uint64(r.b[o.at:]), binary.BigEndian.Uint64(r.b[o.at+8:])
	switch {
	case high == 0 && low > math.MaxInt64:
		return low, nil
	case high == 0, high == math.MaxUint64 && low > math.MaxInt64:
		return int64(low), nil
	}
	return nil, errors.New("integer is wider than 64 bits")
}

func (r *reader) real(o object) float64 {
	if o.n == 4 {
		return float64(math.Float32frombits(binary.BigEndian.Uint32(r.b[o.at:])))
	}
	return math.Float64frombits(binary.BigEndian.Uint64(r.b[o.at:]))
}

// text returns valid UTF-8. Some writers write UTF-8 as ASCII strings, and older ones
// Latin-1.
func (r *reader) text(o object) string {
	b := r.b[o.at : o.at+o.n]
	if o.tag == tagASCII {
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
