// Package plist decodes and encodes property lists.
//
// It reads both forms that devices use, XML and binary, which differ in their first
// bytes. The writer is told which form to use. For hostile input there are limits on
// nesting and on what an object graph unfolds to. Memory is proportional to the input,
// and no input causes a panic. Control characters, which real devices put into XML
// strings, are ignored.
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
// howett.net/plist parses property lists and generates XML. It has no limits and some
// traps, so documents are checked before it reads them, and values before it writes
// them. The binary form is written here. The following is an error, because that
// package does not support it:
//
//   - UIDs beyond int64. In XML a UID is a dictionary with the one key CF$UID
//     and an integer, and each such dictionary is read as a UID.
//   - Binary documents with sets, with keys that are not strings, or with anything
//     between the offset table and the trailer.
//   - XML in other encodings than UTF-8, UTF-16 and ISO-8859-1.
//
// Equal data values of a binary document are one object in it, and may share their
// memory when they are decoded.
package plist

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	hplist "howett.net/plist"
)

// UID is a reference in a keyed archive. Only binary property lists have a type for it.
type UID = hplist.UID

// Format is the form of a property list.
type Format int

// The two forms that devices and hosts exchange.
const (
	XML Format = iota
	Binary
)

// MaxDepth is how deep arrays and dictionaries may nest.
const MaxDepth = 256

// Error describes why a value could not be encoded or decoded.
type Error struct {
	Op  string // "decode" or "encode"
	Err error
}

func (e *Error) Error() string { return "plist: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Malformed reports whether the bytes were at fault, and not a value that has no encoding.
func (e *Error) Malformed() bool { return e.Op == "decode" }

// ErrFormat is the cause of an Error if the bytes are neither an XML nor a binary
// property list.
var ErrFormat = errors.New("neither an XML nor a binary property list")

// ErrLimit is the cause of an Error if a document exceeds a limit of this package.
var ErrLimit = errors.New("document nests too deep or unfolds too large")

// FormatOf returns the form of b by its first bytes. XML must begin with its prolog, a
// doctype or the plist element. White space and a byte order mark before it are
// ignored.
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

// Decode decodes one property list of either form.
func Decode(b []byte) (any, error) {
	v, err := decode(b)
	if err != nil {
		return nil, &Error{Op: "decode", Err: err}
	}
	return v, nil
}

// DecodeDict decodes a property list whose root must be a dictionary.
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

// Unmarshal decodes a property list into v, which is a *Dict, an *any, or a pointer to
// a struct with plist tags. It ignores keys without a field, and does not change fields
// without a key. A value of another type than its field is an error, and so is an
// integer that does not fit.
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

// Encode encodes v in the given form. A property list cannot represent nil values,
// dictionaries with keys other than strings, and some text; these are errors. A nil
// slice or map is encoded as an empty one.
func Encode(v any, f Format) ([]byte, error) {
	b, err := encode(v, f)
	if err != nil {
		return nil, &Error{Op: "encode", Err: err}
	}
	return b, nil
}

// TypeName returns the property list type of a decoded value, for messages.
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
