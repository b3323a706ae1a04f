package api

import (
	"fmt"
	"io"
	"reflect"
	"slices"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/vm"
)

// Object is the value of a class instance's userdata.
type Object struct {
	Value any
	class *boundClass
	state *handle // nil when the class cannot be closed
}

// LuaToGo converts the object with the LuaToGo method of its Go value. If there is none, it returns
// an error.
func (o *Object) LuaToGo() any {
	if g, ok := o.Value.(host.GoValuer); ok {
		return g.LuaToGo()
	}
	return host.Errorf("value", "cannot convert a %s: it stands for no value", o.class.decl.Name)
}

// LuaBytes returns the bytes of the Go value, and false if it has none.
func (o *Object) LuaBytes() ([]byte, bool) {
	if b, ok := o.Value.(host.BytesValuer); ok {
		return b.LuaBytes()
	}
	return nil, false
}

// Size returns the size of the Go value, or 0 if it is not a host.Sized.
func (o *Object) Size(visit func(lua.LValue)) int {
	if s, ok := o.Value.(host.Sized); ok {
		return s.Size(visit)
	}
	return 0
}

// boundClass is a Class in one host.
type boundClass struct {
	ix      *Index
	decl    *Class
	mt      *lua.LTable // built on first use
	methods *lua.LTable
	fields  map[string]*Field
	next    *bound
	all     []*Func
}

func objectOf(v lua.LValue) (*Object, bool) {
	ud, ok := v.(*lua.LUserData)
	if !ok {
		return nil, false
	}
	o, ok := ud.Value.(*Object)
	return o, ok
}

func (ix *Index) objectGetter(c *boundClass) getter {
	return func(L *lua.LState, v lua.LValue, dst reflect.Value) error {
		o, ok := objectOf(v)
		if !ok || o.class != c {
			return mismatch(c.decl.Name, v)
		}
		o.checkOpen(L, "")
		dst.Set(reflect.ValueOf(o.Value))
		return nil
	}
}

// checkOpen raises code "closed" if the object was closed.
func (o *Object) checkOpen(L *lua.LState, op string) {
	if o.state == nil {
		return
	}
	closed, where := o.state.isClosed()
	if !closed {
		return
	}
	e := host.Errorf("closed", "%s is closed (%s)", o.class.decl.Name, where)
	e.Op = op
	host.Raise(L, e)
}

// wrap returns the userdata of an instance. An instance of a closable class must
// have been opened by Open or Own. It has the same userdata as long as it is open.
func (c *boundClass) wrap(L *lua.LState, v any) lua.LValue {
	if c.decl.Closer {
		h := c.ix.handleOf(v)
		if h == nil {
			host.Raise(
				L,
				host.Errorf("internal", "a %s was not opened by api.Open or api.Own", c.decl.Name),
			)
		}
		return c.wrapHandle(L, h)
	}
	if c.mt == nil {
		c.build(L)
	}
	return &lua.LUserData{Value: &Object{Value: v, class: c}, Env: L.Env, Metatable: c.mt}
}

// wrapHandle returns the userdata of an open instance.
func (c *boundClass) wrapHandle(L *lua.LState, h *handle) lua.LValue {
	if h.ud != nil {
		return h.ud
	}
	if c.mt == nil {
		c.build(L)
	}
	h.ud = &lua.LUserData{
		Value:     &Object{Value: h.value, class: c, state: h},
		Env:       L.Env,
		Metatable: c.mt,
	}
	return h.ud
}

