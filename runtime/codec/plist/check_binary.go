package plist

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// A binary property list consists of "bplist00", a sequence of objects, the table of
// their offsets, and the trailer. The trailer states the position of the table and the
// sizes of offsets and references:
//
//	trailer, last 32 bytes: 6 unused, offset size u8, reference size u8,
//	                        objects u64 BE, top object u64 BE, offset table u64 BE
//
// An object begins with a tag. The low half of the tag is its size. If it is 0xF, an
// integer object with the count follows.
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
	tagSet     = 0xC0 // as an array
	tagDict    = 0xD0 // references of the keys, then of the values

	trailerSize = 32
)

const (
	// spareNodes is how many more values than bytes a document may unfold to. A binary
	// property list can refer to one object many times, so that a few kilobytes could
	// otherwise unfold to gigabytes. No writer shares containers, and each reference to
	// another object needs at least one byte.
	spareNodes = 1 << 18
	// textPerNode is how many bytes of a string count as one more value. A string is
	// not copied for each reference to it, but it is hashed for each dictionary that
	// has it as a key.
	textPerNode = 64
)

var (
	errTruncated = errors.New("binary property list is truncated or its offsets point outside")
	errCycle     = errors.New("an object contains itself")
	errOverlap   = errors.New("objects overlap")
	errKey       = errors.New("a dictionary has a key that is not a string")
	errSet       = errors.New("sets are not supported")
)

// binaryCheck measures the object graph of a binary property list, because the library
// has no limits of its own.
type binaryCheck struct {
	b        []byte
	table    uint64
	offSize  int
	refSize  int
	objects  uint64
	maxNodes uint64
	content  uint64 // bytes of the objects so far
	measured []measure
}

// measure is what an object unfolds to. A height of 0 means that it has not been
// measured.
type measure struct {
	nodes  uint64
	height uint16
	open   bool // being measured
}

func checkBinary(b []byte) error {
	if len(b) < 8+trailerSize {
		return errTruncated
	}
	t := b[len(b)-trailerSize:]
	c := &binaryCheck{
		b: b, offSize: int(t[6]), refSize: int(t[7]),
		objects:  binary.BigEndian.Uint64(t[8:]),
		table:    binary.BigEndian.Uint64(t[24:]),
		maxNodes: spareNodes + uint64(len(b)),
	}
	top, end := binary.BigEndian.Uint64(t[16:]), uint64(len(b)-trailerSize)
	sizesOK := c.offSize >= 1 && c.offSize <= 8 && c.refSize >= 1 && c.refSize <= 8
	if !sizesOK || c.table < 9 || c.table > end || c.objects == 0 ||
		c.objects > (end-c.table)/uint64(c.offSize) || top >= c.objects {
		return errTruncated
	}
	c.measured = make([]measure, c.objects)
	return c.measure(top, 0)
}

// uintAt reads size bytes, which the caller has checked to exist.
func (c *binaryCheck) uintAt(off uint64, size int) uint64 {
	var v uint64
	for _, x := range c.b[off : off+uint64(size)] {
		v = v<<8 | uint64(x)
	}
	return v
}

// measure returns how many values an object unfolds to and how deep they nest. It also
// stores the height, because a chain that was measured from its middle must count
// completely when another chain refers to it.
func (c *binaryCheck) measure(object uint64, depth int) error {
	if object >= c.objects {
		return errTruncated
	}
	m := &c.measured[object]
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
	off := c.uintAt(c.table+object*uint64(c.offSize), c.offSize)
	size, refs, body, err := c.extent(off)
	if err != nil {
		return err
	}
	// Many objects could use the same bytes, and each of them would be built
	// separately.
	c.content += size
	if c.content > uint64(len(c.b)) {
		return errOverlap
	}
	weight, err := weigh(c.b[off], c.b[body:body+size])
	if err != nil {
		return err
	}
	m.open = true
	nodes, height := 1+weight, uint16(0)
	for i := range refs {
		child := c.uintAt(body+i*uint64(c.refSize), c.refSize)
		if err := c.measure(child, depth+1); err != nil {
			return err
		}
		if c.b[off]&0xF0 == tagDict && i < refs/2 && !c.isText(child) {
			return errKey
		}
		nodes += c.measured[child].nodes
		height = max(height, c.measured[child].height)
		if nodes > c.maxNodes {
			return ErrLimit
		}
	}
	*m = measure{nodes: nodes, height: height + 1}
	return nil
}

