package plist

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	byteOrderMark   = "\xef\xbb\xbf"
	utf16LittleMark = "\xff\xfe"
	utf16BigMark    = "\xfe\xff"

	// headSize is how much of a UTF-16 document FormatOf examines.
	headSize = 512
	// prologSize bounds an XML declaration.
	prologSize = 256
)

var declaredEncoding = regexp.MustCompile(
	`(?s)^\s*<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]*)["'][^>]*\?>`)

// utf16Order returns the byte order of a UTF-16 document, which its byte order mark or
// its first bracket shows. It returns nil if b has another encoding.
func utf16Order(b []byte) (order binary.ByteOrder, mark int) {
	switch {
	case bytes.HasPrefix(b, []byte(utf16LittleMark)):
		return binary.LittleEndian, 2
	case bytes.HasPrefix(b, []byte(utf16BigMark)):
		return binary.BigEndian, 2
	case bytes.HasPrefix(b, []byte("<\x00")):
		return binary.LittleEndian, 0
	case bytes.HasPrefix(b, []byte("\x00<")):
		return binary.BigEndian, 0
	}
	return nil, 0
}

func fromUTF16(b []byte, order binary.ByteOrder) []byte {
	out := make([]byte, 0, len(b))
	for len(b) >= 2 {
		r := rune(order.Uint16(b))
		b = b[2:]
		if utf16.IsSurrogate(r) && len(b) >= 2 {
			pair := utf16.DecodeRune(r, rune(order.Uint16(b)))
			if pair != utf8.RuneError {
				b = b[2:]
			}
			r = pair
		}
		out = utf8.AppendRune(out, r) // a lone surrogate becomes U+FFFD
	}
	return out
}

func fromLatin1(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/8)
	for _, c := range b {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}

// toUTF8 converts an XML document from the encoding that it declares, because
// encoding/xml reads UTF-8 only. It replaces the declaration by white space, because
// that would name the old encoding. A UTF-8 document is returned unchanged.
func toUTF8(b []byte) ([]byte, error) {
	order, mark := utf16Order(b)
	if order != nil {
		if len(b)%2 != 0 {
			return nil, fmt.Errorf("UTF-16 text of %d bytes ends within a character", len(b))
		}
		b = fromUTF16(b[mark:], order)
	}
	m := declaredEncoding.FindSubmatchIndex(b[:min(len(b), prologSize)])
	if m == nil {
		return b, nil
	}
	name := strings.ToLower(string(b[m[2]:m[3]]))
	switch {
	case order != nil && strings.HasPrefix(name, "utf-16"):
	case name == "utf-8" && order == nil:
		return b, nil
	case (name == "iso-8859-1" || name == "latin1" || name == "us-ascii") && order == nil:
		b = fromLatin1(b)
	default:
		return nil, fmt.Errorf("encoding %q is not supported, or is not that of the text", name)
	}
	out := bytes.Clone(b)
	for i := range m[1] {
		out[i] = ' '
	}
	return out, nil
}
