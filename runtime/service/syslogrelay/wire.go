// Package syslogrelay reads the text log of a device (com.apple.syslog_relay), which
// all versions of iOS have.
//
// There is no request. The device sends records as soon as the connection is open. Each
// record ends with a line feed and a NUL:
//
//	<- Jan  2 15:04:05 iPhone SpringBoard(CoreFoundation)[123] <Notice>: hello\n\0
//	<- Jan  2 15:04:05 iPhone kernel[0] <Error>: two\nlines\n\0
//
// The day is padded with a space to two columns. The image in parentheses is absent if
// the process itself logged the message. Records contain neither the year nor the time
// zone. Control characters and non-ASCII bytes are escaped as by vis(3), but line feeds
// and tabs inside a message are not. Since iOS 10 the device sends only live records;
// before, it sent the stored log first.
package syslogrelay

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the text log.
var Service = service.Name{
	Lockdown: "com.apple.syslog_relay",
	Remote:   "com.apple.syslog_relay.shim.remote",
	Checkin:  true,
}

// MaxRecord bounds the size of a record. Real records are far smaller: the log system
// truncates a message at 32 KiB, and escaping turns one byte into at most four.
const MaxRecord = 1 << 20

// recordEnd marks the end of a record.
var recordEnd = []byte{'\n', 0}

// Level is the severity of a record, as the device names it.
type Level string

// Levels since iOS 10. Older versions also send Emergency, Alert, Critical and Warning.
const (
	Notice Level = "Notice"
	Info   Level = "Info"
	Debug  Level = "Debug"
	Err    Level = "Error"
	Fault  Level = "Fault"
)

// Entry is one record. If the record does not have the usual form, only Raw and Message
// are set, and PID is -1.
type Entry struct {
	Time    time.Time // to the second; see Client.Now for the year and the time zone
	Host    string    // name of the device as the log writes it
	Process string    // base name of the executable
	Image   string    // base name of the library that logged it; "" for the executable itself
	PID     int
	Level   Level
	Message string // with escapes decoded
	Raw     string // record as received, without its end marker
}

var errs = service.Errors{Service: "syslogrelay"}

// Parse parses a record without its end marker. It takes the year and the time zone
// from now. If the time would be more than a day after now, it takes the year before.
func Parse(record []byte, now time.Time) Entry {
	raw := string(record)
	e, ok := parse(raw, now)
	if !ok {
		return Entry{Raw: raw, Message: decodeVis(raw), PID: -1}
	}
	return e
}

// stampLen is the length of "Mmm dd hh:mm:ss ".
const stampLen = 15

func parse(raw string, now time.Time) (Entry, bool) {
	e := Entry{Raw: raw}
	if len(raw) <= stampLen || raw[stampLen] != ' ' {
		return e, false
	}
	at, ok := parseStamp(raw[:stampLen], now)
	if !ok {
		return e, false
	}
	host, rest, ok := strings.Cut(raw[stampLen+1:], " ")
	if !ok || host == "" {
		return e, false
	}
	who, pid, rest, ok := cutPID(rest)
	if !ok {
		return e, false
	}
	level, message, ok := strings.Cut(rest, ">:")
	if !ok || level == "" || len(level) > 16 {
		return e, false
	}
	e.Time, e.PID, e.Level = at, pid, Level(level)
	e.Host = decodeVis(host)
	e.Process, e.Image = splitImage(who)
	e.Message = decodeVis(strings.TrimPrefix(message, " "))
	return e, true
}

// parseStamp parses "Jan  2 15:04:05". A day with one digit may be padded with a space
// or a zero before it, or with a space after it.
func parseStamp(s string, now time.Time) (time.Time, bool) {
	t, err := time.ParseInLocation("Jan _2 15:04:05", s, now.Location())
	if err != nil {
		return time.Time{}, false
	}
	at := func(year int) time.Time {
		return time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0,
			now.Location())
	}
	got := at(now.Year())
	if got.After(now.Add(24 * time.Hour)) {
		got = at(now.Year() - 1)
	} else if got.Before(now.AddDate(0, -11, 0)) {
		got = at(now.Year() + 1) // the device is already in the next year
	}
	return got, true
}

