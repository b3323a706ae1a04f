package api

import (
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// Candidate is one way to go on.
type Candidate struct {
	Text string // the whole word
	Kind string // keyword, global, module, function, method, field, option
	Doc  string // signature or first sentence
}

// Completion is the answer to a Tab.
type Completion struct {
	From  int // where the word that is being completed begins
	Word  string
	Items []Candidate
	// Kind is set inside a string argument that stands for something of the device (bundle_id,
	// udid, path): the REPL asks the device for the values.
	Kind string
}

var keywords = []string{
	"and",
	"break",
	"do",
	"else",
	"elseif",
	"end",
	"false",
	"for",
	"function",
	"goto",
	"if",
	"in",
	"local",
	"nil",
	"not",
	"or",
	"repeat",
	"return",
	"then",
	"true",
	"until",
	"while",
}

// Complete says how text, the input up to the cursor, can go on. It runs no Lua code. L may be nil
// when the interpreter is busy: then only declarations are offered, no values.
func (ix *Index) Complete(L *lua.LState, text string) Completion {
	toks := lex(text)
	c := &completer{ix: ix, L: L, toks: toks}
	out := Completion{From: len(text)}
	if n := len(toks); n > 0 && toks[n-1].open {
		out.From, out.Word = toks[n-1].start+1, text[toks[n-1].start+1:]
		var choices []string
		out.Kind, choices = c.stringValues(n-1, out.Word)
		for _, text := range choices {
			if strings.HasPrefix(text, out.Word) {
				out.Items = append(out.Items, Candidate{Text: text, Kind: "value"})
			}
		}
		return out
	}
	n := len(toks)
	if n > 0 && toks[n-1].kind == 'n' && toks[n-1].end == len(text) {
		n--
		out.From, out.Word = toks[n].start, toks[n].text
	}
	var items []Candidate
	switch {
	case n > 0 && (toks[n-1].kind == '.' || toks[n-1].kind == ':'):
		items = c.members(c.resolve(n-1), toks[n-1].kind)
	case c.keyPosition(n):
		items = c.optionNames(n)
	}
	if items == nil && (n == 0 || toks[n-1].kind != '.' && toks[n-1].kind != ':') {
		items = c.globals()
	}
	for _, it := range items {
		if strings.HasPrefix(it.Text, out.Word) {
			out.Items = append(out.Items, it)
		}
	}
	slices.SortStableFunc(
		out.Items,
		func(a, b Candidate) int { return strings.Compare(a.Text, b.Text) },
	)
	out.Items = slices.CompactFunc(out.Items, func(a, b Candidate) bool { return a.Text == b.Text })
	return out
}

type completer struct {
	ix   *Index
	L    *lua.LState
	toks []token
}

// thing is what an expression was found to be: a live value, or what a declaration says about it.
type thing struct {
	val    lua.LValue
	class  *boundClass
	record *boundRecord
	module *Module
	fn     *Func
}

func (t thing) known() bool {
	return t.val != nil || t.class != nil || t.record != nil || t.module != nil || t.fn != nil
}

// resolve finds out what the expression is that ends before token i.
func (c *completer) resolve(i int) thing {
	i--
	if i < 0 {
		return thing{}
	}
	switch t := c.toks[i]; t.kind {
	case ')', '}', 's':
		open := i
		if t.kind != 's' {
			open = c.opening(i)
		}
		if open <= 0 {
			return thing{}
		}
		return c.result(c.resolve(open))
	case 'n':
		if i > 0 && (c.toks[i-1].kind == '.' || c.toks[i-1].kind == ':') {
			return c.member(c.resolve(i-1), t.text)
		}
		return c.global(t.text)
	}
	return thing{}
}

// opening finds the bracket that token i closes, -1 when there is none.
func (c *completer) opening(i int) int {
	depth := 0
	for ; i >= 0; i-- {
		switch c.toks[i].kind {
		case ')', '}', ']':
			depth++
		case '(', '{', '[':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func (c *completer) global(name string) thing {
	if c.L != nil {
		for _, env := range []*lua.LTable{c.L.Env, c.L.G.Global} {
			if v := env.RawGetString(name); v != lua.LNil {
				return c.value(v)
			}
		}
	}
	for _, m := range c.ix.documented() {
		if m.Flat {
			for _, f := range m.Funcs {
				if f.Name == name {
					return thing{fn: f}
				}
			}
		} else if m.Global && m.Name == name {
			return thing{module: m, fn: m.Call}
		}
	}
	for _, b := range c.ix.allClasses() {
		if b.decl.Var == name {
			return thing{class: b}
		}
	}
	return thing{}
}

// value describes a live value.
func (c *completer) value(v lua.LValue) thing {
	t := thing{val: v}
	switch x := v.(type) {
	case *lua.LTable:
		if t.module = c.ix.moduleOf(x); t.module != nil {
			t.fn = t.module.Call
		}
	case *lua.LFunction:
		t.fn = c.ix.declarationOf(x)
	case *lua.LUserData:
		if o, ok := x.Value.(*Object); ok {
			t.class = o.class
		} else if t.record = c.ix.recordNamed(typeName(x)); t.record == nil {
			t.class = c.ix.standardClass(typeName(x))
		}
	}
	return t
}

func (ix *Index) recordNamed(name string) *boundRecord {
	for _, r := range ix.records {
		if r.decl.Name == name {
			return r
		}
	}
	return nil
}

// named finds the class or record that a declared type names; [] and ? are ignored only where they
// do not change the members.
func (c *completer) named(typ string) thing {
	typ, _, _ = strings.Cut(strings.TrimSuffix(typ, "?"), " ")
	typ = strings.TrimSuffix(typ, "?")
	if i := strings.IndexByte(typ, '<'); i > 0 {
		typ = typ[:i]
	}
	if typ == "string" {
		return thing{val: lua.LString("")}
	}
	for _, b := range c.ix.allClasses() {
		if b.decl.Name == typ {
			return thing{class: b}
		}
	}
	return thing{record: c.ix.recordNamed(typ)}
}

// result is what a call of t gives.
func (c *completer) result(t thing) thing {
	if t.fn == nil {
		return thing{}
	}
	if r := c.ix.signature(t.fn).returns; len(r) > 0 {
		return c.named(r[0])
	}
	return thing{}
}

func (c *completer) member(t thing, name string) thing {
	switch {
	case t.class != nil:
		for _, f := range t.class.allMethods() {
			if f.Name == name {
				return thing{fn: f}
			}
		}
		if f := t.class.field(name); f != nil {
			return c.fieldThing(t, f)
		}
	case t.record != nil:
		for _, f := range tagged(t.record.decl.Of) {
			if f.name == name {
				return c.named(c.ix.typeText(f.typ))
			}
		}
	case t.module != nil:
		for _, f := range t.module.Funcs {
			if f.Name == name {
				return thing{fn: f}
			}
		}
	}
	if tb, ok := t.val.(*lua.LTable); ok {
		for _, tb := range chain(tb) {
			if v := tb.RawGetString(name); v != lua.LNil {
				return c.value(v)
			}
		}
	}
	return thing{}
}

// fieldThing reads a class field: fields never do I/O, so a live object may be asked.
func (c *completer) fieldThing(t thing, f *Field) (out thing) {
	out = c.named(c.ix.fieldType(f))
	if ud, ok := t.val.(*lua.LUserData); ok && c.L != nil && !out.known() {
		defer func() { _ = recover() }() // a getter that fails offers nothing
		if o, ok := ud.Value.(*Object); ok {
			if v, ok := f.value(o.Value).(lua.LValue); ok {
				out = c.value(v)
			}
		}
	}
	return out
}

// chain is a table and the tables that its __index leads to; functions are not followed.
func chain(tb *lua.LTable) []*lua.LTable {
	out := []*lua.LTable{tb}
	for len(out) < 10 {
		mt, ok := out[len(out)-1].Metatable.(*lua.LTable)
		if !ok {
			break
		}
		next, ok := mt.RawGetString("__index").(*lua.LTable)
		if !ok {
			break
		}
		out = append(out, next)
	}
	return out
}

// members lists what may stand behind t and the separator. An empty, non-nil list means: nothing.
func (c *completer) members(t thing, sep byte) []Candidate {
	out := []Candidate{}
	switch {
	case t.class != nil:
		if sep == '.' {
			for _, f := range t.class.decl.Fields {
				out = append(out, Candidate{f.Name, "field", firstSentence(f.Doc)})
			}
			return out
		}
		for _, f := range t.class.allMethods() {
			out = append(out, Candidate{f.Name, "method", f.Usage()})
		}
	case t.record != nil:
		if sep == ':' {
			return append(out, Candidate{"totable", "method", "deep copy as a table"})
		}
		for _, f := range tagged(t.record.decl.Of) {
			out = append(out, Candidate{f.name, "field", f.doc})
		}
	case t.module != nil:
		out = append(out, moduleMembers(t.module)...)
	}
	switch x := t.val.(type) {
	case *lua.LTable:
		for _, tb := range chain(x) {
			out = append(out, c.keys(tb)...)
		}
	case lua.LString:
		if sep == ':' {
			out = append(out, c.stringMethods()...)
		}
	}
	return out
}

func moduleMembers(m *Module) []Candidate {
	var out []Candidate
	for _, f := range m.Funcs {
		out = append(out, Candidate{f.Name, "function", f.Usage()})
	}
	for _, k := range m.Consts {
		out = append(out, Candidate{k.Name, "field", firstSentence(k.Doc)})
	}
	return out
}

// keys are the string keys of a table that can be written behind a dot.
func (c *completer) keys(tb *lua.LTable) []Candidate {
	var out []Candidate
	tb.ForEach(func(k, v lua.LValue) {
		s, ok := k.(lua.LString)
		if !ok || s == "" ||
			span(string(s), 0, func(b byte) bool { return isNameByte(b, false) }) != len(s) ||
			!isNameByte(s[0], true) {
			return
		}
		item := Candidate{Text: string(s), Kind: "field"}
		if f, ok := v.(*lua.LFunction); ok {
			item.Kind = "function"
			if d := c.ix.declarationOf(f); d != nil {
				item.Doc = d.Usage()
			}
		}
		out = append(out, item)
	})
	return out
}

func (c *completer) globals() []Candidate {
	var out []Candidate
	for _, k := range keywords {
		out = append(out, Candidate{Text: k, Kind: "keyword"})
	}
	for _, m := range c.ix.sorted() {
		switch {
		case m.Flat:
			out = append(out, moduleMembers(m)...)
		case m.Global:
			out = append(out, Candidate{m.Name, "module", firstSentence(m.Doc)})
		}
	}
	if c.L != nil {
		for _, env := range []*lua.LTable{c.L.Env, c.L.G.Global} {
			for _, k := range c.keys(env) {
				if k.Kind == "field" {
					k.Kind = "global"
				}
				out = append(out, k)
			}
		}
	}
	return out
}
