package host

import (
	lua "github.com/yuin/gopher-lua"
)

// openErrors makes the class of error objects.
func (h *Host) openErrors() {
	h.meta.err = h.class("Error", map[string]lua.LGFunction{
		// report returns the text that the command line would print.
		"report": pushText(func(L *lua.LState) string {
			e := *errorAt(L, 1)
			e.reported = false
			b := &textWriter{}
			h.Report(b, &e)
			return string(b.text)
		}),
	}, map[string]lua.LGFunction{
		"__tostring": pushText(func(L *lua.LState) string { return errorAt(L, 1).Error() }),
		"__concat": pushText(
			func(L *lua.LState) string { return ToString(L, L.Get(1)) + ToString(L, L.Get(2)) },
		),
	}, h.errorField)
	h.meta.exit = h.class("exit", nil, map[string]lua.LGFunction{
		"__tostring": pushText(func(L *lua.LState) string { return "exit" }),
	}, nil)
}

type textWriter struct{ text []byte }

func (w *textWriter) Write(p []byte) (int, error) {
	w.text = append(w.text, p...)
	return len(p), nil
}

func errorAt(L *lua.LState, i int) *Error {
	e := asError(L.Get(i))
	if e == nil {
		L.ArgError(i, "Error expected, got "+L.Get(i).Type().String())
	}
	return e
}

func (h *Host) errorField(L *lua.LState, ud *lua.LUserData, key string) lua.LValue {
	e := ud.Value.(*Error)
	text := func(s string) lua.LValue {
		if s == "" {
			return lua.LNil
		}
		return lua.LString(s)
	}
	switch key {
	case "code":
		return lua.LString(e.Code)
	case "message":
		return lua.LString(e.Message)
	case "service":
		return text(e.Service)
	case "op":
		return text(e.Op)
	case "device":
		return text(e.Device)
	case "hint":
		return text(e.Hint)
	case "where":
		return text(e.Where)
	case "traceback":
		return h.traceTable(L, e.Traceback)
	case "details":
		if e.Details == nil {
			return L.CreateTable(0, 0)
		}
		return ToLua(L, e.Details)
	case "cause":
		if e.Cause == nil {
			return lua.LNil
		}
		return h.errorValue(L, e.Cause)
	case "suppressed":
		t := L.CreateTable(len(e.Suppressed), 0)
		for _, s := range e.Suppressed {
			t.Append(h.errorObject(L, s))
		}
		return t
	}
	return nil
}

func (h *Host) traceTable(L *lua.LState, trace []Frame) lua.LValue {
	t := L.CreateTable(len(trace), 0)
	for _, f := range h.visible(trace) {
		row := L.CreateTable(0, 3)
		row.RawSetString("file", lua.LString(f.File))
		row.RawSetString("line", lua.LNumber(f.Line))
		row.RawSetString("name", lua.LString(f.Name))
		t.Append(row)
	}
	return t
}

// ErrorOf returns the Error inside an error object, or nil for other values.
func ErrorOf(v lua.LValue) *Error { return asError(v) }

// Try calls fn and returns its results, or the error object that it raised.
// Cancellation and os.exit cannot be caught: they are raised again.
func Try(L *lua.LState, fn lua.LValue, args ...lua.LValue) ([]lua.LValue, lua.LValue) {
	k := hookOf(L)
	res, f := k.host.protect(k, fn, args...)
	if f == nil {
		return res, nil
	}
	if isExit(f.obj) || k.task.ctx.Err() != nil {
		rethrow(k, f, "")
	}
	k.host.dropped(f)
	return nil, f.obj
}

// ErrorFrom converts a Lua error value to a Go error.
func (h *Host) ErrorFrom(v lua.LValue) error {
	return h.failureError(h.setup.hook, &failure{obj: v})
}
