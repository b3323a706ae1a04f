package api

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/gopher-lua/parse"

	"github.com/imdlua/imdlua/runtime/host"
)

var (
	namePattern  = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	classPattern = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	codePattern  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
)

// linter collects the mistakes in declarations.
type linter struct {
	ix   *Index
	errs []error
}

func (l *linter) add(where, format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

// Lint checks that every declaration has a name of the right form, a text, a permission and an
// example that parses, and that it agrees with its Go function. It returns all mistakes.
func (ix *Index) Lint() []error {
	l := &linter{ix: ix}
	for _, m := range ix.sorted() {
		l.module(m)
	}
	return l.errs
}

func (l *linter) name(where, name string) {
	if !namePattern.MatchString(name) {
		l.add(where, "name %q is not snake_case", name)
	}
}

// text checks that a documentation text is not empty and has no white space around it.
func (l *linter) text(where, doc string) {
	switch {
	case strings.TrimSpace(doc) == "":
		l.add(where, "no documentation")
	case strings.TrimSpace(doc) != doc:
		l.add(where, "documentation begins or ends with white space")
	}
}

func (l *linter) module(m *Module) {
	l.name(m.Name, m.Name)
	l.text(m.Name, m.Doc)
	l.examples(m.Name, m.Examples)
	seen := map[string]bool{}
	for _, f := range m.functions() {
		if seen[f.Name] && f != m.Call {
			l.add(f.FullName(), "declared twice")
		}
		seen[f.Name] = f != m.Call
		l.function(f)
	}
	for _, k := range m.Consts {
		l.text(m.prefix()+k.Name, k.Doc)
	}
	for _, c := range m.Classes {
		l.class(c)
	}
	for _, r := range m.Records {
		l.record(r)
	}
}

func (l *linter) class(c *Class) {
	if !classPattern.MatchString(c.Name) {
		l.add(c.Name, "class names are CamelCase")
	}
	l.text(c.Name, c.Doc)
	if err := checkClass(c); err != nil {
		l.add(c.Name, "%s", err)
	}
	l.turns(c)
	b := l.ix.boundTo(c)
	seen := map[string]bool{}
	for _, f := range b.allMethods() {
		if seen[f.Name] {
			l.add(f.FullName(), "declared twice")
		}
		seen[f.Name] = true
		l.function(f)
	}
	for _, f := range c.Fields {
		where := c.Name + "." + f.Name
		if seen[f.Name] {
			l.add(where, "declared twice")
		}
		seen[f.Name] = true
		l.name(where, f.Name)
		l.text(where, f.Doc)
	}
	if next := c.nextFunc(); c.Next != nil && next.raw == nil {
		if _, err := l.ix.newPlan(next); err != nil {
			l.add(c.Name, "Next: %s", err)
		}
	}
}

func (l *linter) record(r *Record) {
	if !classPattern.MatchString(r.Name) {
		l.add(r.Name, "record names are CamelCase")
	}
	l.text(r.Name, r.Doc)
	fields := tagged(r.Of)
	if len(fields) == 0 {
		l.add(r.Name, "no field has a lua tag")
	}
	for _, f := range fields {
		where := r.Name + "." + f.name
		l.name(where, f.name)
		l.text(where, f.doc)
		if k := f.typ.Kind(); k == reflect.Slice || k == reflect.Map {
			continue
		}
		if _, err := l.ix.pusherFor(f.typ); err != nil {
			l.add(where, "%s", err)
		}
	}
}

func (l *linter) function(f *Func) {
	where := f.FullName()
	l.name(where, f.Name)
	l.text(where, f.Doc)
	if len(f.Examples) == 0 {
		l.add(where, "no example")
	}
	l.examples(where, f.Examples)
	switch p := f.permission(); {
	case p == "":
		l.add(where, "no permission")
	case !slices.Contains(permissions, p):
		l.add(where, "unknown permission %q", p)
	}
	for _, fault := range f.faults {
		l.add(where, "%s", fault)
	}
	for _, c := range f.Raises {
		if !codePattern.MatchString(c) {
			l.add(where, "error code %q has a wrong form", c)
		}
	}
	if f.raw == nil {
		if _, err := l.ix.newPlan(f); err != nil {
			l.add(where, "%s", err)
			return
		}
	}
	l.results(f, where)
	l.access(f, where)
	l.timeouts(f, where)
	l.params(f, where)
}

// results finds functions that return a closable instance itself. They must return an
// api.Opened, which was registered where the instance was opened.
func (l *linter) results(f *Func, where string) {
	t := reflect.TypeOf(f.fn)
	if t == nil || t.Kind() != reflect.Func {
		return
	}
	for i := range t.NumOut() {
		out := t.Out(i)
		if out.Kind() == reflect.Slice {
			out = out.Elem()
		}
		if c := l.ix.classOf(out); c != nil && c.decl.Closer {
			l.add(where, "returns a bare %s: return api.Opened[%s], made by api.Open or api.Own",
				out, out)
		}
	}
}

// timeouts checks that every option timeout is a duration, so that 0 and math.huge mean the same
// for all functions.
func (l *linter) timeouts(f *Func, where string) {
	if f.raw != nil {
		return
	}
	s := l.ix.signature(f)
	if s.options != nil {
		list, _ := optionFields(s.options)
		for _, o := range list {
			if o.name == timeoutName && !isDuration(o.typ) {
				l.add(where, "option timeout is a %s, want time.Duration", o.typ)
			}
		}
	}
}

// accessOf maps a permission to the kind of access that it allows.
var accessOf = map[string]host.Access{
	"file-read": host.AccessRead, "file-write": host.AccessWrite,
	"net": host.AccessHost, "exec": host.AccessExec, "env": host.AccessEnv,
}

// access checks that every function that acts outside of the script declares the
// parameters or options that name what it uses.
func (l *linter) access(f *Func, where string) {
	declared := slices.Clone(f.Checks)
	for _, p := range f.Params {
		if p.Kind == "path" && p.Access == "" {
			l.add(
				where,
				"parameter %s is a path: say api.Access(%q, host.AccessRead) or host.AccessWrite",
				p.Name,
				p.Name,
			)
		}
		declared = append(declared, p.Access)
	}
	if s := l.ix.signature(f); s.options != nil {
		list, _ := optionFields(s.options)
		for _, o := range list {
			if o.kind == "path" && o.access == "" {
				l.add(
					where,
					"option %s is a path: give it the tag access:\"read\" or access:\"write\"",
					o.name,
				)
			}
			declared = append(declared, o.access)
		}
	}
	for _, a := range declared {
		if a != "" && !slices.Contains(host.Accesses(), a) {
			l.add(where, "unknown access %q", a)
		}
	}
	want := accessOf[f.permission()]
	if want == "" || slices.Contains(f.Checks, host.AccessNone) {
		return
	}
	if !slices.Contains(declared, want) {
		l.add(
			where,
			"has the permission %s, but no parameter, option or Checks with the access %q",
			f.permission(),
			want,
		)
	}
}

// turns checks that a class with next or read either embeds a Turn or declares that
// several tasks may use an instance at the same time.
func (l *linter) turns(c *Class) {
	reads := c.Next != nil
	for _, f := range c.Methods {
		reads = reads || f.Name == "next" || f.Name == "read"
	}
	if reads && c.Shared == "" && !c.Of.Implements(typeTurner) {
		l.add(
			c.Name,
			"has next or read: embed api.Turn in %s, or say in Shared why two tasks may use it",
			c.Of,
		)
	}
}

func (l *linter) params(f *Func, where string) {
	s := l.ix.signature(f)
	for _, p := range s.params {
		isOptions := s.options != nil && p.typ == s.optName
		if p.Doc == "" && !isOptions {
			l.add(where, "parameter %s has no documentation", p.Name)
		}
		if f.raw != nil && p.Type == "" {
			l.add(where, "parameter %s has no type", p.Name)
		}
	}
	if s.options == nil {
		return
	}
	list, err := optionFields(s.options)
	if err != nil {
		l.add(where, "%s", err)
	}
	for _, o := range list {
		l.name(where+" option", o.name)
		l.text(where+" option "+o.name, o.doc)
	}
}

func (l *linter) examples(where string, list []string) {
	for _, e := range list {
		if _, err := parse.Parse(strings.NewReader(e), where); err != nil {
			l.add(where, "example does not parse: %s", strings.TrimSpace(err.Error()))
		}
	}
}
