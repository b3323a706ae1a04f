// Package usbmux communicates with the multiplexer that has the USB connections:
// usbmuxd on Linux, the daemon built into macOS, Apple Mobile Device Service on
// Windows, or another program in their place. A multiplexer lists devices, reports when
// they are connected and disconnected, opens TCP ports on them and stores pair records.
//
// Client is the side that asks, and Muxer the side that answers. The virtual device is
// reached over a Muxer. Every message is a frame:
//
//	u32 length with header | u32 version | u32 message | u32 tag | payload   (little endian)
//
// Version 1 carries XML property lists as message 8. Version 0 is the older binary
// dialect, which has LISTEN and CONNECT only. In the usual exchange each arrow is one
// frame:
//
//	> {MessageType: ListDevices}
//	< {DeviceList: [{MessageType: Attached, DeviceID: 3, Properties: {SerialNumber: "0000...", ...}}]}
//
//	> {MessageType: Connect, DeviceID: 3, PortNumber: 32498}     62078 with its bytes swapped
//	< {MessageType: Result, Number: 0}
//	  from here on the socket is a pipe to port 62078 of the device
//
//	> {MessageType: Listen}
//	< {MessageType: Result, Number: 0}
//	< {MessageType: Attached, ...}                               tag 0, for each device now and later
//	< {MessageType: Detached, DeviceID: 3}
//
// The protocol has not changed with iOS versions.
package usbmux

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"syscall"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

const (
	headerSize = 16

	versionBinary = 0 // payloads are packed structures
	versionPlist  = 1 // payloads are XML property lists

	// maxRequest bounds a frame from a client. usbmuxd's own limit is 64 KiB; a pair
	// record has about 12.
	maxRequest = 1 << 20
	// maxReply bounds a frame from a multiplexer.
	maxReply = 16 << 20
)

// Message types of the header.
const (
	msgResult       = 1 // u32 result
	msgConnect      = 2 // u32 device, u16 port (network order), u16 zero
	msgListen       = 3 // empty
	msgDeviceAdd    = 4 // u32 device, u16 product, char serial[256], u16 pad, u32 location
	msgDeviceRemove = 5 // u32 device
	msgDevicePaired = 6 // u32 device
	msgPlist        = 8 // property list
)

// deviceAddSize is the size of a DEVICE_ADD payload: its 256 bytes of serial
// number are padded with NUL.
const deviceAddSize = 4 + 2 + 256 + 2 + 4

// Result is the number in a multiplexer's answer. As an error it is the reason for
// which a request was refused. An Error matches its Result.
type Result uint32

// The results of multiplexers. Requests about pair records use errno values instead, so
// that NotFound and BadDevice are the same number.
const (
	OK                Result = 0
	BadCommand        Result = 1
	BadDevice         Result = 2
	NotFound          Result = 2
	ConnectionRefused Result = 3
	NoSuchService     Result = 4
	ioFailure         Result = 5
	BadVersion        Result = 6
	noPermission      Result = 13
	InvalidArgument   Result = 22
)

func (r Result) Error() string {
	switch r {
	case OK:
		return "ok"
	case BadCommand:
		return "bad command"
	case BadDevice:
		return "no such device"
	case ConnectionRefused:
		return "connection refused"
	case NoSuchService:
		return "no such service"
	case BadVersion:
		return "protocol version not supported"
	case noPermission:
		return "permission denied"
	case InvalidArgument:
		return "invalid argument"
	}
	return "refused"
}

// Error describes a request to a multiplexer and why it failed.
type Error struct {
	Op      string // list, connect, read pair record, ...
	Subject string // device and port, record id or address; "" means none
	Code    Result // as sent; OK if the multiplexer did not answer
	Err     error  // the cause, if there is no code
}

func (e *Error) Error() string {
	s := "usbmux: " + e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	if e.Code == OK {
		return s + ": " + e.Err.Error()
	}
	text := e.Code.Error()
	if e.Code == NotFound && e.aboutRecord() {
		text = "no such record"
	}
	return fmt.Sprintf("%s: %s (%d)", s, text, uint32(e.Code))
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error {
	if e.Code != OK {
		return e.Code
	}
	return e.Err
}

// Is maps the multiplexer's codes to the general errors of the same meaning.
func (e *Error) Is(target error) bool {
	switch e.Code {
	case NotFound:
		return target == fs.ErrNotExist
	case ConnectionRefused:
		return target == syscall.ECONNREFUSED
	case noPermission:
		return target == fs.ErrPermission
	}
	return false
}

const (
	opReadRecord   = "read pair record"
	opSaveRecord   = "save pair record"
	opDeleteRecord = "delete pair record"
)

func (e *Error) aboutRecord() bool {
	return e.Op == opReadRecord || e.Op == opSaveRecord || e.Op == opDeleteRecord
}

// errShort is the cause of an error about a binary payload that ends before its last
// field.
var errShort = link.Malformed("message is too short")

// LengthError reports a frame with a length that is impossible or over the limit of
// this side.
type LengthError struct {
	Length, Max uint32
}

func (e *LengthError) Error() string {
	if e.Length < headerSize {
		return fmt.Sprintf("frame of %d bytes is shorter than its header", e.Length)
	}
	return fmt.Sprintf("frame of %d bytes is over the limit of %d", e.Length, e.Max)
}

// Is matches link.ErrProtocol.
func (e *LengthError) Is(target error) bool { return target == link.ErrProtocol }

// frame is one message of either dialect.
type frame struct {
	version, message, tag uint32
	body                  []byte
}

func appendFrame(b []byte, f frame) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(headerSize+len(f.body)))
	b = binary.LittleEndian.AppendUint32(b, f.version)
	b = binary.LittleEndian.AppendUint32(b, f.message)
	b = binary.LittleEndian.AppendUint32(b, f.tag)
	return append(b, f.body...)
}

