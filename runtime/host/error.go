package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/host/vm"
	lua "github.com/yuin/gopher-lua"
)

// Error is the error object that scripts get when something fails. Bindings fill
// in the fields that they know; Raise adds the place and the traceback.
type Error struct {
	Code      string // stable and short: "timeout", "not_found", or the peer's own
	Message   string
	Service   string // the layer or service that failed
	Op        string // what was asked of it
	Device    string // its UDID
	Hint      string // what the user can do
	Where     string // "file:line" of the nearest Lua frame
	Traceback []Frame
	Details   map[string]any // as sent by the peer: status numbers, domains
	Cause     error
	// Suppressed holds errors of the clean-up that followed.
	Suppressed []error

	object   *lua.LUserData // the object of an error that was raised, else nil
	home     *Host          // the host that object and value belong to
	value    lua.LValue     // the value that the script raised, if it was not an Error
	goStack  string
	reported bool // printed already
}

// Errorf makes an Error with a code and a message.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint sets the hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error returns "file:line: service: message (code)".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Where != "" {
		b.WriteString(e.Where + ": ")
	}
	if e.Service != "" && !strings.HasPrefix(e.Message, e.Service+":") {
		b.WriteString(e.Service + ": ")
	}
	b.WriteString(e.Message)
	if e.Code != "" && e.value == nil {
		b.WriteString(" (" + e.Code + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is an Error with the same code and, if the message of
// target is set, the same message.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Message == "" || t.Message == e.Message)
}

// LuaToGo returns the fields that are set, so that errors can be logged as data.
func (e *Error) LuaToGo() any {
	m := map[string]any{"code": e.Code, "message": e.Message}
	for name, v := range map[string]string{
		"service": e.Service, "op": e.Op, "device": e.Device, "hint": e.Hint, "where": e.Where,
	} {
		if v != "" {
			m[name] = v
		}
	}
	if len(e.Details) > 0 {
		m["details"] = e.Details
	}
	return m
}

// ExitError is the error with which os.exit ends a script. The script is unwound,
// its scopes close, and Run returns the ExitError.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit %d", e.Code) }

// ExitCode returns the exit code of the process for an error that Run returned.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	var e *Error
	if !errors.As(err, &e) {
		return 1
	}
	switch e.Code {
	case "syntax", "usage":
		return 2
	case "assertion":
		return 3
	case "no_device", "device_lost", "no_muxer":
		return 4
	case "timeout":
		return 5
	case "permission":
		return 77
	case "hangup":
		return 129
	case "interrupted":
		return 130
	case "terminated":
		return 143
	}
	return 1
}

func hasCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// internalError returns the Error for a panic in Go code.
func internalError(r any, stack string) *Error {
	return &Error{
		Code:    "internal",
		Message: fmt.Sprintf("internal error: %v", r),
		Hint:    "this is a bug in imdlua, please report it with the output of --verbose",
		goStack: stack,
	}
}

// MapError adds a function that converts errors of a package to Errors, or returns
// nil for errors that it does not know. ToError uses the first result that is not
// nil.
func (h *Host) MapError(f func(err error) *Error) { h.mappers = append(h.mappers, f) }

// ToError converts any Go error to an *Error. It asks the functions that MapError
// has added first.
func (h *Host) ToError(err error) *Error {
	if e, ok := err.(*Error); ok {
		return e
	}
	for _, f := range h.mappers {
		if e := f(err); e != nil {
			return e
		}
	}
	out := &Error{Code: generalCode(err), Message: err.Error(), Cause: err}
	var inner *Error
	if errors.As(err, &inner) {
		out.Code, out.Hint, out.Service, out.Op = inner.Code, inner.Hint, inner.Service, inner.Op
		out.Device, out.Details = inner.Device, inner.Details
	}
	return out
}

func generalCode(err error) string {
	var netErr net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, fs.ErrNotExist):
		return "not_found"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	case errors.Is(err, fs.ErrPermission):
		return "access_denied"
	case errors.Is(err, net.ErrClosed),
		errors.Is(err, os.ErrClosed),
		errors.Is(err, io.ErrClosedPipe):
		return "closed"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	}
	return "error"
}

// Raise raises err as an error object in the calling Lua code and never returns.
// It converts errors of other packages with ToError.
func Raise(L *lua.LState, err error) {
	k := hookOf(L)
	var api *lua.ApiError
	if errors.As(err, &api) && api.Object != nil {
		raiseFrom(k, L, api.Object)
	}
	raiseFrom(k, L, k.host.errorValue(L, err))
}

