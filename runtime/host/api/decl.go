package api

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Module is a named table of functions. Scripts get it by require "imd.<name>", and as a global if
// Global is set.
type Module struct {
	Name   string
	Doc    string
	Global bool // the module is also a global of that name
	Flat   bool // there is no table: functions and constants are globals themselves
	Perm   string
	// Var is the name in examples of a value that has the functions of a library as methods, such
	// as text for the library string.
	Var string

	Call     *Func // makes the module itself callable, such as device() beside device.wait()
	Funcs    []*Func
	Consts   []Const
	Classes  []*Class
	Records  []*Record
	Examples []string

	// Setup adds to the table what cannot be declared, such as positional arguments in args[1]. It
	// runs once, when the table is built.
	Setup func(L *lua.LState, t *lua.LTable)

	standard bool // a library of the language: documented by Describe, not installed

	once sync.Once // for link, because all hosts of a process share the declarations
}

// link sets the module and the class of each function.
func (m *Module) link() {
	m.once.Do(func() {
		for _, f := range m.functions() {
			f.module = m
		}
		for _, c := range m.Classes {
			for _, f := range c.Methods {
				f.module, f.class = m, c
			}
		}
	})
}

// functions returns the functions of the module, including Call.
func (m *Module) functions() []*Func {
	if m.Call == nil {
		return m.Funcs
	}
	return append([]*Func{m.Call}, m.Funcs...)
}

// Const is a named value of a module. host.ToLua converts Value, unless it is a func(*host.Host)
// lua.LValue, which returns a value for each host.
type Const struct {
	Name, Doc string
	Value     any
	Type      string // type shown in the stubs; derived from Value if empty
}

// Class describes objects with behaviour. Its instances are Go pointers wrapped in userdata.
type Class struct {
	Name string
	Doc  string
	// Var is the name of an instance in examples and messages, such as dev. The default is Name in
	// lower case.
	Var  string
	Of   reflect.Type // the pointer type, set by NewClass
	Perm string

	Fields  []*Field
	Methods []*Func
	// String is a func(T) string for tostring and the printer. Without it they show only the name
	// of the class.
	String any
	// Next is a func(*Call, T) (results..., error) for the loop `for x in object do`. A nil first
	// result ends the loop. Next may also be a lua.LGFunction, which is faster.
	Next any
	// NextType is the type of the loop variable, for the stubs.
	NextType string
	// Meta adds metamethods by name, such as __len and __lt. It can replace those that every class
	// has.
	Meta map[string]lua.LGFunction
	// CompareHint is a hint in the error for `object < 1` about what to use instead.
	CompareHint string
	// Closer gives instances the methods close and keep, and makes them belong to the scope in
	// which they were opened. T must have Close(context.Context) error or Close() error.
	Closer bool
	// Shared is the reason why several tasks may use an instance at the same time although it has
	// next or read. Without this reason such a class must embed a Turn.
	Shared string
}

// NewClass declares a class whose instances are values of the pointer type T.
func NewClass[T any](name, doc string) *Class {
	return &Class{Name: name, Doc: doc, Of: reflect.TypeFor[T]()}
}

// Field is a property of class instances. It never does I/O.
type Field struct {
	Name, Doc string
	Type      string // shown type; derived from Get if empty
	Get       any    // func(T) R

	get func(self any) any // set by Property to avoid reflection at run time
}

// Property declares a field with a typed getter.
func Property[T, R any](name, doc string, get func(T) R) *Field {
	return &Field{Name: name, Doc: doc, Get: get, get: func(self any) any { return get(self.(T)) }}
}

// Record describes plain data: a struct whose fields have the tags lua:"name" doc:"text". Fields
// without a lua tag are hidden. Scripts can read a record but not change it. Reading an unknown
// field is an error.
type Record struct {
	Name, Doc string
	Of        reflect.Type // the struct type, set by NewRecord
}

// NewRecord declares T, a struct, as a record. Values of T and *T may then be returned to scripts.
func NewRecord[T any](name, doc string) *Record {
	return &Record{Name: name, Doc: doc, Of: reflect.TypeFor[T]()}
}

