// Package opack decodes and encodes OPACK, the compact object encoding of Apple's
// pairing services. In remote pairing each side describes itself in an OPACK
// dictionary, which is the Info item of its last message.
//
// An object begins with a tag. The sizes and numbers after it are little-endian:
//
//	01 02      true, false             40-60  string of 0 to 32 bytes
//	03         end of an open one      61 62  string, its length as u8, u16
//	04         null                    70-90  data of 0 to 32 bytes
//	05         UUID, 16 bytes          91 92  data, its length as u8, u16
//	06         absolute time, 8 bytes  A0-C0  a scalar seen before, by number
//	08-2F      0 to 39                 D0-DE  array of 0 to 14 objects
//	30-33      u8, u16, u32, u64       DF     array, open until 03
//	35 36      float32, float64        E0-EE  dictionary of 0 to 14 pairs
//	                                   EF     dictionary, open until 03
//
// The back references A0 to C0 count the distinct scalars of more than one byte, in the
// order of their first appearance. The tags 63, 64, 93 and 94 (longer strings and data)
// are refused, because the known implementations disagree about the width of their
// length. C1 and up, negative numbers and everything that is not in the table are
// refused, too.
//
// The beginning of a host's description of itself:
//
//	e7                                           dictionary of 7 pairs
//	46 "altIRK"  80 e9e82dc06a49796b566f540019b1c77b
//	46 "btAddr"  51 "11:22:33:44:55:66"
//	43 "mac"     76 112233445566
//
// Decoded values are exactly these types:
//
//	nil, bool, string, []byte, float32, float64, UUID, Time
//	int64, and uint64 only for what int64 cannot hold
//	[]any, Dict
//
// Encoding accepts these and every other Go integer. Text that is not UTF-8 is an error
// in both directions, and so is a duplicate key in a dictionary.
package opack

import (
	"errors"
	"fmt"
	"math"
)

const (
	tagTrue       = 0x01
	tagFalse      = 0x02
	tagEnd        = 0x03 // closes tagOpenArray and tagOpenDict
	tagNull       = 0x04
	tagUUID       = 0x05 // 16 bytes
	tagTime       = 0x06 // 8 bytes
	tagSmall      = 0x08 // + 0 to 39
	tagSmallLast  = 0x2F
	tagUint8      = 0x30 // the next three tags: 2, 4 and 8 bytes
	tagUint64     = 0x33
	tagFloat32    = 0x35
	tagFloat64    = 0x36
	tagString     = 0x40 // + length
	tagStringLast = 0x60
	tagString8    = 0x61 // u8 length
	tagString16   = 0x62 // u16 length
	tagData       = 0x70 // + length
	tagDataLast   = 0x90
	tagData8      = 0x91 // u8 length
	tagData16     = 0x92 // u16 length
	tagRef        = 0xA0 // + number of the scalar
	tagRefLast    = 0xC0
	tagArray      = 0xD0 // + count
	tagOpenArray  = 0xDF
	tagDict       = 0xE0 // + count of pairs
	tagOpenDict   = 0xEF

	maxSmall  = tagSmallLast - tagSmall
	maxInline = tagStringLast - tagString // of strings and data
	maxRefs   = tagRefLast - tagRef + 1
)

const (
	// MaxSize is the size of the largest encoding that is read or written. Devices send
	// about a kilobyte.
	MaxSize = 1 << 16
	// MaxDepth is how deep arrays and dictionaries may nest.
	MaxDepth = 32
	// MaxContent is the size of the largest string or data.
	MaxContent = math.MaxUint16
	// maxUnfolded bounds the bytes of strings and data after back references are
	// resolved, so that they can be copied safely.
	maxUnfolded = 1 << 22
)

var (
	// ErrTruncated is the cause of an Error if the bytes end too early.
	ErrTruncated = errors.New("object is truncated")
	// ErrLimit is the cause of an Error if a limit of this package is exceeded.
	ErrLimit = errors.New("object is too large or nests too deep")
	// ErrTag is the cause of an Error about a tag without a defined meaning.
	ErrTag = errors.New("tag is not supported")

	errEnd       = errors.New("end mark outside an open array or dictionary")
	errTrailing  = errors.New("bytes follow the object")
	errReference = errors.New("reference to a scalar that has not appeared")
	errUTF8      = errors.New("string is not valid UTF-8")
)

// Error describes why a value could not be encoded or decoded.
type Error struct {
	Op     string // "decode" or "encode"
	Offset int    // offset in the encoding
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("opack: %s: at byte %d: %v", e.Op, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Malformed reports whether the bytes were at fault, and not a value that has no encoding.
func (e *Error) Malformed() bool { return e.Op == "decode" }

// UUID is 16 bytes in the order of RFC 4122.
type UUID [16]byte

// String returns the upper-case text form that Apple uses.
func (u UUID) String() string {
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Time is an absolute time as sent, little-endian. No known message of remote pairing
// has one, and its unit is not documented, so it is not converted.
type Time uint64

// Pair is an entry of a dictionary.
type Pair struct {
	Key   string
	Value any
}

// Dict is a dictionary in the order of its encoding. A getter reports false if the key
// is missing or has a value of another type.
type Dict []Pair

// Get returns the value of a key.
func (d Dict) Get(key string) (any, bool) {
	for _, p := range d {
		if p.Key == key {
			return p.Value, true
		}
	}
	return nil, false
}

func get[T any](d Dict, key string) (T, bool) {
	v, _ := d.Get(key)
	t, ok := v.(T)
	return t, ok
}

// String returns a string value.
func (d Dict) String(key string) (string, bool) { return get[string](d, key) }

// Data returns a data value; the bytes belong to the dictionary.
func (d Dict) Data(key string) ([]byte, bool) { return get[[]byte](d, key) }

// Bool returns a boolean value.
func (d Dict) Bool(key string) (bool, bool) { return get[bool](d, key) }

// Int returns an integer that fits into int64.
func (d Dict) Int(key string) (int64, bool) { return get[int64](d, key) }

// Dict returns a nested dictionary.
func (d Dict) Dict(key string) (Dict, bool) { return get[Dict](d, key) }

// Array returns an array value.
func (d Dict) Array(key string) ([]any, bool) { return get[[]any](d, key) }
