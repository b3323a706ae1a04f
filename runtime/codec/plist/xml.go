package plist

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const xmlHead = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">`

// uidKey is the only key of the dictionary that stands for a UID in XML.
const uidKey = "CF$UID"

type xmlReader struct{ d *xml.Decoder }

func decodeXML(b []byte) (any, error) {
	b = blankControls(bytes.TrimPrefix(b, []byte(byteOrderMark)))
	r := xmlReader{xml.NewDecoder(bytes.NewReader(b))}
	e, err := r.open()
	if err == nil && e != nil && e.Name.Local == "plist" {
		e, err = r.open()
	}
	if err == nil && e == nil {
		err = errors.New("no value")
	}
	if err != nil {
		return nil, err
	}
	return r.value(e.Name.Local, 0)
}

// blankControls returns b without the control characters that devices sometimes
// leave in strings and that no XML parser accepts. It copies b only when there
// is one.
func blankControls(b []byte) []byte {
	bad := func(c byte) bool { return c < 0x20 && c != '\t' && c != '\n' && c != '\r' }
	for i, c := range b {
		if !bad(c) {
			continue
		}
		out := bytes.Clone(b)
		for k := i; k < len(out); k++ {
			if bad(out[k]) {
				out[k] = ' '
			}
		}
		return out
	}
	return b
}

// open returns the next element that begins, or nil when the one around it
// ends first.
func (r xmlReader) open() (*xml.StartElement, error) {
	for {
		t, err := r.d.Token()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			return &t, nil
		case xml.EndElement:
			return nil, nil
		}
	}
}

// text returns the content of an element that holds nothing else.
func (r xmlReader) text() (string, error) {
	var first []byte
	var whole *bytes.Buffer
	for {
		t, err := r.d.Token()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.CharData:
			// One piece is the rule; a comment or CDATA section splits it.
			switch {
			case whole != nil:
				whole.Write(t)
			case first != nil:
				whole = bytes.NewBuffer(append(first, t...))
			default:
				first = bytes.Clone(t)
			}
		case xml.StartElement:
			return "", fmt.Errorf("<%s> inside of text", t.Name.Local)
		case xml.EndElement:
			if whole != nil {
				return whole.String(), nil
			}
			return string(first), nil
		}
	}
}

func (r xmlReader) value(name string, depth int) (any, error) {
	if depth > MaxDepth {
		return nil, ErrLimit
	}
	switch name {
	case "dict":
		return r.dict(depth)
	case "array":
		return r.array(depth)
	}
	s, err := r.text()
	if err != nil {
		return nil, err
	}
	switch name {
	case "string":
		return s, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "integer":
		return parseInteger(strings.TrimSpace(s))
	case "real":
		return strconv.ParseFloat(strings.TrimSpace(s), 64)
	case "data":
		return parseData(s)
	case "date":
		t, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
		return t.UTC(), err
	}
	return nil, fmt.Errorf("unknown element <%s>", name)
}

func parseInteger(s string) (any, error) {
	base := 10
	digits, negative := strings.CutPrefix(s, "-")
	if hex, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	switch {
	case err != nil:
		return nil, fmt.Errorf("integer %.40q: %w", s, errors.Unwrap(err))
	case negative && n <= 1<<63:
		return -int64(n), nil
	case negative:
		return nil, fmt.Errorf("integer %.40q: %w", s, strconv.ErrRange)
	case n > math.MaxInt64:
		return n, nil
	}
	return int64(n), nil
}

func parseData(s string) (any, error) {
	b := []byte(s)
	clean := b[:0]
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			clean = append(clean, c)
		}
	}
	n, err := base64.StdEncoding.Decode(b, clean) // in place: it writes behind what it reads
	if err != nil {
		return nil, err
	}
	return b[:n:n], nil
}

