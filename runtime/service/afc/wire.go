// Package afc implements the Apple File Conduit. The protocol gives access to the files
// of the media directory of a device. The containers of apps (house_arrest) and the
// crash reports use it too.
//
// A packet is a header of 40 bytes, a header payload (paths, handles, numbers) and a
// payload (bulk data). The device answers each packet with one packet that has the same
// number. All integers are little-endian.
//
//	offset  0  "CFA6LPAA"
//	        8  u64 entire length: header, header payload and payload
//	       16  u64 length of header and header payload
//	       24  u64 packet number, chosen by the host
//	       32  u64 operation
//
// Reading a file:
//
//	-> FileRefOpen   mode 1, "/DCIM/a.jpg" 00    <- FileRefOpenResult  handle 1
//	-> FileRefRead   handle 1, length 1048576    <- Data               bytes
//	-> FileRefRead   handle 1, length 1048576    <- Data               nothing: the end
//	-> FileRefClose  handle 1                    <- Status             0
//
// Every failure is a Status with a code. The protocol has not changed since iOS 5,
// except that iOS 6 added RemovePathAndContents.
//
// Client multiplexes requests: any number of goroutines may use it, and a transfer
// keeps several packets pending. Device is the device side, which serves a file tree of
// the phone.
package afc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the media directory, /var/mobile/Media on the device.
var Service = service.Name{
	Lockdown: "com.apple.afc",
	Remote:   "com.apple.afc.shim.remote",
	Checkin:  true,
	Escrow:   true,
}

// Opcode is the operation of a packet.
type Opcode uint64

// The operations. Each comment gives the header payload, then after a slash the
// payload, and after the colon the answer.
const (
	opStatus          Opcode = 0x01 // answer only: u64 code
	opData            Opcode = 0x02 // answer only: - / bytes
	opReadDir         Opcode = 0x03 // path: data, names each with a NUL
	opTruncate        Opcode = 0x07 // u64 size, path: status
	opRemove          Opcode = 0x08 // path: status
	opMakeDir         Opcode = 0x09 // path: status
	opGetFileInfo     Opcode = 0x0A // path: data, keys and values
	opGetDeviceInfo   Opcode = 0x0B // -: data, keys and values
	opOpen            Opcode = 0x0D // u64 mode, path: open result
	opOpenResult      Opcode = 0x0E // answer only: u64 handle
	opRead            Opcode = 0x0F // u64 handle, u64 length: data
	opWrite           Opcode = 0x10 // u64 handle / bytes: status
	opSeek            Opcode = 0x11 // u64 handle, u64 whence, i64 offset: status
	opTell            Opcode = 0x12 // u64 handle: tell result
	opTellResult      Opcode = 0x13 // answer only: u64 position
	opClose           Opcode = 0x14 // u64 handle: status
	opSetSize         Opcode = 0x15 // u64 handle, u64 size: status
	opConnectionInfo  Opcode = 0x16 // -: data, keys and values
	opSetOptions      Opcode = 0x17 // - / keys and values: status
	opRename          Opcode = 0x18 // path NUL path NUL: status
	opFSBlockSize     Opcode = 0x19 // u64: status
	opSocketBlockSize Opcode = 0x1A // u64: status
	opLock            Opcode = 0x1B // u64 handle, u64 flock bits: status
	opMakeLink        Opcode = 0x1C // u64 type, target NUL link NUL: status
	opHash            Opcode = 0x1D // path: data
	opSetModTime      Opcode = 0x1E // u64 nanoseconds since 1970, path: status
	opHashRange       Opcode = 0x1F // u64 offset, u64 length, path: data
	opImmutableHint   Opcode = 0x20 // u64 handle, u64 hint: status
	opSizeOfContents  Opcode = 0x21 // path: data, keys and values
	opRemoveAll       Opcode = 0x22 // path: status
	opDirOpen         Opcode = 0x23 // path: directory open result
	opDirOpenResult   Opcode = 0x24 // answer only: u64 handle
	opDirRead         Opcode = 0x25 // u64 handle: data, names
	opDirClose        Opcode = 0x26 // u64 handle: status
	opReadAt          Opcode = 0x27 // u64 handle, u64 offset, u64 length: data
	opWriteAt         Opcode = 0x28 // u64 handle, u64 offset / bytes: status
)

// known reports whether devices support the operation.
func (o Opcode) known() bool {
	switch o {
	case opStatus, opData, 0x04, 0x05, 0x06, 0x0C, opOpenResult, opTellResult, opDirOpenResult:
		return false
	}
	return o >= opReadDir && o <= opWriteAt
}

