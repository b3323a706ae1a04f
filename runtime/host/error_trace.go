package host

import (
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/vm"
	lua "github.com/yuin/gopher-lua"
)

// maxTrace is the largest number of frames in a traceback. The outer ones are left
// out.
const maxTrace = 60

// Frame is one line of a traceback. Tracebacks contain only Lua functions.
type Frame struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Name string `json:"name"`
}

func (f Frame) String() string {
	s := f.File + ":" + strconv.Itoa(f.Line)
	if f.Name != "" {
		s += " in " + f.Name
	}
	return s
}

// where returns "file:line" of the nearest Lua frame, in this thread or in one
// that called into it.
func where(L *lua.LState) string {
	for L != nil {
		for f, ok := vm.Innermost(L); ok; f, ok = f.Parent() {
			if !f.Fn().IsG {
				return f.Position()
			}
		}
		L = hookOf(L).up
	}
	return ""
}

// traceback lists the Lua frames, innermost first. It continues in the threads
// that called this one through pcall or coroutine.resume.
func traceback(L *lua.LState) []Frame {
	var trace []Frame
	for L != nil && len(trace) < maxTrace {
		for f, ok := vm.Innermost(L); ok && len(trace) < maxTrace; f, ok = f.Parent() {
			if fn := f.Fn(); !fn.IsG {
				trace = append(
					trace,
					Frame{File: fn.Proto.SourceName, Line: f.Line(), Name: f.Name()},
				)
			}
		}
		L = hookOf(L).up
	}
	return trace
}

// parseTrace reads the traceback that gopher-lua appends to the Go stack of a
// panic. The frames themselves no longer exist when PCall returns.
func parseTrace(text string) []Frame {
	_, text, _ = strings.Cut(text, "stack traceback:\n")
	var trace []Frame
	for line := range strings.Lines(text) {
		at, name, ok := strings.Cut(strings.TrimSpace(line), ": in ")
		i := strings.LastIndexByte(at, ':')
		if !ok || i < 0 || !vm.Digits(at[i+1:]) {
			continue
		}
		n, _ := strconv.Atoi(at[i+1:])
		name = strings.TrimSuffix(strings.TrimPrefix(name, "function '"), "'")
		trace = append(trace, Frame{File: at[:i], Line: n, Name: name})
	}
	return trace
}
