package lua51

// Kinds of characters in the C locale, one bit each.
const (
	isLower = 1 << iota
	isUpper
	isDigit
	isSpace
	isControl
	isPunct
	isHex
	isZero
)

// kinds holds the kinds of every character.
var kinds = characterKinds()

func characterKinds() (table [256]uint8) {
	for i := range table {
		c := byte(i)
		bits := uint8(0)
		switch {
		case c >= 'a' && c <= 'z':
			bits = isLower
		case c >= 'A' && c <= 'Z':
			bits = isUpper
		case c >= '0' && c <= '9':
			bits = isDigit | isHex
		case c == ' ':
			bits = isSpace
		case c >= '\t' && c <= '\r':
			bits = isSpace | isControl
		case c < ' ' || c == 127:
			bits = isControl
		case c < 127:
			bits = isPunct
		}
		if c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			bits |= isHex
		}
		if c == 0 {
			bits |= isZero
		}
		table[i] = bits
	}
	return table
}

// classKinds returns the kinds that belong to the letter of a class in lower case, 0 if the letter
// names no class.
func classKinds(letter byte) uint8 {
	switch letter {
	case 'a':
		return isLower | isUpper
	case 'c':
		return isControl
	case 'd':
		return isDigit
	case 'l':
		return isLower
	case 'p':
		return isPunct
	case 's':
		return isSpace
	case 'u':
		return isUpper
	case 'w':
		return isLower | isUpper | isDigit
	case 'x':
		return isHex
	case 'z':
		return isZero
	}
	return 0
}

// inClass reports whether c belongs to the class %letter. A letter in upper case means the
// complement. A character that names no class matches itself.
func inClass(c, letter byte) bool {
	class := classKinds(letter | 0x20)
	if class == 0 || kinds[letter]&(isLower|isUpper) == 0 {
		return c == letter
	}
	return kinds[c]&class != 0 == (kinds[letter]&isLower != 0)
}

// itemEnd returns the index after the character class that begins at p: a character, "%x" or a
// set.
func (m *matcher) itemEnd(p int) int {
	c := m.pattern[p]
	p++
	switch c {
	case '%':
		if p == len(m.pattern) {
			m.raise("malformed pattern (ends with '%')")
		}
		return p + 1
	case '[':
		return m.setEnd(p)
	}
	return p
}

// setEnd returns the index after the set whose opening bracket is before p. A closing bracket at
// the beginning is a member of the set.
func (m *matcher) setEnd(p int) int {
	if p < len(m.pattern) && m.pattern[p] == '^' {
		p++
	}
	for first := true; ; first = false {
		if p >= len(m.pattern) {
			m.raise("malformed pattern (missing ']')")
		}
		c := m.pattern[p]
		p++
		switch {
		case c == ']' && !first:
			return p
		case c == '%' && p < len(m.pattern):
			p++
		}
	}
}

// single reports whether c matches the class from p to end.
func (m *matcher) single(c byte, p, end int) bool {
	switch m.pattern[p] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pattern[p+1])
	case '[':
		return m.inSet(c, p, end)
	}
	return c == m.pattern[p]
}

// inSet reports whether c belongs to the set whose brackets are at p and end-1.
func (m *matcher) inSet(c byte, p, end int) bool {
	member := true
	p, end = p+1, end-1
	if m.pattern[p] == '^' {
		member = false
		p++
	}
	for p < end {
		x := m.pattern[p]
		switch {
		case x == '%':
			p++
			if inClass(c, m.pattern[p]) {
				return member
			}
			p++
		case p+2 < end && m.pattern[p+1] == '-':
			if x <= c && c <= m.pattern[p+2] {
				return member
			}
			p += 3
		default:
			if x == c {
				return member
			}
			p++
		}
	}
	return !member
}

// longRun is the number of repetitions from which on a table is made of a class.
const longRun = 32

// classTable holds for every character whether it matches the class that begins at index p of the
// pattern.
type classTable struct {
	p       int
	members [256]bool
}

// tableAt returns the table of the class from p to end, nil if it has not been made.
func (m *matcher) tableAt(p int) *classTable {
	for _, t := range m.tables {
		if t.p == p {
			return t
		}
	}
	return nil
}

func (m *matcher) makeTable(p, end int) *classTable {
	t := &classTable{p: p}
	for c := range t.members {
		t.members[c] = m.single(byte(c), p, end)
	}
	m.tables = append(m.tables, t)
	return t
}

// count returns how many characters from s on match the class from p to end.
func (m *matcher) count(s, p, end int) int {
	rest := m.subject[s:]
	n := 0
	switch m.pattern[p] {
	case '.':
		return len(rest)
	case '%', '[':
	default:
		for n < len(rest) && rest[n] == m.pattern[p] {
			n++
		}
		return n
	}
	t := m.tableAt(p)
	if t == nil {
		for n < len(rest) && m.single(rest[n], p, end) {
			n++
			if n == longRun {
				t = m.makeTable(p, end)
				break
			}
		}
	}
	if t != nil {
		for n < len(rest) && t.members[rest[n]] {
			n++
		}
	}
	return n
}

// plainAt returns the character at p of the pattern if it matches itself once: it is not a special
// character, and no suffix follows it.
func (m *matcher) plainAt(p int) (c byte, plain bool) {
	c = m.pattern[p]
	switch c {
	case '(', ')', '%', '.', '[', '$':
		return c, false
	}
	if p+1 < len(m.pattern) {
		switch m.pattern[p+1] {
		case '*', '?', '-':
			return c, false
		}
	}
	return c, true
}