// raiseFrom raises obj on L. L may be a thread that a library has derived from the
// thread of k.
func raiseFrom(k *hook, L *lua.LState, obj lua.LValue) {
	k.task.raised = raised{}
	if e := asError(obj); e != nil && len(e.Traceback) > 0 {
		k.task.raised = raised{obj: obj, trace: e.Traceback}
	}
	k.own = true
	L.Error(obj, 0)
}

// errorValue returns the object for err. An Error that was raised before keeps
// its object, with place and traceback. A new Error is copied, because a binding
// may raise the same variable many times.
func (h *Host) errorValue(L *lua.LState, err error) lua.LValue {
	if exit, ok := err.(*ExitError); ok {
		return &lua.LUserData{Value: exit, Env: h.globals, Metatable: h.meta.exit}
	}
	e := h.ToError(err)
	if e.object != nil && e.home == h {
		return e.object
	}
	if e.value != nil && e.home == h {
		return e.value
	}
	return h.errorObject(L, e)
}

// errorObject is like errorValue, but returns an error object even if the script
// raised another kind of value.
func (h *Host) errorObject(L *lua.LState, err error) lua.LValue {
	e := h.ToError(err)
	if e.object != nil && e.home == h {
		return e.object
	}
	c := *e
	c.home, c.value = h, nil
	if c.Where == "" {
		c.Where = where(L)
	}
	if c.Traceback == nil {
		c.Traceback = traceback(L)
	}
	c.object = &lua.LUserData{Value: &c, Env: h.globals, Metatable: h.meta.err}
	return c.object
}

func asError(v lua.LValue) *Error {
	if ud, ok := v.(*lua.LUserData); ok {
		if e, ok := ud.Value.(*Error); ok {
			return e
		}
	}
	return nil
}

func isExit(v lua.LValue) bool {
	ud, ok := v.(*lua.LUserData)
	if ok {
		_, ok = ud.Value.(*ExitError)
	}
	return ok
}

// failureError converts an error that a script raised to a Go error. k is a hook
// of the task that caught it.
func (h *Host) failureError(k *hook, f *failure) error {
	if ud, ok := f.obj.(*lua.LUserData); ok {
		switch v := ud.Value.(type) {
		case *Error:
			if len(f.trace) > len(v.Traceback) {
				v.Traceback = f.trace
			}
			return v
		case *ExitError:
			return v
		}
	}
	e := &Error{Code: "error", Traceback: f.trace, Suppressed: f.suppressed, home: h, value: f.obj}
	if f.kind != "" {
		e.Code = f.kind
	}
	switch v := f.obj.(type) {
	case lua.LString:
		e.Where, e.Message = vm.SplitPosition(string(v))
		e.Hint = messageHint(e.Message)
	case *lua.LTable:
		e.fromTable(k, v)
	default:
		e.Message = k.inspect(v)
	}
	if e.Where == "" && len(f.trace) > 0 {
		e.Where = fmt.Sprintf("%s:%d", f.trace[0].File, f.trace[0].Line)
	}
	return e
}

// fromTable reads code, message and hint from a table that a script raised.
func (e *Error) fromTable(k *hook, t *lua.LTable) {
	text := func(key string) string {
		if s, ok := t.RawGetString(key).(lua.LString); ok {
			return string(s)
		}
		return ""
	}
	if code := text("code"); code != "" {
		e.Code = code
	}
	e.Message, e.Hint = text("message"), text("hint")
	if e.Message == "" {
		e.Message = k.inspect(t)
	}
}

// inspectTime limits how long a __tostring may run that the printer calls.
const inspectTime = time.Second

// inspect returns the text that p(v) would print for an error value.
func (k *hook) inspect(v lua.LValue) string { return Inspect(k.l, v, InspectOptions{}) }

// limited calls f with a time limit of inspectTime. If the task is already
// cancelled, f runs under the grace context.
func (k *hook) limited(f func()) {
	t, outer := k.task, k.task.ctx
	parent := outer
	if outer.Err() != nil {
		parent = k.host.graceContext()
	}
	cause := Errorf("timeout", "__tostring did not end within %v", inspectTime)
	ctx, cancel := context.WithTimeoutCause(parent, inspectTime, cause)
	stop := context.AfterFunc(ctx, func() { t.alarm.Store(true) })
	t.ctx = ctx
	t.alarm.Store(ctx.Err() != nil)
	t.deadlines++
	defer func() {
		stop()
		cancel()
		t.deadlines--
		t.ctx = outer
		if outer.Err() != nil {
			t.alarm.Store(true)
		}
	}()
	f()
}
