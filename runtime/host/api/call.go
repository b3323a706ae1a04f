package api

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Call is what a declared function gets: the running thread and the only ways to wait.
type Call struct {
	L       *lua.LState
	ix      *Index
	decl    *Func
	skip    int
	timeout time.Duration
}

// Timeout sets the deadline of the following Block calls: 0 is the host's default, NoTimeout none.
func (c *Call) Timeout(d time.Duration) *Call {
	c.timeout = d
	return c
}

// Block runs f without the interpreter lock. It raises what f returns, so code after it runs only
// on success. No Lua value may be used inside f.
func (c *Call) Block(f func(ctx context.Context) error) {
	if c.timeout == 0 {
		host.Block(c.L, f)
		return
	}
	host.WithTimeout(c.L, c.timeout, f)
}

// TryBlock is Block, but returns f's error. A cancelled task is still raised.
func (c *Call) TryBlock(f func(ctx context.Context) error) error {
	if c.timeout == 0 {
		return host.TryBlock(c.L, f)
	}
	return host.TryWithTimeout(c.L, c.timeout, f)
}

// Host is the host of the running thread.
func (c *Call) Host() *host.Host { return c.ix.host }

// Scope is the innermost scope of the running task.
func (c *Call) Scope() *host.Scope { return host.CurrentScope(c.L) }

// Task is the running task.
func (c *Call) Task() *host.Task { return host.CurrentTask(c.L) }

// Index holds the declarations of this host.
func (c *Call) Index() *Index { return c.ix }

// NArgs is the number of arguments that were given, without the receiver.
func (c *Call) NArgs() int { return c.L.GetTop() - c.skip }

// Wrap turns a Go value into what scripts see: an object for a declared class, a record, or a plain
// value. An instance of a closable class must be open already, see Open.
func (c *Call) Wrap(v any) lua.LValue { return c.ix.Wrap(c.L, v) }

// Allow asks whether the script may use value, and returns code "permission" if not. Parameters
// that declare their Access are asked for by themselves.
func (c *Call) Allow(
	access host.Access,
	value string,
) error {
	return host.Allow(c.L, access, value)
}

// Invoke calls a Lua function in the same task; errors propagate.
func (c *Call) Invoke(fn lua.LValue, nret int, args ...lua.LValue) []lua.LValue {
	return host.Call(c.L, fn, nret, args...)
}

// ArgError is the error for argument n (counted without the receiver), to be returned by the
// function.
func (c *Call) ArgError(n int, format string, args ...any) error {
	e := host.Errorf(
		"argument",
		"bad argument #%d to %s (%s)",
		n,
		c.decl.FullName(),
		fmt.Sprintf(format, args...),
	)
	e.Hint = "usage: " + c.decl.Usage()
	return e
}

// Where is "file:line" of the Lua code that made the call.
func (c *Call) Where() string { return where(c.L) }

// where is the nearest Lua frame, "" when there is none.
func where(L *lua.LState) string {
	for level := 0; ; level++ {
		d, ok := L.GetStack(level)
		if !ok {
			return ""
		}
		if _, err := L.GetInfo("Sl", d, lua.LNil); err == nil && d.What != "G" &&
			d.CurrentLine > 0 {
			return fmt.Sprintf("%s:%d", d.Source, d.CurrentLine)
		}
	}
}

// Wrap is Call.Wrap for code that has no Call.
func (ix *Index) Wrap(L *lua.LState, v any) lua.LValue {
	if v == nil {
		return lua.LNil
	}
	if lv, ok := v.(lua.LValue); ok {
		return lv
	}
	rv := reflect.ValueOf(v)
	push, err := ix.pusherFor(rv.Type())
	if err != nil {
		return host.ToLua(L, v)
	}
	return push(L, rv)
}

// Self returns the receiver of a hand-written method; the class was checked already.
func Self[T any](L *lua.LState) T {
	o, _ := objectOf(L.Get(1))
	return o.Value.(T)
}

// To returns the Go value of an object of class T, from any argument.
func To[T any](v lua.LValue) (T, bool) {
	if o, ok := objectOf(v); ok {
		t, ok := o.Value.(T)
		return t, ok
	}
	var zero T
	return zero, false
}

// PCall calls a Lua function and returns what it raised as an error, which can be raised again and
// keeps its place. A cancelled task is not caught.
func (c *Call) PCall(fn lua.LValue, args ...lua.LValue) ([]lua.LValue, error) {
	res, raised := host.Try(c.L, fn, args...)
	if raised != nil {
		return nil, c.ix.host.ErrorFrom(raised)
	}
	return res, nil
}

// On is the same call on another thread of the same host: inside a function that the host calls, or
// that runs in a task of its own.
func (c *Call) On(L *lua.LState) *Call {
	return &Call{L: L, ix: c.ix, decl: c.decl, timeout: c.timeout}
}

// HasMethod reports whether v is an object whose class has the method.
func HasMethod(v lua.LValue, name string) bool {
	o, ok := objectOf(v)
	return ok && slices.ContainsFunc(o.class.allMethods(), func(f *Func) bool {
		return f.Name == name
	})
}
