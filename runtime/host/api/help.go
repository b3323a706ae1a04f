package api

import (
	"fmt"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Help returns the text that help(v) prints. A string is looked up as a name, such as fs, fs.read,
// dev:launch, Device or App, and "" lists the modules. Any other value is described: a module,
// function, object or record of this host.
func (ix *Index) Help(v lua.LValue) string {
	switch x := v.(type) {
	case *lua.LNilType, nil:
		return ix.overview()
	case lua.LString:
		return ix.helpName(string(x))
	case *lua.LFunction:
		if f := ix.declarationOf(x); f != nil {
			return ix.helpFunc(f)
		}
		if x.Proto != nil {
			return fmt.Sprintf("function defined at %s:%d\n", x.Proto.SourceName,
				x.Proto.LineDefined)
		}
	case *lua.LTable:
		if m := ix.moduleOf(x); m != nil {
			return ix.helpModule(m)
		}
	case *lua.LUserData:
		if text := ix.helpObject(x); text != "" {
			return text
		}
	}
	return "no help for a " + typeName(v) + "\n"
}

func (ix *Index) helpObject(ud *lua.LUserData) string {
	if o, ok := ud.Value.(*Object); ok {
		return ix.helpClass(o.class)
	}
	if name := typeName(ud); name != "userdata" {
		if c := ix.standardClass(name); c != nil {
			return ix.helpClass(c)
		}
		if text, ok := ix.lookup(name); ok {
			return text
		}
		return "a " + name + " value\n"
	}
	return ""
}

func (ix *Index) helpName(name string) string {
	if name == "" {
		return ix.overview()
	}
	if text, ok := ix.lookup(name); ok {
		return text
	}
	var known []string
	for _, e := range ix.entries() {
		known = append(known, e.name)
	}
	text := fmt.Sprintf("nothing is called %q", name)
	if hint := host.HintFor(ix.standardName(name)); hint != "" {
		return text + ": " + hint + "\n"
	}
	if s := host.Suggest(name, known); s != "" {
		text += fmt.Sprintf(", did you mean %q?", s)
	}
	if hits := ix.Search(name); len(hits) > 0 {
		text += "\nmentioned in:\n" + table(hits)
	}
	return strings.TrimSuffix(text, "\n") + "\n"
}

// entry is a name that can be looked up.
type entry struct {
	name, doc string
	text      func() string
}

// entries lists everything that is declared: modules, functions, classes, members, records.
func (ix *Index) entries() []entry {
	var out []entry
	for _, m := range ix.sorted() {
		if !m.Flat || m.standard {
			out = append(out, entry{m.Name, m.Doc, func() string { return ix.helpModule(m) }})
		}
		for _, f := range m.Funcs {
			out = append(out, entry{f.FullName(), f.Doc, func() string { return ix.helpFunc(f) }})
		}
		for _, k := range m.Consts {
			out = append(
				out,
				entry{m.prefix() + k.Name, k.Doc, func() string { return ix.helpConst(m, k) }},
			)
		}
		for _, c := range m.Classes {
			b := ix.boundTo(c)
			out = append(out, entry{c.Name, c.Doc, func() string { return ix.helpClass(b) }})
			for _, f := range b.allMethods() {
				out = append(
					out,
					entry{c.Name + ":" + f.Name, f.Doc, func() string { return ix.helpFunc(f) }},
				)
			}
			for _, f := range c.Fields {
				out = append(
					out,
					entry{
						c.Name + "." + f.Name,
						f.Doc,
						func() string { return ix.helpField(c, f) },
					},
				)
			}
		}
		for _, r := range m.Records {
			out = append(out, entry{r.Name, r.Doc, func() string { return ix.helpRecord(r) }})
		}
	}
	return out
}

func (m *Module) prefix() string {
	if m.Flat {
		return ""
	}
	return m.Name + "."
}

// lookup returns the documentation of a name. A member may be named with its class or with the
// usual variable of the class, and with a dot or a colon.
func (ix *Index) lookup(name string) (string, bool) {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "imd."), "()")
	for _, e := range ix.entries() {
		if e.name == name {
			return e.text(), true
		}
	}
	owner, member, ok := strings.Cut(strings.ReplaceAll(name, ":", "."), ".")
	for _, c := range ix.allClasses() {
		if c.decl.Name != owner && c.decl.instance() != owner {
			continue
		}
		if !ok {
			return ix.helpClass(c), true
		}
		for _, f := range c.allMethods() {
			if f.Name == member {
				return ix.helpFunc(f), true
			}
		}
		for _, f := range c.decl.Fields {
			if f.Name == member {
				return ix.helpField(c.decl, f), true
			}
		}
	}
	if f := ix.standardMethod(owner, member); f != nil {
		return ix.helpFunc(f), true
	}
	return "", false
}