// build makes the metatable. __index is the table of methods if the class has no fields, which is
// faster, else a function.
func (c *boundClass) build(L *lua.LState) {
	d := c.decl
	c.methods = L.CreateTable(0, len(d.Methods)+3)
	c.fields = make(map[string]*Field, len(d.Fields))
	for _, f := range c.allMethods() {
		b := &bound{ix: c.ix, decl: f, skip: 1}
		c.methods.RawSetString(f.Name, b.function(L))
	}
	for _, f := range d.Fields {
		c.fields[f.Name] = f
	}
	c.mt = L.CreateTable(0, 8)
	if len(d.Fields) == 0 {
		strict := L.CreateTable(0, 1)
		strict.RawSetString(
			"__index",
			L.NewFunction(func(L *lua.LState) int { return c.unknown(L, L.Get(2)) }),
		)
		c.methods.Metatable = strict
		c.mt.RawSetString("__index", c.methods)
	} else {
		c.mt.RawSetString("__index", L.NewFunction(c.index))
	}
	c.mt.RawSetString("__newindex", L.NewFunction(c.readOnly))
	c.mt.RawSetString("__tostring", L.NewFunction(c.tostring))
	c.mt.RawSetString("__eq", L.NewFunction(objectsEqual))
	c.mt.RawSetString("__name", lua.LString(d.Name))
	c.mt.RawSetString("__metatable", lua.LString(d.Name))
	if d.Next != nil {
		c.mt.RawSetString("__call", L.NewFunction(c.iterate))
	}
	for name, fn := range d.Meta {
		c.mt.RawSetString(name, L.NewFunction(fn))
	}
	if d.CompareHint != "" {
		c.mt.RawSetString(vm.CompareHint, lua.LString(d.CompareHint))
	}
}

// allMethods returns the declared methods and help. For a closable class it adds close and keep.
func (c *boundClass) allMethods() []*Func {
	if c.all != nil {
		return c.all
	}
	own := []string{"help"}
	if c.decl.Closer {
		own = append(own, "close", "keep")
	}
	c.all = slices.Clone(c.decl.Methods)
	for _, name := range own {
		if !slices.ContainsFunc(c.decl.Methods, func(f *Func) bool { return f.Name == name }) {
			c.all = append(c.all, c.ix.ownMethod(c.decl, name))
		}
	}
	return c.all
}

func (c *boundClass) index(L *lua.LState) int {
	key, ok := L.Get(2).(lua.LString)
	if !ok {
		return c.unknown(L, L.Get(2))
	}
	if m := c.methods.RawGetString(string(key)); m != lua.LNil {
		L.Push(m)
		return 1
	}
	f := c.fields[string(key)]
	o, ok := objectOf(L.Get(1))
	if f == nil || !ok {
		return c.unknown(L, key)
	}
	L.Push(c.ix.Wrap(L, f.value(o.Value)))
	return 1
}

// value returns the value of the field for the instance self.
func (f *Field) value(self any) any {
	if f.get != nil {
		return f.get(self)
	}
	return reflect.ValueOf(f.Get).Call([]reflect.Value{reflect.ValueOf(self)})[0].Interface()
}

// unknown raises the error for a name that the class does not have.
func (c *boundClass) unknown(L *lua.LState, key lua.LValue) int {
	host.Raise(L, unknownMember(c.decl.Name, key.String(), c.names()))
	return 0
}

func (c *boundClass) names() []string {
	var out []string
	for _, f := range c.allMethods() {
		out = append(out, f.Name)
	}
	for _, f := range c.decl.Fields {
		out = append(out, f.Name)
	}
	slices.Sort(out)
	return out
}

func (c *boundClass) readOnly(L *lua.LState) int {
	host.Raise(
		L,
		host.Errorf("read_only", "%s is read-only: cannot set %q", c.decl.Name, L.Get(2).String()),
	)
	return 0
}

func (c *boundClass) tostring(L *lua.LState) int {
	o, ok := objectOf(L.Get(1))
	text := c.decl.Name
	if ok && c.decl.String != nil {
		text = reflect.ValueOf(c.decl.String).Call(
			[]reflect.Value{reflect.ValueOf(o.Value)},
		)[0].String()
	}
	L.Push(lua.LString(text))
	return 1
}

func objectsEqual(L *lua.LState) int {
	a, _ := objectOf(L.Get(1))
	b, _ := objectOf(L.Get(2))
	L.Push(lua.LBool(a != nil && b != nil && a.Value == b.Value))
	return 1
}

