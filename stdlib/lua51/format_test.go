package lua51_test

import (
	"fmt"
	"testing"
)

func TestFormat(t *testing.T) {
	t.Parallel()
	compare(t, []string{
		`return string.format()`,
		`return ("%d"):format("x")`, `return ("%d"):format({})`, `return ("%d"):format("12")`,
		`return ("%y"):format(1)`, `return ("%"):format(1)`, `return ("%10"):format(1)`,
		`return ("%123d"):format(1)`, `return ("%1.123d"):format(1)`,
		`return ("%99999999d"):format(1)`, `return ("%999999999s"):format("")`,
		`return ("%------d"):format(1)`, `return ("%-+ #0d"):format(1)`,
		`return ("%%"):format()`, `return ("100%%"):format()`, `return ("%%d"):format(1)`,
		`return ("%5s|%-5s|%.2s|%5.1s|%-5.1s"):format("ab", "ab", "abc", "xyz", "xyz")`,
		`return ("%s %s"):format("ab", 1)`, `return ("%s"):format(1.5)`,
		`return ("%c%c%c"):format(65, 66, 255)`, `return ("%5c|%-5c"):format(65, 66)`,
		`return ("%q"):format('a\n"b\\c\r\0d')`, `return ("%q"):format(1)`,
		`return ("%q"):format({})`, `return ("x"):format(1, 2)`,
		`return ("%s"):format(setmetatable({},
			{ __tostring = function() return "own" end }) and 1)`,
		`return loadstring("return " .. ("%q"):format("a\nb\"c\\d\re\0001"))()`,
		`local s = "" for i = 0, 255 do s = s .. string.char(i) end
			return loadstring("return " .. ("%q"):format(s))() == s`,
	})
}

// TestFormatNumbers formats many numbers in every way.
func TestFormatNumbers(t *testing.T) {
	t.Parallel()
	var chunks []string
	for _, flags := range []string{"", "-", "+", " ", "#", "0", "+0", "-#", " 0#", "-0"} {
		sizes := []string{"", "5", "12", ".0", ".3", "8.2", ".", "12.10", "3.", "99.99"}
		for _, size := range sizes {
			for _, verb := range "diuoxX" {
				// C leaves the flags + and space of unsigned numbers undefined.
				numbers := "0, 1, -1, 42, 255, -255, 3.99, -3.99, 2^31, 2^53, -2^53"
				chunks = append(chunks, formats(flags+size+string(verb), numbers))
			}
			for _, verb := range "eEfgG" {
				numbers := "0, 1, -1, 0.5, 1.5, 2.5, -2.5, 1e-4, 1e-5, 123456, 1234567, 1e15," +
					" 1e16, 1e17, 1e100, 1/3, 9.9999999, 99999.95, 5e-324, 1/0, -1/0"
				chunks = append(chunks, formats(flags+size+string(verb), numbers))
			}
		}
	}
	compare(t, chunks)
}

// formats returns a chunk that formats a list of numbers.
func formats(directive, numbers string) string {
	return fmt.Sprintf(`local t = {} for i, n in ipairs({ %s }) do t[i] = ("%%%s"):format(n) end
		return table.concat(t, ";")`, numbers, directive)
}

// TestFormatByDesign checks intended differences from lua5.1.
func TestFormatByDesign(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, want string }{
		{`print(("%s|%5s|%s"):format(nil, true, setmetatable({}, { __tostring = function()
			return "own" end })))`, "nil| true|own\n"},
		{`print(#("%c"):format(0), #("%s"):format("a\0b"))`, "1\t3\n"},
		{`print(pcall(string.format, "%d"))`,
			"false\tbad argument #2 to 'format' (number expected, got no value)\n"},
		{`print(pcall(string.format, "%s"))`,
			"false\tbad argument #2 to 'format' (no value)\n"},
		{`print(("%a %A %a %.2a"):format(1, 0.5, 0, 255))`, "0x1p+0 0X1P-1 0x0p+0 0x1.fep+7\n"},
		{`print(("%5.1f|%-6g|%06f|%+d"):format(0/0, 1/0, -1/0, 5))`, "  nan|inf   |  -inf|+5\n"},
		{`print(pcall(string.format, "%d", 0/0))`,
			"false\tbad argument #2 to 'format' (number has no integer representation)\n"},
		{`print(("%d %x"):format(int64("9007199254740993"), uint64("18446744073709551615")))`,
			"9007199254740993 ffffffffffffffff\n"},
	} {
		if got := runOurs(t, tc.source); got != tc.want {
			t.Errorf("%s\nprinted %q, want %q", tc.source, got, tc.want)
		}
	}
}