// Values of arguments.
const (
	linkHard = 1
	linkSym  = 2

	lockShared    = 1 // bits of flock
	lockExclusive = 2
	lockNoWait    = 4
	lockRelease   = 8
)

const (
	headerLen = 40
	magic     = "CFA6LPAA"
	// maxArguments bounds the arguments of a request that is not a write.
	maxArguments = 64 << 10
	// maxReply bounds an answer whose length the host did not choose. A directory with
	// a million names fits.
	maxReply = 64 << 20
	// maxPacket bounds the length of a packet. No peer sends more, so a larger length
	// means that the data is not AFC.
	maxPacket = 1 << 40
	// maxRead bounds the length of one read. It is the largest length that clients use
	// and that devices answer in full.
	maxRead = 4 << 20
)

// header is the fixed part at the beginning of a packet.
type header struct {
	entire, this uint64
	packet       uint64
	op           Opcode
}

// ErrProtocol is matched by the errors of this package for a device that violates the
// protocol.
var ErrProtocol = errors.New("not the AFC protocol")

// protocolError is an error that matches ErrProtocol.
type protocolError string

func (e protocolError) Error() string { return string(e) }

// Is reports whether target is ErrProtocol or the corresponding error of package link.
func (e protocolError) Is(target error) bool {
	return target == ErrProtocol || target == link.ErrProtocol
}

// Errors of the codec.
const (
	errMagic   = protocolError("not an AFC packet")
	errLengths = protocolError("packet lengths contradict each other")
	errKeys    = protocolError("malformed list of keys and values")
)

func appendHeader(b []byte, h header) []byte {
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, h.entire)
	b = binary.LittleEndian.AppendUint64(b, h.this)
	b = binary.LittleEndian.AppendUint64(b, h.packet)
	return binary.LittleEndian.AppendUint64(b, uint64(h.op))
}

// decodeHeader decodes the 40 bytes of a header. It returns the fields also with an
// error, because a device answers even an invalid header.
func decodeHeader(b *[headerLen]byte) (header, error) {
	h := header{
		entire: binary.LittleEndian.Uint64(b[8:]),
		this:   binary.LittleEndian.Uint64(b[16:]),
		packet: binary.LittleEndian.Uint64(b[24:]),
		op:     Opcode(binary.LittleEndian.Uint64(b[32:])),
	}
	switch {
	case string(b[:8]) != magic:
		return h, errMagic
	case h.this < headerLen || h.entire < h.this || h.entire > maxPacket:
		return h, errLengths
	}
	return h, nil
}

// appendPath appends a path with a NUL, as clients send it.
func appendPath(b []byte, path string) []byte { return append(append(b, path...), 0) }

// cutPath cuts the first path from b. The path ends at the first NUL or at the end of
// b, because go-ios, idevice and tidevice send some paths without a NUL.
func cutPath(b []byte) (path string, rest []byte) {
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), b[i+1:]
		}
	}
	return string(b), nil
}

// splitNames splits strings that each end with a NUL. The last NUL may be missing.
func splitNames(b []byte) []string {
	var names []string
	for len(b) > 0 {
		var s string
		s, b = cutPath(b)
		names = append(names, s)
	}
	return names
}

// appendNames is the inverse of splitNames.
func appendNames(b []byte, names ...string) []byte {
	for _, s := range names {
		b = appendPath(b, s)
	}
	return b
}

