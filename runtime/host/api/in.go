package api

import lua "github.com/yuin/gopher-lua"

// In returns a Call for another thread of the same host: what a function that
// runs in a task of its own uses in place of the Call that started it.
func (c *Call) In(L *lua.LState) *Call { return &Call{L: L, ix: c.ix, decl: c.decl} }
