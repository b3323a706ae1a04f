package api

import "strings"

// enclosing returns the index of the innermost bracket that is still open before token n, or -1 if
// there is none.
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

// argument returns the function whose argument list directly contains token n, and the index of the
// argument. The function is nil if it is not known.
func (c *completer) argument(n int) (*Func, int) {
	open, commas := c.call(n)
	if open <= 0 {
		return nil, 0
	}
	return c.resolve(open).fn, len(commas)
}

// call finds the call whose argument list contains token n. open is the token after the expression
// that is called, and commas are the commas of the argument list before n. open is 0 if there is no
// call.
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

// earlierArguments returns the texts of the arguments before the last comma. The text is "" for an
// argument that is not a plain string.
func (c *completer) earlierArguments(open int, commas []int) []string {
	out := make([]string, len(commas))
	from := open + 1
	for i, comma := range commas {
		if comma == from+1 && c.toks[from].kind == 's' {
			out[i] = unquote(c.toks[from].text)
		}
		from = comma + 1
	}
	return out
}

// unquote returns the text of a quoted string. It returns "" for a string with escapes or in long
// brackets.
func unquote(quoted string) string {
	if len(quoted) < 2 || quoted[0] == '[' || strings.Contains(quoted, "\\") {
		return ""
	}
	return quoted[1 : len(quoted)-1]
}

// receiver returns the Go value of the object whose method is called before token open, or nil if
// no variable holds the object.
func (c *completer) receiver(open int) any {
	if open < 2 || c.toks[open-2].kind != ':' {
		return nil
	}
	if o, ok := objectOf(c.resolve(open - 2).val); ok {
		return o.Value
	}
	return nil
}

// optionNames lists the names of options if token n is directly in a table of options, else it
// returns nil.
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

// stringValues returns the kind of the parameter or option that the string at token n is a value
// of, and the values that it can have.
func (c *completer) stringValues(n int, word string) (kind string, choices []string) {
	brace := c.enclosing(n)
	inTable := brace >= 0 && c.toks[brace].kind == '{'
	if inTable && n >= 2 && c.toks[n-1].kind == '=' {
		return c.optionValues(brace, c.toks[n-2].text)
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
		choices = p.Choices(Argument{
			Self:   c.receiver(open),
			Before: c.earlierArguments(open, commas),
			Word:   word,
		})
	}
	return p.Kind, choices
}

// optionValues is like stringValues, for an option of the table that token brace opens.
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
