package plist

import (
	"errors"
	"fmt"
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

// encode writes v. The library gets values that it writes without loss. It does not
// write the binary form, because it takes the CRC-32 of a data value for its
// identity, and loses early and late dates.
func encode(v any, f Format) (b []byte, err error) {
	p := preparer{form: f}
	if v, err = p.value(v, 0); err != nil {
		return nil, err
	}
	if f == Binary {
		return encodeBinary(v), nil
	}
	defer func() {
		if r := recover(); r != nil { // it does not keep runtime errors to itself
			b, err = nil, fmt.Errorf("%v", r)
		}
	}()
	if b, err = hplist.Marshal(v, hplist.XMLFormat); err != nil {
		return nil, libraryError(err)
	}
	return b, nil
}

// preparer makes a tree of generic values and refuses what the form cannot carry.
type preparer struct {
	form Format
}

var errNotUTF8 = errors.New("string is not valid UTF-8")

// ErrNotXML is the cause of an Error when a string holds a character that XML cannot
// carry. The binary form can.
var ErrNotXML = errors.New("XML cannot carry it")

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
	case time.Time:
		return t.UTC(), nil
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
			return fmt.Errorf("string holds %U: %w", c, ErrNotXML)
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
	return f, nil
}
