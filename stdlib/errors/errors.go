// Package errors is the script module errors: error objects with code, message and hint.
//
//	local ok, e = try(dev.launch, dev, "com.example.shop")
//	if not ok and errors.is(e, "not_found") then ... end
package errors

import (
	stderrors "errors"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

type newOptions struct {
	Code    string         `lua:"code" doc:"short stable name" default:"error"`
	Message string         `lua:"message" doc:"what happened" required:"true"`
	Hint    string         `lua:"hint" doc:"what the user can do about it"`
	Service string         `lua:"service" doc:"the part that failed"`
	Op      string         `lua:"op" doc:"what was tried"`
	Device  string         `lua:"device" doc:"UDID of the device"`
	Details map[string]any `lua:"details" doc:"more data"`
	Cause   lua.LValue     `lua:"cause" doc:"the error behind this one"`
}

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name:   "errors",
		Doc:    "Error objects. Every error of imdlua has a code, a message and often a hint.",
		Global: true,
		Perm:   "none",
		Funcs: []*api.Func{
			api.Function("new", "Makes an error object, to be raised with error().",
				"fields", build,
				api.ParamDoc("fields", "the fields of the error"),
				api.Returns("Error"),
				api.Example(`local e = errors.new{
  code = "empty", message = "nothing found", hint = "add data first",
}
return e.code, e.message -- => "empty", "nothing found"`)),
			api.Function("raise", "Makes an error object and raises it.",
				"fields", raise,
				api.ParamDoc("fields", "the fields of the error"),
				api.Example(`local fields = { code = "empty", message = "nothing found" }
local ok, e = try(errors.raise, fields)
return e.code -- => "empty"`)),
			api.Function("is", "Whether a caught value, or an error that caused it, has one of "+
				"the codes.",
				"value codes...", is,
				api.ParamDoc("value", "what was caught, of any type"),
				api.ParamDoc("codes", "error codes"),
				api.Example(`local ok, e = try(fs.read, "/no/such/file")
return errors.is(e, "not_found", "access_denied") -- => true`)),
			api.Function("code", "The code of a caught value, nil if it is plain text.",
				"value", codeOf,
				api.ParamDoc("value", "what was caught, of any type"),
				api.Returns("string?"),
				api.Example(`return errors.code("text") -- => nil`)),
			api.Function("message", "The message of a caught value without its position in the script.",
				"value", message,
				api.ParamDoc("value", "what was caught, of any type"),
				api.Example(`local ok, e = try(fs.read, "")
print(errors.message(e))`)),
		},
	}
}

func raise(c *api.Call, o newOptions) error { return build(c, o) }

func codeOf(_ *api.Call, v lua.LValue) *string { return code(v) }

func build(c *api.Call, o newOptions) *host.Error {
	e := &host.Error{
		Code:    o.Code,
		Message: o.Message,
		Hint:    o.Hint,
		Service: o.Service,
		Op:      o.Op,
		Device:  o.Device,
		Details: o.Details,
	}
	if o.Cause != nil && o.Cause != lua.LNil {
		e.Cause = c.Host().ErrorFrom(o.Cause)
	}
	return e
}

func is(_ *api.Call, v lua.LValue, codes ...string) bool {
	e := host.ErrorOf(v)
	if e == nil {
		have := code(v)
		for _, want := range codes {
			if have != nil && *have == want {
				return true
			}
		}
		return false
	}
	for _, want := range codes {
		if stderrors.Is(e, &host.Error{Code: want}) {
			return true
		}
	}
	return false
}

// code returns the code of a caught value, nil if it has none.
func code(v lua.LValue) *string {
	if e := host.ErrorOf(v); e != nil {
		return &e.Code
	}
	if t, ok := v.(*lua.LTable); ok {
		if s, ok := t.RawGetString("code").(lua.LString); ok {
			text := string(s)
			return &text
		}
	}
	return nil
}

func message(c *api.Call, v lua.LValue) string {
	if e := host.ErrorOf(v); e != nil {
		return e.Message
	}
	if t, ok := v.(*lua.LTable); ok {
		if s, ok := t.RawGetString("message").(lua.LString); ok {
			return string(s)
		}
	}
	return host.ToString(c.L, v)
}
