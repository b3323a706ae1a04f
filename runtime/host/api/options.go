package api

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// option is one key of a table of options. It comes from the tags of a struct field:
// lua:"name" doc:"text" default:"value" enum:"a|b" required:"true" kind:"bundle_id" access:"read".
type option struct {
	name, doc, def string
	enum           []string
	kind           string
	access         host.Access
	required       bool
	index          []int
	typ            reflect.Type
	get            getter
	preset         reflect.Value // the converted default, invalid if there is none
}

// options is the plan for an options struct.
type options struct {
	typ    reflect.Type
	list   []*option
	byName map[string]*option
}

// optionFields lists the tagged fields of an options struct. It includes the fields of embedded
// structs, so that several functions can share options.
func optionFields(t reflect.Type) ([]*option, error) {
	var out []*option
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			inner, err := optionFields(f.Type)
			if err != nil {
				return nil, err
			}
			for _, o := range inner {
				o.index = append([]int{i}, o.index...)
			}
			out = append(out, inner...)
			continue
		}
		name := f.Tag.Get("lua")
		if name == "" || name == "-" {
			continue
		}
		if !f.IsExported() {
			return nil, fmt.Errorf("option %q of %s is not an exported field", name, t)
		}
		o := &option{
			name:     name,
			doc:      f.Tag.Get("doc"),
			def:      f.Tag.Get("default"),
			kind:     f.Tag.Get("kind"),
			access:   host.Access(f.Tag.Get("access")),
			required: f.Tag.Get("required") == "true",
			index:    []int{i},
			typ:      f.Type,
		}
		if e := f.Tag.Get("enum"); e != "" {
			o.enum = strings.Split(e, "|")
		}
		out = append(out, o)
	}
	return out, nil
}

// isOptions reports whether t is an options struct, which is a struct that is not a record, a class
// or a date.
func (ix *Index) isOptions(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != typeTime && ix.recordOf(t) == nil &&
		ix.classOf(t) == nil
}

func (ix *Index) optionsFor(t reflect.Type) (*options, error) {
	if o := ix.options[t]; o != nil {
		return o, nil
	}
	list, err := optionFields(t)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s is not a options struct, record or class: it has no lua tags", t)
	}
	o := &options{typ: t, list: list, byName: make(map[string]*option, len(list))}
	ix.options[t] = o // before the getters are made, because an option may have the same type
	for _, p := range list {
		p.get, err = ix.getterFor(p.typ)
		if err != nil {
			return nil, fmt.Errorf("option %q: %w", p.name, err)
		}
		p.preset, err = preset(p.typ, p.def)
		if err != nil {
			return nil, fmt.Errorf("option %q: %w", p.name, err)
		}
		if p.name == timeoutName && !p.preset.IsValid() {
			p.get = atOnce(p.get)
		}
		o.byName[p.name] = p
	}
	return o, nil
}

// timeoutName is the name of every option that limits a wait.
const timeoutName = "timeout"

// isDuration reports whether t is a duration or a pointer to one.
func isDuration(t reflect.Type) bool {
	return t == typeDuration || t.Kind() == reflect.Pointer && t.Elem() == typeDuration
}

// atOnce returns a getter that stores AtOnce for a timeout of 0. In an options struct 0 means that
// the script gave no timeout.
func atOnce(get getter) getter {
	return func(L *lua.LState, v lua.LValue, dst reflect.Value) error {
		if err := get(L, v, dst); err != nil {
			return err
		}
		if dst.Kind() == reflect.Pointer && !dst.IsNil() {
			dst = dst.Elem()
		}
		if dst.Type() == typeDuration && dst.Int() == 0 {
			dst.SetInt(int64(AtOnce))
		}
		return nil
	}
}