// decodeHeader decodes the fixed part of a frame and returns the length of the rest. If
// the length is invalid, it still returns the tag and version.
func decodeHeader(h []byte, limit uint32) (frame, int, error) {
	n := binary.LittleEndian.Uint32(h)
	f := frame{
		version: binary.LittleEndian.Uint32(h[4:]),
		message: binary.LittleEndian.Uint32(h[8:]),
		tag:     binary.LittleEndian.Uint32(h[12:]),
	}
	if n < headerSize || n > limit {
		return f, 0, &LengthError{Length: n, Max: limit}
	}
	return f, int(n - headerSize), nil
}

// readFrame reads one frame and no byte after it, because what follows a Connect
// belongs to the service. If the stream ends before a frame, the error is io.EOF.
func readFrame(r io.Reader, limit uint32) (frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	f, n, err := decodeHeader(h[:], limit)
	if err != nil {
		return f, err
	}
	f.body, err = link.ReadN(r, n, nil)
	return f, err
}

// cutFrame removes the first frame from b. ok is false if b has only a part of a frame.
func cutFrame(b []byte, limit uint32) (f frame, rest []byte, ok bool, err error) {
	if len(b) < headerSize {
		return frame{}, b, false, nil
	}
	f, n, err := decodeHeader(b, limit)
	if err != nil || len(b) < headerSize+n {
		return frame{}, b, false, err
	}
	f.body = b[headerSize : headerSize+n]
	return f, b[headerSize+n:], true, nil
}

// plistFrame returns the frame of a property list message.
func plistFrame(tag uint32, d plist.Dict) (frame, error) {
	body, err := plist.Encode(d, plist.XML)
	return frame{version: versionPlist, message: msgPlist, tag: tag, body: body}, err
}

// resultFrame returns the frame of a result in the dialect of the connection.
func resultFrame(version, tag uint32, r Result) frame {
	if version == versionPlist {
		f, err := plistFrame(tag, plist.Dict{"MessageType": "Result", "Number": int64(r)})
		if err != nil {
			panic(err) // cannot happen: these values can always be encoded
		}
		return f
	}
	return frame{
		message: msgResult, tag: tag, body: binary.LittleEndian.AppendUint32(nil, uint32(r)),
	}
}

// decodeResult decodes a Result of either dialect. ok is false if f is another message.
func decodeResult(f frame) (r Result, d plist.Dict, ok bool, err error) {
	switch f.message {
	case msgResult:
		if len(f.body) < 4 {
			return 0, nil, false, errShort
		}
		return Result(binary.LittleEndian.Uint32(f.body)), nil, true, nil
	case msgPlist:
		d, err = plist.DecodeDict(f.body)
		if err != nil {
			return 0, nil, false, err
		}
		if t, _ := d.String("MessageType"); t != "Result" {
			return 0, d, false, nil
		}
		n, ok := d.Int("Number")
		if !ok || n < 0 || n > math.MaxUint32 {
			return 0, nil, false, link.Malformed("result without its number")
		}
		return Result(uint32(n)), d, true, nil
	}
	return 0, nil, false, link.Malformed(fmt.Sprintf("unexpected message type %d", f.message))
}

// swapPort converts between a TCP port and its form in Connect, which is the port in
// network order read as a little-endian integer.
func swapPort(p uint16) uint16 { return bits.ReverseBytes16(p) }

// connectRequest is a binary CONNECT.
type connectRequest struct {
	device uint32
	port   uint16
}

func decodeConnect(b []byte) (connectRequest, error) {
	if len(b) < 6 {
		return connectRequest{}, errShort
	}
	return connectRequest{binary.LittleEndian.Uint32(b), binary.BigEndian.Uint16(b[4:])}, nil
}

func appendConnect(b []byte, r connectRequest) []byte {
	b = binary.LittleEndian.AppendUint32(b, r.device)
	b = binary.BigEndian.AppendUint16(b, r.port)
	return append(b, 0, 0)
}
