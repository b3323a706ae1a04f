package host

import (
	"reflect"
	"sort"
	"strconv"
	"strings"

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

// The call frames of gopher-lua are not exported, and GetStack walks from the
// innermost frame each time it is asked, which makes a traceback quadratic and
// hides the program counter. These are the places of what is read from a frame.
var (
	debugFrame  = fieldOf(reflect.TypeFor[lua.Debug](), "frame")
	frameType   = reflect.TypeFor[lua.Debug]().Field(debugFrame).Type.Elem()
	frameFn     = fieldOf(frameType, "Fn")
	frameParent = fieldOf(frameType, "Parent")
	framePc     = fieldOf(frameType, "Pc")
	frameTail   = fieldOf(frameType, "TailCall")
)

func fieldOf(t reflect.Type, name string) int {
	f, ok := t.FieldByName(name)
	if !ok {
		panic("host: gopher-lua's " + t.String() + " has no field " + name)
	}
	return f.Index[0]
}

// callFrame is one frame of a thread's call stack.
type callFrame struct{ v reflect.Value }

// innermost returns the frame that runs now, false if the thread runs nothing.
func innermost(L *lua.LState) (callFrame, bool) {
	dbg, ok := L.GetStack(0)
	if !ok {
		return callFrame{}, false
	}
	return callFrame{reflect.ValueOf(dbg).Elem().Field(debugFrame).Elem()}, true
}

func (f callFrame) fn() *lua.LFunction {
	return (*lua.LFunction)(f.v.Field(frameFn).UnsafePointer())
}

// pc is the instruction that runs now.
func (f callFrame) pc() int          { return int(f.v.Field(framePc).Int()) - 1 }
func (f callFrame) tailCalled() bool { return f.v.Field(frameTail).Int() > 0 }

func (f callFrame) parent() (callFrame, bool) {
	p := f.v.Field(frameParent)
	if p.IsNil() {
		return callFrame{}, false
	}
	return callFrame{p.Elem()}, true
}

func (f callFrame) line() int {
	lines := f.fn().Proto.DbgSourcePositions
	if pc := f.pc(); pc >= 0 && pc < len(lines) {
		return lines[pc]
	}
	return f.fn().Proto.LineDefined
}

func (f callFrame) position() string {
	return f.fn().Proto.SourceName + ":" + strconv.Itoa(f.line())
}

// callName is what the calling code names the function that f calls now.
func (f callFrame) callName() string {
	fn := f.fn()
	if fn.IsG {
		return ""
	}
	calls, pc := fn.Proto.DbgCalls, f.pc()
	i := sort.Search(len(calls), func(i int) bool { return calls[i].Pc >= pc })
	if i < len(calls) && calls[i].Pc == pc && calls[i].Name != "?" {
		return calls[i].Name
	}
	return ""
}

func (f callFrame) name() string {
	proto := f.fn().Proto
	if proto.LineDefined == 0 {
		return "main chunk"
	}
	if p, ok := f.parent(); ok && !f.tailCalled() {
		if name := p.callName(); name != "" {
			return name
		}
	}
	return "function <" + proto.SourceName + ":" + strconv.Itoa(proto.LineDefined) + ">"
}

// where is "file:line" of the nearest Lua frame, in this thread or one that
// called into it.
func where(L *lua.LState) string {
	for L != nil {
		for f, ok := innermost(L); ok; f, ok = f.parent() {
			if !f.fn().IsG {
				return f.position()
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
		for f, ok := innermost(L); ok && len(trace) < maxTrace; f, ok = f.parent() {
			if fn := f.fn(); !fn.IsG {
				trace = append(trace, Frame{File: fn.Proto.SourceName, Line: f.line(), Name: f.name()})
			}
		}
		L = hookOf(L).up
	}
	return trace
}

// splitPosition takes "file:line: " from the front of an error text.
func splitPosition(s string) (pos, text string) {
	i := strings.Index(s, ": ")
	// A file name may hold colons itself: the position ends with ":<digits>: ".
	for at := 0; i >= 0; {
		end := at + i
		if j := strings.LastIndexByte(s[:end], ':'); j > 0 && j+1 < end && isDigits(s[j+1:end]) {
			return s[:end], s[end+2:]
		}
		// gopher-lua writes "file:line: message", sometimes without the colon
		// after the line when it has no message; look further.
		at = end + 2
		i = strings.Index(s[at:], ": ")
		if strings.ContainsRune(s[:at], '\n') {
			break
		}
	}
	return "", s
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// parseTrace reads the traceback that gopher-lua puts behind the Go stack of a
// panic: by the time PCall returns, the frames themselves are gone.
func parseTrace(text string) []Frame {
	_, text, _ = strings.Cut(text, "stack traceback:\n")
	var trace []Frame
	for line := range strings.Lines(text) {
		at, name, ok := strings.Cut(strings.TrimSpace(line), ": in ")
		i := strings.LastIndexByte(at, ':')
		if !ok || i < 0 || !isDigits(at[i+1:]) {
			continue
		}
		n, _ := strconv.Atoi(at[i+1:])
		name = strings.TrimSuffix(strings.TrimPrefix(name, "function '"), "'")
		trace = append(trace, Frame{File: at[:i], Line: n, Name: name})
	}
	return trace
}