// preset converts the text of a default tag. It returns the invalid Value for types that have no
// defaults; their tag, such as "the first device", is only documentation.
func preset(t reflect.Type, def string) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	var err error
	switch {
	case def == "":
		return reflect.Value{}, nil
	case t == typeDuration:
		var f float64
		var d time.Duration
		f, err = strconv.ParseFloat(def, 64)
		if err == nil {
			d, err = seconds(f)
			v.SetInt(int64(d))
		}
	case v.Kind() == reflect.String:
		v.SetString(def)
	case v.Kind() == reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(def)
		v.SetBool(b)
	case v.CanInt():
		var n int64
		n, err = strconv.ParseInt(def, 0, t.Bits())
		v.SetInt(n)
	case v.CanUint():
		var n uint64
		n, err = strconv.ParseUint(def, 0, t.Bits())
		v.SetUint(n)
	case v.CanFloat():
		var n float64
		n, err = strconv.ParseFloat(def, 64)
		v.SetFloat(n)
	default:
		return reflect.Value{}, nil
	}
	return v, err
}

// defaults fills dst with the presets.
func (o *options) defaults(dst reflect.Value) {
	for _, p := range o.list {
		if p.preset.IsValid() {
			dst.FieldByIndex(p.index).Set(p.preset)
		}
	}
}

// get is the getter of the options struct. For nil it stores the defaults.
func (o *options) get(L *lua.LState, v lua.LValue, dst reflect.Value) error {
	o.defaults(dst)
	t, ok := v.(*lua.LTable)
	if !ok && v != lua.LNil {
		return mismatch("table of options", v)
	}
	if ok {
		for k, x := t.Next(lua.LNil); k != lua.LNil; k, x = t.Next(k) {
			if err := o.set(L, k, x, dst); err != nil {
				return err
			}
		}
	}
	for _, p := range o.list {
		if p.required && (t == nil || t.RawGetString(p.name) == lua.LNil) {
			return fmt.Errorf("option %q is missing", p.name)
		}
	}
	return nil
}

func (o *options) set(L *lua.LState, k, x lua.LValue, dst reflect.Value) error {
	s, ok := k.(lua.LString)
	if !ok {
		return fmt.Errorf("option names are strings, got %s %s", k.Type(), k)
	}
	p := o.byName[string(s)]
	if p == nil {
		return o.unknown(string(s))
	}
	f := dst.FieldByIndex(p.index)
	f.SetZero() // removes the default, of which the given value might set only a part
	if err := p.get(L, x, f); err != nil {
		return fmt.Errorf("option %q: %w", p.name, err)
	}
	if p.access != "" {
		if err := allow(L, p.access, f); err != nil {
			return err
		}
	}
	if p.enum != nil && f.Kind() == reflect.String && !slices.Contains(p.enum, f.String()) {
		return fmt.Errorf(
			"option %q: %q is none of %s",
			p.name,
			f.String(),
			strings.Join(p.enum, ", "),
		)
	}
	return nil
}

func (o *options) names() []string {
	out := make([]string, len(o.list))
	for i, p := range o.list {
		out[i] = p.name
	}
	slices.Sort(out)
	return out
}

func (o *options) unknown(name string) error {
	known := o.names()
	text := fmt.Sprintf("unknown option %q", name)
	if s := host.Suggest(name, known); s != "" {
		text += fmt.Sprintf(", did you mean %q?", s)
	}
	return errors.New(text + " (known: " + strings.Join(known, ", ") + ")")
}

// Options decodes a table of options into dst, a pointer to an options struct. It is for functions
// that accept such a table or another value.
func (ix *Index) Options(L *lua.LState, v lua.LValue, dst any) error {
	p := reflect.ValueOf(dst).Elem()
	o, err := ix.optionsFor(p.Type())
	if err != nil {
		return err
	}
	return o.get(L, v, p)
}

// allow checks the access of each string in v, which is a string, a pointer to one or a
// list. It skips empty strings, which stand for arguments that were not given.
func allow(L *lua.LState, access host.Access, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if v.String() == "" {
			return nil
		}
		return host.Allow(L, access, v.String())
	case reflect.Pointer:
		if !v.IsNil() {
			return allow(L, access, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := allow(L, access, v.Index(i)); err != nil {
				return err
			}
		}
	}
	return nil
}
