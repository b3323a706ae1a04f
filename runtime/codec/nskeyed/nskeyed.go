// Package nskeyed decodes and encodes keyed archives, in which NSKeyedArchiver stores
// Foundation objects. Every argument and result of the Instruments, XCTest and
// accessibility services is a keyed archive.
//
// An archive is a property list, which is always binary on the wire:
//
//	$version   100000
//	$archiver  "NSKeyedArchiver"
//	$top       {root: UID 1}        or $0, $1, ... for several objects
//	$objects   ["$null", ...]       a UID is an index; 0 stands for nil
//
// Strings, numbers and data are stored in $objects directly. Any other object is a
// dictionary of its fields. Its key $class refers to its class:
//
//	[1] {NS.keys: [UID 2], NS.objects: [UID 3], $class: UID 4}
//	[2] "com.apple.private.DTXConnection"
//	[3] 1
//	[4] {$classname: "NSDictionary", $classes: ["NSDictionary", "NSObject"]}
//
// Decoded values are exactly these types:
//
//	nil, bool, string, []byte, float64
//	int64, and uint64 only for what int64 cannot hold
//	[]any, Dict, Set, OrderedSet, Date, UUID, URL, Null, *NSError
//	Point, Size, Rect, Range
//	*Object for a class of which nothing is known
//	Top for an archive of several objects
//	whatever the class decoders of a Classes return
//
// An object of an unknown class is decoded as its nearest known ancestor. Mutable
// classes are decoded like immutable ones. An object with several references is one
// value in Go as well, so decoded values must not be changed.
//
// The bytes are read directly and not through package plist. An archive consists mostly
// of references, and decoding each dictionary to a map first takes several times as
// long.
package nskeyed

import (
	"errors"
	"fmt"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

const (
	archiver = "NSKeyedArchiver"
	version  = 100000

	keyVersion   = "$version"
	keyArchiver  = "$archiver"
	keyTop       = "$top"
	keyObjects   = "$objects"
	keyRoot      = "root"
	keyClass     = "$class"
	keyClassName = "$classname" // name of a class
	keyClasses   = "$classes"   // names of a class and its ancestors
	null         = "$null"      // object 0
)

const (
	// MaxDepth is how deep objects may nest.
	MaxDepth = 512
	// MaxObjects is how many objects an archive may hold.
	MaxObjects = 1 << 20
	// MaxNodes is how many values an archive may unfold to. A value counts once for
	// each reference to it. Each 256 bytes of text or data count as one more value.
	MaxNodes = 1 << 20

	nodeBytes = 256
)

var (
	// ErrLimit is the cause of an Error if a limit of this package is exceeded.
	ErrLimit = errors.New("archive is too large, nests too deep or unfolds too large")
	// ErrCycle is the cause of an Error if an object contains itself.
	ErrCycle = errors.New("object contains itself")
	// ErrNotArchive is the cause of an Error if bytes are not a keyed archive, whether
	// or not they are a property list.
	ErrNotArchive = errors.New("not a keyed archive")
	// ErrTruncated is the cause of an Error if the property list of the archive is
	// damaged.
	ErrTruncated = errors.New("property list is truncated or its offsets point outside")
)

// Error describes why a value could not be encoded or decoded.
type Error struct {
	Op     string // "decode" or "encode"
	Object int    // index in $objects, or 0 for the archive itself
	Err    error
}

func (e *Error) Error() string {
	if e.Object == 0 {
		return "nskeyed: " + e.Op + ": " + e.Err.Error()
	}
	return fmt.Sprintf("nskeyed: %s: object %d: %v", e.Op, e.Object, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Malformed reports whether the bytes were at fault, and not a value that has no encoding.
func (e *Error) Malformed() bool { return e.Op == "decode" }

// Kind is the kind of the bytes that Unarchive was given.
type Kind int

// The kinds of payloads that services send in place of an archive.
const (
	Raw     Kind = iota // not a property list, such as event records and pictures
	Plain               // a property list without objects
	Archive             // a keyed archive
)

func (k Kind) String() string {
	switch k {
	case Raw:
		return "raw"
	case Plain:
		return "plain"
	case Archive:
		return "archive"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Decode decodes an archive without further classes.
func Decode(b []byte) (any, error) { return (*Classes)(nil).Decode(b) }

// Unarchive decodes what may be an archive, without further classes.
func Unarchive(b []byte) (any, Kind, error) { return (*Classes)(nil).Unarchive(b) }

// Decode decodes an archive. Strings and data are copies.
func (c *Classes) Decode(b []byte) (any, error) {
	v, kind, err := c.unarchive(b)
	if err == nil && kind != Archive {
		err = ErrNotArchive
	}
	if err != nil {
		return nil, decodeError(err)
	}
	return v, nil
}

// Unarchive decodes what may be an archive. For a plain property list it returns the
// value. For anything else it returns b itself.
func (c *Classes) Unarchive(b []byte) (any, Kind, error) {
	v, kind, err := c.unarchive(b)
	if err != nil {
		return nil, kind, decodeError(err)
	}
	return v, kind, nil
}

func decodeError(err error) error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{Op: "decode", Err: err}
}

func (c *Classes) unarchive(b []byte) (any, Kind, error) {
	format, err := plist.FormatOf(b)
	if err != nil {
		return b, Raw, nil
	}
	if format == plist.XML {
		// Only files are XML. Converting them avoids a second decoder.
		v, err := plist.Decode(b)
		if err != nil {
			return nil, Plain, err
		}
		b, err = plist.Encode(v, plist.Binary)
		if err != nil {
			return nil, Plain, err
		}
	}
	d := decoder{classes: c}
	if err := d.open(b); err != nil {
		return nil, Plain, err
	}
	return d.root()
}
