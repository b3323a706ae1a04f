package plist

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// checkXML walks the tags once to bound the nesting, and returns b with the
// control characters blanked that devices sometimes leave in strings and that
// no XML parser accepts.
func checkXML(b []byte) ([]byte, error) {
	depth := 0
	for i := 0; i < len(b); {
		j := bytes.IndexByte(b[i:], '<')
		if j < 0 || i+j+1 >= len(b) {
			break
		}
		i += j + 1
		switch b[i] {
		case '/':
			depth--
		case '?', '!':
		default:
			end := bytes.IndexByte(b[i:], '>')
			if end > 0 && b[i+end-1] == '/' {
				continue
			}
			if depth++; depth > MaxDepth {
				return nil, ErrLimit
			}
		}
	}
	return blankControls(b), nil
}

// blankControls copies b only when there is something to blank.
func blankControls(b []byte) []byte {
	bad := func(c byte) bool { return c < 0x20 && c != '\t' && c != '\n' && c != '\r' }
	for i, c := range b {
		if !bad(c) {
			continue
		}
		out := bytes.Clone(b)
		for k := i; k < len(out); k++ {
			if bad(out[k]) {
				out[k] = ' '
			}
		}
		return out
	}
	return b
}

var errTruncated = errors.New("binary property list is truncated or its offsets point outside")

// binaryChecker measures the object graph of a binary property list before
// anything is built from it.
//
//	trailer, last 32 bytes: 6 unused, offset size u8, reference size u8,
//	                        objects u64 BE, top object u64 BE, offset table u64 BE
type binaryChecker struct {
	b          []byte
	table      uint64
	offSize    int
	refSize    int
	objects    uint64
	unfolded   []uint32 // per object, values it unfolds to; 0 = not measured
	inProgress []bool
}

func checkBinary(b []byte) error {
	if len(b) < 40 {
		return errTruncated
	}
	t := b[len(b)-32:]
	c := &binaryChecker{
		b: b, offSize: int(t[6]), refSize: int(t[7]),
		objects: binary.BigEndian.Uint64(t[8:]),
		table:   binary.BigEndian.Uint64(t[24:]),
	}
	top, end := binary.BigEndian.Uint64(t[16:]), uint64(len(b)-32)
	sizesOK := c.offSize >= 1 && c.offSize <= 8 && c.refSize >= 1 && c.refSize <= 8
	if !sizesOK || c.table < 8 || c.table > end || c.objects == 0 || c.objects > (end-c.table)/uint64(c.offSize) || top >= c.objects {
		return errTruncated
	}
	c.unfolded = make([]uint32, c.objects)
	c.inProgress = make([]bool, c.objects)
	_, err := c.measure(top, 0)
	return err
}

func (c *binaryChecker) uintAt(off uint64, size int) uint64 {
	var v uint64
	for _, x := range c.b[off : off+uint64(size)] {
		v = v<<8 | uint64(x)
	}
	return v
}

// measure returns how many values object i unfolds to.
func (c *binaryChecker) measure(i uint64, depth int) (uint32, error) {
	if i >= c.objects {
		return 0, errTruncated
	}
	if n := c.unfolded[i]; n != 0 {
		return n, nil
	}
	if depth > MaxDepth {
		return 0, ErrLimit
	}
	if c.inProgress[i] {
		return 0, errors.New("an object contains itself")
	}
	off := c.uintAt(c.table+i*uint64(c.offSize), c.offSize)
	if off < 8 || off >= c.table {
		return 0, errTruncated
	}
	refs, start, err := c.extent(off)
	if err != nil {
		return 0, err
	}
	c.inProgress[i] = true
	total := uint32(1)
	for k := uint64(0); k < refs; k++ {
		n, err := c.measure(c.uintAt(start+k*uint64(c.refSize), c.refSize), depth+1)
		if err != nil {
			return 0, err
		}
		if total += n; total > maxNodes {
			return 0, ErrLimit
		}
	}
	c.inProgress[i] = false
	c.unfolded[i] = total
	return total, nil
}

// extent checks that the object at off lies inside the object area and returns
// the number of references it holds and where they begin.
func (c *binaryChecker) extent(off uint64) (refs, start uint64, err error) {
	tag := c.b[off]
	size := uint64(0)
	body := off + 1
	switch tag >> 4 {
	case 0x0:
		return 0, body, nil
	case 0x1, 0x2:
		if tag&0xF > 4 {
			return 0, 0, errTruncated
		}
		size = 1 << (tag & 0xF)
	case 0x3:
		size = 8
	case 0x8:
		size = uint64(tag&0xF) + 1
	default:
		count := uint64(tag & 0xF)
		if count == 0xF {
			if body >= c.table || c.b[body]>>4 != 1 || c.b[body]&0xF > 3 {
				return 0, 0, errTruncated
			}
			n := 1 << (c.b[body] & 0xF)
			if body+1+uint64(n) > c.table {
				return 0, 0, errTruncated
			}
			count = c.uintAt(body+1, n)
			body += 1 + uint64(n)
		}
		if count > uint64(len(c.b)) {
			return 0, 0, errTruncated
		}
		switch tag >> 4 {
		case 0x4, 0x5:
			size = count
		case 0x6:
			size = 2 * count
		case 0xA, 0xC:
			refs, size = count, count*uint64(c.refSize)
		case 0xD:
			refs, size = 2*count, 2*count*uint64(c.refSize)
		default:
			return 0, 0, errTruncated
		}
	}
	if body+size > c.table {
		return 0, 0, errTruncated
	}
	return refs, body, nil
}
