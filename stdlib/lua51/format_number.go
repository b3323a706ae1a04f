package lua51

import (
	"math"
	"strconv"
	"strings"
)

// signedAt returns argument n for %d: the absolute value and the sign. As in Lua 5.1 on Linux, the
// fraction is cut off.
func (c libCall) signedAt(n int) (abs uint64, negative bool) {
	bits, negative, ok := c.int64At(n)
	if !ok {
		f := c.number(n)
		if math.IsNaN(f) || math.Abs(f) >= 1<<64 || f < -1<<63 {
			c.fail(n, "number has no integer representation")
		}
		negative = f < 0
		return uint64(math.Abs(f)), negative && f <= -1
	}
	if negative {
		return -bits, true
	}
	return bits, false
}

// unsignedAt returns argument n for %u, %o and %x. A negative number is converted as to the type
// unsigned long long of C, which has 64 bits.
func (c libCall) unsignedAt(n int) uint64 {
	abs, negative := c.signedAt(n)
	if negative {
		return -abs
	}
	return abs
}

// sign returns the sign that is written before a number.
func (d directive) sign(negative bool) string {
	switch {
	case negative:
		return "-"
	case d.plus:
		return "+"
	case d.space:
		return " "
	}
	return ""
}

// digits returns n with at least as many digits as the precision.
func (d directive) digits(n uint64, base int) string {
	if n == 0 && d.precision == 0 {
		return ""
	}
	s := strconv.FormatUint(n, base)
	if len(s) < d.precision {
		s = strings.Repeat("0", d.precision-len(s)) + s
	}
	return s
}

func (d directive) signed(abs uint64, negative bool) string {
	return d.pad(d.sign(negative), d.digits(abs, 10), d.precision < 0)
}

func (d directive) unsigned(n uint64) string {
	prefix, s := "", ""
	switch d.verb {
	case 'u':
		s = d.digits(n, 10)
	case 'o':
		s = d.digits(n, 8)
		if d.alternate && !strings.HasPrefix(s, "0") {
			s = "0" + s
		}
	case 'x', 'X':
		s = d.digits(n, 16)
		if d.alternate && n != 0 {
			prefix = "0x"
		}
		if d.verb == 'X' {
			prefix, s = strings.ToUpper(prefix), strings.ToUpper(s)
		}
	}
	return d.pad(prefix, s, d.precision < 0)
}

func (d directive) float(f float64) string {
	sign := d.sign(math.Signbit(f) && !math.IsNaN(f))
	body, zeros := "", true
	switch verb := d.verb | 0x20; {
	case math.IsNaN(f):
		body, zeros = "nan", false
	case math.IsInf(f, 0):
		body, zeros = "inf", false
	case verb == 'g':
		body = d.general(math.Abs(f))
	case verb == 'a':
		sign += "0x"
		body = d.hexadecimal(math.Abs(f))
	default:
		body = d.withPoint(strconv.FormatFloat(math.Abs(f), verb, d.precisionOr(6), 64))
	}
	if d.verb&0x20 == 0 {
		sign, body = strings.ToUpper(sign), strings.ToUpper(body)
	}
	return d.pad(sign, body, zeros)
}

func (d directive) precisionOr(otherwise int) int {
	if d.precision < 0 {
		return otherwise
	}
	return d.precision
}

// withPoint adds the point that the flag '#' requires.
func (d directive) withPoint(s string) string {
	if !d.alternate || strings.Contains(s, ".") {
		return s
	}
	mantissa, exponent := splitExponent(s)
	return mantissa + "." + exponent
}

// splitExponent cuts s before its exponent.
func splitExponent(s string) (mantissa, exponent string) {
	// An e before a p is a hexadecimal digit.
	at := strings.IndexByte(s, 'p')
	if at < 0 {
		at = strings.IndexByte(s, 'e')
	}
	if at < 0 {
		return s, ""
	}
	return s[:at], s[at:]
}

// general formats f for %g: with an exponent if that is less than -4, or not less than the
// precision. Zeros at the end are left out unless the flag '#' is given.
func (d directive) general(f float64) string {
	precision := max(d.precisionOr(6), 1)
	s := strconv.FormatFloat(f, 'e', precision-1, 64)
	_, text := splitExponent(s)
	exponent, _ := strconv.Atoi(text[1:])
	if exponent >= -4 && exponent < precision {
		s = strconv.FormatFloat(f, 'f', precision-1-exponent, 64)
	}
	if d.alternate {
		return d.withPoint(s)
	}
	mantissa, text := splitExponent(s)
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	return mantissa + text
}

// hexadecimal formats f for %a, without the 0x. As in C, the exponent has as few digits as
// possible.
func (d directive) hexadecimal(f float64) string {
	s := strings.TrimPrefix(strconv.FormatFloat(f, 'x', d.precision, 64), "0x")
	mantissa, exponent := splitExponent(d.withPoint(s))
	digits := strings.TrimLeft(exponent[2:], "0")
	if digits == "" {
		digits = "0"
	}
	return mantissa + exponent[:2] + digits
}
