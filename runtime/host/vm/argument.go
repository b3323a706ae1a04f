package vm

import (
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// explainArgument converts an error about an argument to the form that PUC Lua
// uses: "bad argument #1 to 'floor' (number expected, got no value)". In a method
// call it does not count the object. If the name of the function is not known, it
// leaves the name out. It returns other texts unchanged.
func explainArgument(L *lua.LState, text string) string {
	rest, ok := strings.CutPrefix(text, "bad argument #")
	if !ok {
		return text
	}
	number, rest, _ := strings.Cut(rest, " to ")
	n, err := strconv.Atoi(number)
	name, problem, found := strings.Cut(rest, " (")
	if strings.HasPrefix(rest, "(anonymous) (") {
		name, problem, found = "", strings.TrimPrefix(rest, "(anonymous) ("), true
	}
	if err != nil || !found || strings.HasPrefix(name, "'") {
		return text
	}
	if n > L.GetTop()-1 { // the error text is on the stack, above the arguments
		problem = strings.Replace(problem, "expected, got nil)", "expected, got no value)", 1)
	}
	switch name {
	case "", "?", "main chunk", "corountine":
		return "bad argument #" + number + " (" + problem
	}
	name = name[strings.LastIndexAny(name, ".:")+1:]
	if calledAsMethod(L) {
		if n == 1 {
			return "calling '" + name + "' on bad self (" + problem
		}
		number = strconv.Itoa(n - 1)
	}
	return "bad argument #" + number + " to '" + name + "' (" + problem
}

// calledAsMethod reports whether the running function was called as
// object:name().
func calledAsMethod(L *lua.LState) bool {
	f, ok := Innermost(L)
	if !ok {
		return false
	}
	_, kind := f.CalledAs()
	return kind == "method"
}

// CalledAs returns the name by which the caller of the frame refers to its
// function, and what kind of name that is: "global", "local", "upvalue", "field"
// or "method". Both are "" if that is not known.
func (f Frame) CalledAs() (name, kind string) {
	caller, ok := f.Parent()
	if !ok || caller.Fn().IsG || f.tailCalled() {
		return "", ""
	}
	i, ok := caller.Instruction()
	if !ok || (i.Op() != lua.OP_CALL && i.Op() != lua.OP_TAILCALL) {
		return "", ""
	}
	// The text is " (local 'name')".
	text := strings.TrimPrefix(describe(caller, i.A(), caller.PC()), " (")
	kind, name, _ = strings.Cut(strings.TrimSuffix(text, "')"), " '")
	return name, kind
}
