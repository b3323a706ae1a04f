package api

import "strings"

// enclosing finds the innermost bracket that is still open before token n, -1 when there is none.
func (c *completer) enclosing(n int) int {
	depth := 0
	for i := n - 1; i >= 0; i-- {
		switch c.toks[i].kind {
		case ')', '}', ']':
			depth++
		case '(', '{', '[':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// keyPosition reports whether a table key may stand at token n.
func (c *completer) keyPosition(n int) bool {
	i := c.enclosing(n)
	if i < 0 || c.toks[i].kind != '{' {
		return false
	}
	k := c.toks[n-1].kind
	return k == '{' || k == ',' || k == ';'
}

// argument finds the call in whose arguments token n stands directly: what is called and the number
// of the argument, from 0.
func (c *completer) argument(n int) (*Func, int) {
	open, commas := c.call(n)
	if open <= 0 {
		return nil, 0
	}
	return c.resolve(open).fn, len(commas)
}

// call finds the end of the expression that is called with token n, and the commas before n.
func (c *completer) call(n int) (open int, commas []int) {
	if n > 0 && c.toks[n-1].kind == 'n' {
		return n, nil // f{...} or f"..."
	}
	open = c.enclosing(n)
	if open <= 0 || c.toks[open].kind != '(' {
		return 0, nil
	}
	depth := 0
	for j := open + 1; j < n; j++ {
		switch c.toks[j].kind {
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			depth--
		case ',':
			if depth == 0 {
				commas = append(commas, j)
			}
		}
	}
	return open, commas
}

// before returns the text of the arguments that are plain strings, "" for the others.
func (c *completer) before(open int, commas []int) []string {
	out := make([]string, len(commas))
	from := open + 1
	for i, comma := range commas {
		if comma == from+1 && c.toks[from].kind == 's' {
			out[i] = plainText(c.toks[from].text)
		}
		from = comma + 1
	}
	return out
}

// plainText is the text of a quoted string without escapes, "" for any other.
func plainText(quoted string) string {
	if len(quoted) < 2 || quoted[0] == '[' || strings.Contains(quoted, "\\") {
		return ""
	}
	return quoted[1 : len(quoted)-1]
}

// receiver is the live object whose method is called before token open, nil if there is none.
func (c *completer) receiver(open int) any {
	if open < 2 || c.toks[open-2].kind != ':' {
		return nil
	}
	if o, ok := objectOf(c.resolve(open - 2).val); ok {
		return o.Value
	}
	return nil
}

// optionNames offers the keys of the options table that is being written around token n.
func (c *completer) optionNames(n int) []Candidate {
	brace := c.enclosing(n)
	f, _ := c.argument(brace)
	if f == nil {
		return nil
	}
	s := c.ix.signature(f)
	if s.options == nil {
		return nil
	}
	list, _ := optionFields(s.options)
	out := []Candidate{}
	for _, o := range list {
		out = append(out, Candidate{o.name, "option", c.ix.optionType(o) + ": " + o.text()})
	}
	return out
}

// stringValues is what the string at token n stands for, a parameter's or an option's kind, and
// what it can be.
func (c *completer) stringValues(n int, word string) (kind string, choices []string) {
	if i := c.enclosing(n); i >= 0 && c.toks[i].kind == '{' && n >= 2 && c.toks[n-1].kind == '=' {
		return c.optionValues(i, c.toks[n-2].text)
	}
	open, commas := c.call(n)
	if open <= 0 {
		return "", nil
	}
	f := c.resolve(open).fn
	if f == nil || len(commas) >= len(f.Params) {
		return "", nil
	}
	p := f.Params[len(commas)]
	if p.Choices != nil {
		choices = p.Choices(
			Argument{Self: c.receiver(open), Before: c.before(open, commas), Word: word},
		)
	}
	return p.Kind, choices
}

// optionValues is stringValues for an option of the table that token brace opens.
func (c *completer) optionValues(brace int, name string) (kind string, choices []string) {
	f, _ := c.argument(brace)
	if f == nil {
		return "", nil
	}
	if s := c.ix.signature(f); s.options != nil {
		list, _ := optionFields(s.options)
		for _, o := range list {
			if o.name == name {
				return o.kind, o.enum
			}
		}
	}
	return "", nil
}
