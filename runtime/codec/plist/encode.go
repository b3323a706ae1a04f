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

// uidKey is the only key of a dictionary that represents a UID in XML.
const uidKey = "CF$UID"

// encode writes v. It passes only values to the library that the library writes without
// loss. It does not use the library for the binary form, because the library identifies
// data values by their CRC-32 and loses early and late dates.
func encode(v any, f Format) (b []byte, err error) {
	p := preparer{form: f}
	v, err = p.value(v, 0)
	if err != nil {
		return nil, err
	}
	if f == Binary {
		return encodeBinary(v), nil
	}
	defer func() {
		if r := recover(); r != nil { // the library panics with runtime errors
			b, err = nil, fmt.Errorf("%v", r)
		}
	}()
	b, err = hplist.Marshal(v, hplist.XMLFormat)
	if err != nil {
		return nil, libraryError(err)
	}
	return b, nil
}

// preparer makes a tree of generic values. It refuses values that the form cannot
// represent.
type preparer struct {
	form Format
}

var errNotUTF8 = errors.New("string is not valid UTF-8")

// ErrNotXML is the cause of an Error if a string has a character that XML cannot
// represent. The binary form can represent it.
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
			out[i], err = p.value(e, depth+1)
			if err != nil {
				return nil, insideIndex(i, err)
			}
		}
		return out, nil
	case Dict:
		return p.dict(t, depth)
	}
	return v, nil
}

// dict visits the keys in sorted order, so that the same error is returned each time.
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
		// Such a dictionary is read as a UID.
		n, negative := out[uidKey].(int64)
		if _, large := out[uidKey].(uint64); large || negative && n < 0 {
			return nil, errUID
		}
	}
	return out, nil
}

// text refuses characters that the form cannot represent. The library would silently
// write a replacement character.
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

// real32 returns the value for which XML gets the shortest digits of a float32, and not
// those of the nearest float64.
func (p *preparer) real32(f float32) (any, error) {
	if p.form == XML {
		return strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	}
	return f, nil
}