// iterate implements __call, which Lua calls for each step of a for loop.
func (c *boundClass) iterate(L *lua.LState) int {
	o, ok := objectOf(L.Get(1))
	if !ok {
		host.Raise(L, host.Errorf("argument", "%s expected", c.decl.Name))
	}
	if o.endLoop(L) {
		return 0
	}
	if c.next == nil {
		c.next = &bound{ix: c.ix, decl: c.decl.nextFunc(), skip: 1}
	}
	if t, ok := o.Value.(turner); ok {
		t.turn().enter(L, c.next.decl)
		defer t.turn().leave()
		if o.endLoop(L) { // the object was closed while this task waited
			return 0
		}
	}
	if raw := c.next.decl.raw; raw != nil {
		return raw(L)
	}
	if c.next.plan == nil {
		p, err := c.ix.newPlan(c.next.decl)
		if err != nil {
			host.Raise(L, host.Errorf("internal", "%s", err))
		}
		c.next.plan = p
	}
	f := c.next.plan.frame()
	call := &Call{L: L, ix: c.ix, decl: c.next.decl, skip: 1}
	f.in = append(f.in, reflect.ValueOf(call), reflect.ValueOf(o.Value))
	out := c.next.plan.fn.Call(f.in)
	c.next.plan.release(f)
	return c.next.finish(L, out)
}

// nextFunc returns the declaration of Class.Next as a method.
func (c *Class) nextFunc() *Func {
	f := &Func{Name: "next", fn: c.Next, method: true, class: c}
	if raw, ok := c.Next.(lua.LGFunction); ok {
		f.fn, f.raw = nil, raw
	}
	return f
}

// endLoop reports whether a loop has to end because its object was closed inside the loop. It
// raises if a loop begins on a closed object. Lua passes the value of the previous step as
// argument 3, and nil in the first step.
func (o *Object) endLoop(L *lua.LState) bool {
	if o.state == nil {
		return false
	}
	if closed, _ := o.state.isClosed(); closed && L.Get(3) != lua.LNil {
		return true
	}
	o.checkOpen(L, "next")
	return false
}

// checkClass checks the Go types of a declaration by reflection.
func checkClass(c *Class) error {
	if c.Of == nil || c.Of.Kind() != reflect.Pointer {
		return fmt.Errorf("class %s: Of must be a pointer type", c.Name)
	}
	if c.Closer && !c.Of.Implements(reflect.TypeFor[host.Closer]()) &&
		!c.Of.Implements(reflect.TypeFor[io.Closer]()) {
		return fmt.Errorf("class %s: %s has no Close method", c.Name, c.Of)
	}
	if c.String != nil && !takesOnly(c.String, c.Of) {
		return fmt.Errorf("class %s: String must be func(%s) string", c.Name, c.Of)
	}
	for _, f := range c.Fields {
		if !takesOnly(f.Get, c.Of) {
			return fmt.Errorf(
				"class %s: field %s: Get must be func(%s) value",
				c.Name,
				f.Name,
				c.Of,
			)
		}
	}
	return nil
}

// takesOnly reports whether fn is a function with one parameter, of type t.
func takesOnly(fn any, t reflect.Type) bool {
	ft := reflect.TypeOf(fn)
	return ft != nil && ft.Kind() == reflect.Func && ft.NumIn() == 1 && ft.In(0) == t
}

// ownMethod returns the declaration of help, which every class has, or of close or keep, which
// every closable class has. With a declaration they appear in help, completion and the stubs.
func (ix *Index) ownMethod(c *Class, name string) *Func {
	var f *Func
	switch name {
	case "help":
		f = RawMethod(
			"help",
			"Shows the documentation of this object, or of one of its members.",
			"member?:string",
			ix.helpMethod,
			ParamDoc("member", "name of a method or field"),
		)
	case "close":
		f = RawMethod(
			"close",
			"Closes the object now, before its scope ends. Closing twice is fine.",
			"",
			closeMethod,
		)
	case "keep":
		f = RawMethod(
			"keep",
			"Moves the object to the surrounding scope, so that a function can return it from its own scope(). Returns the object.",
			"",
			keepMethod,
			Returns(c.Name+" self"),
		)
	}
	f.Perm, f.class, f.onClosed = "none", c, name != "keep"
	f.Examples = []string{c.instance() + ":" + name + "()"}
	return f
}
