package plist

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	hplist "howett.net/plist"
)

// uidKey is the only key of the dictionary that stands for a UID in XML.
const uidKey = "CF$UID"

// encode gives the library values that it writes without loss.
func encode(v any, f Format) (b []byte, err error) {
	p := preparer{form: f}
	if v, err = p.value(v, 0); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil { // it does not keep runtime errors to itself
			b, err = nil, fmt.Errorf("%v", r)
		}
	}()
	form := hplist.XMLFormat
	if f == Binary {
		form = hplist.BinaryFormat
	}
	if b, err = hplist.Marshal(v, form); err != nil {
		return nil, libraryError(err)
	}
	return b, nil
}

// preparer makes a tree of generic values and refuses what the library would
// drop or write as something else.
type preparer struct {
	form  Format
	blobs int
	first []byte            // the only blob so far
	sums  map[uint32][]byte // the blobs by checksum, from the second on
}

var (
	errNotUTF8    = errors.New("string is not valid UTF-8")
	errChecksum   = errors.New("two different data values of equal checksum cannot be written to one binary property list")
	errNaN        = errors.New("not a number cannot be written to a binary property list")
	errBinaryDate = errors.New("date cannot be written to a binary property list")

	// Binary dates are made from a count of nanoseconds in 64 bits.
	firstBinaryDate = time.Unix(0, math.MinInt64)
	lastBinaryDate  = time.Unix(0, math.MaxInt64)
)

func (p *preparer) value(v any, depth int) (any, error) {
	if depth > MaxDepth {
		return nil, ErrLimit
	}
	v, err := canonical(v)
	if err != nil {
		return nil, err
	}
	switch t := v.(type) {
	case string:
		return v, p.text(t)
	case float32:
		return p.real32(t)
	case float64:
		return p.real(t)
	case time.Time:
		if p.form == Binary && (t.Before(firstBinaryDate) || t.After(lastBinaryDate)) {
			return nil, fmt.Errorf("year %d: %w", t.UTC().Year(), errBinaryDate)
		}
		return t.UTC(), nil
	case []byte:
		return v, p.data(t)
	case UID:
		if t > math.MaxInt64 {
			return nil, errUID
		}
	case []any:
		out := make([]any, len(t))
		for i, e := range t {
			if out[i], err = p.value(e, depth+1); err != nil {
				return nil, insideIndex(i, err)
			}
		}
		return out, nil
	case Dict:
		return p.dict(t, depth)
	}
	return v, nil
}

// dict goes by sorted keys, so that of two errors it is always the same one.
func (p *preparer) dict(d Dict, depth int) (any, error) {
	out := make(map[string]any, len(d))
	for _, k := range slices.Sorted(maps.Keys(d)) {
		err := p.text(k)
		if err == nil {
			out[k], err = p.value(d[k], depth+1)
		}
		if err != nil {
			return nil, inside(k, err)
		}
	}
	if p.form == XML && len(out) == 1 {
		// It will be read as a UID.
		n, negative := out[uidKey].(int64)
		if _, large := out[uidKey].(uint64); large || negative && n < 0 {
			return nil, errUID
		}
	}
	return out, nil
}

// text refuses what the form has no way to write. The library puts a
// replacement character there, which loses the text without a word.
func (p *preparer) text(s string) error {
	if !utf8.ValidString(s) {
		return errNotUTF8
	}
	if p.form == Binary {
		return nil
	}
	for _, c := range s {
		if c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c == 0xFFFE || c == 0xFFFF {
			return fmt.Errorf("string holds %U, which XML cannot carry", c)
		}
	}
	return nil
}

// real32 gives XML the digits that tell a float32, not those of the float64
// next to it.
func (p *preparer) real32(f float32) (any, error) {
	if p.form == XML {
		return strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	}
	if _, err := p.real(float64(f)); err != nil || f != 0 {
		return f, err
	}
	return p.real(float64(f))
}

// real works around the library's table of the values it has written: a key
// that is not a number is never found there, and the zeros are equal. So the
// negative one is written in its short form, which has a table of its own.
func (p *preparer) real(f float64) (any, error) {
	switch {
	case p.form == XML:
	case math.IsNaN(f):
		return nil, errNaN
	case f == 0 && math.Signbit(f):
		return float32(f), nil
	}
	return f, nil
}

// data refuses two blobs that the library would merge: it takes the checksum of
// one for its identity.
func (p *preparer) data(b []byte) error {
	if p.form == XML {
		return nil
	}
	if p.blobs++; p.blobs == 1 {
		p.first = b
		return nil
	}
	if p.sums == nil {
		p.sums = map[uint32][]byte{crc32.ChecksumIEEE(p.first): p.first}
	}
	sum := crc32.ChecksumIEEE(b)
	if known, ok := p.sums[sum]; ok && !bytes.Equal(known, b) {
		return errChecksum
	}
	p.sums[sum] = b
	return nil
}