// cutPID splits `name(image)[12] <Level>: text` after "<". Process names may contain
// spaces and brackets, so the first `[digits] <` decides.
func cutPID(s string) (who string, pid int, rest string, ok bool) {
	for from := 0; ; {
		end := strings.Index(s[from:], "] <")
		if end < 0 {
			return "", 0, "", false
		}
		end += from
		open := strings.LastIndexByte(s[:end], '[')
		if open > 0 {
			if n, err := strconv.ParseUint(s[open+1:end], 10, 31); err == nil {
				return s[:open], int(n), s[end+3:], true
			}
		}
		from = end + 3
	}
}

func splitImage(who string) (process, image string) {
	if strings.HasSuffix(who, ")") {
		if i := strings.LastIndexByte(who, '('); i > 0 {
			process, image = who[:i], who[i+1:len(who)-1]
			return decodeVis(process), decodeVis(image)
		}
	}
	return decodeVis(who), ""
}

// appendVis escapes s as the log of the device does:
//
//	\^x  control character x^0x40        \M-x  byte x|0x80
//	\M^x byte (x^0x40)|0x80              \ooo  0xA0 (\240) and backslash (\134)
func appendVis(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			dst = append(dst, `\134`...)
		case c == 0xA0:
			dst = append(dst, `\240`...)
		case c == '\n' || c == '\t' || c >= 0x20 && c < 0x7F:
			dst = append(dst, c)
		case c < 0x80:
			dst = append(dst, '\\', '^', c^0x40)
		case c&0x7F < 0x20 || c == 0xFF:
			dst = append(dst, '\\', 'M', '^', c&0x7F^0x40)
		default:
			dst = append(dst, '\\', 'M', '-', c&0x7F)
		}
	}
	return dst
}

// decodeVis decodes the escapes of appendVis and keeps all other text. Bytes that do
// not form UTF-8 afterwards become U+FFFD.
func decodeVis(s string) string {
	first := strings.IndexByte(s, '\\')
	if first < 0 {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	out := append(make([]byte, 0, len(s)), s[:first]...)
	for i := first; i < len(s); {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		c, n := visEscape(s[i:])
		out = append(out, c)
		i += n
	}
	return string(bytes.ToValidUTF8(out, []byte("\uFFFD")))
}

// visEscape decodes the escape at the beginning of s and returns its length. A
// backslash that does not begin an escape stands for itself.
func visEscape(s string) (c byte, n int) {
	switch {
	case len(s) >= 4 && s[1] == 'M' && s[2] == '-':
		return s[3] | 0x80, 4
	case len(s) >= 4 && s[1] == 'M' && s[2] == '^':
		return s[3] ^ 0x40 | 0x80, 4
	case len(s) >= 3 && s[1] == '^':
		return s[2] ^ 0x40, 3
	case len(s) >= 2 && s[1] == '\\':
		return '\\', 2
	case len(s) >= 4:
		if v, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
			return byte(v), 4
		}
	}
	return '\\', 1
}

// appendRecord appends one record with its end marker.
func appendRecord(
	b []byte, at time.Time, host, process, image string, pid int, level Level, message string,
) []byte {
	b = at.AppendFormat(b, "Jan _2 15:04:05 ")
	b = appendVis(b, host)
	b = append(b, ' ')
	b = appendVis(b, process)
	if image != "" {
		b = append(b, '(')
		b = appendVis(b, image)
		b = append(b, ')')
	}
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(pid), 10)
	b = append(b, "] <"...)
	b = append(b, level...)
	b = append(b, ">: "...)
	b = appendVis(b, message)
	return append(b, recordEnd...)
}
