package host

import (
	"sort"

	"github.com/imdlua/imdlua/runtime/host/vm"
	lua "github.com/yuin/gopher-lua"
)

// strictGlobals makes it an error to read a global that does not exist, and to make
// a new one in a script, because most of these are typing errors.
type strictGlobals struct {
	declared map[string]bool
	open     bool // scripts may make new globals; true in an interactive run
}

func (h *Host) openStrict() {
	h.strict.declared = map[string]bool{}
	h.globals.ForEach(func(k, _ lua.LValue) {
		if name, ok := k.(lua.LString); ok {
			h.strict.declared[string(name)] = true
		}
	})
	mt := h.root.CreateTable(0, 3)
	mt.RawSetString("__index", h.root.NewFunction(h.readUnknown))
	mt.RawSetString("__newindex", h.root.NewFunction(h.writeUnknown))
	mt.RawSetString("__metatable", lua.LString("strict globals"))
	h.globals.Metatable = mt
}

func (h *Host) readUnknown(L *lua.LState) int {
	name := plainString(L.Get(2))
	if h.strict.declared[name] || !calledFromLua(L) {
		return 0
	}
	e := Errorf("undefined", "undefined global '%s'", name)
	e.Hint = hintFor(name)
	if e.Hint == "" && h.knowsModule("imd."+name) {
		e.Hint = "write local " + name + " = require \"imd." + name + "\""
	}
	if e.Hint != "" {
		Raise(L, e)
	}
	if near := suggest(name, h.globalNames()); near != "" {
		e.Message += " (did you mean " + near + "?)"
	}
	Raise(L, e)
	return 0
}

func (h *Host) writeUnknown(L *lua.LState) int {
	name := plainString(L.Get(2))
	if !h.strict.declared[name] && !h.strict.open && calledFromLua(L) {
		e := Errorf("undefined", "assignment to undeclared global '%s'", name)
		e.Hint = "write local " + name
		if near := suggest(name, h.globalNames()); near != "" {
			e.Hint += ", or did you mean " + near + "?"
		}
		Raise(L, e)
	}
	h.strict.declared[name] = true
	h.globals.RawSet(L.Get(2), L.Get(3))
	return 0
}

// calledFromLua reports whether Lua code, not Go code, has caused the call of the
// running metamethod.
func calledFromLua(L *lua.LState) bool {
	f, ok := vm.Innermost(L)
	if !ok {
		return false
	}
	p, ok := f.Parent()
	return ok && !p.Fn().IsG
}

func (h *Host) globalNames() []string {
	names := make([]string, 0, len(h.strict.declared))
	for name := range h.strict.declared {
		if h.globals.RawGetString(name) != lua.LNil {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// Suggest returns the one of names that is most similar to name, or "" if none is
// similar enough. It is meant for misspelled names.
func Suggest(name string, names []string) string { return suggest(name, names) }

func suggest(name string, names []string) string {
	best, bestDistance := "", len(name)/4+2
	if len(name) <= 2 {
		bestDistance = 2
	}
	for _, n := range names {
		if d := distance(name, n, bestDistance); d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best
}

// distance returns the number of edits between a and b, at most limit. Swapping two
// neighbouring bytes is one edit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 64 {
		return limit
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return min(prev[len(b)], limit)
}
