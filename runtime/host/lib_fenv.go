package host

import lua "github.com/yuin/gopher-lua"

// functionAt returns the function that the first argument of getfenv or setfenv
// names. The argument is a function or a level of the stack. The result is nil for
// level 0.
func functionAt(L *lua.LState, optional bool) *lua.LFunction {
	fn, ok := L.Get(1).(*lua.LFunction)
	if ok {
		return fn
	}
	level := 1
	if !optional || L.Get(1) != lua.LNil {
		level = L.CheckInt(1)
	}
	if level < 0 {
		L.ArgError(1, "level must be non-negative")
	}
	if level == 0 {
		return nil
	}
	frame, ok := FrameAt(L, level)
	if !ok {
		L.ArgError(1, "invalid level")
	}
	return frame.Fn()
}

func baseGetfenv(L *lua.LState) int {
	fn := functionAt(L, true)
	if fn == nil || fn.IsG {
		L.Push(hookOf(L).host.globals)
		return 1
	}
	L.Push(fn.Env)
	return 1
}

// baseSetfenv changes the environment of a Lua function. It refuses to change that
// of a thread, because functions of the host run on the thread as well.
func baseSetfenv(L *lua.LState) int {
	env := L.CheckTable(2)
	fn := functionAt(L, false)
	if fn == nil || fn.IsG {
		L.RaiseError("'setfenv' cannot change environment of given object")
	}
	fn.Env = env
	L.Push(fn)
	return 1
}

// baseRawset returns its table, as in Lua 5.1. rawset of gopher-lua returns nothing.
func baseRawset(L *lua.LState) int {
	t := L.CheckTable(1)
	key := L.CheckAny(2)
	value := L.CheckAny(3)
	switch n, isNumber := key.(lua.LNumber); {
	case key == lua.LNil:
		L.RaiseError("table index is nil")
	case isNumber && n != n:
		L.RaiseError("table index is NaN")
	}
	t.RawSet(key, value)
	L.SetTop(1)
	return 1
}
