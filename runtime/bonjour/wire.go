// Package bonjour finds devices by multicast DNS (RFC 6762) and DNS-SD (RFC 6763), and
// advertises the virtual device. H is a host, and D is a device on its link. The group
// is 224.0.0.251 or ff02::fb, port 5353:
//
//	H -> group  _apple-mobdev2._tcp.local. PTR ?
//	D -> H      PTR _apple-mobdev2._tcp.local. =
//	              5c:52:84:0a:1b:2c@fe80::5e52:84ff:fe0a:1b2c-supportsRP-24._apple-mobdev2._tcp.local.
//	            SRV  that name = port 32498 of Some-iPhone.local.
//	            TXT  that name = one empty string
//	            AAAA Some-iPhone.local. = fe80::1c0a:fdff:fe3e:1234
//	            A    Some-iPhone.local. = 192.168.1.20
//
// A question from a port other than 5353 is answered to that port only. A question from
// port 5353 is answered to the group. When a device appears, it sends its records to
// the group twice ("announcement"). When it leaves, it sends them, if it can, with a
// lifetime of 0 ("goodbye").
//
// What Apple's devices advertise:
//
//	_apple-mobdev2._tcp                lockdownd over Wi-Fi, when EnableWifiConnections is on; any iOS
//	_remoted._tcp                      remoted on USB Ethernet, iOS 16 and later; every device is called "ncm"
//	_remotepairing._tcp                pair-verify and tunnels over Wi-Fi, iOS 17 and later
//	_remotepairing-manual-pairing._tcp pairing by PIN, Apple TV and Vision
//
// Some properties are unusual. The port of _apple-mobdev2._tcp is 62078 with its bytes
// swapped, and nothing listens on it. The address in its instance name is computed, and
// the device may have another one. Devices on different interfaces have the same
// instance name, host name and even address, so that everything found here has an
// interface.
package bonjour

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Port is the port of multicast DNS.
const Port = 5353

// Limits of what peers send.
const (
	// maxPacket is the length of the longest message (RFC 6762, section 17).
	maxPacket = 9000
	// headerSize is the size of a message's id, flags and four counts.
	headerSize = 12
	// maxName and maxLabel bound a name and each of its labels, in bytes.
	maxName  = 255
	maxLabel = 63
	// maxInstances bounds the instances that a browse keeps. maxAddresses bounds the
	// addresses of each instance.
	maxInstances = 1024
	maxAddresses = 32
	// maxQuestions bounds the questions of a message that are answered, and maxReplies
	// the messages of the answer.
	maxQuestions = 32
	maxReplies   = 512
	// maxText bounds the TXT records that are advertised, so that an answer fits into a
	// frame.
	maxText = 900
)

// The lifetimes of records, which are those of Apple's responder.
const (
	// hostTTL is the lifetime of records that depend on the host's addresses or port.
	hostTTL = 120
	// serviceTTL is the lifetime of all other records.
	serviceTTL = 4500
	// legacyTTL bounds both in answers to plain DNS clients (RFC 6762, 6.7).
	legacyTTL = 10
	// announceGap is the time between the two announcements.
	announceGap = time.Second
)

const (
	domain = "local"
	// metaQuery is the name whose PTR records are the types of services.
	metaQuery = "_services._dns-sd._udp.local."
	metaKey   = "\x09_services\x07_dns-sd\x04_udp\x05local"
)

// Error is the type of every error of the package.
type Error struct {
	Op      string // what was tried: "browse", "advertise", "parse type"
	Subject string // the type, instance or interface
	Err     error
}

func (e *Error) Error() string {
	s := "bonjour: " + e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrNoInterface is the cause of an error if no interface can multicast.
	ErrNoInterface = errors.New("no interface that is up and can multicast")
	// ErrInvalid is the cause of an error if a name, type or address cannot be used.
	ErrInvalid = errors.New("invalid")
)

