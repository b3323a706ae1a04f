// Package ostracerelay reads the structured log of a device (com.apple.os_trace_relay,
// iOS 9 and later). It delivers live records with process, image, level, subsystem and
// category, the list of processes, and the stored log as an archive.
//
// A connection serves one request:
//
//	-> u32 BE length | {Request:"StartActivity", Pid:-1, MessageFilter:65535, StreamFlags:60}
//	<- 01 | u32 BE length | {Status:"RequestSuccessful"}
//	<- 02 | u32 LE length | record        ... without end
//
//	-> u32 BE length | {Request:"PidList"}
//	<- 01 | u32 BE length | {Status:"RequestSuccessful", Payload:{"123":{ProcessName:"SpringBoard"}, ..}}
//
//	-> u32 BE length | {Request:"CreateArchive", AgeLimit:1}
//	<- 01 | u32 BE length | {Status:"RequestSuccessful"}
//	<- 03 | u32 LE length | piece of a tar stream   ... until the device closes
//
// The reply to StartActivity must be a binary property list shorter than 256 bytes.
// pymobiledevice3 and go-ios decode its length in another way, which gives the right
// result only for such a reply. If a host reads too slowly, the device drops records.
package ostracerelay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the structured log.
var Service = service.Name{
	Lockdown: "com.apple.os_trace_relay",
	Remote:   "com.apple.os_trace_relay.shim.remote",
	Checkin:  true,
}

// Types of the messages from the device, the first byte of each. The length that
// follows is big-endian for replies and little-endian for the two other types.
const (
	typeReply   = 1
	typeRecord  = 2
	typeArchive = 3
)

const (
	// MaxRequest bounds the size of a request.
	MaxRequest = 1 << 20
	// MaxReply bounds the size of a reply. A PidList may hold several thousand
	// processes.
	MaxReply = 4 << 20
	// MaxRecord bounds the size of a record. Devices send up to about 32 KiB.
	MaxRecord = 1 << 20
	// maxSkipped bounds the size of a record that is skipped because it exceeds
	// MaxRecord.
	maxSkipped = 64 << 20
	// MaxArchivePiece bounds the size of one piece of an archive.
	MaxArchivePiece = 64 << 20
)

// Bits of MessageFilter, which selects the kinds of records.
const (
	FilterActivityCreate     = 0x1
	FilterActivityTransition = 0x2
	FilterLog                = 0x4
	FilterSignpost           = 0x8
	FilterAll                = 0xFFFF
)

// Bits of StreamFlags.
const (
	FlagProcessOnly = 0x001
	FlagSkipDecode  = 0x002
	FlagPayload     = 0x004
	FlagHistorical  = 0x008
	FlagCallstack   = 0x010
	FlagDebug       = 0x020 // Debug and Info records; without it neither is sent
	FlagNoSensitive = 0x080
	FlagInfo        = 0x100 // has no effect of its own on iOS 18
	FlagPromiscuous = 0x200

	defaultFlags = FlagPayload | FlagHistorical | FlagCallstack | FlagDebug
)

const statusOK = "RequestSuccessful"

// Level is the severity of a record.
type Level uint8

// Levels that devices send.
const (
	Default    Level = 0
	Info       Level = 1
	Debug      Level = 2
	UserAction Level = 3
	Err        Level = 0x10
	Fault      Level = 0x11
)

// String returns the name that Apple's log tools show.
func (l Level) String() string {
	switch l {
	case Default:
		return "Default"
	case Info:
		return "Info"
	case Debug:
		return "Debug"
	case UserAction:
		return "UserAction"
	case Err:
		return "Error"
	case Fault:
		return "Fault"
	}
	return "Level(" + strconv.Itoa(int(l)) + ")"
}

// Kind is the kind of a record.
type Kind uint8

// Kinds that are known.
const (
	KindActivity Kind = 2
	KindTrace    Kind = 3
	KindLog      Kind = 4
	KindSignpost Kind = 6
	KindLoss     Kind = 7 // the device dropped records
)

