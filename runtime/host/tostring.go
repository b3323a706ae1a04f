package host

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// ToString is tostring: __tostring and __name count, numbers are as short as
// they can be without loss, integers up to 2^63 have no exponent.
func ToString(L *lua.LState, v lua.LValue) string {
	switch v := v.(type) {
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return formatNumber(float64(v))
	case *lua.LTable, *lua.LUserData:
		if mm := L.GetMetaField(v, "__tostring"); mm != lua.LNil {
			res := Call(L, mm, 1, v)
			if s, ok := res[0].(lua.LString); ok {
				return string(s)
			}
			if n, ok := res[0].(lua.LNumber); ok {
				return formatNumber(float64(n))
			}
			L.RaiseError("'__tostring' must return a string")
		}
		if name, ok := L.GetMetaField(v, "__name").(lua.LString); ok {
			return fmt.Sprintf("%s: %p", string(name), v)
		}
	}
	return plainString(v)
}

// plainString is ToString without metamethods.
func plainString(v lua.LValue) string {
	switch v := v.(type) {
	case lua.LNumber:
		return formatNumber(float64(v))
	case *lua.LFunction:
		if v.IsG {
			return fmt.Sprintf("builtin: %p", v)
		}
	}
	return v.String()
}

func formatNumber(f float64) string {
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

// parseNumber reads a number as Lua writes it: decimal, hexadecimal, with
// spaces around.
func parseNumber(s string) (float64, bool) {
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
	// Words such as "inf" and "nan" are no numbers.
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
	f, ok := parseInteger(digits, 16)
	if neg {
		f = -f
	}
	return f, ok
}

func parseInteger(s string, base int) (float64, bool) {
	s = strings.Trim(s, " \t\n\r\v\f")
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
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

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
