// Package luanum converts numbers to text and back by the rules of Lua.
package luanum

import (
	"math"
	"strconv"
	"strings"
)

// Format returns the text of tostring(f). The text is as short as possible without
// loss. Integers up to 2^63 have no exponent.
func Format(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case f == math.Trunc(f) && math.Abs(f) < 1<<63:
		return strconv.FormatInt(int64(f), 10)
	}
	if a := math.Abs(f); a >= 1e-5 && a < 1<<63 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// Parse reads a number as Lua writes it: decimal or hexadecimal, with optional
// white space around it.
func Parse(s string) (float64, bool) {
	s = strings.Trim(s, " \t\n\r\v\f")
	digits, neg := s, false
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		neg, digits = digits[0] == '-', digits[1:]
	}
	if digits == "" || strings.ContainsRune(digits, '_') {
		return 0, false
	}
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		return parseHex(digits[2:], neg)
	}
	// Words such as "inf" and "nan" are not numbers in Lua.
	if c := digits[0]; c != '.' && (c < '0' || c > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

func parseHex(digits string, neg bool) (float64, bool) {
	if strings.ContainsAny(digits, ".pP") {
		if !strings.ContainsAny(digits, "pP") {
			digits += "p0"
		}
		f, err := strconv.ParseFloat("0x"+digits, 64)
		if neg {
			f = -f
		}
		return f, err == nil
	}
	f, ok := ParseInteger(digits, 16)
	if neg {
		f = -f
	}
	return f, ok
}

// ParseInteger reads an integer in the given base, as tonumber(s, base) does.
func ParseInteger(s string, base int) (float64, bool) {
	s = strings.Trim(s, " \t\n\r\v\f")
	neg := strings.HasPrefix(s, "-")
	if neg || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	if base == 16 && len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		s = s[2:]
	}
	f := 0.0
	for _, c := range []byte(s) {
		d := 99
		switch {
		case c >= '0' && c <= '9':
			d = int(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			d = int(c|0x20-'a') + 10
		}
		if d >= base {
			return 0, false
		}
		f = f*float64(base) + float64(d)
	}
	if neg {
		f = -f
	}
	return f, s != ""
}