// Entry is one record.
type Entry struct {
	Time        time.Time // to the microsecond, UTC
	PID         int
	ProcessPath string
	ImagePath   string // executable or library that logged the message
	Message     string
	Subsystem   string
	Category    string
	Level       Level
	Kind        Kind

	ProcessUUID      [16]byte
	ImageUUID        [16]byte
	ImageOffset      uint32 // offset of the call in the image, for symbolication
	ThreadID         uint64
	ActivityID       uint64
	ParentActivityID uint64
	MachTime         uint64 // continuous time in ticks
}

// Process returns the base name of ProcessPath.
func (e *Entry) Process() string { return base(e.ProcessPath) }

// Image returns the base name of ImagePath.
func (e *Entry) Image() string { return base(e.ImagePath) }

func base(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[i+1:]
		}
	}
	return p
}

var errs = service.Errors{Service: "ostracerelay"}

var (
	// ErrRefused is the cause if the device answered with another Status than success.
	// The text of the error holds the Status.
	ErrRefused = errors.New("refused by the device")
	// ErrProtocol is the cause if the device sent an unexpected message.
	ErrProtocol = link.Malformed("unexpected message")
	// ErrRecord is the cause if a record is inconsistent. A stream ignores such
	// records.
	ErrRecord = link.Malformed("malformed record")
	// ErrUsed is the cause if a second request is made on a connection.
	ErrUsed = errors.New("connection has served its request")
)

// Layout of a record, little-endian throughout. The strings follow the header in the
// order path, image, message, subsystem, category. Each ends with a NUL.
const (
	offMarker    = 0  // u8 = 2
	offType      = 1  // u32 = 8
	offHeader    = 5  // u32 header size = 129
	offPID       = 9  // u32
	offProcID    = 13 // u64
	offProcUUID  = 21 // 16 bytes
	offPathLen   = 37 // u16; all lengths include the NUL
	offActivity  = 39 // u64
	offParent    = 47 // u64
	offSeconds   = 55 // u64 unix
	offMicros    = 63 // u32
	offKind      = 67 // u8
	offLevel     = 68 // u8; 2 bytes of flags and a u32 format offset follow
	offMach      = 75 // u64
	offThread    = 83 // u64
	offImageUUID = 91 // 16 bytes
	offImageLen  = 107
	offMsgLen    = 109 // u32
	offImageOff  = 113 // u32
	offSubLen    = 117 // 0 means none; 2 other bytes follow, mostly 0
	offCatLen    = 121 // 0 means none; 2 other bytes follow, mostly 0
	headerSize   = 129
)

// Limits on the records that this package sends. appium drops records
// above 64 KiB, and three clients read only 16 bits of the length of the message.
const (
	maxSentRecord = 1 << 16
	maxSentName   = 1023
)

// decoder decodes records into entries. Paths, subsystems and categories repeat often,
// so the decoder keeps one string for each.
type decoder struct {
	names map[string]string
}

const (
	maxNames   = 4096
	maxNameLen = 1024
)

func (d *decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok { // does not allocate
		return s
	}
	s := string(b)
	if len(b) <= maxNameLen {
		if d.names == nil || len(d.names) >= maxNames {
			d.names = map[string]string{}
		}
		d.names[s] = s
	}
	return s
}