// Hit is one result of Search.
type Hit struct{ Name, Doc string }

// Search returns the entries with a word in their name, then those with the word in their text.
func (ix *Index) Search(word string) []Hit {
	word = strings.ToLower(word)
	var names, texts []Hit
	for _, e := range ix.entries() {
		h := Hit{e.name, firstSentence(e.doc)}
		switch {
		case strings.Contains(strings.ToLower(e.name), word):
			names = append(names, h)
		case strings.Contains(strings.ToLower(e.doc), word):
			texts = append(texts, h)
		}
	}
	return append(names, texts...)
}

func firstSentence(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1]
	}
	return s
}

// table formats names and texts in two columns.
func table(hits []Hit) string {
	width := 0
	for _, h := range hits {
		width = max(width, len(h.Name))
	}
	var b strings.Builder
	for _, h := range hits {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, h.Name, h.Doc)
	}
	return b.String()
}

func (ix *Index) overview() string {
	var global, required, flat []Hit
	for _, m := range ix.sorted() {
		h := Hit{m.Name, firstSentence(m.Doc)}
		switch {
		case m.Flat:
			for _, f := range m.Funcs {
				flat = append(flat, Hit{f.Name, firstSentence(f.Doc)})
			}
			for _, k := range m.Consts {
				flat = append(flat, Hit{k.Name, firstSentence(k.Doc)})
			}
		case m.Global:
			global = append(global, h)
		default:
			required = append(required, Hit{`require "imd.` + m.Name + `"`, h.Doc})
		}
	}
	slices.SortFunc(flat, func(a, b Hit) int { return strings.Compare(a.Name, b.Name) })
	text := "help(\"name\") shows a module, function, class or record; help(value) describes a value.\n"
	for _, part := range []struct {
		title string
		hits  []Hit
	}{{"modules", global}, {"functions and values", flat}, {"more modules", required}} {
		if len(part.hits) > 0 {
			text += "\n" + part.title + ":\n" + table(part.hits)
		}
	}
	return text
}

func (ix *Index) helpModule(m *Module) string {
	var b strings.Builder
	fmt.Fprintf(&b, "module %s\n%s\n", m.Name, m.Doc)
	if !m.Global && !m.Flat {
		fmt.Fprintf(&b, "local %s = require \"imd.%s\"\n", m.Name, m.Name)
	}
	var hits []Hit
	for _, f := range m.functions() {
		hits = append(hits, Hit{f.Usage(), firstSentence(f.Doc)})
	}
	for _, k := range m.Consts {
		hits = append(hits, Hit{m.prefix() + k.Name, firstSentence(k.Doc)})
	}
	for _, c := range m.Classes {
		hits = append(hits, Hit{"class " + c.Name, firstSentence(c.Doc)})
	}
	for _, r := range m.Records {
		hits = append(hits, Hit{"record " + r.Name, firstSentence(r.Doc)})
	}
	b.WriteString("\n" + table(hits) + exampleText(m.Examples))
	return b.String()
}

func (ix *Index) helpClass(c *boundClass) string {
	var b strings.Builder
	fmt.Fprintf(&b, "class %s\n%s\n", c.decl.Name, c.decl.Doc)
	var fields, methods []Hit
	for _, f := range c.decl.Fields {
		fields = append(
			fields,
			Hit{c.decl.instance() + "." + f.Name, ix.fieldType(f) + ": " + f.Doc},
		)
	}
	for _, f := range c.allMethods() {
		methods = append(methods, Hit{f.Usage(), firstSentence(f.Doc)})
	}
	if len(fields) > 0 {
		b.WriteString("\nfields:\n" + table(fields))
	}
	b.WriteString("\nmethods:\n" + table(methods))
	if c.decl.Next != nil {
		fmt.Fprintf(&b, "\nfor %s in %s do ... end\n", loopVariable(c.decl), c.decl.instance())
	}
	return b.String()
}

