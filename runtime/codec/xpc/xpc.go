// Package xpc decodes and encodes RemoteXPC messages and the XPC objects in them.
// remoted and the CoreDevice services speak RemoteXPC on iOS 17 and later, over a few
// HTTP/2 streams that package remotexpc manages.
//
// All numbers are little-endian. A message is a wrapper and a body:
//
//	 0  u32  magic 0x29B00B92
//	 4  u32  flags
//	 8  u64  length of what follows the wrapper, 0 without a body
//	16  u64  message id
//	24  u32  magic 0x42133742   \
//	28  u32  version 5           > the body
//	32       dictionary         /
//
// An object is a u32 type, followed by its content. The size of everything is a
// multiple of four bytes, with zeros as fill bytes:
//
//	null    -                           string  u32 length with its NUL, bytes
//	bool    u32, the first byte counts  data    u32 length, bytes
//	int64   8 bytes                     uuid    16 bytes
//	uint64  8 bytes                     array   u32 length, u32 count, objects
//	double  8 bytes                     dict    u32 length, u32 count, entries:
//	date    int64 ns since 1970                 key, NUL, filled up; object
//	file transfer  u64 id, dictionary {"s": uint64 size}
//
// The length of arrays and dictionaries includes the count. One host writes a length
// for arrays that is too small by four, so the reader uses the count.
//
// A connection begins as follows, and the device sends the same three messages back:
//
//	flags 00000001  id 0  {}        on stream 1
//	flags 00400001  id 0  no body   on stream 3
//	flags 00000201  id 0  no body   on stream 1
//
// Decoded values are exactly these types:
//
//	Null, bool, int64, uint64, float64, time.Time (UTC), []byte, string, UUID
//	FD, SharedMemory, FileTransfer, []any, Dict
//
// Services distinguish int64 and uint64, and so does this package. Dictionaries keep
// their order, so that a decoded dictionary is encoded to the same bytes.
package xpc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/number"
)

const (
	wrapperMagic = 0x29B00B92
	bodyMagic    = 0x42133742
	bodyVersion  = 5

	// WrapperSize is the size of the wrapper: magic u32, flags u32, body length u64,
	// message id u64.
	WrapperSize    = 24
	bodyHeaderSize = 8 // magic u32, version u32

	typeNull         = 0x1000  // nothing
	typeBool         = 0x2000  // u8, 3 zeros
	typeInt64        = 0x3000  // 8 bytes
	typeUint64       = 0x4000  // 8 bytes
	typeDouble       = 0x5000  // 8 bytes IEEE 754
	typeDate         = 0x7000  // int64 nanoseconds since 1970
	typeData         = 0x8000  // u32 length, bytes, fill
	typeString       = 0x9000  // u32 length, bytes, NUL, fill
	typeUUID         = 0xA000  // 16 bytes
	typeFD           = 0xB000  // u32
	typeSharedMemory = 0xC000  // u32 length, u32
	typeArray        = 0xE000  // u32 length, u32 count, objects
	typeDict         = 0xF000  // u32 length, u32 count, entries
	typeFileTransfer = 0x1A000 // u64 id, dictionary
)

// Flags of a message.
const (
	FlagAlwaysSet            = 0x00000001 // on every message
	FlagPing                 = 0x00000002
	FlagDataPresent          = 0x00000100 // the body is not empty
	FlagOpening              = 0x00000200 // on the second message on stream 1
	FlagWantingReply         = 0x00010000
	FlagReply                = 0x00020000
	FlagFileTransferRequest  = 0x00100000 // first message of the sending side of a file stream
	FlagFileTransferResponse = 0x00200000 // the receiving side's answer
	FlagInitHandshake        = 0x00400000 // opening message on stream 3
)

// Flags of the usual messages.
const (
	FlagsOneWay  = FlagAlwaysSet | FlagDataPresent
	FlagsRequest = FlagsOneWay | FlagWantingReply
	FlagsReply   = FlagsOneWay | FlagReply
)

const (
	// MaxBody is the size of the largest body that is read or written.
	MaxBody = 256 << 20
	// MaxDepth is how deep arrays and dictionaries may nest.
	MaxDepth = 64
	// MaxNodes is how many objects a body may hold. The smallest object needs four
	// bytes on the wire and sixteen in memory.
	MaxNodes = 1 << 22
)