// decode decodes one record into e. The entry does not refer to the memory of b.
func (d *decoder) decode(b []byte, e *Entry) error {
	if len(b) < headerSize || b[offMarker] != 2 {
		return fmt.Errorf("%w: no record header in %d bytes", ErrRecord, len(b))
	}
	le := binary.LittleEndian
	head := uint64(le.Uint32(b[offHeader:]))
	if head < headerSize || head > uint64(len(b)) {
		return fmt.Errorf("%w: header of %d bytes in %d", ErrRecord, head, len(b))
	}
	var parts [5][]byte
	lengths := [5]uint64{
		uint64(le.Uint16(b[offPathLen:])), uint64(le.Uint16(b[offImageLen:])),
		uint64(le.Uint32(b[offMsgLen:])),
		uint64(le.Uint16(b[offSubLen:])), uint64(le.Uint16(b[offCatLen:])),
	}
	rest := b[head:]
	for i, n := range lengths {
		if n > uint64(len(rest)) {
			return fmt.Errorf("%w: string %d of %d bytes, %d left", ErrRecord, i, n, len(rest))
		}
		parts[i], rest = trimNUL(rest[:n]), rest[n:]
	}
	sec := le.Uint64(b[offSeconds:])
	if sec > math.MaxInt64/2 {
		return fmt.Errorf("%w: time of %d s", ErrRecord, sec)
	}
	*e = Entry{
		Time:             time.Unix(int64(sec), int64(le.Uint32(b[offMicros:]))*1000).UTC(),
		PID:              int(le.Uint32(b[offPID:])),
		ProcessPath:      d.name(parts[0]),
		ImagePath:        d.name(parts[1]),
		Message:          string(parts[2]),
		Subsystem:        d.name(parts[3]),
		Category:         d.name(parts[4]),
		Level:            Level(b[offLevel]),
		Kind:             Kind(b[offKind]),
		ProcessUUID:      [16]byte(b[offProcUUID:]),
		ImageUUID:        [16]byte(b[offImageUUID:]),
		ImageOffset:      le.Uint32(b[offImageOff:]),
		ThreadID:         le.Uint64(b[offThread:]),
		ActivityID:       le.Uint64(b[offActivity:]),
		ParentActivityID: le.Uint64(b[offParent:]),
		MachTime:         le.Uint64(b[offMach:]),
	}
	return nil
}

func trimNUL(b []byte) []byte { return bytes.TrimRight(b, "\x00") }

// appendRecord appends one record with its frame. Each string ends at its first NUL and
// is truncated to a length that all clients accept. The message always has at least its
// NUL. Subsystem and category are either both present or both absent. pymobiledevice3,
// idevice and appium read only 16 bits of the length of a message.
func appendRecord(b []byte, e *Entry) []byte {
	path, image := cString(e.ProcessPath, maxSentName), cString(e.ImagePath, maxSentName)
	sub, cat := cString(e.Subsystem, maxSentName), cString(e.Category, maxSentName)
	label := 0
	if sub != "" || cat != "" {
		label = len(sub) + len(cat) + 2
	}
	room := maxSentRecord - headerSize - len(path) - len(image) - 3 - label
	msg := cString(e.Message, room)

	le := binary.LittleEndian
	size := headerSize + len(path) + len(image) + len(msg) + 3 + label
	b = append(b, typeRecord)
	b = le.AppendUint32(b, uint32(size))
	start := len(b)
	var head [headerSize]byte
	b = append(b, head[:]...)
	h := b[start:]
	h[offMarker] = 2
	le.PutUint32(h[offType:], 8)
	le.PutUint32(h[offHeader:], headerSize)
	le.PutUint32(h[offPID:], uint32(e.PID))
	le.PutUint64(h[offProcID:], uint64(e.PID))
	copy(h[offProcUUID:], e.ProcessUUID[:])
	le.PutUint16(h[offPathLen:], uint16(len(path)+1))
	le.PutUint64(h[offActivity:], e.ActivityID)
	le.PutUint64(h[offParent:], e.ParentActivityID)
	le.PutUint64(h[offSeconds:], uint64(max(e.Time.Unix(), 0)))
	le.PutUint32(h[offMicros:], uint32(e.Time.Nanosecond()/1000))
	h[offKind] = byte(e.Kind)
	h[offLevel] = byte(e.Level)
	le.PutUint64(h[offMach:], e.MachTime)
	le.PutUint64(h[offThread:], e.ThreadID)
	copy(h[offImageUUID:], e.ImageUUID[:])
	le.PutUint16(h[offImageLen:], uint16(len(image)+1))
	le.PutUint32(h[offMsgLen:], uint32(len(msg)+1))
	le.PutUint32(h[offImageOff:], e.ImageOffset)
	if label > 0 {
		le.PutUint16(h[offSubLen:], uint16(len(sub)+1))
		le.PutUint16(h[offCatLen:], uint16(len(cat)+1))
	}
	b = append(append(b, path...), 0)
	b = append(append(b, image...), 0)
	b = append(append(b, msg...), 0)
	if label > 0 {
		b = append(append(b, sub...), 0)
		b = append(append(b, cat...), 0)
	}
	return b
}

// cString truncates s at its first NUL and to at most limit bytes, but never inside a
// character.
func cString(s string, limit int) string {
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			s = s[:i]
		}
	}
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
