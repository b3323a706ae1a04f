package api

import (
	"fmt"
	"reflect"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Values is a variable number of results. A function may return it as the last result before the
// error.
type Values []lua.LValue

// arg is one parameter of a plan.
type arg struct {
	typ      reflect.Type
	get      getter
	access   host.Access
	optional bool
	want     string // the type for messages
	options  bool   // an options struct
	scalar   bool   // never a table
}

// plan describes how to call a function. It is made by reflection at the first call.
type plan struct {
	fn       reflect.Value
	method   bool
	args     []arg
	variadic *arg
	results  []pusher
	values   bool // the last result is Values
	fails    bool // the last result is an error
	// free holds frames that no call uses. The interpreter lock guards it. A call
	// that waits keeps its frame.
	free []*frame
}

// frame holds the arguments of one call. It is reused, so that calls need not allocate one.
type frame struct {
	in    []reflect.Value // the Call, the receiver and the arguments
	slots []reflect.Value // settable storage of the fixed arguments
}

func (p *plan) frame() *frame {
	if n := len(p.free); n > 0 {
		f := p.free[n-1]
		p.free = p.free[:n-1]
		return f
	}
	f := &frame{
		in:    make([]reflect.Value, 0, len(p.args)+3),
		slots: make([]reflect.Value, len(p.args)),
	}
	for i, a := range p.args {
		f.slots[i] = reflect.New(a.typ).Elem()
	}
	return f
}

// release clears the frame and keeps it for the next call.
func (p *plan) release(f *frame) {
	for _, s := range f.slots {
		s.SetZero()
	}
	clear(f.in)
	f.in = f.in[:0]
	p.free = append(p.free, f)
}

// bound is a Func in one host.
type bound struct {
	ix   *Index
	decl *Func
	plan *plan
	skip int // arguments before the first declared one: 1 for methods and callable modules
}

// newPlan returns the plan of a function. It fails if the declaration does not agree with the
// signature of the Go function.
func (ix *Index) newPlan(f *Func) (*plan, error) {
	t := reflect.TypeOf(f.fn)
	if t == nil || t.Kind() != reflect.Func || t.NumIn() == 0 || t.In(0) != typeCall {
		return nil, fmt.Errorf("%s: want func(*api.Call, ...), got %T", f.FullName(), f.fn)
	}
	p := &plan{fn: reflect.ValueOf(f.fn), method: f.method}
	first := 1
	if f.method {
		first = 2
		if f.class == nil || t.NumIn() < 2 || t.In(1) != f.class.Of {
			return nil, fmt.Errorf(
				"%s: the parameter after *api.Call must be the receiver",
				f.FullName(),
			)
		}
	}
	if t.NumIn()-first != len(f.Params) {
		return nil, fmt.Errorf(
			"%s: %d parameters are named, the function has %d",
			f.FullName(),
			len(f.Params),
			t.NumIn()-first,
		)
	}
	for i, d := range f.Params {
		if err := ix.planArg(p, t, first+i, d); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", f.FullName(), d.Name, err)
		}
	}
	return p, ix.planResults(p, f, t)
}

func (ix *Index) planArg(p *plan, t reflect.Type, i int, d Param) error {
	in := t.In(i)
	last := t.IsVariadic() && i == t.NumIn()-1
	if last != d.Variadic {
		return fmt.Errorf("... in the names and in the signature must agree")
	}
	if last {
		in = in.Elem()
	}
	get, err := ix.getterFor(in)
	if err != nil {
		return err
	}
	a := arg{typ: in, get: get, access: d.Access, want: d.Type,
		optional: d.Optional || ix.isOptionalPointer(in),
		options:  ix.isOptions(in), scalar: isScalar(in)}
	if a.want == "" {
		a.want = ix.typeText(in)
	}
	if last {
		p.variadic = &a
	} else {
		p.args = append(p.args, a)
	}
	return nil
}

// isScalar reports whether values of type t are strings, booleans or numbers, or pointers to
// these.
func isScalar(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch k := t.Kind(); k {
	case reflect.String, reflect.Bool:
		return true
	default:
		return k >= reflect.Int && k <= reflect.Float64
	}
}

// isOptionalPointer reports whether t is a pointer that is nil if the argument is not given.
// Pointers to classes and records, and those of Lua, are the values themselves.
func (ix *Index) isOptionalPointer(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && ix.classOf(t) == nil && ix.recordOf(t) == nil &&
		t != typeTable && t != typeFunction
}

func (ix *Index) planResults(p *plan, f *Func, t reflect.Type) error {
	n := t.NumOut()
	if n > 0 && t.Out(n-1) == typeError {
		p.fails = true
		n--
	}
	for i := range n {
		if t.Out(i) == typeValues {
			if i != n-1 {
				return fmt.Errorf("%s: api.Values must be the last result", f.FullName())
			}
			p.values = true
			return nil
		}
		push, err := ix.pusherFor(t.Out(i))
		if err != nil {
			return fmt.Errorf("%s: result %d: %w", f.FullName(), i+1, err)
		}
		p.results = append(p.results, push)
	}
	return nil
}

// call is the LGFunction of a declared function.
func (b *bound) call(L *lua.LState) int {
	if b.plan == nil {
		p, err := b.ix.newPlan(b.decl)
		if err != nil {
			host.Raise(L, host.Errorf("internal", "%s", err))
		}
		b.plan = p
	}
	p := b.plan
	f := p.frame()
	f.in = append(f.in, reflect.ValueOf(&Call{L: L, ix: b.ix, decl: b.decl, skip: b.skip}))
	if p.method {
		self := b.self(L)
		f.in = append(f.in, reflect.ValueOf(self))
		if t, ok := self.(turner); ok && !b.decl.onClosed {
			t.turn().enter(L, b.decl)
			defer t.turn().leave()
			b.self(L) // checks again, because the object may have been closed meanwhile
		}
	}
	b.arguments(L, f)
	out := p.fn.Call(f.in)
	p.release(f)
	return b.finish(L, out)
}

