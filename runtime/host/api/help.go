package api

import lua "github.com/yuin/gopher-lua"

func (ix *Index) helpMethod(L *lua.LState) int { return 0 }
