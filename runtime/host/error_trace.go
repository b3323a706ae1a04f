package host

import (
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/vm"
	lua "github.com/yuin/gopher-lua"
)

// maxTrace bounds a traceback: the innermost frames matter.
const maxTrace = 60

// Frame is one line of a traceback. Only Lua functions are in it.
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

// where is "file:line" of the nearest Lua frame, in this thread or one that
// called into it.
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

// traceback lists the Lua frames, innermost first, through the threads of
// pcalls and coroutines.
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

// parseTrace reads the traceback that gopher-lua puts behind the Go stack of a
// panic: by the time PCall returns, the frames themselves are gone.
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
