package lua51

import (
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/luanum"
)

// substitution is one call of gsub.
type substitution struct {
	c     libCall
	m     *matcher
	value lua.LValue // the replacement: a string, a table or a function
	text  string     // the replacement if it is a string
	plain bool       // whether text has no '%'
	out   textBuilder
	// copied is the index up to which the subject has been written to out.
	copied int
}

func stringGsub(c libCall) int {
	s, pattern := c.text(1), c.text(2)
	r := &substitution{c: c, value: c.Get(3), out: textBuilder{L: c.LState}}
	switch r.value.(type) {
	case lua.LString, lua.LNumber:
		r.text = c.text(3)
		r.plain = strings.IndexByte(r.text, '%') < 0
	case *lua.LTable, *lua.LFunction:
	default:
		c.fail(3, "string/function/table expected")
	}
	limit := c.integerOr(4, math.MaxInt)
	r.m = newMatcher(c.LState, s, pattern)
	p, anchored := 0, false
	if strings.HasPrefix(pattern, "^") {
		p, anchored = 1, true
	}
	n := r.run(p, anchored, limit)
	if r.copied == 0 && r.out.Len() == 0 {
		c.Push(lua.LString(s))
	} else {
		r.out.add(s[r.copied:])
		c.Push(lua.LString(r.out.String()))
	}
	c.Push(lua.LNumber(n))
	return 2
}

// run replaces at most limit matches and returns how many it has found.
func (r *substitution) run(p int, anchored bool, limit int) int {
	n, from := 0, 0
	for n < limit {
		begin, end := r.m.search(from, p, anchored)
		if begin < 0 {
			break
		}
		n++
		r.replace(begin, end)
		// An empty match is not found twice at the same position.
		from = end
		if begin == end {
			from++
		}
		if anchored || from > len(r.m.subject) {
			break
		}
	}
	return n
}

// replace writes the replacement of the match from begin to end.
func (r *substitution) replace(begin, end int) {
	var value lua.LValue
	switch v := r.value.(type) {
	case *lua.LTable:
		value = r.c.GetTable(v, r.m.value(0, begin, end))
	case *lua.LFunction:
		r.c.Push(v)
		value = r.c.result(r.c.pushCaptures(r.m, begin, end))
	default:
		r.skipTo(begin, end)
		if r.plain {
			r.out.add(r.text)
		} else {
			r.expand(begin, end)
		}
		return
	}
	switch v := value.(type) {
	case lua.LString:
		r.skipTo(begin, end)
		r.out.add(string(v))
	case lua.LNumber:
		r.skipTo(begin, end)
		r.out.add(luanum.Format(float64(v)))
	default:
		// false and nil keep the match, which is copied later with the text after it.
		if lua.LVAsBool(value) {
			r.c.RaiseError("invalid replacement value (a %s)", typeName(value))
		}
	}
}

// skipTo copies the subject up to begin and skips the part from begin to end.
func (r *substitution) skipTo(begin, end int) {
	if r.out.Cap() == 0 {
		// The result is about as long as the subject.
		r.out.expect(len(r.m.subject))
	}
	r.out.add(r.m.subject[r.copied:begin])
	r.copied = end
}

// expand writes the replacement text with its %0 to %9.
func (r *substitution) expand(begin, end int) {
	text := r.text
	for {
		at := strings.IndexByte(text, '%')
		if at < 0 {
			r.out.add(text)
			return
		}
		r.out.add(text[:at])
		if at+1 == len(text) {
			r.m.raise("invalid use of '%' in replacement string")
		}
		x := text[at+1]
		switch {
		case x == '0':
			r.out.add(r.m.subject[begin:end])
		case x > '0' && x <= '9':
			r.addCapture(int(x-'1'), begin, end)
		default:
			// In Lua 5.1, any other character after % means itself.
			r.out.add(text[at+1 : at+2])
		}
		text = text[at+2:]
	}
}

func (r *substitution) addCapture(i, begin, end int) {
	c := r.m.valueAt(i, begin, end)
	if c.length == capturePosition {
		r.out.add(strconv.Itoa(c.start + 1))
		return
	}
	r.out.add(r.m.subject[c.start : c.start+c.length])
}
