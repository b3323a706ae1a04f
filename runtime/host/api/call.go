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

// Call is the first parameter of a declared function. It holds the running thread, and its methods
// are the only ways to wait.
type Call struct {
	L       *lua.LState
	ix      *Index
	decl    *Func
	skip    int
	timeout time.Duration
}

// Timeout sets the time limit of later Block and TryBlock calls. 0 means the default of the host,
// and NoTimeout means no limit.
func (c *Call) Timeout(d time.Duration) *Call {
	c.timeout = d
	return c
}

// Block runs f without the interpreter lock. It raises the error that f returns, so code after the
// call runs only on success. f must not use Lua values.
func (c *Call) Block(f func(ctx context.Context) error) {
	if c.timeout == 0 {
		host.Block(c.L, f)
		return
	}
	host.WithTimeout(c.L, c.timeout, f)
}

// TryBlock is like Block but returns the error of f. It still raises if the task was cancelled.
func (c *Call) TryBlock(f func(ctx context.Context) error) error {
	if c.timeout == 0 {
		return host.TryBlock(c.L, f)
	}
	return host.TryWithTimeout(c.L, c.timeout, f)
}

// Host returns the host of the running thread.
func (c *Call) Host() *host.Host { return c.ix.host }

// Scope returns the innermost scope of the running task.
func (c *Call) Scope() *host.Scope { return host.CurrentScope(c.L) }

// Task returns the running task.
func (c *Call) Task() *host.Task { return host.CurrentTask(c.L) }

// Index returns the declarations of this host.
func (c *Call) Index() *Index { return c.ix }

// NArgs returns the number of arguments that were given, without the receiver.
func (c *Call) NArgs() int { return c.L.GetTop() - c.skip }

// Wrap converts a Go value to Lua: to an object if its class is declared, to a record, or to a
// plain value. An instance of a closable class must have been opened by Open or Own.
func (c *Call) Wrap(v any) lua.LValue { return c.ix.Wrap(c.L, v) }

// Allow returns an error with code "permission" if the script may not use value. Parameters that
// declare an Access are checked without it.
func (c *Call) Allow(access host.Access, value string) error {
	return host.Allow(c.L, access, value)
}

// Invoke calls a Lua function in the same task. It does not catch errors.
func (c *Call) Invoke(fn lua.LValue, nret int, args ...lua.LValue) []lua.LValue {
	return host.Call(c.L, fn, nret, args...)
}

// ArgError returns an error for argument n, counted from 1 without the receiver. The declared
// function should return it.
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

// Where returns "file:line" of the Lua code that made the call.
func (c *Call) Where() string { return where(c.L) }

// where returns "file:line" of the nearest Lua frame, or "" if there is none.
func where(L *lua.LState) string {
	for level := 0; ; level++ {
		d, ok := L.GetStack(level)
		if !ok {
			return ""
		}
		_, err := L.GetInfo("Sl", d, lua.LNil)
		if err == nil && d.What != "G" && d.CurrentLine > 0 {
			return fmt.Sprintf("%s:%d", d.Source, d.CurrentLine)
		}
	}
}

// Wrap is like Call.Wrap, for code that has no Call.
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

// Self returns the receiver of a method that RawMethod declares. Its class was checked already.
func Self[T any](L *lua.LState) T {
	o, _ := objectOf(L.Get(1))
	return o.Value.(T)
}

// To returns the Go value of an object of class T. It returns false if v is another value.
func To[T any](v lua.LValue) (T, bool) {
	if o, ok := objectOf(v); ok {
		t, ok := o.Value.(T)
		return t, ok
	}
	var zero T
	return zero, false
}

// PCall calls a Lua function and returns the error that it raised. The error keeps its place if
// it is raised again. PCall does not catch cancellation.
func (c *Call) PCall(fn lua.LValue, args ...lua.LValue) ([]lua.LValue, error) {
	res, raised := host.Try(c.L, fn, args...)
	if raised != nil {
		return nil, c.ix.host.ErrorFrom(raised)
	}
	return res, nil
}

// On returns a copy of the call for another thread of the same host, such as the thread of a
// callback or of a spawned task.
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