var (
	// ErrTruncated is the cause of an Error if the bytes end too early.
	ErrTruncated = errors.New("message is truncated")
	// ErrLimit is the cause of an Error if a limit of this package is exceeded.
	ErrLimit = errors.New("message is too large or nests too deep")
	// ErrMagic is the cause of an Error if the bytes are not a RemoteXPC message.
	ErrMagic = errors.New("not a RemoteXPC message")
	// ErrType is the cause of an Error about an object of a type that cannot be sent.
	ErrType = errors.New("object type is not supported")
)

// Error describes why a value could not be encoded or decoded.
type Error struct {
	Op     string // "decode" or "encode"
	Offset int    // offset in the encoding
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("xpc: %s: at byte %d: %v", e.Op, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Malformed reports whether the bytes were at fault, and not a value that has no encoding.
func (e *Error) Malformed() bool { return e.Op == "decode" }

// Message is one RemoteXPC message. If Body is nil, it has no body, which is different
// from an empty one.
type Message struct {
	Flags uint32
	ID    uint64
	Body  Dict
}

// Null is the null object.
type Null struct{}

// UUID is 16 bytes in the order of RFC 4122.
type UUID [16]byte

// String returns the upper-case text form that Apple uses.
func (u UUID) String() string {
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// ParseUUID parses the text form in upper or lower case.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	dashes := len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-'
	if b, err := hex.DecodeString(strings.ReplaceAll(s, "-", "")); dashes && err == nil &&
		len(b) == len(u) {
		return UUID(b), nil
	}
	return u, fmt.Errorf("xpc: %q is not a UUID", s)
}

// FD is a file descriptor. Its number has no meaning on the other machine.
type FD uint32

// SharedMemory is a memory region. Only the meaning of its length is known.
type SharedMemory struct{ Length, Reserved uint32 }

// FileTransfer announces a file that is sent on a stream of its own.
type FileTransfer struct {
	ID   uint64 // id of the message that requests the file on that stream
	Info Dict   // {"s": uint64 size}
}

// NewFileTransfer returns the announcement of a file of size bytes.
func NewFileTransfer(id, size uint64) FileTransfer {
	return FileTransfer{ID: id, Info: Dict{{"s", size}}}
}

// Size returns the size of the file in bytes.
func (f FileTransfer) Size() (uint64, bool) { return f.Info.Uint("s") }

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
	for i := range d {
		if d[i].Key == key {
			return d[i].Value, true
		}
	}
	return nil, false
}

// Path follows keys through nested dictionaries.
func (d Dict) Path(keys ...string) (any, bool) {
	var v any = d
	for _, k := range keys {
		sub, _ := v.(Dict)
		var ok bool
		v, ok = sub.Get(k)
		if !ok {
			return nil, false
		}
	}
	return v, true
}

func get[T any](d Dict, key string) (T, bool) {
	v, _ := d.Get(key)
	t, ok := v.(T)
	return t, ok
}

// String returns a string value.
func (d Dict) String(key string) (string, bool) { return get[string](d, key) }

// Bool returns a boolean value.
func (d Dict) Bool(key string) (bool, bool) { return get[bool](d, key) }

// Data returns a data value; the bytes belong to the dictionary.
func (d Dict) Data(key string) ([]byte, bool) { return get[[]byte](d, key) }

// UUID returns a UUID value.
func (d Dict) UUID(key string) (UUID, bool) { return get[UUID](d, key) }

// Time returns a date value.
func (d Dict) Time(key string) (time.Time, bool) { return get[time.Time](d, key) }

// Dict returns a nested dictionary.
func (d Dict) Dict(key string) (Dict, bool) { return get[Dict](d, key) }

// Array returns an array value.
func (d Dict) Array(key string) ([]any, bool) { return get[[]any](d, key) }

// Int returns an integer of either type that fits into int64.
func (d Dict) Int(key string) (int64, bool) { v, _ := d.Get(key); return number.Int(v) }

// Uint returns a non-negative integer of either type.
func (d Dict) Uint(key string) (uint64, bool) { v, _ := d.Get(key); return number.Uint(v) }

// Real returns a double. An integer is converted.
func (d Dict) Real(key string) (float64, bool) { v, _ := d.Get(key); return number.Real(v) }

// Set replaces the value of a key, or adds the key at the end.
func (d *Dict) Set(key string, v any) {
	for i := range *d {
		if (*d)[i].Key == key {
			(*d)[i].Value = v
			return
		}
	}
	*d = append(*d, Pair{key, v})
}
