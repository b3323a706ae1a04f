package api

import (
	"reflect"
	"strings"
)

// typeText returns the LuaCATS name of a Go type, for the stubs, the reference and messages.
func (ix *Index) typeText(t reflect.Type) string {
	switch t {
	case typeLValue, typeAny:
		return "any"
	case typeTable:
		return "table"
	case typeFunction:
		return "function"
	case typeBytes:
		return "string"
	case typeDuration:
		return "number"
	case typeTime:
		return "Date"
	case typeValues:
		return "any ..."
	}
	if t.Implements(typeError) {
		return "Error"
	}
	if t.Implements(typePartial) {
		return ix.typeText(t.Field(0).Type)
	}
	if of, ok := openedClass(t); ok {
		t = of
	}
	if c := ix.classOf(t); c != nil {
		return c.decl.Name
	}
	if r := ix.recordOf(t); r != nil {
		return r.decl.Name
	}
	return ix.kindText(t)
}

func (ix *Index) kindText(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "integer"
	case reflect.Pointer:
		return ix.typeText(t.Elem())
	case reflect.Slice, reflect.Array:
		return ix.typeText(t.Elem()) + "[]"
	case reflect.Map:
		return "table<string, " + ix.typeText(t.Elem()) + ">"
	case reflect.Struct:
		return "table"
	}
	return "any"
}

// signature holds the parameters and results of a Func with their types as text.
type signature struct {
	params  []paramText
	returns []string // "type name"
	options reflect.Type
	optName string // class name of the options table in the stubs
}

type paramText struct {
	Param
	typ string
}

// signature returns the signature of f. It derives the types from the Go function; raw functions
// have them in the declaration.
func (ix *Index) signature(f *Func) signature {
	var s signature
	t := reflect.TypeOf(f.fn)
	first := 1
	if f.method {
		first = 2
	}
	for i, p := range f.Params {
		pt := paramText{Param: p, typ: p.Type}
		if t != nil && first+i < t.NumIn() {
			in := t.In(first + i)
			if p.Variadic {
				in = in.Elem()
			}
			if ix.isOptions(in) {
				s.options, s.optName = in, optionsName(f)
				pt.typ = s.optName
			}
			if in.Kind() == reflect.Pointer && ix.typeText(in) == ix.typeText(in.Elem()) &&
				ix.classOf(in) == nil {
				pt.Optional = pt.Optional || ix.recordOf(in) == nil
			}
			if pt.typ == "" {
				pt.typ = ix.typeText(in)
			}
		}
		if pt.typ == "" {
			pt.typ = "any"
		}
		s.params = append(s.params, pt)
	}
	s.returns = f.Returns
	if s.returns == nil && t != nil {
		for i := range t.NumOut() {
			if t.Out(i) != typeError {
				s.returns = append(s.returns, ix.typeText(t.Out(i)))
			}
		}
	}
	return s
}

// optionsName returns the name of the class for a function's options in the stubs, such as
// DeviceLaunchOptions.
func optionsName(f *Func) string {
	owner := ""
	switch {
	case f.class != nil:
		owner = f.class.Name
	case f.module != nil && !f.module.Flat && f.module.Call != f:
		owner = camel(f.module.Name)
	}
	return owner + camel(f.Name) + "Options"
}

func camel(s string) string {
	var b strings.Builder
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == '_' || r == '.' }) {
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}

// fieldType returns the shown type of a class field.
func (ix *Index) fieldType(f *Field) string {
	if f.Type != "" {
		return f.Type
	}
	return ix.typeText(reflect.TypeOf(f.Get).Out(0))
}
