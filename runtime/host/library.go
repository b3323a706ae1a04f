package host

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/imdlua/imdlua/runtime/host/vm"

	lua "github.com/yuin/gopher-lua"
)

// Functions returns a Lua table of the given functions.
func (h *Host) Functions(funcs map[string]lua.LGFunction) *lua.LTable {
	t := h.root.CreateTable(0, len(funcs))
	h.extend(t, funcs)
	return t
}

func (h *Host) extend(t *lua.LTable, funcs map[string]lua.LGFunction) {
	for _, name := range sortedKeys(funcs) {
		t.RawSetString(name, h.root.NewFunction(funcs[name]))
	}
}

// SetLibrary makes t a library of the language: a global that require finds as
// well. If a script reads a field that only other versions of Lua have, the error
// says what to write instead.
func (h *Host) SetLibrary(name string, t *lua.LTable) {
	h.SetGlobal(name, t)
	h.modules.loaded.RawSetString(name, t)
	h.giveHints(name, t)
}

// PushFileResult pushes the results of a function on files: true, or nil with the
// text and the number of the error. path may be empty.
func PushFileResult(L *lua.LState, path string, err error) int {
	if err == nil {
		L.Push(lua.LTrue)
		return 1
	}
	L.Push(lua.LNil)
	L.Push(lua.LString(FileErrorText(path, err)))
	L.Push(lua.LNumber(errorNumber(err)))
	return 3
}

// FileErrorText returns the text that C programs print for an error on a file,
// such as "/x: No such file or directory".
func FileErrorText(path string, err error) string {
	var no syscall.Errno
	text := err.Error()
	switch {
	case errors.As(err, &no):
		text = no.Error()
	case errors.Is(err, fs.ErrNotExist):
		text = syscall.ENOENT.Error()
	}
	if text != "" {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	if path == "" {
		return text
	}
	return path + ": " + text
}

func errorNumber(err error) int {
	var no syscall.Errno
	if errors.As(err, &no) {
		return int(no)
	}
	return 0
}

// Exit ends the script with an exit code and does not return. It cancels the main
// task with an ExitError, which no pcall can catch, and the scopes close.
func Exit(L *lua.LState, code int) {
	k := hookOf(L)
	exit := &ExitError{Code: code}
	k.host.mu.Lock()
	main := k.host.main
	k.host.mu.Unlock()
	if main != nil {
		main.cancel(exit)
	}
	raiseFrom(k, L, k.host.errorValue(L, exit))
}

// Trace returns the call stack of a thread, innermost first, without the frames
// of embedded modules. It continues in the threads that called this one.
func Trace(L *lua.LState) []Frame {
	return hookOf(L).host.visible(traceback(L))
}

// FrameAt returns the frame at a level of the stack: 0 is the running Go function,
// 1 the function that called it, and so on. It continues in the threads that
// called this one.
func FrameAt(L *lua.LState, level int) (vm.Frame, bool) {
	for th := L; th != nil; th = hookOf(th).up {
		for f, ok := vm.Innermost(th); ok; f, ok = f.Parent() {
			if f.Fn() == hookOf(L).host.trampoline {
				continue
			}
			if level == 0 {
				return f, true
			}
			level--
		}
	}
	return vm.Frame{}, false
}