// decodeKeys decodes key NUL value NUL ... and calls set for each pair.
func decodeKeys(b []byte, set func(key, value string) error) error {
	names := splitNames(b)
	if len(names)%2 != 0 {
		return errKeys
	}
	for i := 0; i < len(names); i += 2 {
		if err := set(names[i], names[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// Kind is the kind of a file.
type Kind int

// Kinds of files. The media directory of a device contains only the first three.
const (
	Regular Kind = iota
	Directory
	Symlink
	BlockDevice
	CharDevice
	FIFO
	Socket
	// Unknown is the kind of a file that the device does not describe or describes by
	// an unknown name.
	Unknown
)

// kindNames are the values of st_ifmt.
var kindNames = [...]string{
	"S_IFREG", "S_IFDIR", "S_IFLNK", "S_IFBLK", "S_IFCHR", "S_IFIFO", "S_IFSOCK",
}

// String returns the name of the kind, such as "file", "directory" or "symlink".
func (k Kind) String() string {
	names := [...]string{
		"file", "directory", "symlink", "block device", "character device", "fifo", "socket",
		"unknown",
	}
	if k < 0 || int(k) >= len(names) {
		return "Kind(" + strconv.Itoa(int(k)) + ")"
	}
	return names[k]
}

// Info describes a file as lstat does.
type Info struct {
	Name       string // last element of the path
	Size       int64
	Blocks     int64 // of 512 bytes
	Nlink      int
	Kind       Kind
	ModTime    time.Time
	BirthTime  time.Time
	LinkTarget string // of a Symlink

	// Odd reports invalid values that the device sent, such as a negative size. The
	// fields for these values are zero.
	Odd error
}

// appendInfo appends the keys that a real device sends, in the same order. It adds no
// others, because idevice warns about unknown keys.
func appendInfo(b []byte, i Info) []byte {
	b = appendNames(b,
		"st_size", formatInt(i.Size),
		"st_blocks", formatInt(i.Blocks),
		"st_nlink", formatInt(int64(i.Nlink)),
		"st_ifmt", kindNames[i.Kind],
		"st_mtime", formatInt(i.ModTime.UnixNano()),
		"st_birthtime", formatInt(i.BirthTime.UnixNano()))
	if i.Kind == Symlink {
		b = appendNames(b, "LinkTarget", i.LinkTarget)
	}
	return b
}

// decodeInfo decodes the answer to GetFileInfo. It ignores unknown keys. It reports an
// invalid value in Info.Odd, so that one such file does not make a whole listing fail.
func decodeInfo(b []byte) (Info, error) {
	i := Info{Kind: Unknown}
	odd := func(err error) {
		if i.Odd == nil {
			i.Odd = err
		}
	}
	number := func(key, value string) int64 {
		v, err := parseInt(key, value)
		if err == nil && v < 0 {
			err = fmt.Errorf("%w: %s is %q", errKeys, key, value)
		}
		if err != nil {
			odd(err)
			return 0
		}
		return v
	}
	date := func(key, value string) time.Time {
		t, err := parseTime(key, value)
		if err != nil {
			odd(err)
		}
		return t
	}
	size := false
	err := decodeKeys(b, func(key, value string) error {
		switch key {
		case "st_size":
			size = true
			i.Size = number(key, value)
		case "st_blocks":
			i.Blocks = number(key, value)
		case "st_nlink":
			i.Nlink = int(number(key, value))
		case "st_ifmt":
			i.Kind = parseKind(value)
			if i.Kind == Unknown {
				odd(fmt.Errorf("%w: st_ifmt is %q", errKeys, value))
			}
		case "st_mtime":
			i.ModTime = date(key, value)
		case "st_birthtime":
			i.BirthTime = date(key, value)
		case "LinkTarget":
			i.LinkTarget = value
		}
		return nil
	})
	if err != nil {
		return Info{}, err
	}
	if !size || i.Kind == Unknown {
		odd(fmt.Errorf("%w: st_size or st_ifmt is missing", errKeys))
	}
	return i, nil
}

func formatInt(v int64) string { return strconv.FormatInt(v, 10) }

func parseKind(value string) Kind {
	for k, name := range kindNames {
		if name == value {
			return Kind(k)
		}
	}
	return Unknown
}

func parseInt(key, value string) (int64, error) {
	v, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is %q", errKeys, key, value)
	}
	return v, nil
}

// parseTime parses a number of nanoseconds since 1970.
func parseTime(key, value string) (time.Time, error) {
	v, err := parseInt(key, value)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(0, v), nil
}

// DeviceInfo describes the device and its volume.
type DeviceInfo struct {
	Model      string // product type, such as "iPhone12,8"
	TotalBytes uint64
	FreeBytes  uint64
	BlockSize  uint64
}

func appendDeviceInfo(b []byte, i DeviceInfo) []byte {
	num := func(v uint64) string { return strconv.FormatUint(v, 10) }
	return appendNames(b,
		"Model", i.Model,
		"FSTotalBytes", num(i.TotalBytes),
		"FSFreeBytes", num(i.FreeBytes),
		"FSBlockSize", num(i.BlockSize))
}

func decodeDeviceInfo(b []byte) (DeviceInfo, error) {
	var i DeviceInfo
	err := decodeKeys(b, func(key, value string) error {
		var to *uint64
		switch key {
		case "Model":
			i.Model = value
			return nil
		case "FSTotalBytes":
			to = &i.TotalBytes
		case "FSFreeBytes":
			to = &i.FreeBytes
		case "FSBlockSize":
			to = &i.BlockSize
		default:
			return nil
		}
		v, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: %s is %q", errKeys, key, value)
		}
		*to = v
		return nil
	})
	if err != nil {
		return DeviceInfo{}, err
	}
	return i, nil
}
