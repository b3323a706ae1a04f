package xpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

var (
	errTrailing = errors.New("bytes follow the object")
	errNotDict  = errors.New("body is not a dictionary")
	errVersion  = errors.New("body has an unknown version")
)

// MessageSize returns the size of the message at the beginning of b, or 0 if b is
// shorter than a wrapper. A reader of a stream collects as many bytes and passes them
// to Decode.
func MessageSize(b []byte) (int, error) {
	if len(b) < WrapperSize {
		return 0, nil
	}
	if binary.LittleEndian.Uint32(b) != wrapperMagic {
		return 0, &Error{Op: "decode", Err: ErrMagic}
	}
	n := binary.LittleEndian.Uint64(b[8:])
	if n > MaxBody {
		return 0, &Error{Op: "decode", Offset: 8, Err: ErrLimit}
	}
	return WrapperSize + int(n), nil
}

// Decode decodes the message at the beginning of b and returns its size. If b has only
// a part of it, the cause of the error is ErrTruncated. Strings and data are copies.
func Decode(b []byte) (*Message, int, error) {
	n, err := MessageSize(b)
	if err != nil {
		return nil, 0, err
	}
	if n == 0 || n > len(b) {
		return nil, 0, &Error{Op: "decode", Offset: len(b), Err: ErrTruncated}
	}
	m := &Message{Flags: binary.LittleEndian.Uint32(b[4:]), ID: binary.LittleEndian.Uint64(b[16:])}
	if n == WrapperSize {
		return m, n, nil
	}
	d := &decoder{b: b[:n], off: WrapperSize}
	m.Body, err = d.body()
	if err != nil {
		return nil, 0, &Error{Op: "decode", Offset: d.off, Err: err}
	}
	return m, n, nil
}

// Read reads one message. If the stream ends between two messages, the error is io.EOF
// itself. Memory is allocated as bytes arrive.
func Read(r io.Reader) (*Message, error) {
	head := make([]byte, WrapperSize)
	if _, err := io.ReadFull(r, head); err != nil {
		if err == io.EOF {
			return nil, err
		}
		return nil, &Error{Op: "decode", Err: err}
	}
	n, err := MessageSize(head)
	if err != nil {
		return nil, err
	}
	buf := bytes.NewBuffer(head)
	switch _, err := io.CopyN(buf, r, int64(n-WrapperSize)); err {
	case nil:
	case io.EOF:
		return nil, &Error{Op: "decode", Offset: buf.Len(), Err: io.ErrUnexpectedEOF}
	default:
		return nil, &Error{Op: "decode", Offset: buf.Len(), Err: err}
	}
	m, _, err := Decode(buf.Bytes())
	return m, err
}

// DecodeObject decodes one object, which must take up all of b.
func DecodeObject(b []byte) (any, error) {
	d := &decoder{b: b}
	err := ErrLimit
	if len(b) <= MaxBody {
		var v any
		v, err = d.value(0)
		if err == nil && d.off == len(b) {
			return v, nil
		}
		if err == nil {
			err = errTrailing
		}
	}
	return nil, &Error{Op: "decode", Offset: d.off, Err: err}
}

type decoder struct {
	b     []byte
	off   int
	nodes int
}

func (d *decoder) body() (Dict, error) {
	head, err := d.take(bodyHeaderSize)
	if err != nil {
		return nil, err
	}
	d.off -= bodyHeaderSize // offsets of errors count from the body
	switch {
	case binary.LittleEndian.Uint32(head) != bodyMagic:
		return nil, ErrMagic
	case binary.LittleEndian.Uint32(head[4:]) != bodyVersion:
		return nil, errVersion
	}
	d.off += bodyHeaderSize
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	dict, ok := v.(Dict)
	if !ok {
		return nil, errNotDict
	}
	if d.off != len(d.b) {
		return nil, errTrailing
	}
	return dict, nil
}

// take returns the next n bytes.
func (d *decoder) take(n int) ([]byte, error) {
	if n > len(d.b)-d.off {
		return nil, ErrTruncated
	}
	b := d.b[d.off : d.off+n]
	d.off += n
	return b, nil
}

