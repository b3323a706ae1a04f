// Package dtx speaks DTX, the Distributed Transport eXchange: method calls in
// both directions over many channels of one connection. Instruments (DVT),
// testmanagerd and the accessibility audit daemon use it, from the first iOS
// versions to the newest; only the route to them changed.
//
// All numbers are little-endian. A message is one fragment or several:
//
//	 0  u32  magic 0x1F3D5B79             16  u32  message id
//	 4  u32  header length, 32            20  u32  conversation index
//	 8  u16  fragment index               24  i32  channel
//	10  u16  fragment count               28  u32  flags, bit 0: expects a reply
//	12  u32  length of what follows       32       body
//
// With more than one fragment, the first is a header alone, its length that of
// the whole message. The bodies together are
//
//	0  u8   type                          8  u32  length of all that follows
//	1  3 bytes, not always zero          12  u32  0
//	4  u32  length of the arguments      16       arguments, payload
//
// The usual exchange; +1 and -1 are what stands in the channel field:
//
//	both    0  _notifyOfPublishedCapabilities:  {name: version, ...}
//	host    0  _requestChannelWithCode:identifier:  int32 1, "com.apple...deviceinfo"
//	device  0  ack, same id, conversation index 1
//	host   +1  runningProcesses                     expects a reply
//	device +1  object, same id, conversation index 1
//	device -1  outputReceived:fromProcess:atTime:   an event, no reply
//	host    0  _channelCanceled:  int32 1
//
// A side numbers the channels that it opens from 1. In a message that begins a
// conversation the channel is positive if its sender opened the channel, else
// negative; a reply repeats the field as it was. Here, a channel's code is
// positive if this side opened it and negative if the peer did.
//
// A Conn is one end of a connection. Hosts and devices use it in the same way:
// they open a Channel for each service. A Server is the device side: it serves
// the channels that a host opens.
package dtx

import (
	"encoding/binary"
	"fmt"
)

const (
	magic = 0x1F3D5B79

	// HeaderSize is the length of a fragment's header. The reader accepts longer
	// headers, up to maxHeaderSize, and skips the surplus.
	HeaderSize    = 32
	maxHeaderSize = 4096

	payloadHeaderSize = 16 // type u32, arguments u32, total u32, flags u32

	flagExpectsReply = 1 // bit 0 of the flags

	// fragmentBody is the largest body of one fragment. With its header it is
	// 64 KiB long, as devices and Xcode send it. Only longer messages are split.
	fragmentBody = 65536 - HeaderSize
)

const (
	// MaxMessage is the length of the longest message that is read or written.
	// It also bounds the memory that all incomplete messages take together. On a
	// connection Options.Buffer may lower both limits.
	MaxMessage = 128 << 20
	// MaxAssemblies is the number of messages that may be incomplete at the same
	// time. Known peers send the fragments of a message back to back.
	MaxAssemblies = 100
	// MaxInflated is the largest length of a compressed payload after expansion.
	MaxInflated = 256 << 20
)

// Type is the type of a message.
type Type uint8

// Types of messages. Replies are Ack, Object or Failure.
const (
	Ack        Type = 0 // a reply without a value
	Data       Type = 1 // an event: bytes, sometimes an archive
	Dispatch   Type = 2 // a call: arguments and an archived selector
	Object     Type = 3 // a reply or an event: an archived value
	Failure    Type = 4 // a reply: an archived NSError
	Barrier    Type = 5 // asks for a reply once all earlier messages are handled
	Primitive  Type = 6 // never observed
	Compressed Type = 7 // Data, compressed
	Proxied    Type = 8 // never observed
)

var typeNames = [...]string{
	"ack", "data", "dispatch", "object", "error", "barrier", "primitive", "compressed", "proxied",
}

// String returns the name of a type.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Message is one assembled message as it is sent on the wire.
type Message struct {
	ID           uint32
	Conversation uint32 // 0 begins a conversation, replies are odd
	Channel      int32  // as sent, see the package comment for its sign
	ExpectsReply bool
	Type         Type
	// TypeFlags are bits 8 to 31 of the word whose low byte is the type. Old
	// peers set a flag there if they expect a reply; new peers send zeros.
	TypeFlags uint32
	Aux       []byte // the argument list with its header, nil if there is none
	Payload   []byte
}

// Decode returns the first message that is complete in b, and the number of
// bytes up to its end. Fragments of other messages may stand between its own.
// The error is ErrIncomplete if b ends before a message is complete.
func Decode(b []byte) (*Message, int, error) {
	src := byteSource(b)
	r := Reader{src: &src}
	m, err := r.Read()
	if err != nil {
		return nil, 0, incomplete(err)
	}
	return m, len(b) - len(src), nil
}

