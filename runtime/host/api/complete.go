package api

import (
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// Candidate is one completion of a word.
type Candidate struct {
	Text string // the whole word
	Kind string // keyword, global, module, function, method, field, option, value
	Doc  string // signature or first sentence
}

// Completion is the result of Complete.
type Completion struct {
	From  int    // index at which the word begins
	Word  string // the word to complete, up to the cursor
	Items []Candidate
	// Kind is set inside a string that names something of the device, such as bundle_id, udid or
	// path. The REPL then asks the device for the values.
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

// Complete returns the completions of the last word of text, which is the input up to the cursor.
// It runs no Lua code. L may be nil if the interpreter is busy; then the result is based on
// declarations only, not on the values of variables.
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
	items := c.wordsAt(n)
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

// wordsAt lists the words that may stand at token n: members after a dot or colon, names of options
// in a table of options, else keywords and globals.
func (c *completer) wordsAt(n int) []Candidate {
	if n > 0 && (c.toks[n-1].kind == '.' || c.toks[n-1].kind == ':') {
		return c.members(c.resolve(n-1), c.toks[n-1].kind)
	}
	if c.keyPosition(n) {
		if names := c.optionNames(n); names != nil {
			return names
		}
	}
	return c.globals()
}

// subject is what completion knows about an expression: its value if a variable holds it, and the
// declaration of its class, record, module or function. Unknown parts are nil.
type subject struct {
	val    lua.LValue
	class  *boundClass
	record *boundRecord
	module *Module
	fn     *Func
}

func (t subject) known() bool {
	return t.val != nil || t.class != nil || t.record != nil || t.module != nil || t.fn != nil
}

// resolve returns the subject of the expression that ends before token i.
func (c *completer) resolve(i int) subject {
	i--
	if i < 0 {
		return subject{}
	}
	switch t := c.toks[i]; t.kind {
	case ')', '}', 's':
		open := i
		if t.kind != 's' {
			open = c.opening(i)
		}
		if open <= 0 {
			return subject{}
		}
		return c.result(c.resolve(open))
	case 'n':
		if i > 0 && (c.toks[i-1].kind == '.' || c.toks[i-1].kind == ':') {
			return c.member(c.resolve(i-1), t.text)
		}
		return c.global(t.text)
	}
	return subject{}
}

// opening returns the index of the bracket that token i closes, or -1 if there is none.
func (c *completer) opening(i int) int {
	depth := 0
	for ; i >= 0; i-- {
		switch c.toks[i].kind {
		case ')', '}', ']':
			depth++
		case '(', '{', '[':
			depth--
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

func (c *completer) global(name string) subject {
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
					return subject{fn: f}
				}
			}
		} else if m.Global && m.Name == name {
			return subject{module: m, fn: m.Call}
		}
	}
	for _, b := range c.ix.allClasses() {
		if b.decl.Var == name {
			return subject{class: b}
		}
	}
	return subject{}
}

// value returns the subject of a value.
func (c *completer) value(v lua.LValue) subject {
	t := subject{val: v}
	switch x := v.(type) {
	case *lua.LTable:
		t.module = c.ix.moduleOf(x)
		if t.module != nil {
			t.fn = t.module.Call
		}
	case *lua.LFunction:
		t.fn = c.ix.declarationOf(x)
	case *lua.LUserData:
		if o, ok := x.Value.(*Object); ok {
			t.class = o.class
			break
		}
		t.record = c.ix.recordNamed(typeName(x))
		if t.record == nil {
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

// named returns the subject of the class or record that a declared type names. It ignores a
// trailing ?, type arguments and the name of a result. A list type such as App[] has no subject.
func (c *completer) named(typ string) subject {
	typ, _, _ = strings.Cut(strings.TrimSuffix(typ, "?"), " ")
	typ = strings.TrimSuffix(typ, "?")
	if i := strings.IndexByte(typ, '<'); i > 0 {
		typ = typ[:i]
	}
	if typ == "string" {
		return subject{val: lua.LString("")}
	}
	for _, b := range c.ix.allClasses() {
		if b.decl.Name == typ {
			return subject{class: b}
		}
	}
	return subject{record: c.ix.recordNamed(typ)}
}

// result returns the subject of the first result of a call of t.
func (c *completer) result(t subject) subject {
	if t.fn == nil {
		return subject{}
	}
	if r := c.ix.signature(t.fn).returns; len(r) > 0 {
		return c.named(r[0])
	}
	return subject{}
}

// member returns the subject of a method or field of t.
func (c *completer) member(t subject, name string) subject {
	switch {
	case t.class != nil:
		for _, f := range t.class.allMethods() {
			if f.Name == name {
				return subject{fn: f}
			}
		}
		if f := t.class.field(name); f != nil {
			return c.fieldSubject(t, f)
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
				return subject{fn: f}
			}
		}
	}
	if tb, ok := t.val.(*lua.LTable); ok {
		for _, tb := range indexChain(tb) {
			if v := tb.RawGetString(name); v != lua.LNil {
				return c.value(v)
			}
		}
	}
	return subject{}
}

// fieldSubject returns the subject of a class field. If its type says too little, it reads the
// field of the object, which is possible because fields never do I/O.
func (c *completer) fieldSubject(t subject, f *Field) (out subject) {
	out = c.named(c.ix.fieldType(f))
	if ud, ok := t.val.(*lua.LUserData); ok && c.L != nil && !out.known() {
		defer func() { _ = recover() }() // there is no completion if the getter fails
		if o, ok := ud.Value.(*Object); ok {
			if v, ok := f.value(o.Value).(lua.LValue); ok {
				out = c.value(v)
			}
		}
	}
	return out
}

// indexChain returns a table and the tables that it inherits from by __index. It stops at a
// function, because completion must not call it.
func indexChain(tb *lua.LTable) []*lua.LTable {
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

// members lists the members of t that may follow the separator, a dot or a colon.
func (c *completer) members(t subject, sep byte) []Candidate {
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
		for _, tb := range indexChain(x) {
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

// keys lists the keys of a table that can be written after a dot.
func (c *completer) keys(tb *lua.LTable) []Candidate {
	var out []Candidate
	tb.ForEach(func(k, v lua.LValue) {
		s, ok := k.(lua.LString)
		if !ok || !isName(string(s)) {
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
