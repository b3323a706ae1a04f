package lua51

import (
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// openString fills the table string. host has made it the protected metatable of all strings, so
// that no script can redefine their methods for modules.
func openString(h *host.Host) {
	lib := libraryTable(h, "string")
	addFunctions(h, lib, map[string]func(c libCall) int{
		"byte": stringByte, "char": stringChar, "dump": stringDump, "find": stringFind,
		"format": stringFormat, "gmatch": stringGmatch, "gsub": stringGsub, "len": stringLen,
		"lower": stringLower, "match": stringMatch, "rep": stringRep, "reverse": stringReverse,
		"sub": stringSub, "upper": stringUpper,
	})
	lib.RawSetString("gfind", lua.LNil)
}

// span returns the half-open range of indexes that the Lua positions from and to mean in a string
// of the given length. Negative positions count from the end.
func span(from, to, length int) (begin, end int) {
	if from < 0 {
		from = max(from+length+1, 0)
	}
	if to < 0 {
		to = max(to+length+1, 0)
	}
	begin, end = max(from, 1)-1, min(to, length)
	if begin >= end {
		return 0, 0
	}
	return begin, end
}

func stringSub(c libCall) int {
	s := c.text(1)
	begin, end := span(c.integer(2), c.integerOr(3, -1), len(s))
	return c.pushText(s[begin:end])
}

func stringByte(c libCall) int {
	s := c.text(1)
	from := c.integerOr(2, 1)
	begin, end := span(from, c.integerOr(3, from), len(s))
	if end-begin > maxResults {
		c.RaiseError("string slice too long (%d bytes, limit is %d)", end-begin, maxResults)
	}
	for i := begin; i < end; i++ {
		c.Push(lua.LNumber(s[i]))
	}
	return end - begin
}

func stringChar(c libCall) int {
	b := make([]byte, c.GetTop())
	for i := range b {
		code := c.integer(i + 1)
		if code < 0 || code > 255 {
			c.fail(i+1, "invalid value")
		}
		b[i] = byte(code)
	}
	return c.pushText(string(b))
}

func stringDump(c libCall) int {
	c.function(1)
	c.RaiseError("string.dump is not supported: a function cannot be written as a string")
	return 0
}

func stringLen(c libCall) int {
	c.Push(lua.LNumber(len(c.text(1))))
	return 1
}

// stringRep has a separator as third argument, as in Lua 5.2.
func stringRep(c libCall) int {
	s, n, sep := c.text(1), c.integer(2), c.textOr(3, "")
	if n <= 0 || len(s)+len(sep) == 0 {
		return c.pushText("")
	}
	host.MakeString(c.LState, float64(len(s))*float64(n)+float64(len(sep))*float64(n-1))
	if sep == "" {
		return c.pushText(strings.Repeat(s, n))
	}
	return c.pushText(strings.Repeat(s+sep, n-1) + s)
}

func stringReverse(c libCall) int {
	s := c.text(1)
	host.MakeString(c.LState, float64(len(s)))
	b := []byte(s)
	slices.Reverse(b)
	return c.pushText(string(b))
}

// stringLower changes ASCII letters only, because other bytes may be binary data.
func stringLower(c libCall) int { return mapLetters(c, 'A', 'Z') }

// stringUpper changes ASCII letters only.
func stringUpper(c libCall) int { return mapLetters(c, 'a', 'z') }

// mapLetters changes the case of the letters between first and last.
func mapLetters(c libCall, first, last byte) int {
	s := c.text(1)
	i := 0
	for i < len(s) && (s[i] < first || s[i] > last) {
		i++
	}
	if i == len(s) {
		return c.pushText(s)
	}
	host.MakeString(c.LState, float64(len(s)))
	b := []byte(s)
	for ; i < len(b); i++ {
		if b[i] >= first && b[i] <= last {
			b[i] ^= 'a' - 'A'
		}
	}
	return c.pushText(string(b))
}

// textBuilder builds the string that a call returns, within the limits of the host.
type textBuilder struct {
	strings.Builder
	L *lua.LState
}

// maxExpected is the largest size for which memory is reserved before it is needed.
const maxExpected = 64 << 20

// expect reserves memory for a string of n bytes. The string may become shorter.
func (b *textBuilder) expect(n int) {
	if n <= min(maxExpected, int(host.Of(b.L).Options().MaxString)) {
		host.Reserve(b.L, n)
		b.Grow(n)
	}
}

// add appends s. It raises an error of code "memory" if the string becomes too large.
func (b *textBuilder) add(s string) {
	if b.Len()+len(s) > b.Cap() {
		host.MakeString(b.L, float64(b.Len()+len(s)))
	}
	b.WriteString(s)
}
