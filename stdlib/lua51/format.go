package lua51

import (
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// directive is one conversion of a format: %-08.3f.
type directive struct {
	minus, plus, space, alternate, zero bool

	width     int
	precision int // -1 if there is none
	verb      byte
}

// stringFormat formats by the rules of C's printf, as Lua does. Width and precision have at most
// two digits, %q writes text that Lua can read, and %s accepts any value, as tostring does.
func stringFormat(c libCall) int {
	format := c.text(1)
	out := textBuilder{L: c.LState}
	arg := 1
	for {
		at := strings.IndexByte(format, '%')
		if at < 0 {
			out.add(format)
			return c.pushText(out.String())
		}
		out.add(format[:at])
		format = format[at+1:]
		if strings.HasPrefix(format, "%") {
			out.add("%")
			format = format[1:]
			continue
		}
		arg++
		var d directive
		d, format = readDirective(c, format)
		out.add(formatArgument(c, d, arg))
	}
}

// readDirective reads the directive after a '%' and returns the rest of the format.
func readDirective(c libCall, s string) (d directive, rest string) {
	i := 0
	for i < len(s) && strings.IndexByte("-+ #0", s[i]) >= 0 {
		switch s[i] {
		case '-':
			d.minus = true
		case '+':
			d.plus = true
		case ' ':
			d.space = true
		case '#':
			d.alternate = true
		case '0':
			d.zero = true
		}
		i++
	}
	if i > 5 {
		c.RaiseError("invalid format (repeated flags)")
	}
	d.precision = -1
	d.width, i = twoDigits(s, i)
	if i < len(s) && s[i] == '.' {
		d.precision, i = twoDigits(s, i+1)
	}
	if i < len(s) && s[i] >= '0' && s[i] <= '9' {
		c.RaiseError("invalid format (width or precision too long)")
	}
	if i == len(s) {
		c.RaiseError("%s", "invalid option '%' to 'format'")
	}
	d.verb = s[i]
	if strings.IndexByte("diucxXoeEfgGaAqs", d.verb) < 0 {
		c.RaiseError("invalid option '%%%c' to 'format'", rune(d.verb))
	}
	return d, s[i+1:]
}

// twoDigits reads a number of at most two digits at index i.
func twoDigits(s string, i int) (n, next int) {
	for end := i + 2; i < len(s) && i < end && s[i] >= '0' && s[i] <= '9'; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n, i
}

// formatArgument formats argument n.
func formatArgument(c libCall, d directive, n int) string {
	switch d.verb {
	case 's':
		if n > c.GetTop() {
			c.fail(n, "no value")
		}
		s := host.ToString(c.LState, c.Get(n))
		if d.precision >= 0 {
			s = s[:min(d.precision, len(s))]
		}
		return d.pad("", s, false)
	case 'q':
		return quote(c.text(n))
	case 'c':
		return d.pad("", string([]byte{byte(toInt(c.number(n)))}), false)
	case 'd', 'i':
		return d.signed(c.signedAt(n))
	case 'u', 'o', 'x', 'X':
		return d.unsigned(c.unsignedAt(n))
	}
	return d.float(c.number(n))
}

// pad fills up a sign and digits, or a text, to the width. Zeros are put after the sign.
func (d directive) pad(sign, body string, zeros bool) string {
	missing := d.width - len(sign) - len(body)
	switch {
	case missing <= 0:
		return sign + body
	case d.minus:
		return sign + body + strings.Repeat(" ", missing)
	case d.zero && zeros:
		return sign + strings.Repeat("0", missing) + body
	}
	return strings.Repeat(" ", missing) + sign + body
}

// quote writes a string as a literal of Lua.
func quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for {
		at := strings.IndexAny(s, "\"\\\n\r\x00")
		if at < 0 {
			break
		}
		b.WriteString(s[:at])
		switch s[at] {
		case '\r':
			b.WriteString(`\r`)
		case 0:
			b.WriteString(`\000`)
		default:
			b.WriteByte('\\')
			b.WriteByte(s[at])
		}
		s = s[at+1:]
	}
	b.WriteString(s)
	b.WriteByte('"')
	return b.String()
}

// int64At returns argument n if it is a 64-bit integer of the host.
func (c libCall) int64At(n int) (bits uint64, negative, ok bool) {
	ud, ok := c.Get(n).(*lua.LUserData)
	if !ok {
		return 0, false, false
	}
	switch i := ud.Value.(type) {
	case host.Int64:
		return uint64(i), i < 0, true
	case host.UInt64:
		return uint64(i), false, true
	}
	return 0, false, false
}
