// Package plist turns property lists into values and back, over
// howett.net/plist.
//
// Both forms that devices speak are read (XML and binary, told apart by their
// first bytes); the writer is told which one to make. What this package adds
// to the library: one set of Go types for decoded values, limits that hold
// against hostile input (nesting, object graphs that unfold without end),
// tolerance for the control characters that real devices put into XML strings,
// and no panic for whatever a peer sends.
//
// Decoded values are exactly these types:
//
//	bool, string, []byte, time.Time (UTC), float64
//	int64, and uint64 only for what int64 cannot hold
//	UID, Dict, []any
//
// Encoding accepts these, every other Go integer and float, and structs with
// `plist:"Name"` tags. Dictionary keys are written sorted, so equal values give
// equal bytes.
package plist

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"

	hplist "howett.net/plist"
)

// UID is a keyed-archive reference; only binary property lists can carry one
// natively.
type UID = hplist.UID

// Format is the form a property list is written in.
type Format int

// The two forms that devices and hosts exchange.
const (
	XML Format = iota
	Binary
)

const (
	// MaxDepth is how deep arrays and dictionaries may nest.
	MaxDepth = 256
	// maxNodes is how many values one document may unfold to: a binary
	// property list can refer to one object many times, so a few kilobytes
	// could otherwise claim gigabytes.
	maxNodes = 16 << 20
)

// Error says what could not be encoded or decoded, and why.
type Error struct {
	Op  string // "decode" or "encode"
	Err error
}

func (e *Error) Error() string { return "plist: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrFormat is the cause of an Error when the bytes are neither an XML nor a
// binary property list.
var ErrFormat = errors.New("neither an XML nor a binary property list")

// ErrLimit is the cause of an Error when a document nests deeper or unfolds
// larger than this package reads.
var ErrLimit = errors.New("document nests too deep or unfolds too large")

// FormatOf tells the form of b by its first bytes. XML needs its prolog, a
// doctype or the plist element first; white space and a byte order mark before
// it are passed over.
func FormatOf(b []byte) (Format, error) {
	if bytes.HasPrefix(b, []byte("bplist0")) {
		return Binary, nil
	}
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n")
	for _, p := range []string{"<?xml", "<!DOCTYPE", "<plist", "<!--"} {
		if bytes.HasPrefix(b, []byte(p)) {
			return XML, nil
		}
	}
	return 0, ErrFormat
}

// Decode reads one property list of either form.
func Decode(b []byte) (any, error) {
	var v any
	if err := unmarshal(b, &v); err != nil {
		return nil, &Error{Op: "decode", Err: err}
	}
	return normalise(v), nil
}

// DecodeDict reads a property list whose root must be a dictionary.
func DecodeDict(b []byte) (Dict, error) {
	v, err := Decode(b)
	if err != nil {
		return nil, err
	}
	d, ok := v.(Dict)
	if !ok {
		return nil, &Error{Op: "decode", Err: fmt.Errorf("root is %s, want a dictionary", TypeName(v))}
	}
	return d, nil
}

// Unmarshal reads a property list into v: a *Dict, an *any, or a pointer to a
// struct whose fields carry plist tags. Keys the struct does not name are
// passed over; a value of another type than its field is an error.
func Unmarshal(b []byte, v any) error {
	switch t := v.(type) {
	case *Dict:
		d, err := DecodeDict(b)
		if err != nil {
			return err
		}
		*t = d
		return nil
	case *any:
		x, err := Decode(b)
		if err != nil {
			return err
		}
		*t = x
		return nil
	}
	if err := unmarshal(b, v); err != nil {
		return &Error{Op: "decode", Err: err}
	}
	return nil
}

func unmarshal(b []byte, v any) (err error) {
	f, err := FormatOf(b)
	if err != nil {
		return err
	}
	if f == Binary {
		err = checkBinary(b)
	} else {
		b, err = checkXML(b)
	}
	if err != nil {
		return err
	}
	// The library re-panics on runtime errors (index out of range on bent
	// offsets): a peer's bytes must never get that far.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("malformed document: %v", r)
		}
	}()
	dec := hplist.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.Format != hplist.XMLFormat && dec.Format != hplist.BinaryFormat {
		return ErrFormat // the library fell back to its old text forms
	}
	return nil
}

// Encode writes v in the given form. Nil values cannot be expressed in a
// property list and are an error, as are dictionaries with other keys than
// strings.
func Encode(v any, f Format) (b []byte, err error) {
	if err := checkValue(v, 0); err != nil {
		return nil, &Error{Op: "encode", Err: err}
	}
	defer func() {
		if r := recover(); r != nil {
			b, err = nil, &Error{Op: "encode", Err: fmt.Errorf("%v", r)}
		}
	}()
	form := hplist.XMLFormat
	if f == Binary {
		form = hplist.BinaryFormat
	}
	b, err = hplist.Marshal(v, form)
	if err != nil {
		return nil, &Error{Op: "encode", Err: err}
	}
	return b, nil
}

// checkValue refuses what the library would drop silently or loop on.
func checkValue(v any, depth int) error {
	if depth > MaxDepth {
		return ErrLimit
	}
	switch t := v.(type) {
	case nil:
		return errors.New("nil has no property list form")
	case Dict:
		return checkMap(t, depth)
	case map[string]any:
		return checkMap(t, depth)
	case []any:
		for i, e := range t {
			if err := checkValue(e, depth+1); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case float64, float32, string, bool, []byte:
	default:
		if k := reflect.ValueOf(v).Kind(); k == reflect.Map && reflect.TypeOf(v).Key().Kind() != reflect.String {
			return fmt.Errorf("%T has keys that are not strings", v)
		}
	}
	return nil
}

func checkMap[M ~map[string]any](m M, depth int) error {
	for k, e := range m {
		if err := checkValue(e, depth+1); err != nil {
			return fmt.Errorf("%q: %w", k, err)
		}
	}
	return nil
}

// normalise brings the library's generic types to those this package promises.
func normalise(v any) any {
	switch t := v.(type) {
	case map[string]any:
		for k, e := range t {
			t[k] = normalise(e)
		}
		return Dict(t)
	case []any:
		for i, e := range t {
			t[i] = normalise(e)
		}
		return t
	case uint64:
		if t <= math.MaxInt64 {
			return int64(t)
		}
	case float32:
		return float64(t)
	}
	return v
}

// TypeName names the property list type of a decoded value, for messages.
func TypeName(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []byte:
		return "data"
	case int64, uint64, int, uint32, int32, uint16:
		return "integer"
	case float64:
		return "real"
	case UID:
		return "uid"
	case Dict, map[string]any:
		return "dictionary"
	case []any:
		return "array"
	}
	if reflect.TypeOf(v).String() == "time.Time" {
		return "date"
	}
	return fmt.Sprintf("%T", v)
}
