package api

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
	luar "layeh.com/gopher-luar"

	"github.com/imdlua/imdlua/runtime/host"
)

// recordField is one visible field of a record.
type recordField struct {
	name, doc string
	typ       reflect.Type
	index     []int
	// push converts the field. That of gopher-luar would copy the struct on each read and round
	// 64-bit integers.
	push pusher
}

// boundRecord is a Record in one host. gopher-luar makes the userdata. Its metatable is changed so
// that unknown fields are errors, fields cannot be written, and tostring, pairs and totable work.
type boundRecord struct {
	ix     *Index
	decl   *Record
	fields []*recordField
	byName map[string]*recordField
	ready  bool
}

// luarFields returns the names of a struct field for gopher-luar: its lua tag, or none.
func luarFields(_ reflect.Type, f reflect.StructField) []string {
	if name := f.Tag.Get("lua"); name != "" && name != "-" {
		return []string{name}
	}
	return nil
}

// tagged lists the visible fields of a struct in their order, including those of embedded structs.
func tagged(t reflect.Type) []*recordField {
	var out []*recordField
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			for _, in := range tagged(f.Type) {
				in.index = append([]int{i}, in.index...)
				out = append(out, in)
			}
			continue
		}
		if names := luarFields(t, f); names != nil && f.IsExported() {
			out = append(
				out,
				&recordField{name: names[0], doc: f.Tag.Get("doc"), typ: f.Type, index: []int{i}},
			)
		}
	}
	return out
}

// recordMap copies a record into plain values, for totable and the encoders. Structs without tags
// are returned as they are.
func recordMap(v reflect.Value) any {
	fields := tagged(v.Type())
	if len(fields) == 0 {
		return v.Interface()
	}
	out := make(map[string]any, len(fields))
	for _, f := range fields {
		out[f.name] = plainCopy(v.FieldByIndex(f.index))
	}
	return out
}

// build makes the fields and changes the metatable that gopher-luar has made for *T.
func (r *boundRecord) build(L *lua.LState) {
	r.ready = true
	r.fields = tagged(r.decl.Of)
	r.byName = make(map[string]*recordField, len(r.fields))
	for _, f := range r.fields {
		r.byName[f.name] = f
		if k := f.typ.Kind(); (k == reflect.Slice || k == reflect.Map) && f.typ != typeBytes {
			f.push = r.ix.pushView
			continue
		}
		p, err := r.ix.pusherFor(f.typ)
		if err != nil {
			host.Raise(
				L,
				host.Errorf("internal", "record %s: field %s: %s", r.decl.Name, f.name, err),
			)
		}
		f.push = p
	}
	cfg := luar.GetConfig(L)
	cfg.FieldNames = luarFields
	cfg.MethodNames = func(reflect.Type, reflect.Method) []string { return nil }
	mt := luar.MT(L, reflect.New(r.decl.Of).Interface()).LTable
	for _, op := range []string{"__pow", "__unm", "__call"} {
		mt.RawSetString(op, lua.LNil)
	}
	name := lua.LString(r.decl.Name)
	mt.RawSetString("__name", name)
	mt.RawSetString("__metatable", name)
	mt.RawSetString("__index", L.NewFunction(r.index))
	mt.RawSetString("__newindex", L.NewFunction(r.readOnly))
	mt.RawSetString("__tostring", L.NewFunction(r.tostring))
	mt.RawSetString("__pairs", L.NewFunction(r.pairs))
}

// push returns the userdata of a record. It copies a struct value, so that later changes in Go do
// not change what the script sees.
func (r *boundRecord) push(L *lua.LState, v reflect.Value) lua.LValue {
	if !r.ready {
		r.build(L)
	}
	if v.Kind() == reflect.Struct {
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		v = p
	}
	return luar.New(L, v.Interface())
}

// value returns the struct of the record that is argument 1.
func (r *boundRecord) value(L *lua.LState) reflect.Value {
	if ud, ok := L.Get(1).(*lua.LUserData); ok {
		v := reflect.ValueOf(ud.Value)
		if v.Kind() == reflect.Pointer && v.Type().Elem() == r.decl.Of {
			return v.Elem()
		}
	}
	host.Raise(L, host.Errorf("argument", "%s expected, got %s", r.decl.Name, typeName(L.Get(1))))
	return reflect.Value{}
}

func (r *boundRecord) index(L *lua.LState) int {
	key, _ := L.Get(2).(lua.LString)
	f := r.byName[string(key)]
	switch {
	case f == nil && key == "totable":
		L.Push(r.ix.totable(L))
	case f == nil:
		host.Raise(L, unknownMember(r.decl.Name, L.Get(2).String(), r.names()))
	default:
		L.Push(f.push(L, r.value(L).FieldByIndex(f.index)))
	}
	return 1
}

func (r *boundRecord) names() []string {
	out := []string{"totable"}
	for _, f := range tagged(r.decl.Of) {
		out = append(out, f.name)
	}
	return out
}

func (r *boundRecord) readOnly(L *lua.LState) int {
	host.Raise(
		L,
		host.Errorf("read_only", "%s is read-only: copy it with :totable() first", r.decl.Name),
	)
	return 0
}

func (r *boundRecord) pairs(L *lua.LState) int {
	v, i := r.value(L), 0
	L.Push(L.NewFunction(func(L *lua.LState) int {
		for i < len(r.fields) {
			f := r.fields[i]
			i++
			if x := f.push(L, v.FieldByIndex(f.index)); x != lua.LNil {
				L.Push(lua.LString(f.name))
				L.Push(x)
				return 2
			}
		}
		return 0
	}))
	return 1
}

func (r *boundRecord) tostring(L *lua.LState) int {
	v := r.value(L)
	var b strings.Builder
	b.WriteString(r.decl.Name + "{")
	sep := ""
	for _, f := range r.fields {
		x := f.push(L, v.FieldByIndex(f.index))
		if x == lua.LNil {
			continue
		}
		fmt.Fprintf(&b, "%s%s=%s", sep, f.name, quoted(L, x))
		sep = ", "
	}
	L.Push(lua.LString(b.String() + "}"))
	return 1
}

// quoted returns the text of tostring(v), with quotes if v is a string or an object whose Go
// value is an encoding.TextMarshaler. It cuts long strings.
func quoted(L *lua.LState, v lua.LValue) string {
	s, ok := v.(lua.LString)
	if o, isObject := objectOf(v); isObject {
		if _, isText := o.Value.(encoding.TextMarshaler); isText {
			return strconv.Quote(host.ToString(L, v))
		}
	}
	if !ok {
		return host.ToString(L, v)
	}
	if len(s) > 200 {
		return strconv.Quote(string(s[:200])) + "..."
	}
	return strconv.Quote(string(s))
}

func recordGetter(r *boundRecord) getter {
	return func(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
		ud, ok := v.(*lua.LUserData)
		if ok && ud.Value != nil {
			x := reflect.ValueOf(ud.Value)
			switch {
			case x.Type() == dst.Type():
				dst.Set(x)
				return nil
			case x.Kind() == reflect.Pointer && !x.IsNil() && x.Type().Elem() == dst.Type():
				dst.Set(x.Elem())
				return nil
			}
		}
		return mismatch(r.decl.Name, v)
	}
}
