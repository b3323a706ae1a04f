// Package tlv8 decodes and encodes the type-length-value lists of HomeKit pairing. The
// pair-setup and pair-verify messages of remote pairing (iOS 17 and later) are such
// lists.
//
// A list is a sequence of items:
//
//	0  u8  type
//	1  u8  length
//	2      value, length bytes
//
// A value of more than 255 bytes is split into consecutive items of the same type.
// Fragments usually have 255 bytes, but those of idevice have 254. The reader joins
// consecutive items of one type, whatever their length. Between two values of the same
// type there must therefore be another item, usually the empty Separator. Integers are
// little-endian.
//
// The first answer of a device in pair-setup has a public key of 384 bytes:
//
//	06 01 02                 State 2
//	02 10 ...                Salt, 16 bytes
//	03 ff ... 03 81 ...      PublicKey, 255 + 129 bytes
package tlv8

import (
	"errors"
	"fmt"
)

// The types of items in pairing messages.
const (
	Method           = 0x00 // u8
	Identifier       = 0x01 // string
	Salt             = 0x02 // 16 bytes
	PublicKey        = 0x03 // 384 bytes of SRP, 32 of X25519 and Ed25519
	Proof            = 0x04 // 64 bytes
	EncryptedData    = 0x05 // ciphertext, then a tag of 16 bytes
	State            = 0x06 // u8, 1 to 6
	PairingError     = 0x07 // u8, see the Code constants
	RetryDelay       = 0x08 // seconds
	Certificate      = 0x09
	Signature        = 0x0A // 64 bytes
	Permissions      = 0x0B
	FragmentData     = 0x0C
	FragmentLast     = 0x0D
	SessionID        = 0x0E
	TTL              = 0x0F
	ExtraData        = 0x10
	Info             = 0x11 // an OPACK dictionary
	ACL              = 0x12
	Flags            = 0x13
	ValidationData   = 0x14
	MFiAuthToken     = 0x15
	MFiProductType   = 0x16
	SerialNumber     = 0x17
	MFiAuthTokenUUID = 0x18
	AppFlags         = 0x19
	OwnershipProof   = 0x1A
	SetupCodeType    = 0x1B
	ProductionData   = 0x1C
	AppInfo          = 0x1D
	Separator        = 0xFF // empty
)

// The values of a PairingError item.
const (
	CodeUnknown        = 1
	CodeAuthentication = 2
	CodeBackOff        = 3 // RetryDelay is the time to wait
	CodeUnknownPeer    = 4
	CodeMaxPeers       = 5
	CodeMaxTries       = 6
)

const (
	// MaxSize is the size of the largest list that is read or written. The frames of
	// lists have at most 65535 bytes.
	MaxSize = 1 << 16
	// MaxItems is the number of values that a list may hold, after joining.
	MaxItems = 1024

	fragmentSize = 255
	headerSize   = 2
)

var (
	// ErrTruncated is the cause of an Error if a list ends inside an item.
	ErrTruncated = errors.New("list ends inside an item")
	// ErrLimit is the cause of an Error if a list exceeds MaxSize or MaxItems.
	ErrLimit = errors.New("list is too long")
	// ErrAdjacent is the cause of an Error if a list to be encoded has two consecutive
	// items of the same type, which would be decoded as one.
	ErrAdjacent = errors.New("neighbours have the same type")
)

// Error describes why a list could not be encoded or decoded.
type Error struct {
	Op     string // "decode" or "encode"
	Offset int    // of the item: in bytes when decoding, in items when encoding
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("tlv8: %s: item at %d: %v", e.Op, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Malformed reports whether the bytes were at fault, and not a value that has no encoding.
func (e *Error) Malformed() bool { return e.Op == "decode" }

// Item is a value with its type.
type Item struct {
	Type  byte
	Value []byte
}

// List has the items of a message in their order.
type List []Item

// Byte returns an item of one byte, such as State, Method or PairingError.
func Byte(typ, value byte) Item { return Item{Type: typ, Value: []byte{value}} }

// Text returns an item with a string, such as Identifier.
func Text(typ byte, s string) Item { return Item{Type: typ, Value: []byte(s)} }

// Decode decodes a list and joins fragments. The values are copies.
func Decode(b []byte) (List, error) {
	if len(b) > MaxSize {
		return nil, &Error{Op: "decode", Err: ErrLimit}
	}
	var list List
	for off := 0; off < len(b); {
		if len(b)-off < headerSize {
			return nil, &Error{Op: "decode", Offset: off, Err: ErrTruncated}
		}
		typ, n := b[off], int(b[off+1])
		if n > len(b)-off-headerSize {
			return nil, &Error{Op: "decode", Offset: off, Err: ErrTruncated}
		}
		value := b[off+headerSize : off+headerSize+n]
		if last := len(list) - 1; last >= 0 && list[last].Type == typ {
			list[last].Value = append(list[last].Value, value...)
		} else if len(list) == MaxItems {
			return nil, &Error{Op: "decode", Offset: off, Err: ErrLimit}
		} else {
			list = append(list, Item{typ, append(make([]byte, 0, n), value...)})
		}
		off += headerSize + n
	}
	return list, nil
}

// Append appends the items to b, in fragments of 255 bytes.
func Append(b []byte, list List) ([]byte, error) {
	start := len(b)
	if len(list) > MaxItems {
		return nil, &Error{Op: "encode", Offset: MaxItems, Err: ErrLimit}
	}
	for i, item := range list {
		if i > 0 && list[i-1].Type == item.Type {
			return nil, &Error{Op: "encode", Offset: i, Err: ErrAdjacent}
		}
		v := item.Value
		if len(v) > MaxSize-(len(b)-start) {
			return nil, &Error{Op: "encode", Offset: i, Err: ErrLimit}
		}
		for len(v) > fragmentSize {
			b = append(b, item.Type, fragmentSize)
			b = append(b, v[:fragmentSize]...)
			v = v[fragmentSize:]
		}
		b = append(b, item.Type, byte(len(v)))
		b = append(b, v...)
		if len(b)-start > MaxSize {
			return nil, &Error{Op: "encode", Offset: i, Err: ErrLimit}
		}
	}
	return b, nil
}

// Get returns the first value of a type. The bytes belong to the list.
func (l List) Get(typ byte) ([]byte, bool) {
	for _, item := range l {
		if item.Type == typ {
			return item.Value, true
		}
	}
	return nil, false
}

// Text returns the first value of a type as a string.
func (l List) Text(typ byte) (string, bool) {
	v, ok := l.Get(typ)
	return string(v), ok
}

// Uint returns the first value of a type as an integer of up to eight bytes.
func (l List) Uint(typ byte) (uint64, bool) {
	v, ok := l.Get(typ)
	if !ok || len(v) == 0 || len(v) > 8 {
		return 0, false
	}
	var n uint64
	for i := len(v) - 1; i >= 0; i-- {
		n = n<<8 | uint64(v[i])
	}
	return n, true
}