// Param is one parameter of a function.
type Param struct {
	Name, Doc string
	Type      string      // overrides the type derived from the Go signature
	Access    host.Access // the kind of thing outside of the script that the string names
	// Kind is the kind of string, for completion: bundle_id, udid, service, path, remote_path.
	Kind     string
	Choices  func(Argument) []string // returns the values that the string can have; may be nil
	Optional bool
	Variadic bool
}

// Argument is an unfinished string argument that is to be completed.
type Argument struct {
	Self   any      // the receiver of a method, or nil if no variable holds it
	Before []string // the earlier arguments: the text of plain strings, "" for others
	Word   string   // the text of the argument up to the cursor
}

// Func is the declaration of one function or method.
type Func struct {
	Name, Doc  string
	Params     []Param
	Returns    []string // such as "integer pid"; derived from the Go signature if empty
	Raises     []string
	Perm       string
	Examples   []string
	MinOS      string
	NeedsDDI   bool
	Deprecated string
	SeeAlso    []string

	// Checks lists the kinds of access that the function itself passes to Call.Allow.
	Checks []host.Access

	fn       any            // the Go function, nil for a raw one
	faults   []string       // mistakes in the declaration, for Lint
	raw      lua.LGFunction // the function of Raw and RawMethod
	existing bool           // declared by Existing
	method   bool
	onClosed bool // the method can be called on a closed object
	module   *Module
	class    *Class
}

// Option sets one of the less common properties of a Func.
type Option func(*Func)

// Function declares a module function. fn is a func(c *Call, args...) (results..., error); the
// error result is optional. params names the parameters, such as "bundle_id opts?". A trailing ?
// makes a parameter optional; pointers are always optional. A trailing ... marks the variadic
// parameter, and name:type overrides the shown type. A last parameter of struct type is the table
// of options.
func Function(name, doc, params string, fn any, more ...Option) *Func {
	f := &Func{Name: name, Doc: doc, Params: parseParams(params), fn: fn}
	for _, o := range more {
		o(f)
	}
	return f
}

// Method declares a method. It is like Function, but the parameter after *Call is the receiver,
// which params does not name.
func Method(name, doc, params string, fn any, more ...Option) *Func {
	f := Function(name, doc, params, fn, more...)
	f.method = true
	return f
}

// Raw declares a function that converts its arguments and results itself. params gives the types
// for the documentation, as in "data:string".
func Raw(name, doc, params string, fn lua.LGFunction, more ...Option) *Func {
	f := Function(name, doc, params, nil, more...)
	f.raw = fn
	return f
}

// RawMethod is like Raw, for a method. The receiver is argument 1; its class is checked before fn
// is called.
func RawMethod(name, doc, params string, fn lua.LGFunction, more ...Option) *Func {
	f := Raw(name, doc, params, fn, more...)
	f.method = true
	return f
}

// Existing documents a function that the host has made: a global in a Flat module, or a function
// of a library that Describe documents.
func Existing(name, doc, params string, more ...Option) *Func {
	f := Raw(name, doc, params, func(L *lua.LState) int {
		host.Raise(L, host.Errorf("internal", "the host has no function %q", name))
		return 0
	}, more...)
	f.existing = true
	return f
}

// Returns documents the results, each as "type name text".
func Returns(results ...string) Option { return func(f *Func) { f.Returns = results } }

// Raises lists the error codes that a caller may want to handle.
func Raises(codes ...string) Option {
	return func(f *Func) { f.Raises = append(f.Raises, codes...) }
}

// Perm sets the permission that a sandboxed script needs, such as none, read, control, modify.
func Perm(p string) Option { return func(f *Func) { f.Perm = p } }

// Example adds an example. The tests of the declaring module check lines that end in `-- => value`.
func Example(lua string) Option { return func(f *Func) { f.Examples = append(f.Examples, lua) } }

// MinOS states the oldest iOS version that has the feature.
func MinOS(v string) Option { return func(f *Func) { f.MinOS = v } }

// NeedsDDI says that the developer disk image must be mounted.
func NeedsDDI() Option { return func(f *Func) { f.NeedsDDI = true } }

// Deprecated marks the function as deprecated. text says what to use instead.
func Deprecated(text string) Option { return func(f *Func) { f.Deprecated = text } }

