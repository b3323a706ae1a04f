// Package plist turns property lists into values and back.
//
// Both forms that devices speak are read (XML and binary, told apart by their
// first bytes); the writer is told which one to make. Hostile input is met with
// limits on nesting and on object graphs that unfold without end, memory is
// taken in proportion to what really arrived, and nothing that a peer sends
// causes a panic. The control characters that real devices put into XML strings
// are passed over.
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
//
// Parsing, and generating XML, is the work of howett.net/plist. It has no limits and
// some traps, so documents are checked before it reads them, and values before
// it writes them. The binary form is written here. What it cannot do is an error here:
//
//   - UIDs beyond int64. In XML a UID is a dictionary with the one key CF$UID
//     and an integer, and each such dictionary is read as a UID.
//   - Binary documents with sets, with keys that are not strings, or with anything
//     between the offset table and the trailer.
//   - XML in other encodings than UTF-8, UTF-16 and ISO-8859-1.
//
// Equal data values of a binary document are one object there and may share
// their memory when decoded.
package plist

import (
	"bytes"
	"errors"
	"fmt"
	"time"

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

// MaxDepth is how deep arrays and dictionaries may nest.
const MaxDepth = 256

// Error says what could not be encoded or decoded, and why.
type Error struct {
	Op  string // "decode" or "encode"
	Err error
}

func (e *Error) Error() string { return "plist: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Malformed reports whether the bytes were at fault, and not a value that has no encoding.
func (e *Error) Malformed() bool { return e.Op == "decode" }

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
	if order, mark := utf16Order(b); order != nil {
		b = fromUTF16(b[mark:min(len(b), headSize)], order)
	}
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte(byteOrderMark)), " \t\r\n")
	for _, p := range []string{"<?xml", "<!DOCTYPE", "<plist", "<!--"} {
		if bytes.HasPrefix(b, []byte(p)) {
			return XML, nil
		}
	}
	return 0, ErrFormat
}

// Decode reads one property list of either form.
func Decode(b []byte) (any, error) {
	v, err := decode(b)
	if err != nil {
		return nil, &Error{Op: "decode", Err: err}
	}
	return v, nil
}

// DecodeDict reads a property list whose root must be a dictionary.
func DecodeDict(b []byte) (Dict, error) {
	v, err := Decode(b)
	if err != nil {
		return nil, err
	}
	d, ok := v.(Dict)
	if !ok {
		return nil, &Error{
			Op: "decode", Err: fmt.Errorf("root is %s, want a dictionary", TypeName(v)),
		}
	}
	return d, nil
}

// Unmarshal reads a property list into v: a *Dict, an *any, or a pointer to a
// struct whose fields carry plist tags. Keys the struct does not name are
// passed over, fields without their key keep what they held. A value of another
// type than its field, or an integer that does not fit it, is an error.
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
	x, err := Decode(b)
	if err != nil {
		return err
	}
	if err := assignTo(v, x); err != nil {
		return &Error{Op: "decode", Err: err}
	}
	return nil
}

// Encode writes v in the given form. Nil values cannot be expressed in a
// property list and are an error, as are dictionaries with other keys than
// strings and text that the form cannot carry. A nil slice or map is an empty
// one.
func Encode(v any, f Format) ([]byte, error) {
	b, err := encode(v, f)
	if err != nil {
		return nil, &Error{Op: "encode", Err: err}
	}
	return b, nil
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
	case time.Time:
		return "date"
	case UID:
		return "uid"
	case Dict, map[string]any:
		return "dictionary"
	case []any:
		return "array"
	}
	return fmt.Sprintf("%T", v)
}
