package lua51

import (
	"fmt"
	"math"
	"sort"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/luanum"
	"github.com/imdlua/imdlua/runtime/host/vm"
)

// maxResults is how many values one call may return. All of them are on the stack of the thread.
const maxResults = 100000

// libCall is one call of a library function. Its methods read the arguments and raise the errors
// of Lua 5.1, which name the function.
type libCall struct {
	*lua.LState
	name string
}

// addFunctions puts functions into the library table lib.
func addFunctions(h *host.Host, lib *lua.LTable, funcs map[string]func(c libCall) int) {
	names := make([]string, 0, len(funcs))
	for name := range funcs {
		names = append(names, name)
	}
	// The order of the keys is the order of pairs.
	sort.Strings(names)
	for _, name := range names {
		f := funcs[name]
		lib.RawSetString(name, h.L().NewFunction(func(L *lua.LState) int {
			return f(libCall{L, name})
		}))
	}
}

// libraryTable returns the global table of a library, which host has made.
func libraryTable(h *host.Host, name string) *lua.LTable {
	lib, ok := h.L().G.Global.RawGetString(name).(*lua.LTable)
	if !ok {
		lib = h.L().NewTable()
		h.SetGlobal(name, lib)
	}
	return lib
}

// missing reports whether argument n is absent or nil, so that its default applies.
func (c libCall) missing(n int) bool { return c.Get(n) == lua.LNil }

// fail raises that argument n is wrong. As in Lua 5.1, the object of a method call is not
// counted.
func (c libCall) fail(n int, text string) {
	if f, ok := vm.Innermost(c.LState); ok {
		caller, ok := f.Parent()
		if ok && caller.CallsMethod() {
			n--
		}
	}
	if n == 0 {
		c.RaiseError("calling '%s' on bad self (%s)", c.name, text)
	}
	c.RaiseError("bad argument #%d to '%s' (%s)", n, c.name, text)
}

// failType raises that argument n does not have the expected type.
func (c libCall) failType(n int, want string) {
	got := "no value"
	if n <= c.GetTop() {
		got = c.Get(n).Type().String()
	}
	c.fail(n, fmt.Sprintf("%s expected, got %s", want, got))
}

// text returns argument n, which must be a string or a number.
func (c libCall) text(n int) string {
	switch v := c.Get(n).(type) {
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return luanum.Format(float64(v))
	}
	c.failType(n, "string")
	return ""
}

// textOr returns argument n, or a default if it is absent.
func (c libCall) textOr(n int, otherwise string) string {
	if c.missing(n) {
		return otherwise
	}
	return c.text(n)
}

// number returns argument n, which must be a number, a string that can be converted to one, or a
// 64-bit integer of the host.
func (c libCall) number(n int) float64 {
	switch v := c.Get(n).(type) {
	case lua.LNumber:
		return float64(v)
	case lua.LString:
		f, ok := luanum.Parse(string(v))
		if ok {
			return f
		}
	case *lua.LUserData:
		switch i := v.Value.(type) {
		case host.Int64:
			return float64(i)
		case host.UInt64:
			return float64(i)
		}
	}
	c.failType(n, "number")
	return 0
}

// integer returns argument n without its fraction. A number that an int cannot hold becomes the
// nearest one, so that s:sub(1, math.huge) means the rest of s.
func (c libCall) integer(n int) int { return toInt(c.number(n)) }

// integerOr returns argument n, or a default if it is absent.
func (c libCall) integerOr(n, otherwise int) int {
	if c.missing(n) {
		return otherwise
	}
	return c.integer(n)
}

func toInt(f float64) int {
	switch {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64, math.IsNaN(f):
		return math.MinInt64
	}
	return int(f)
}

// table returns argument n, which must be a table.
func (c libCall) table(n int) *lua.LTable {
	t, ok := c.Get(n).(*lua.LTable)
	if !ok {
		c.failType(n, "table")
	}
	return t
}

// function returns argument n, which must be a function.
func (c libCall) function(n int) *lua.LFunction {
	f, ok := c.Get(n).(*lua.LFunction)
	if !ok {
		c.failType(n, "function")
	}
	return f
}

// result calls the function that has been pushed with the n arguments above it, and returns its
// first result.
func (c libCall) result(n int) lua.LValue {
	c.Call(n, 1)
	v := c.Get(-1)
	c.Pop(1)
	return v
}

// pushText pushes one string as the only result.
func (c libCall) pushText(s string) int {
	c.Push(lua.LString(s))
	return 1
}

// typeName returns the name of the type of v for an error text.
func typeName(v lua.LValue) string { return v.Type().String() }