// SeeAlso adds related names.
func SeeAlso(names ...string) Option {
	return func(f *Func) { f.SeeAlso = append(f.SeeAlso, names...) }
}

// ParamDoc documents one parameter.
func ParamDoc(name, doc string) Option {
	return onParam("ParamDoc", name, func(p *Param) { p.Doc = doc })
}

// StringKind sets the kind of a string parameter, for completion.
func StringKind(name, kind string) Option {
	return onParam("StringKind", name, func(p *Param) { p.Kind = kind })
}

// StringChoices sets the function that lists the values of a string parameter for completion.
// list must not wait, because it runs while the user types, usually with the interpreter lock
// held. It may return values that do not begin with the word.
func StringChoices(name string, list func(Argument) []string) Option {
	return onParam("StringChoices", name, func(p *Param) { p.Choices = list })
}

// Access sets the kind of access of a string parameter or a list of strings, such as a path that is
// read. The call fails if the script may not use the value.
func Access(name string, access host.Access) Option {
	return onParam("Access", name, func(p *Param) { p.Access = access })
}

// Checks declares that the function itself calls Call.Allow for these kinds of access, because its
// parameters do not name what it uses.
func Checks(accesses ...host.Access) Option {
	return func(f *Func) { f.Checks = append(f.Checks, accesses...) }
}

// onParam returns an option that changes a parameter. Lint reports a name that does not exist.
func onParam(option, name string, change func(p *Param)) Option {
	return func(f *Func) {
		for i := range f.Params {
			if f.Params[i].Name == name {
				change(&f.Params[i])
				return
			}
		}
		f.faults = append(
			f.faults,
			fmt.Sprintf("%s names the parameter %q, which does not exist", option, name),
		)
	}
}

// permissions lists the values of Perm, which a sandbox can grant. "none" does not need a grant.
var permissions = []string{
	"none",
	"read",
	"control",
	"modify",
	"erase",
	"raw",
	"file-read",
	"file-write",
	"env",
	"net",
	"exec",
}

func parseParams(s string) []Param {
	var out []Param
	for _, w := range strings.Fields(s) {
		var p Param
		w, p.Type, _ = strings.Cut(w, ":")
		w, p.Variadic = strings.CutSuffix(w, "...")
		w, p.Optional = strings.CutSuffix(w, "?")
		if w == "" {
			w = "..."
		}
		p.Name = w
		out = append(out, p)
	}
	return out
}

// FullName returns the name for messages and documentation, such as fs.read, Device:launch or p.
func (f *Func) FullName() string {
	switch {
	case f.class != nil:
		return f.class.Name + ":" + f.Name
	case f.module == nil || f.module.Flat || f.module.Call == f:
		return f.Name
	}
	return f.module.Name + "." + f.Name
}

// Usage returns the form of a call, such as dev:launch(bundle_id, [opts]).
func (f *Func) Usage() string {
	name := f.FullName()
	if f.class != nil {
		name = f.class.instance() + ":" + f.Name
	}
	return name + "(" + usageOf(f.Params) + ")"
}

// usageOf returns the parameters as they are written in a call, such as a, [b], c...
func usageOf(params []Param) string {
	parts := make([]string, len(params))
	for i, p := range params {
		parts[i] = p.Name
		if p.Variadic && p.Name != "..." {
			parts[i] += "..."
		}
		if p.Optional {
			parts[i] = "[" + parts[i] + "]"
		}
	}
	return strings.Join(parts, ", ")
}

// permission returns the permission of the function, else that of its class, else that of its
// module.
func (f *Func) permission() string {
	if f.Perm != "" {
		return f.Perm
	}
	if f.class != nil && f.class.Perm != "" {
		return f.class.Perm
	}
	if f.module != nil {
		return f.module.Perm
	}
	return ""
}

// instance returns the name of an instance in examples and messages.
func (c *Class) instance() string {
	if c.Var != "" {
		return c.Var
	}
	return strings.ToLower(c.Name)
}

// value converts the constant to Lua.
func (k Const) value(h *host.Host, L *lua.LState) lua.LValue {
	switch v := k.Value.(type) {
	case func(*host.Host) lua.LValue:
		return v(h)
	case lua.LValue:
		return v
	}
	return host.ToLua(L, k.Value)
}