func loopVariable(c *Class) string {
	if c.NextType == "" {
		return "item"
	}
	return strings.ToLower(c.NextType)
}

func (ix *Index) helpRecord(r *Record) string {
	var hits []Hit
	for _, f := range tagged(r.Of) {
		hits = append(hits, Hit{f.name, ix.typeText(f.typ) + ": " + f.doc})
	}
	return fmt.Sprintf("record %s\n%s\n\nfields:\n%s", r.Name, r.Doc, table(hits))
}

func (ix *Index) helpConst(m *Module, k Const) string {
	return fmt.Sprintf("%s%s\n%s\n", m.prefix(), k.Name, k.Doc)
}

func (ix *Index) helpField(c *Class, f *Field) string {
	return fmt.Sprintf("%s.%s: %s\n%s\n", c.instance(), f.Name, ix.fieldType(f), f.Doc)
}

func (ix *Index) helpFunc(f *Func) string {
	s := ix.signature(f)
	var b strings.Builder
	b.WriteString(f.Usage())
	if len(s.returns) > 0 {
		b.WriteString(" -> " + strings.Join(s.returns, ", "))
	}
	b.WriteString("\n" + f.Doc + "\n")
	var hits []Hit
	for _, p := range s.params {
		hits = append(hits, Hit{p.Name, paramLine(p)})
	}
	if len(hits) > 0 {
		b.WriteString("\nparameters:\n" + table(hits))
	}
	if s.options != nil {
		b.WriteString("\noptions:\n" + table(ix.optionHits(s)))
	}
	if notes := f.notes(); len(notes) > 0 {
		b.WriteString("\n" + strings.Join(notes, "\n") + "\n")
	}
	b.WriteString(exampleText(f.Examples))
	return b.String()
}

func paramLine(p paramText) string {
	line := p.typ
	if p.Optional {
		line += " (optional)"
	}
	if p.Doc != "" {
		line += ": " + p.Doc
	}
	return line
}

func (ix *Index) optionHits(s signature) []Hit {
	list, _ := optionFields(s.options)
	var hits []Hit
	for _, o := range list {
		hits = append(hits, Hit{o.name, ix.optionType(o) + ": " + o.text()})
	}
	return hits
}

// optionType returns the shown type of an option: its values if they are declared, else its type.
func (ix *Index) optionType(o *option) string {
	if o.enum == nil {
		return ix.typeText(o.typ)
	}
	return `"` + strings.Join(o.enum, `"|"`) + `"`
}

func (o *option) text() string {
	text := o.doc
	if o.def != "" {
		text += " (default " + o.def + ")"
	}
	if o.required {
		text += " (required)"
	}
	return text
}

// notes returns the lines about versions, permissions and errors.
func (f *Func) notes() []string {
	var out []string
	add := func(label, text string) {
		if text != "" {
			out = append(out, label+text)
		}
	}
	add("deprecated: use ", f.Deprecated)
	add("as a method: ", f.asMethod())
	add("raises: ", strings.Join(f.Raises, ", "))
	if p := f.permission(); p != "none" {
		add("permission: ", p)
	}
	add("needs iOS ", f.MinOS)
	if f.NeedsDDI {
		out = append(out, "needs the developer disk image")
	}
	add("see also: ", strings.Join(f.SeeAlso, ", "))
	return out
}

func exampleText(examples []string) string {
	text := ""
	for _, e := range examples {
		text += "\nexample:\n  " + strings.ReplaceAll(strings.TrimSpace(e), "\n", "\n  ") + "\n"
	}
	return text
}

// helpMethod implements object:help([member]).
func (ix *Index) helpMethod(L *lua.LState) int {
	o, _ := objectOf(L.Get(1))
	text := ix.helpClass(o.class)
	if name, ok := L.Get(2).(lua.LString); ok {
		text = ix.helpName(o.class.decl.Name + ":" + string(name))
		if f := o.class.field(string(name)); f != nil {
			text = ix.helpField(o.class.decl, f)
		}
	}
	ix.print(L, text)
	return 0
}

func (c *boundClass) field(name string) *Field {
	for _, f := range c.decl.Fields {
		if f.Name == name {
			return f
		}
	}
	return nil
}