// Append appends m to b, in as many fragments as m needs.
func Append(b []byte, m *Message) []byte {
	total := payloadHeaderSize + len(m.Aux) + len(m.Payload)
	count := uint16(fragments(total))
	b = appendHeader(b, m, 0, count, total)
	if count == 1 {
		b = appendPayloadHeader(b, m)
		b = append(b, m.Aux...)
		return append(b, m.Payload...)
	}
	rest := [3][]byte{appendPayloadHeader(nil, m), m.Aux, m.Payload}
	for i := uint16(1); i < count; i++ {
		n := min(total, fragmentBody)
		total -= n
		b = appendHeader(b, m, i, count, n)
		for p := 0; n > 0; p++ {
			k := min(n, len(rest[p]))
			b = append(b, rest[p][:k]...)
			rest[p] = rest[p][k:]
			n -= k
		}
	}
	return b
}

// fragments returns the number of fragments that a body of n bytes needs. The
// field has 16 bits, which are enough because MaxMessage bounds n.
func fragments(n int) int {
	if n <= fragmentBody {
		return 1
	}
	return (n+fragmentBody-1)/fragmentBody + 1
}

func appendHeader(b []byte, m *Message, index, count uint16, length int) []byte {
	b = binary.LittleEndian.AppendUint32(b, magic)
	b = binary.LittleEndian.AppendUint32(b, HeaderSize)
	b = binary.LittleEndian.AppendUint16(b, index)
	b = binary.LittleEndian.AppendUint16(b, count)
	b = binary.LittleEndian.AppendUint32(b, uint32(length))
	b = binary.LittleEndian.AppendUint32(b, m.ID)
	b = binary.LittleEndian.AppendUint32(b, m.Conversation)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Channel))
	var flags uint32
	if m.ExpectsReply {
		flags = flagExpectsReply
	}
	return binary.LittleEndian.AppendUint32(b, flags)
}

func appendPayloadHeader(b []byte, m *Message) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Type)|m.TypeFlags&^0xFF)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Aux)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Aux)+len(m.Payload)))
	return binary.LittleEndian.AppendUint32(b, 0)
}

// header is a fragment's header.
type header struct {
	index, count uint16
	length       uint32
	id, conv     uint32
	channel      int32
	flags        uint32
}

// parseHeader decodes the first HeaderSize bytes of a header. surplus is the
// number of bytes that belong to the header and follow them.
func parseHeader(b []byte) (h header, surplus int, err error) {
	if binary.LittleEndian.Uint32(b) != magic {
		return header{}, 0, &Error{Err: ErrMagic}
	}
	size := binary.LittleEndian.Uint32(b[4:])
	if size < HeaderSize {
		return header{}, 0, &Error{Err: ErrHeader}
	}
	if size > maxHeaderSize {
		return header{}, 0, &Error{Err: fmt.Errorf("%w: header of %d bytes", ErrTooLarge, size)}
	}
	h = header{
		index:   binary.LittleEndian.Uint16(b[8:]),
		count:   binary.LittleEndian.Uint16(b[10:]),
		length:  binary.LittleEndian.Uint32(b[12:]),
		id:      binary.LittleEndian.Uint32(b[16:]),
		conv:    binary.LittleEndian.Uint32(b[20:]),
		channel: int32(binary.LittleEndian.Uint32(b[24:])),
		flags:   binary.LittleEndian.Uint32(b[28:]),
	}
	switch {
	case h.count == 0 || h.index >= h.count:
		return header{}, 0, &Error{Err: fmt.Errorf("%w: %d of %d", ErrFragment, h.index, h.count)}
	case h.length > MaxMessage:
		return header{}, 0, tooLong(h)
	case h.index == 0 && h.length < payloadHeaderSize:
		return header{}, 0, &Error{Err: fmt.Errorf("%w: body of %d bytes", ErrSizes, h.length)}
	}
	return h, int(size - HeaderSize), nil
}

func tooLong(h header) error {
	return &Error{Err: fmt.Errorf("%w: %d bytes", ErrTooLarge, h.length)}
}

// parseBody splits an assembled body into its parts. The message refers to b.
func parseBody(h header, b []byte) (*Message, error) {
	word := binary.LittleEndian.Uint32(b)
	aux := uint64(binary.LittleEndian.Uint32(b[4:]))
	total := uint64(binary.LittleEndian.Uint32(b[8:]))
	if total+payloadHeaderSize != uint64(len(b)) || aux > total {
		return nil, &Error{
			Err: fmt.Errorf("%w: arguments %d, total %d, body %d", ErrSizes, aux, total, len(b)),
		}
	}
	m := &Message{
		ID: h.id, Conversation: h.conv, Channel: h.channel,
		ExpectsReply: h.flags&flagExpectsReply != 0,
		Type:         Type(word & 0xFF), TypeFlags: word &^ 0xFF,
	}
	end := payloadHeaderSize + aux
	if aux > 0 {
		m.Aux = b[payloadHeaderSize:end:end]
	}
	if aux < total {
		m.Payload = b[end:]
	}
	return m, nil
}
