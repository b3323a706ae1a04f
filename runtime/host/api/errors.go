package api

import (
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// mismatch returns the error for a value of the wrong type.
func mismatch(want string, v lua.LValue) error {
	return fmt.Errorf("%s expected, got %s", want, typeName(v))
}

// typeName returns the type of a value for messages: the name of its class or record if it has one.
func typeName(v lua.LValue) string {
	ud, ok := v.(*lua.LUserData)
	if !ok {
		return v.Type().String()
	}
	if o, ok := ud.Value.(*Object); ok {
		return o.class.decl.Name
	}
	if mt, ok := ud.Metatable.(*lua.LTable); ok {
		if name, ok := mt.RawGetString("__name").(lua.LString); ok {
			return string(name)
		}
	}
	return "userdata"
}

// raiseArg raises code "argument" for argument n of f. It raises err itself if that has code
// "permission".
func raiseArg(L *lua.LState, f *Func, n int, err error) {
	var denied *host.Error
	if errors.As(err, &denied) && denied.Code == "permission" {
		host.Raise(L, denied)
	}
	e := host.Errorf("argument", "bad argument #%d to %s (%s)", n, f.FullName(), err)
	e.Hint = "usage: " + f.Usage()
	host.Raise(L, e)
}

// raiseMissing raises code "argument" for a parameter that was not given.
func raiseMissing(L *lua.LState, f *Func, n int, want string) {
	e := host.Errorf(
		"argument",
		"missing argument #%d to %s: %s (%s)",
		n,
		f.FullName(),
		f.Params[n-1].Name,
		want,
	)
	e.Hint = "usage: " + f.Usage()
	host.Raise(L, e)
}

// raiseSelf raises the error of a method that was called without its object.
func raiseSelf(L *lua.LState, f *Func, got lua.LValue) {
	v := f.class.instance()
	e := host.Errorf(
		"argument",
		"%s needs %s before the colon, got %s: use %s:%s(...), not %s.%s(...)",
		f.FullName(),
		article(f.class.Name),
		typeName(got),
		v,
		f.Name,
		v,
		f.Name,
	)
	host.Raise(L, e)
}

func article(name string) string {
	if strings.ContainsAny(name[:1], "AEIOU") {
		return "an " + name
	}
	return "a " + name
}

// unknownMember returns the error for a name that a module, class or record does not have.
func unknownMember(owner, name string, known []string) *host.Error {
	e := host.Errorf("no_field", "%s has no member %q", owner, name)
	if s := host.Suggest(name, known); s != "" {
		e.Message += fmt.Sprintf(", did you mean %q?", s)
	}
	return e
}