func (r xmlReader) dict(depth int) (any, error) {
	d := Dict{}
	for {
		e, err := r.open()
		if err != nil {
			return nil, err
		}
		if e == nil {
			break
		}
		if e.Name.Local != "key" {
			return nil, fmt.Errorf("<%s> where a key should be", e.Name.Local)
		}
		key, err := r.text()
		if err != nil {
			return nil, err
		}
		if e, err = r.open(); err != nil {
			return nil, err
		}
		if e == nil {
			return nil, fmt.Errorf("key %.40q without a value", key)
		}
		if d[key], err = r.value(e.Name.Local, depth+1); err != nil {
			return nil, err
		}
	}
	if n, ok := d[uidKey].(int64); ok && len(d) == 1 && n >= 0 {
		return UID(n), nil
	}
	return d, nil
}

func (r xmlReader) array(depth int) (any, error) {
	list := []any{}
	for {
		e, err := r.open()
		if err != nil {
			return nil, err
		}
		if e == nil {
			return list, nil
		}
		v, err := r.value(e.Name.Local, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

func encodeXML(v any) ([]byte, error) {
	b, err := appendXML(append(make([]byte, 0, 512), xmlHead...), v, 0)
	if err != nil {
		return nil, err
	}
	return append(b, "</plist>"...), nil
}

func appendXML(b []byte, v any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, ErrLimit
	}
	v, err := canonical(v)
	if err != nil {
		return nil, err
	}
	switch t := v.(type) {
	case string:
		return appendText(b, "string", t)
	case bool:
		return fmt.Appendf(b, "<%t/>", t), nil
	case int64:
		return append(strconv.AppendInt(append(b, "<integer>"...), t, 10), "</integer>"...), nil
	case uint64:
		return append(strconv.AppendUint(append(b, "<integer>"...), t, 10), "</integer>"...), nil
	case float32:
		return appendReal(b, float64(t), 32), nil
	case float64:
		return appendReal(b, t, 64), nil
	case time.Time:
		return append(t.UTC().AppendFormat(append(b, "<date>"...), time.RFC3339), "</date>"...), nil
	case []byte:
		if len(t) == 0 {
			return append(b, "<data/>"...), nil
		}
		return append(base64.StdEncoding.AppendEncode(append(b, "<data>"...), t), "</data>"...), nil
	case UID:
		return appendXML(b, Dict{uidKey: uint64(t)}, depth)
	case []any:
		b = append(b, "<array>"...)
		for i, e := range t {
			if b, err = appendXML(b, e, depth+1); err != nil {
				return nil, insideIndex(i, err)
			}
		}
		return append(b, "</array>"...), nil
	}
	d := v.(Dict)
	b = append(b, "<dict>"...)
	for _, k := range sortedKeys(d) {
		if b, err = appendText(b, "key", k); err == nil {
			b, err = appendXML(b, d[k], depth+1)
		}
		if err != nil {
			return nil, inside(k, err)
		}
	}
	return append(b, "</dict>"...), nil
}

func appendReal(b []byte, f float64, size int) []byte {
	text := strconv.FormatFloat(f, 'g', -1, size)
	switch {
	case math.IsNaN(f):
		text = "nan"
	case math.IsInf(f, 1):
		text = "inf"
	case math.IsInf(f, -1):
		text = "-inf"
	}
	return append(append(append(b, "<real>"...), text...), "</real>"...)
}

// appendText refuses what XML has no way to write. Escaping libraries put a
// replacement character there, which loses the text without a word.
func appendText(b []byte, element, s string) ([]byte, error) {
	if s == "" {
		return fmt.Appendf(b, "<%s/>", element), nil
	}
	b = append(append(append(b, '<'), element...), '>')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				return nil, errNotUTF8
			}
			if r == 0xFFFE || r == 0xFFFF {
				return nil, fmt.Errorf("string holds %U, which XML cannot carry", r)
			}
			b = append(b, s[i:i+n]...)
			i += n
			continue
		}
		i++
		switch {
		case c == '&':
			b = append(b, "&amp;"...)
		case c == '<':
			b = append(b, "&lt;"...)
		case c == '>':
			b = append(b, "&gt;"...)
		case c == '\r':
			b = append(b, "&#xD;"...) // a bare one would be read as a line feed
		case c < 0x20 && c != '\t' && c != '\n':
			return nil, fmt.Errorf("string holds %U, which XML cannot carry", c)
		default:
			b = append(b, c)
		}
	}
	return append(append(append(b, '<', '/'), element...), '>'), nil
}
