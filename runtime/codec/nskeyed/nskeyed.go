// Package nskeyed turns keyed archives, which NSKeyedArchiver makes of
// Foundation objects, into values and back. Every argument and result of the
// Instruments, XCTest and accessibility services is one.
//
// An archive is a property list, on the wire always a binary one:
//
//	$version   100000
//	$archiver  "NSKeyedArchiver"
//	$top       {root: UID 1}        or $0, $1, ... for several objects
//	$objects   ["$null", ...]       a UID is an index; 0 stands for nil
//
// Strings, numbers and data stand in $objects as they are. Any other object is
// a dictionary of its fields; the key $class leads to its class:
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
// An object of an unknown class decodes as its nearest known ancestor. Mutable
// classes decode like the others. An object that an archive refers to more than
// once is one value in Go as well, so decoded values must not be changed.
//
// The bytes are read in place instead of through package plist: an archive is
// mostly references, and making a map of each record first takes several times
// as long.
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
	keyClassName = "$classname" // of a class: its name
	keyClasses   = "$classes"   // of a class: its name, its ancestors
	null         = "$null"      // object 0
)

const (
	// MaxDepth is how deep objects may nest.
	MaxDepth = 512
	// MaxObjects is how many objects an archive may hold.
	MaxObjects = 1 << 20
	// MaxNodes is how many values an archive may unfold to, when what is
	// referred to several times is counted as often. Each 256 bytes of text or
	// data count as one more.
	MaxNodes = 1 << 20

	nodeBytes = 256
)

var (
	// ErrLimit is the cause of an Error when a limit of this package is passed.
	ErrLimit = errors.New("archive is too large, nests too deep or unfolds too large")
	// ErrCycle is the cause of an Error when an object contains itself.
	ErrCycle = errors.New("object contains itself")
	// ErrNotArchive is the cause of an Error when bytes are a property list
	// that is not a keyed archive, or nothing of the kind.
	ErrNotArchive = errors.New("not a keyed archive")
	// ErrTruncated is the cause of an Error when the property list around the
	// archive is damaged.
	ErrTruncated = errors.New("property list is truncated or its offsets point outside")
)

// Error says what could not be encoded or decoded, and why.
type Error struct {
	Op     string // "decode" or "encode"
	Object int    // index in $objects, 0 when the archive itself is meant
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

// Kind is what the bytes given to Unarchive are.
type Kind int

// The payloads that services send where an archive is usual.
const (
	Raw     Kind = iota // no property list: event records, pictures
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

// Decode reads an archive without further classes.
func Decode(b []byte) (any, error) { return (*Classes)(nil).Decode(b) }

// Unarchive reads what may be an archive, without further classes.
func Unarchive(b []byte) (any, Kind, error) { return (*Classes)(nil).Unarchive(b) }

// Decode reads an archive. Strings and data are copies.
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

// Unarchive reads what may be an archive: of a plain property list it returns
// the value, of anything else b itself.
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
		// Only files are XML; the detour spares a second decoder.
		v, err := plist.Decode(b)
		if err != nil {
			return nil, Plain, err
		}
		if b, err = plist.Encode(v, plist.Binary); err != nil {
			return nil, Plain, err
		}
	}
	d := decoder{classes: c}
	if err := d.open(b); err != nil {
		return nil, Plain, err
	}
	return d.root()
}
