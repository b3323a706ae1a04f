package host

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// openDebug replaces traceback: the stock one ends at the thread of a pcall.
func (h *Host) openDebug() {
	lib := h.globals.RawGetString("debug").(*lua.LTable)
	lib.RawSetString("traceback", h.root.NewFunction(h.debugTraceback))
	// It would change all values of a type.
	lib.RawSetString("setmetatable", lua.LNil)
	h.modules.loaded.RawSetString("debug", lib)
}

func (h *Host) debugTraceback(L *lua.LState) int {
	of, at := L, 1
	if th, ok := L.Get(1).(*lua.LState); ok {
		of, at = th, 2
	}
	msg := L.Get(at)
	if msg != lua.LNil && msg.Type() != lua.LTString && msg.Type() != lua.LTNumber {
		L.Push(msg)
		return 1
	}
	var b strings.Builder
	if msg != lua.LNil {
		b.WriteString(plainString(msg) + "\n")
	}
	b.WriteString("stack traceback:")
	for _, f := range h.visible(traceback(of)) {
		b.WriteString("\n\t" + f.String())
	}
	L.Push(lua.LString(b.String()))
	return 1
}