// isText reports whether a measured object is a string.
func (c *binaryCheck) isText(object uint64) bool {
	tag := c.b[c.uintAt(c.table+object*uint64(c.offSize), c.offSize)] & 0xF0
	return tag == tagASCII || tag == tagUTF16
}

// extent checks that the object at off is inside the object area. It returns the start
// and the size of its content in bytes and, for a container, its number of references.
func (c *binaryCheck) extent(off uint64) (size, refs, body uint64, err error) {
	if off < 8 || off >= c.table {
		return 0, 0, 0, errTruncated
	}
	tag := c.b[off]
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
		size = 1 << (tag & 0xF)
	case tagDate & 0xF0:
		if tag != tagDate {
			return 0, 0, 0, errTruncated
		}
		size = 8
	case tagUID:
		size = uint64(tag&0xF) + 1
		if size > 8 {
			return 0, 0, 0, errTruncated
		}
	default:
		var n uint64
		n, body, err = c.count(tag, body)
		if err != nil {
			return 0, 0, 0, err
		}
		switch tag & 0xF0 {
		case tagData, tagASCII:
			size = n
		case tagUTF16:
			size = 2 * n
		case tagArray:
			refs, size = n, n*uint64(c.refSize)
		case tagDict:
			refs, size = 2*n, 2*n*uint64(c.refSize)
		case tagSet:
			return 0, 0, 0, errSet
		default:
			return 0, 0, 0, errors.New("object of a type that property lists do not have")
		}
	}
	if size > c.table-body {
		return 0, 0, 0, errTruncated
	}
	return size, refs, body, nil
}

// count reads the size of an object whose tag has a count.
func (c *binaryCheck) count(tag byte, body uint64) (n, rest uint64, err error) {
	n = uint64(tag & 0xF)
	if n == 0xF {
		if body >= c.table || c.b[body]&0xF0 != tagInteger || c.b[body]&0xF > 3 {
			return 0, 0, errTruncated
		}
		size := 1 << (c.b[body] & 0xF)
		if body+1+uint64(size) > c.table {
			return 0, 0, errTruncated
		}
		n = c.uintAt(body+1, size)
		body += 1 + uint64(size)
	}
	if n > uint64(len(c.b)) { // so that products with n do not overflow
		return 0, 0, errTruncated
	}
	return n, body, nil
}

// weigh refuses values that the library would change. It returns what an object counts
// in addition to one.
func weigh(tag byte, content []byte) (uint64, error) {
	switch {
	case tag == tagInteger|4:
		// The library uses the low half only, with the sign of the high half.
		high, low := binary.BigEndian.Uint64(content), binary.BigEndian.Uint64(content[8:])
		if high != 0 && (high != math.MaxUint64 || low <= math.MaxInt64) {
			return 0, errors.New("integer is wider than 64 bits")
		}
	case tag == tagDate:
		// This is the sum that the library computes. It may round up.
		s := math.Float64frombits(binary.BigEndian.Uint64(content)) + appleEpoch
		if !(s >= minDate+appleEpoch && s < endDate+appleEpoch) { // NaN fails both comparisons
			return 0, errDate
		}
	case tag&0xF0 == tagUTF16:
		return uint64(len(content)) / textPerNode, nil
	case tag&0xF0 == tagASCII:
		if !utf8.Valid(content) { // a new string for each reference
			return uint64(len(content)), nil
		}
		return uint64(len(content)) / textPerNode, nil
	}
	return 0, nil
}
