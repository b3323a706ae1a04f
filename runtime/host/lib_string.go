package host

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// openString keeps scripts from redefining the methods of strings for everybody,
// and replaces the one function that could end the process. Package
// stdlib/lua51 fills the table.
func (h *Host) openString() {
	lib := h.globals.RawGetString("string").(*lua.LTable)
	h.extend(lib, map[string]lua.LGFunction{"rep": stringRep})
	lib.RawSetString("__index", lua.LNil)
	lib.RawSetString("dump", lua.LNil)
	mt := h.root.CreateTable(0, 2)
	mt.RawSetString("__index", lib)
	mt.RawSetString("__metatable", lua.LString("string"))
	h.root.SetMetatable(lua.LString(""), mt)
}

func stringRep(L *lua.LState) int {
	s, n := L.CheckString(1), max(L.CheckInt(2), 0)
	MakeString(L, float64(len(s))*float64(n))
	L.Push(lua.LString(strings.Repeat(s, n)))
	return 1
}

// MakeString says that a string of so many bytes is about to be made. It raises
// code "memory" if that exceeds Options.MaxString or what Reserve allows: Go
// cannot recover from running out of memory.
func MakeString(L *lua.LState, size float64) {
	limit := hookOf(L).host.o.MaxString
	if size > float64(limit) {
		e := Errorf("memory", "resulting string too large (%.0f bytes, limit is %d)", size, limit)
		Raise(L, e.WithHint("raise the limit with --max-string"))
	}
	Reserve(L, int(size))
}