func (d *decoder) uint32() (uint32, error) {
	b, err := d.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (d *decoder) uint64() (uint64, error) {
	b, err := d.take(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// fill returns how many zeros follow n bytes.
func fill(n int) int { return -n & 3 }

// counted reads a length, as many bytes and the fill bytes.
func (d *decoder) counted() ([]byte, error) {
	n, err := d.uint32()
	if err != nil {
		return nil, err
	}
	if uint64(n) > uint64(len(d.b)-d.off) {
		return nil, ErrTruncated
	}
	b, err := d.take(int(n))
	if err != nil {
		return nil, err
	}
	_, err = d.take(fill(int(n)))
	return b, err
}

func (d *decoder) value(depth int) (any, error) {
	d.nodes++
	if d.nodes > MaxNodes || depth > MaxDepth {
		return nil, ErrLimit
	}
	start := d.off
	typ, err := d.uint32()
	if err != nil {
		return nil, err
	}
	switch typ {
	case typeArray:
		return d.array(depth)
	case typeDict:
		return d.dict(depth)
	case typeFileTransfer:
		return d.fileTransfer(depth)
	}
	v, err := d.scalar(typ)
	if err != nil {
		d.off = start
		return nil, err
	}
	return v, nil
}

func (d *decoder) scalar(typ uint32) (any, error) {
	switch typ {
	case typeNull:
		return Null{}, nil
	case typeBool:
		n, err := d.uint32()
		return byte(n) != 0, err
	case typeInt64, typeUint64, typeDouble, typeDate:
		n, err := d.uint64()
		switch typ {
		case typeInt64:
			return int64(n), err
		case typeUint64:
			return n, err
		case typeDouble:
			return math.Float64frombits(n), err
		}
		return time.Unix(0, int64(n)).UTC(), err
	case typeData:
		b, err := d.counted()
		return append(make([]byte, 0, len(b)), b...), err
	case typeString:
		b, err := d.counted()
		if i := bytes.IndexByte(b, 0); i >= 0 {
			b = b[:i] // the terminator, and whatever follows it
		}
		return string(b), err
	case typeUUID:
		b, err := d.take(16)
		if err != nil {
			return nil, err
		}
		return UUID(b), nil
	case typeFD:
		n, err := d.uint32()
		return FD(n), err
	case typeSharedMemory:
		n, err := d.uint64()
		return SharedMemory{uint32(n), uint32(n >> 32)}, err
	}
	return nil, fmt.Errorf("%w: %#x", ErrType, typ)
}

// count reads the head of an array or a dictionary. smallest is the smallest size of an
// element, so that no count can exceed what the bytes can hold.
func (d *decoder) count(smallest int) (int, error) {
	head, err := d.take(8)
	if err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if uint64(n)*uint64(smallest) > uint64(len(d.b)-d.off) {
		return 0, ErrTruncated
	}
	return int(n), nil
}

// room is the number of elements for which memory is allocated before they are decoded.
const room = 256

func (d *decoder) array(depth int) (any, error) {
	n, err := d.count(4)
	if err != nil {
		return nil, err
	}
	list := make([]any, 0, min(n, room))
	for range n {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (d *decoder) dict(depth int) (any, error) {
	n, err := d.count(8)
	if err != nil {
		return nil, err
	}
	dict := make(Dict, 0, min(n, room))
	var keys keySet
	for range n {
		start := d.off
		end := bytes.IndexByte(d.b[d.off:], 0)
		if end < 0 {
			return nil, ErrTruncated
		}
		key, err := d.take(end + 1)
		if err == nil {
			_, err = d.take(fill(end + 1))
		}
		if err != nil {
			return nil, err
		}
		k := string(key[:end])
		if !keys.add(dict, k) {
			d.off = start
			return nil, fmt.Errorf("dictionary holds %q twice", k)
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		dict = append(dict, Pair{k, v})
	}
	return dict, nil
}

// keySet finds duplicate keys of a dictionary. It searches short dictionaries linearly
// and uses a map for long ones.
type keySet map[string]bool

const manyKeys = 16

// add reports whether k is new to dict, which holds the keys before it.
func (s *keySet) add(dict Dict, k string) bool {
	if len(dict) < manyKeys {
		_, ok := dict.Get(k)
		return !ok
	}
	if *s == nil {
		*s = make(keySet, 2*manyKeys)
		for _, p := range dict {
			(*s)[p.Key] = true
		}
	}
	if (*s)[k] {
		return false
	}
	(*s)[k] = true
	return true
}

func (d *decoder) fileTransfer(depth int) (any, error) {
	id, err := d.uint64()
	if err != nil {
		return nil, err
	}
	v, err := d.value(depth + 1)
	if err != nil {
		return nil, err
	}
	info, ok := v.(Dict)
	if !ok {
		return nil, errors.New("file transfer without a dictionary")
	}
	return FileTransfer{ID: id, Info: info}, nil
}
