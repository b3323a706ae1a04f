package lua51

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// magic lists the special characters of patterns. string.find needs no matcher for a pattern
// without them.
const magic = "^$*+?.([%-"

func stringFind(c libCall) int {
	s, pattern, from := c.searchArguments()
	if lua.LVAsBool(c.Get(4)) || !strings.ContainsAny(pattern, magic) {
		at := strings.Index(s[from:], pattern)
		if at < 0 {
			c.Push(lua.LNil)
			return 1
		}
		c.Push(lua.LNumber(from + at + 1))
		c.Push(lua.LNumber(from + at + len(pattern)))
		return 2
	}
	m, begin, end := c.firstMatch(s, pattern, from)
	if begin < 0 {
		c.Push(lua.LNil)
		return 1
	}
	c.Push(lua.LNumber(begin + 1))
	c.Push(lua.LNumber(end))
	if m.level == 0 {
		return 2
	}
	return 2 + c.pushCaptures(m, begin, end)
}

func stringMatch(c libCall) int {
	s, pattern, from := c.searchArguments()
	m, begin, end := c.firstMatch(s, pattern, from)
	if begin < 0 {
		c.Push(lua.LNil)
		return 1
	}
	return c.pushCaptures(m, begin, end)
}

// searchArguments reads the subject, the pattern and the index at which the search begins. An index
// after the end becomes the end.
func (c libCall) searchArguments() (s, pattern string, from int) {
	s, pattern = c.text(1), c.text(2)
	from = c.integerOr(3, 1)
	if from < 0 {
		from += len(s) + 1
	}
	return s, pattern, min(max(from-1, 0), len(s))
}

// firstMatch looks for the first match at or after index from. begin is -1 if there is none.
func (c libCall) firstMatch(s, pattern string, from int) (m *matcher, begin, end int) {
	m = newMatcher(c.LState, s, pattern)
	if strings.HasPrefix(pattern, "^") {
		begin, end = m.search(from, 1, true)
	} else {
		begin, end = m.search(from, 0, false)
	}
	return m, begin, end
}

// pushCaptures pushes the values of a match and returns their number.
func (c libCall) pushCaptures(m *matcher, begin, end int) int {
	n := m.captured()
	for i := range n {
		c.Push(m.value(i, begin, end))
	}
	return n
}

// stringGmatch returns an iterator. A '^' has no special meaning in its pattern.
func stringGmatch(c libCall) int {
	s, pattern := c.text(1), c.text(2)
	from := 0
	var idle *matcher
	c.Push(c.NewFunction(func(L *lua.LState) int {
		// Another task may call the iterator while a match is running. That call gets a matcher of
		// its own, and so does the call after one that has raised an error.
		m := idle
		idle = nil
		if m == nil {
			m = newMatcher(L, s, pattern)
		}
		m.L = L
		begin, end := m.search(from, 0, false)
		if begin < 0 {
			from = len(s) + 1
			return 0
		}
		from = end
		if begin == end {
			from++
		}
		n := libCall{L, "gmatch"}.pushCaptures(m, begin, end)
		idle = m
		return n
	}))
	return 1
}
