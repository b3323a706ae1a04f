package lua51

import (
	"math"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/vm"
)

// openDebug opens the debug library. It has only the functions that inspect the stack, because the
// others could change the functions and values of modules.
func openDebug(h *host.Host) {
	h.SetLibrary("debug", h.Functions(map[string]lua.LGFunction{
		"traceback": debugTraceback, "getinfo": debugGetInfo,
	}))
}

// debugTraceback is debug.traceback([thread,] [message [, level]]).
func debugTraceback(L *lua.LState) int {
	of, at := L, 1
	thread, ok := L.Get(1).(*lua.LState)
	if ok {
		of, at = thread, 2
	}
	msg := L.Get(at)
	if msg != lua.LNil && msg.Type() != lua.LTString && msg.Type() != lua.LTNumber {
		L.Push(msg)
		return 1
	}
	skip := 0
	if L.Get(at+1) != lua.LNil && of == L {
		skip = integerArg(L, at+1) - 1
	}
	var b strings.Builder
	if msg != lua.LNil {
		b.WriteString(stringArg(L, at) + "\n")
	}
	b.WriteString("stack traceback:")
	frames := host.Trace(of)
	for _, f := range frames[max(0, min(skip, len(frames))):] {
		b.WriteString("\n\t" + f.String())
	}
	L.Push(lua.LString(b.String()))
	return 1
}

// debugGetInfo is debug.getinfo(function or level [, what]).
func debugGetInfo(L *lua.LState) int {
	what := stringOr(L, 2, "Slnuf")
	if strings.Trim(what, "SlnufL") != "" {
		L.ArgError(2, "invalid option")
	}
	t := L.CreateTable(0, 10)
	fn, ok := L.Get(1).(*lua.LFunction)
	if ok {
		describeFunction(t, fn, what)
		if strings.Contains(what, "l") {
			t.RawSetString("currentline", lua.LNumber(-1))
		}
		L.Push(t)
		return 1
	}
	switch L.Get(1).(type) {
	case lua.LNumber, lua.LString:
	default:
		L.ArgError(1, "function or level expected")
	}
	level := numberArg(L, 1)
	if level < 0 || level > math.MaxInt32 {
		L.Push(lua.LNil)
		return 1
	}
	frame, ok := host.FrameAt(L, int(level))
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	describeFunction(t, frame.Fn(), what)
	describeCall(t, frame, what)
	L.Push(t)
	return 1
}

// describeFunction sets the fields that describe the function.
func describeFunction(t *lua.LTable, fn *lua.LFunction, what string) {
	if strings.Contains(what, "f") {
		t.RawSetString("func", fn)
	}
	if strings.Contains(what, "u") {
		t.RawSetString("nups", lua.LNumber(len(fn.Upvalues)))
	}
	if strings.Contains(what, "n") {
		t.RawSetString("namewhat", lua.LString(""))
	}
	if !strings.Contains(what, "S") {
		return
	}
	source, short, kind, first, last := "=[C]", "[C]", "C", -1, -1
	if !fn.IsG {
		source, short, kind = "@"+fn.Proto.SourceName, fn.Proto.SourceName, "Lua"
		first, last = fn.Proto.LineDefined, fn.Proto.LastLineDefined
		if first == 0 {
			kind, last = "main", 0
		}
		if strings.HasPrefix(short, "[string ") {
			source = short
		}
	}
	t.RawSetString("source", lua.LString(source))
	t.RawSetString("short_src", lua.LString(short))
	t.RawSetString("what", lua.LString(kind))
	t.RawSetString("linedefined", lua.LNumber(first))
	t.RawSetString("lastlinedefined", lua.LNumber(last))
}

// describeCall sets the fields that describe a running call.
func describeCall(t *lua.LTable, frame vm.Frame, what string) {
	if strings.Contains(what, "l") {
		line := -1
		if !frame.Fn().IsG {
			line = frame.Line()
		}
		t.RawSetString("currentline", lua.LNumber(line))
	}
	if !strings.Contains(what, "n") {
		return
	}
	name, nameWhat := frame.CalledAs()
	if name != "" {
		t.RawSetString("name", lua.LString(name))
		t.RawSetString("namewhat", lua.LString(nameWhat))
	}
}