// arguments converts the arguments on the stack and appends them to f.in.
func (b *bound) arguments(L *lua.LState, f *frame) {
	p, top := b.plan, L.GetTop()-b.skip
	early := b.earlyOptions(L, top)
	for i := range p.args {
		a := &p.args[i]
		dst := f.slots[i]
		v, at := lua.LValue(lua.LNil), i
		switch {
		case early >= 0 && i == len(p.args)-1:
			at = early
			v = L.Get(at + 1 + b.skip)
		case i < top && i != early:
			v = L.Get(i + 1 + b.skip)
		}
		if v == lua.LNil {
			b.absent(L, i, dst)
		} else if err := a.take(L, v, dst); err != nil {
			raiseArg(L, b.decl, at+1, err)
		}
		f.in = append(f.in, dst)
	}
	if p.variadic == nil {
		return
	}
	for i := len(p.args); i < top; i++ {
		dst := reflect.New(p.variadic.typ).Elem()
		if err := p.variadic.take(L, L.Get(i+1+b.skip), dst); err != nil {
			raiseArg(L, b.decl, i+1, err)
		}
		f.in = append(f.in, dst)
	}
}

// earlyOptions returns the index of the last argument if it is the table of options although
// optional parameters come before the options, as in get(name, { timeout = 2 }). These
// parameters are then absent. Otherwise it returns -1.
func (b *bound) earlyOptions(L *lua.LState, top int) int {
	p := b.plan
	last := len(p.args) - 1
	if top < 1 || top > last || p.variadic != nil || !p.args[last].options {
		return -1
	}
	for i := top - 1; i < last; i++ {
		if !p.args[i].optional || !p.args[i].scalar {
			return -1
		}
	}
	t, ok := L.Get(top + b.skip).(*lua.LTable)
	if !ok || t.Metatable != lua.LNil {
		return -1
	}
	return top - 1
}

// take converts an argument and checks its access.
func (a *arg) take(L *lua.LState, v lua.LValue, dst reflect.Value) error {
	if err := a.get(L, v, dst); err != nil {
		return err
	}
	if a.access == "" {
		return nil
	}
	return allow(L, a.access, dst)
}

// absent handles an argument that is nil or missing. An options struct gets its defaults, another
// optional argument its zero value, and a parameter of any type gets nil. Otherwise it raises.
func (b *bound) absent(L *lua.LState, i int, dst reflect.Value) {
	a := &b.plan.args[i]
	switch {
	case a.typ == typeLValue:
		dst.Set(reflect.ValueOf(lua.LNil))
		if !a.optional && L.GetTop()-b.skip <= i {
			raiseMissing(L, b.decl, i+1, "a value")
		}
	case a.typ == typeAny && L.GetTop()-b.skip > i:
	case !a.optional:
		raiseMissing(L, b.decl, i+1, a.want)
	case b.ix.isOptions(a.typ):
		if err := a.get(L, lua.LNil, dst); err != nil {
			raiseArg(L, b.decl, i+1, err)
		}
	}
}

// finish pushes the results or raises the error.
func (b *bound) finish(L *lua.LState, out []reflect.Value) int {
	p := b.plan
	if p.fails {
		last := len(out) - 1
		if err, _ := out[last].Interface().(error); err != nil {
			host.Raise(L, err)
		}
		out = out[:last]
	}
	if len(p.results) > 0 {
		c := host.Converting(L)
		for i, push := range p.results {
			L.Push(push(L, out[i]))
		}
		c.Done()
	}
	n := len(p.results)
	if p.values {
		for _, v := range out[n].Interface().(Values) {
			L.Push(v)
			n++
		}
	}
	return n
}

// self returns the receiver. It raises if the receiver has another class or is closed.
func (b *bound) self(L *lua.LState) any {
	v := L.Get(1)
	o, ok := objectOf(v)
	if !ok || o.class.decl != b.decl.class {
		raiseSelf(L, b.decl, v)
	}
	if o.state != nil && !b.decl.onClosed {
		if closed, _ := o.state.isClosed(); closed {
			o.checkOpen(L, b.decl.FullName())
		}
	}
	return o.Value
}

// rawCall calls a function of Raw or RawMethod. It checks the receiver and waits for its turn
// first.
func (b *bound) rawCall(L *lua.LState) int {
	if b.decl.method {
		self := b.self(L)
		if t, ok := self.(turner); ok && !b.decl.onClosed {
			t.turn().enter(L, b.decl)
			defer t.turn().leave()
			b.self(L)
		}
	}
	return b.decl.raw(L)
}

// rawModuleCall is rawCall for the function of a callable module. It removes the module itself from
// the stack.
func (b *bound) rawModuleCall(L *lua.LState) int {
	L.Remove(1)
	return b.rawCall(L)
}

// function makes the Lua function and records its declaration.
func (b *bound) function(L *lua.LState) *lua.LFunction {
	fn := b.call
	switch {
	case b.decl.raw != nil && b.skip > 0 && !b.decl.method:
		fn = b.rawModuleCall
	case b.decl.raw != nil:
		fn = b.rawCall
	}
	f := L.NewFunction(fn)
	b.ix.byFunction[f] = b.decl
	return f
}
