package lua51

import (
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

const (
	maxCaptures = 32
	// maxMatchDepth bounds the recursion of a match. It grows with the number of captures and
	// repetitions in the pattern, never with the length of the subject.
	maxMatchDepth = 220
	// stepsBetweenTicks is how many steps a match takes between two checks of the limits.
	stepsBetweenTicks = 10000
)

// Lengths of captures that are not texts.
const (
	captureOpen     = -1 // the closing parenthesis has not been reached
	capturePosition = -2 // the capture is the position itself
)

// capture is a part of the subject.
type capture struct{ start, length int }

// matcher matches one pattern against one subject by backtracking. A repeated character is counted
// in a loop, so that the stack does not grow with the subject.
type matcher struct {
	L        *lua.LState
	subject  string
	pattern  string
	depth    int
	steps    int // until the next tick
	level    int // captures in use
	captures []capture
	few      [4]capture    // the memory with which captures begins
	tables   []*classTable // tables of the classes that were repeated often
}

func newMatcher(L *lua.LState, subject, pattern string) *matcher {
	m := &matcher{L: L, subject: subject, pattern: pattern, steps: stepsBetweenTicks}
	m.captures = m.few[:0]
	return m
}

// took counts n steps of work.
func (m *matcher) took(n int) {
	m.steps -= n
	if m.steps <= 0 {
		m.tick()
	}
}

func (m *matcher) tick() {
	m.steps = stepsBetweenTicks
	host.Tick(m.L)
}

func (m *matcher) raise(text string) { m.L.RaiseError("%s", text) }

// at matches the pattern from index p on at index s of the subject, without captures of an earlier
// match. It returns the index after the match, -1 if there is none.
func (m *matcher) at(s, p int) int {
	m.level = 0
	return m.match(s, p)
}

// search looks for the first match at or after index s. It returns where the match begins and ends;
// begin is -1 if there is none.
func (m *matcher) search(s, p int, anchored bool) (begin, end int) {
	first, plain := byte(0), false
	if !anchored && p < len(m.pattern) {
		first, plain = m.plainAt(p)
	}
	for ; s <= len(m.subject); s++ {
		if plain {
			skip := strings.IndexByte(m.subject[s:], first)
			if skip < 0 {
				return -1, -1
			}
			s += skip
		}
		end = m.at(s, p)
		if end >= 0 {
			return s, end
		}
		if anchored {
			break
		}
		m.took(1)
	}
	return -1, -1
}

// match matches the pattern from index p on at index s of the subject. Items that leave no choice
// are matched in the loop; those that do call match for the rest of the pattern.
func (m *matcher) match(s, p int) int {
	m.depth++
	if m.depth > maxMatchDepth {
		m.raise("pattern too complex")
	}
	end := m.matchRest(s, p)
	m.depth--
	return end
}

func (m *matcher) matchRest(s, p int) int {
	for p < len(m.pattern) {
		m.took(1)
		switch m.pattern[p] {
		case '(':
			if p+1 < len(m.pattern) && m.pattern[p+1] == ')' {
				return m.openCapture(s, p+2, capturePosition)
			}
			return m.openCapture(s, p+1, captureOpen)
		case ')':
			return m.closeCapture(s, p+1)
		case '$':
			if p+1 == len(m.pattern) {
				if s == len(m.subject) {
					return s
				}
				return -1
			}
		case '%':
			next, length, special := m.special(s, p)
			if special {
				if next < 0 {
					return -1
				}
				s, p = next, p+length
				continue
			}
		}
		end := m.itemEnd(p)
		suffix := byte(0)
		if end < len(m.pattern) {
			suffix = m.pattern[end]
		}
		switch suffix {
		case '*':
			return m.most(s, p, end, 0)
		case '+':
			return m.most(s, p, end, 1)
		case '-':
			return m.fewest(s, p, end)
		case '?':
			if s < len(m.subject) && m.single(m.subject[s], p, end) {
				behind := m.match(s+1, end+1)
				if behind >= 0 {
					return behind
				}
			}
			p = end + 1
			continue
		}
		if s >= len(m.subject) || !m.single(m.subject[s], p, end) {
			return -1
		}
		s, p = s+1, end
	}
	return s
}

// special matches the items %b, %f and %1. It returns the index after the match (-1 if there is
// none) and the length of the item. special is false if the item at p is a character class.
func (m *matcher) special(s, p int) (next, length int, special bool) {
	if p+1 == len(m.pattern) {
		return -1, 0, false
	}
	switch c := m.pattern[p+1]; {
	case c == 'b':
		return m.balanced(s, p+2), 4, true
	case c == 'f':
		p += 2
		if p >= len(m.pattern) || m.pattern[p] != '[' {
			m.raise("missing '[' after '%f' in pattern")
		}
		end := m.itemEnd(p)
		before, here := byte(0), byte(0)
		if s > 0 {
			before = m.subject[s-1]
		}
		if s < len(m.subject) {
			here = m.subject[s]
		}
		if m.inSet(before, p, end) || !m.inSet(here, p, end) {
			return -1, 0, true
		}
		return s, 2 + end - p, true
	case c >= '0' && c <= '9':
		return m.reference(s, int(c)-'1'), 2, true
	}
	return -1, 0, false
}

// openCapture begins a capture at s and matches the rest of the pattern.
func (m *matcher) openCapture(s, p, length int) int {
	if m.level >= maxCaptures {
		m.raise("too many captures")
	}
	m.captures = append(m.captures[:m.level], capture{s, length})
	m.level++
	end := m.match(s, p)
	if end < 0 {
		m.level--
	}
	return end
}

// closeCapture ends the innermost open capture at s and matches the rest of the pattern.
func (m *matcher) closeCapture(s, p int) int {
	open := m.level - 1
	for open >= 0 && m.captures[open].length != captureOpen {
		open--
	}
	if open < 0 {
		m.raise("invalid pattern capture")
	}
	m.captures[open].length = s - m.captures[open].start
	end := m.match(s, p)
	if end < 0 {
		m.captures[open].length = captureOpen
	}
	return end
}

// reference matches the text of an earlier capture again. A position capture has no text and
// never matches.
func (m *matcher) reference(s, i int) int {
	if i < 0 || i >= m.level || m.captures[i].length == captureOpen {
		m.raise("invalid capture index")
	}
	c := m.captures[i]
	if c.length < 0 || !strings.HasPrefix(m.subject[s:], m.subject[c.start:c.start+c.length]) {
		return -1
	}
	m.took(c.length / 64)
	return s + c.length
}

// balanced matches a text between the two characters at p, in which both occur equally often.
func (m *matcher) balanced(s, p int) int {
	if p+1 >= len(m.pattern) {
		m.raise("unbalanced pattern")
	}
	first, last := m.pattern[p], m.pattern[p+1]
	if s >= len(m.subject) || m.subject[s] != first {
		return -1
	}
	open := 1
	for i := s + 1; i < len(m.subject); i++ {
		switch m.subject[i] {
		case last:
			open--
			if open == 0 {
				m.took(i - s)
				return i + 1
			}
		case first:
			open++
		}
	}
	m.took(len(m.subject) - s)
	return -1
}

// most matches the item from p to end as often as possible, but not less often than least, and then
// the rest of the pattern after the suffix.
func (m *matcher) most(s, p, end, least int) int {
	n := m.count(s, p, end)
	m.took(n / 8)
	if end+1 == len(m.pattern) {
		if n < least {
			return -1
		}
		return s + n
	}
	// If a plain character follows the repetition, the rest can match only where the subject has
	// it.
	next, plain := m.plainAt(end + 1)
	for ; n >= least; n-- {
		if plain {
			at := strings.LastIndexByte(m.subject[s+least:min(s+n+1, len(m.subject))], next)
			if at < 0 {
				m.took((n - least) / 64)
				return -1
			}
			m.took((n - least - at) / 64)
			n = at + least
		}
		behind := m.match(s+n, end+1)
		if behind >= 0 {
			return behind
		}
		m.took(1)
	}
	return -1
}

// fewest matches the item from p to end as rarely as possible, and then the rest of the pattern.
func (m *matcher) fewest(s, p, end int) int {
	for {
		behind := m.match(s, end+1)
		if behind >= 0 {
			return behind
		}
		if s >= len(m.subject) || !m.single(m.subject[s], p, end) {
			return -1
		}
		s++
		m.took(1)
	}
}

// captured returns how many values a match has: its captures, or the whole match if there are none.
func (m *matcher) captured() int { return max(m.level, 1) }

// value returns the capture with index i of a match from begin to end. Without captures, the
// first one is the whole match.
func (m *matcher) value(i, begin, end int) lua.LValue {
	c := m.valueAt(i, begin, end)
	if c.length == capturePosition {
		return lua.LNumber(c.start + 1)
	}
	return lua.LString(m.subject[c.start : c.start+c.length])
}

// valueAt returns the position of the value that value returns.
func (m *matcher) valueAt(i, begin, end int) capture {
	if i >= m.level {
		if i > 0 {
			m.raise("invalid capture index")
		}
		return capture{begin, end - begin}
	}
	c := m.captures[i]
	if c.length == captureOpen {
		m.raise("unfinished capture")
	}
	return c
}
