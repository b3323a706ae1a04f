package api

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Module is a named table of functions. Scripts reach it by require "imd.<name>", and as a global
// as well when Global is set.
type Module struct {
	Name   string
	Doc    string
	Global bool // also a global of that name
	Flat   bool // no table at all: functions and constants are globals themselves
	Perm   string
	Var    string // in a library: what examples call the value that its functions are methods of

	Call     *Func // makes the module itself callable, as device() beside device.wait()
	Funcs    []*Func
	Consts   []Const
	Classes  []*Class
	Records  []*Record
	Examples []string

	// Setup fills what cannot be declared (positional arguments in args[1]...). It runs once, when
	// the table is built.
	Setup func(L *lua.LState, t *lua.LTable)

	standard bool // is part of the language: documented by Describe, not installed

	// links functions to their module: declarations are shared by all hosts of a process
	once sync.Once
}

// link tells functions and classes where they belong.
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

// functions are the module's own functions, with Call.
func (m *Module) functions() []*Func {
	if m.Call == nil {
		return m.Funcs
	}
	return append([]*Func{m.Call}, m.Funcs...)
}

// Const is a named value of a module. Value is converted by host.ToLua, or is a func(*host.Host)
// lua.LValue for values that each host has its own of.
type Const struct {
	Name, Doc string
	Value     any
	Type      string // type shown in the stubs, derived from Value when empty
}

// Class describes objects with behaviour. Its instances are Go pointers wrapped in userdata.
type Class struct {
	Name string
	Doc  string
	// how examples and messages call an instance, "dev"; default: Name in lower case
	Var  string
	Of   reflect.Type // the pointer type, set by NewClass
	Perm string

	Fields  []*Field
	Methods []*Func
	// String is a func(T) string for tostring and the printer; without it only the class name is
	// shown.
	String any
	// Next is a func(*Call, T) (results..., error): it makes instances usable as `for x in object
	// do`. A nil first result ends the loop. It may be an lua.LGFunction, which is faster.
	Next any
	// NextType is the type of what the loop yields, for the stubs.
	NextType string
	// Meta adds metamethods by name, such as __len and __lt, or replaces those that every class
	// has.
	Meta map[string]lua.LGFunction
	// CompareHint says in the error for `object < 1` what to use instead.
	CompareHint string
	// Closer gives instances close() and keep() and binds them to the scope that made them. T must
	// have Close(context.Context) error or Close() error.
	Closer bool
	// Shared says why several tasks may use an instance at the same time although it has next or
	// read. Other classes with these embed a Turn.
	Shared string
}

// NewClass declares a class whose instances are values of the pointer type T.
func NewClass[T any](name, doc string) *Class {
	return &Class{Name: name, Doc: doc, Of: reflect.TypeFor[T]()}
}

// Field is a property of class instances. It never does I/O.
type Field struct {
	Name, Doc string
	Type      string // shown type; derived from Get when empty
	Get       any    // func(T) R

	get func(self any) any // set by Property: no reflection at run time
}

// Property declares a field by a typed getter.
func Property[T, R any](name, doc string, get func(T) R) *Field {
	return &Field{Name: name, Doc: doc, Get: get, get: func(self any) any { return get(self.(T)) }}
}

// Record describes plain data: a struct whose fields carry the tags lua:"name" doc:"text". Fields
// without a lua tag are hidden. Scripts see it read-only; unknown fields are errors.
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
	Access    host.Access // what the string names outside of the script
	// kind of string for completion: bundle_id, udid, service, path, remote_path
	Kind     string
	Choices  func(Argument) []string // what the string can be, where the declaration knows it
	Optional bool
	Variadic bool
}

// Argument is a string argument that is being written, as far as completion knows it.
type Argument struct {
	Self   any      // the receiver of a method, nil unless it is a live object
	Before []string // the arguments before it: the text of plain strings, "" for anything else
	Word   string   // what is there of it
}

// Func is the declaration of one function or method.
type Func struct {
	Name, Doc  string
	Params     []Param
	Returns    []string // "integer pid", one a result; derived from the Go signature when empty
	Raises     []string
	Perm       string
	Examples   []string
	MinOS      string
	Since      string
	NeedsDDI   bool
	Deprecated string
	SeeAlso    []string

	// Checks lists what the function itself passes to Call.Allow.
	Checks []host.Access

	fn       any
	faults   []string // of the declaration, for Lint
	raw      lua.LGFunction
	existing bool
	method   bool
	onClosed bool
	module   *Module
	class    *Class
}

// Option sets one of the less common properties of a Func.
type Option func(*Func)

// Function declares a module function. fn is func(c *Call, args...) (results..., error); the error
// result is optional. params names the arguments, as "bundle_id opts?": a trailing ? makes one
// optional (pointers are optional anyway), a trailing ... marks the variadic one, and name:type
// overrides the shown type. A last parameter of struct type is the options table.
func Function(name, doc, params string, fn any, more ...Option) *Func {
	f := &Func{Name: name, Doc: doc, Params: parseParams(params), fn: fn}
	for _, o := range more {
		o(f)
	}
	return f
}

