package plist

import (
	"encoding/binary"
	"errors"
	"math"
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
	tagSet     = 0xC0 // as an array
	tagDict    = 0xD0 // references of the keys, then of the values

	trailerSize = 32
)

const (
	// spareNodes is how many more values than bytes a document may unfold to.
	// A binary property list can refer to one object many times, so a few
	// kilobytes could otherwise claim gigabytes. No writer shares containers,
	// and each reference to anything else costs a byte at least.
	spareNodes = 1 << 18
	// textPerNode is how many bytes of a string count as one more value. A
	// string is not copied for each reference to it, but hashed for each
	// dictionary that has it as a key.
	textPerNode = 64
)

var (
	errTruncated = errors.New("binary property list is truncated or its offsets point outside")
	errCycle     = errors.New("an object contains itself")
	errOverlap   = errors.New("objects overlap")
	errKey       = errors.New("a dictionary has a key that is not a string")
	errSet       = errors.New("sets are not supported")
)

// binaryCheck measures the object graph of a binary property list, so that the
// library can build from it without a limit of its own.
type binaryCheck struct {
	b        []byte
	table    uint64
	offSize  int
	refSize  int
	objects  uint64
	maxNodes uint64
	content  uint64 // bytes in the objects seen
	measured []measure
}

// measure is what an object unfolds to. A height of 0 means not measured yet.
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

// uintAt reads size bytes, which the caller knows to be there.
func (c *binaryCheck) uintAt(off uint64, size int) uint64 {
	var v uint64
	for _, x := range c.b[off : off+uint64(size)] {
		v = v<<8 | uint64(x)
	}
	return v
}

// measure finds how many values an object unfolds to and how deep they nest.
// The height is kept as well: a chain that was measured from its middle must
// still count in full when it hangs at the end of another.
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
	// Many objects could be laid over the same bytes, and each of them would
	// be built on its own.
	if c.content += size; c.content > uint64(len(c.b)) {
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

// isText reports whether an object that was measured is a string.
func (c *binaryCheck) isText(object uint64) bool {
	tag := c.b[c.uintAt(c.table+object*uint64(c.offSize), c.offSize)] & 0xF0
	return tag == tagASCII || tag == tagUTF16
}

// extent checks that the object at off lies inside the object area. It returns
// where its content begins, the size of that in bytes, and for containers how
// many references it is.
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
		if size = uint64(tag&0xF) + 1; size > 8 {
			return 0, 0, 0, errTruncated
		}
	default:
		var n uint64
		if n, body, err = c.count(tag, body); err != nil {
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

// count reads the size of an object whose tag carries one.
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
	if n > uint64(len(c.b)) { // so that no product of it overflows
		return 0, 0, errTruncated
	}
	return n, body, nil
}

// weigh refuses the values that the library would bend, and returns what an
// object counts beyond one.
func weigh(tag byte, content []byte) (uint64, error) {
	switch {
	case tag == tagInteger|4:
		// The library keeps the low half and takes its sign from the high one.
		high, low := binary.BigEndian.Uint64(content), binary.BigEndian.Uint64(content[8:])
		if high != 0 && (high != math.MaxUint64 || low <= math.MaxInt64) {
			return 0, errors.New("integer is wider than 64 bits")
		}
	case tag == tagDate:
		// The sum is the one that the library makes: it may round up.
		s := math.Float64frombits(binary.BigEndian.Uint64(content)) + appleEpoch
		if !(s >= minDate+appleEpoch && s < endDate+appleEpoch) { // not a number fails both
			return 0, errDate
		}
	case tag&0xF0 == tagUTF16:
		return uint64(len(content)) / textPerNode, nil
	case tag&0xF0 == tagASCII:
		if !utf8.Valid(content) { // made anew for each reference
			return uint64(len(content)), nil
		}
		return uint64(len(content)) / textPerNode, nil
	}
	return 0, nil
}
