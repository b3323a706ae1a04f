package plist

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	hplist "howett.net/plist"
)

// appleEpoch is the zero of binary dates, 2001-01-01.
const appleEpoch = 978307200

// Dates are limited to the years 0 to 9999, which have an XML form. Apple's distant
// past is two days before the year 1.
const (
	minYear, maxYear = 0, 9999
	minDate, endDate = -63145526400, 252423993600
)

var (
	errDate = errors.New("date is out of range")
	errUID  = errors.New("uid is out of range")
)

// decode checks b before it passes it to the library.
func decode(b []byte) (any, error) {
	f, err := FormatOf(b)
	if err != nil {
		return nil, err
	}
	if f == Binary {
		err = checkBinary(b)
	} else {
		b, err = toUTF8(b)
		if err == nil {
			b, err = checkXML(b)
		}
	}
	if err != nil {
		return nil, err
	}
	v, err := parse(b)
	if err != nil {
		return nil, err
	}
	n := normaliser{}
	return n.value(v)
}

// parse parses a checked document with the library.
func parse(b []byte) (v any, err error) {
	defer func() {
		if r := recover(); r != nil { // the library panics with runtime errors
			v, err = nil, fmt.Errorf("malformed document: %v", r)
		}
	}()
	d := hplist.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&v); err != nil {
		return nil, libraryError(err)
	}
	if d.Format != hplist.XMLFormat && d.Format != hplist.BinaryFormat {
		return nil, ErrFormat // the library has fallen back to an old text form
	}
	return v, nil
}

// libraryError removes the library's name, which is the name of this package as well.
func libraryError(err error) error {
	if text, ok := strings.CutPrefix(err.Error(), "plist: "); ok {
		return errors.New(text)
	}
	return err
}

// normaliser converts the library's types to those of this package.
type normaliser struct {
	blobs map[blobKey][]byte
}

// blobKey is the position of the bytes of a data value.
type blobKey struct {
	first *byte
	size  int
}

func (n *normaliser) value(v any) (any, error) {
	var err error
	switch t := v.(type) {
	case map[string]any:
		return n.dict(t)
	case []any:
		for i, e := range t {
			t[i], err = n.value(e)
			if err != nil {
				return nil, err
			}
		}
		return t, nil
	case string:
		return validText(t), nil
	case []byte:
		return n.data(t), nil
	case uint64:
		if t <= math.MaxInt64 {
			return int64(t), nil
		}
		return t, nil
	case float32:
		return float64(t), nil
	case time.Time:
		if y := t.UTC().Year(); y < minYear || y > maxYear {
			return nil, errDate
		}
		return t.UTC(), nil
	case UID:
		if t > math.MaxInt64 { // in XML the library also makes such a value of -1
			return nil, errUID
		}
		return t, nil
	case int64, float64, bool:
		return v, nil
	}
	return nil, errNoValue
}

func (n *normaliser) dict(d map[string]any) (any, error) {
	for k, e := range d {
		x, err := n.value(e)
		if err != nil {
			return nil, err
		}
		d[k] = x
	}
	for k, e := range d { // in a loop of its own, because it adds keys
		if !utf8.ValidString(k) {
			delete(d, k)
			d[validText(k)] = e
		}
	}
	return Dict(d), nil
}

// data copies the bytes that the library has taken from the middle of its buffer, which
// also has its strings. A data value is copied once, however often it is referred to,
// so that a megabyte with a million references stays a megabyte.
func (n *normaliser) data(b []byte) []byte {
	if len(b) == 0 {
		return []byte{}
	}
	at := blobKey{&b[0], len(b)}
	c, ok := n.blobs[at]
	if !ok {
		c = append(make([]byte, 0, len(b)), b...)
		if n.blobs == nil {
			n.blobs = map[blobKey][]byte{}
		}
		n.blobs[at] = c
	}
	return c
}

// validText returns valid UTF-8. Some writers of the binary form write UTF-8 as ASCII
// strings, and older ones Latin-1.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}