// Method declares a method: like Function, with the receiver as first parameter after *Call. The
// receiver is not named in params.
func Method(name, doc, params string, fn any, more ...Option) *Func {
	f := Function(name, doc, params, fn, more...)
	f.method = true
	return f
}

// Raw declares a hand-written function. It does its own conversions (Self, Check and Push help);
// types for the documentation stand in params as "data:string".
func Raw(name, doc, params string, fn lua.LGFunction, more ...Option) *Func {
	f := Function(name, doc, params, nil, more...)
	f.raw = fn
	return f
}

// RawMethod is Raw for a method; the receiver, already checked for its class, is argument 1.
func RawMethod(name, doc, params string, fn lua.LGFunction, more ...Option) *Func {
	f := Raw(name, doc, params, fn, more...)
	f.method = true
	return f
}

// Existing documents a function that the host itself made: a global in a Flat module, or a function
// of a library that Describe documents.
func Existing(name, doc, params string, more ...Option) *Func {
	f := Raw(name, doc, params, func(L *lua.LState) int {
		host.Raise(L, host.Errorf("internal", "the host has no function %q", name))
		return 0
	}, more...)
	f.existing = true
	return f
}

// Returns names the results, each as "type name text".
func Returns(results ...string) Option { return func(f *Func) { f.Returns = results } }

// Raises lists the error codes that a caller may want to handle.
func Raises(
	codes ...string,
) Option {
	return func(f *Func) { f.Raises = append(f.Raises, codes...) }
}

// Perm sets the permission that a sandboxed script needs, such as none, read, control, modify.
func Perm(p string) Option { return func(f *Func) { f.Perm = p } }

// Example adds an example. Lines that end in `-- => value` are checked by the tests of the
// declaring module.
func Example(lua string) Option { return func(f *Func) { f.Examples = append(f.Examples, lua) } }

// MinOS states the oldest iOS version that has the feature.
func MinOS(v string) Option { return func(f *Func) { f.MinOS = v } }

// NeedsDDI says that the developer disk image must be mounted.
func NeedsDDI() Option { return func(f *Func) { f.NeedsDDI = true } }

// Since states the imdlua version that introduced the function.
func Since(v string) Option { return func(f *Func) { f.Since = v } }

// Deprecated names what to use instead.
func Deprecated(text string) Option { return func(f *Func) { f.Deprecated = text } }

// SeeAlso adds related names.
func SeeAlso(names ...string) Option {
	return func(f *Func) { f.SeeAlso = append(f.SeeAlso, names...) }
}

// OnClosed lets a method run on a closed object.
func OnClosed() Option { return func(f *Func) { f.onClosed = true } }

// ParamDoc documents one parameter.
func ParamDoc(name, doc string) Option {
	return onParam("ParamDoc", name, func(p *Param) { p.Doc = doc })
}

// StringKind tells completion what a string parameter stands for.
func StringKind(name, kind string) Option {
	return onParam("StringKind", name, func(p *Param) { p.Kind = kind })
}

// StringChoices lets the declaration itself say what a string parameter can be. list must not wait:
// it runs while somebody types, with the interpreter lock as a rule. Candidates need not fit the
// word.
func StringChoices(name string, list func(Argument) []string) Option {
	return onParam("StringChoices", name, func(p *Param) { p.Choices = list })
}

// Access says what a string parameter, or each string of a list, is of: a path that is read, a
// host, and so on. The call is refused when the script may not use it.
func Access(name string, access host.Access) Option {
	return onParam("Access", name, func(p *Param) { p.Access = access })
}

// Checks says that the function passes what it uses to Call.Allow itself, because its parameters do
// not say it.
func Checks(accesses ...host.Access) Option {
	return func(f *Func) { f.Checks = append(f.Checks, accesses...) }
}

// onParam changes a parameter. A wrong name is a fault that Lint reports.
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

// permissions are the values that Perm may have: what a sandbox can grant. "none" needs no grant.
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

// FullName is the name in messages and documentation: fs.read, Device:launch, p.
func (f *Func) FullName() string {
	switch {
	case f.class != nil:
		return f.class.Name + ":" + f.Name
	case f.module == nil || f.module.Flat || f.module.Call == f:
		return f.Name
	}
	return f.module.Name + "." + f.Name
}

// Usage is how the function is called: dev:launch(bundle_id, [opts]).
func (f *Func) Usage() string {
	name := f.FullName()
	if f.class != nil {
		name = f.class.instance() + ":" + f.Name
	}
	return name + "(" + usageOf(f.Params) + ")"
}

// usageOf writes parameters as a call has them: a, [b], c...
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

// permission is the function's own, else that of its class, else that of its module.
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

// instance is how messages call an object of the class.
func (c *Class) instance() string {
	if c.Var != "" {
		return c.Var
	}
	return strings.ToLower(c.Name)
}

// value is the constant as a script sees it.
func (k Const) value(h *host.Host, L *lua.LState) lua.LValue {
	switch v := k.Value.(type) {
	case func(*host.Host) lua.LValue:
		return v(h)
	case lua.LValue:
		return v
	}
	return host.ToLua(L, k.Value)
}