// parseName splits a name in presentation form ("a\.b._tcp.local.") into its labels,
// without escapes. The form is that of RFC 1035, in which \DDD is a byte in decimal and
// \X is X.
func parseName(name string) ([]string, bool) {
	var labels []string
	var label []byte
	total := 1
	end := func() bool {
		total += len(label) + 1
		if len(label) == 0 || len(label) > maxLabel || total > maxName {
			return false
		}
		labels, label = append(labels, string(label)), nil
		return true
	}
	for i := 0; i < len(name); {
		c, n, ok := unescapeByte(name[i:])
		if !ok {
			return nil, false
		}
		i += n
		if n > 1 || c != '.' {
			label = append(label, c)
		} else if !end() {
			return nil, false
		}
	}
	if len(label) > 0 && !end() {
		return nil, false
	}
	return labels, len(labels) > 0
}

// unescapeByte decodes the first byte of s, which is not empty, and returns the length
// of its presentation form.
func unescapeByte(s string) (c byte, n int, ok bool) {
	if s[0] != '\\' {
		return s[0], 1, true
	}
	if len(s) < 2 {
		return 0, 0, false
	}
	if s[1] < '0' || s[1] > '9' {
		return s[1], 2, true
	}
	if len(s) < 4 {
		return 0, 0, false
	}
	v := 0
	for _, d := range []byte(s[1:4]) {
		if d < '0' || d > '9' {
			return 0, 0, false
		}
		v = v*10 + int(d-'0')
	}
	return byte(v), 4, v < 256
}

// unescape decodes text in presentation form, such as a string of a TXT record.
func unescape(s string) (string, bool) {
	if !strings.Contains(s, `\`) {
		return s, true
	}
	var b []byte
	for len(s) > 0 {
		c, n, ok := unescapeByte(s)
		if !ok {
			return "", false
		}
		b, s = append(b, c), s[n:]
	}
	return string(b), true
}

// escape encodes a label or text in presentation form.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_':
			b.WriteByte(c)
		default:
			b.Write([]byte{'\\', '0' + c/100, '0' + c/10%10, '0' + c%10})
		}
	}
	return b.String()
}

// formatName is the inverse of parseName.
func formatName(labels ...string) string {
	var b strings.Builder
	for _, l := range labels {
		b.WriteString(escape(l))
		b.WriteByte('.')
	}
	return b.String()
}

// nameKey returns the same text for all forms of a name. It ignores the case of ASCII
// letters, as DNS does, and the form of escapes. The result is the name in wire format.
func nameKey(labels []string) string {
	var b []byte
	for _, l := range labels {
		b = append(b, byte(len(l)))
		for _, c := range []byte(l) {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			b = append(b, c)
		}
	}
	return string(b)
}

// parseText decodes the strings of a TXT record in presentation form. Keys are returned
// as sent. If keys differ by case only, the first one is used (RFC 6763, 6.4). A string
// without "=" is a key with an empty value.
func parseText(fields []string) map[string]string {
	text := map[string]string{}
	seen := map[string]bool{}
	for _, f := range fields {
		raw, ok := unescape(f)
		if !ok {
			continue
		}
		key, value, _ := strings.Cut(raw, "=")
		if fold := strings.ToLower(key); key != "" && !seen[fold] {
			seen[fold] = true
			text[key] = value
		}
	}
	return text
}

// formatText encodes a TXT record's strings in presentation form, sorted by key. A
// record without keys has one empty string.
func formatText(text map[string]string) ([]string, bool) {
	var fields []string
	total := 0
	for key, value := range text {
		if key == "" ||
			strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' || r == '=' }) {
			return nil, false
		}
		n := len(key) + 1 + len(value)
		total += n + 1
		if n > 255 || total > maxText {
			return nil, false
		}
		fields = append(fields, escape(key)+"="+escape(value))
	}
	if fields == nil {
		return []string{""}, true
	}
	slices.Sort(fields)
	return fields, true
}
