package host

import (
	"context"
	"runtime"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/luanum"
	"github.com/imdlua/imdlua/runtime/host/vm"
	lua "github.com/yuin/gopher-lua"
)

// openLibs opens the libraries that need access to the internals of the host. It
// keeps only those functions of gopher-lua that behave like Lua 5.1. Package
// stdlib/lua51 opens the other libraries.
func (h *Host) openLibs() {
	L := h.root
	for _, open := range []struct {
		name string
		f    lua.LGFunction
	}{
		{"", lua.OpenBase}, {lua.TabLibName, lua.OpenTable}, {lua.StringLibName, lua.OpenString},
	} {
		Call(L, L.NewFunction(open.f), 0, lua.LString(open.name))
	}
	for _, name := range []string{"module", "newproxy", "_printregs", "_GOPHER_LUA_VERSION"} {
		h.globals.RawSetString(name, lua.LNil)
	}
	h.openValues()
	h.openBase()
	h.openCoroutine()
	h.openString()
	h.openModules()
	h.openStrict()
	for _, name := range []string{"string", "table", "coroutine", "package"} {
		h.giveHints(name, h.globals.RawGetString(name).(*lua.LTable))
	}
}

func (h *Host) openBase() {
	h.extend(h.globals, map[string]lua.LGFunction{
		"pcall": basePcall, "xpcall": baseXpcall, "error": baseError, "assert": baseAssert,
		"print": h.basePrint, "tostring": baseToString, "tonumber": baseToNumber,
		"pairs": basePairs, "ipairs": baseIpairs, "next": baseNext, "select": baseSelect,
		"setmetatable": baseSetMetatable, "collectgarbage": baseCollectGarbage,
		"load": h.baseLoad, "loadstring": h.baseLoadString, "loadfile": h.baseLoadFile,
		"dofile": h.baseDoFile,
		"unpack": baseUnpack, "getfenv": baseGetfenv, "setfenv": baseSetfenv,
		"rawset": baseRawset,
	})
	h.modules.tostring = h.globals.RawGetString("tostring").(*lua.LFunction)
	h.globals.RawGetString("table").(*lua.LTable).RawSetString(
		"unpack",
		h.globals.RawGetString("unpack"),
	)
}

// basePcall runs its function on a thread of its own.
func basePcall(L *lua.LState) int {
	L.CheckAny(1)
	return protectedCall(L, hookOf(L), nil, 1)
}

func baseXpcall(L *lua.LState) int {
	handler, ok := Function(L, L.Get(2))
	if !ok {
		handler = L.CheckFunction(2) // raises
	}
	L.Remove(2)
	return protectedCall(L, hookOf(L), handler, 1)
}

// protectedCall calls the value at index at with the arguments that follow it, and
// leaves the results of pcall on the stack.
func protectedCall(L *lua.LState, caller *hook, handler *lua.LFunction, at int) int {
	n := L.GetTop()
	h := caller.host
	fail := func(obj lua.LValue) int {
		L.SetTop(0)
		L.Push(lua.LFalse)
		L.Push(obj)
		return 2
	}
	if fn := L.Get(at); fn.Type() != lua.LTFunction &&
		L.GetMetaField(fn, "__call").Type() != lua.LTFunction {
		return fail(lua.LString("attempt to call " + vm.Typed(fn)))
	}
	if caller.task.depth >= maxNesting {
		return fail(
			lua.LString("stack overflow (too many pcalls and coroutines inside each other)"),
		)
	}
	th, k := h.borrow(caller)
	k.handler = handler
	th.Push(h.trampoline)
	for i := at; i <= n; i++ {
		th.Push(L.Get(i))
	}
	cur := th.G.CurrentThread
	err := th.PCall(n-at+1, lua.MultRet, nil)
	th.G.CurrentThread = cur
	if err == nil {
		got := th.GetTop()
		L.SetTop(0)
		L.Push(lua.LTrue)
		for i := 1; i <= got; i++ {
			L.Push(th.Get(i))
		}
		h.giveBack(caller, k, true)
		return got + 1
	}
	f := k.caught(err)
	handled, pending := k.handled, k.pending
	h.giveBack(caller, k, !f.broken)
	if isExit(f.obj) {
		rethrow(caller, f, "")
	}
	h.dropped(f)
	if handler != nil && !handled && caller.task.ctx.Err() == nil &&
		(pending == nil || isOverflow(pending)) {
		// The handler has not run: the stack was full where the error was raised.
		if pending != nil {
			f.obj = pending
		}
		res, bad := h.protect(caller, handler, f.obj)
		switch {
		case bad != nil:
			f.obj = bad.obj
		case len(res) > 0:
			f.obj = res[0]
		default:
			f.obj = lua.LNil
		}
	}
	return fail(f.obj)
}

func isOverflow(v lua.LValue) bool {
	s, ok := v.(lua.LString)
	return ok && strings.Contains(string(s), "overflow")
}

func baseError(L *lua.LState) int {
	k := hookOf(L)
	obj := L.Get(1)
	if level := optInt(L, 2, 1); level > 0 && lua.LVCanConvToString(obj) {
		text := ToString(L, obj)
		if pos := positionAt(L, level); pos != "" {
			text = pos + ": " + text
		}
		obj = lua.LString(text)
	}
	raiseFrom(k, L, obj)
	return 0
}

// positionAt returns "file:line" of the function at a level, or "" if that is not a
// Lua function. Level 1 is the function that called the running Go function. A
// protected call runs on a thread of its own; the first frame of that thread and
// the frame of pcall count as one level.
func positionAt(L *lua.LState, level int) string {
	f, ok := vm.Innermost(L)
	for ; ok && level > 0; level-- {
		f, ok = f.Parent()
		for k := hookOf(L); ok && k.up != nil && k.co != L && f.Fn() == k.host.trampoline; {
			L = k.up
			k = hookOf(L)
			f, ok = vm.Innermost(L)
		}
	}
	if !ok || f.Fn().IsG {
		return ""
	}
	return f.Position()
}

func baseAssert(L *lua.LState) int {
	L.CheckAny(1)
	if lua.LVAsBool(L.Get(1)) {
		return L.GetTop()
	}
	k := hookOf(L)
	obj := lua.LValue(lua.LString("assertion failed!"))
	if L.GetTop() > 1 {
		obj = L.Get(2)
	}
	k.task.raised = raised{obj: obj, trace: traceback(L), kind: "assertion"}
	k.own = true
	L.Error(obj, 0)
	return 0
}

func (h *Host) basePrint(L *lua.LState) int {
	var b strings.Builder
	for i := 1; i <= L.GetTop(); i++ {
		if i > 1 {
			b.WriteByte('\t')
		}
		b.WriteString(h.printed(L, L.Get(i)))
	}
	b.WriteByte('\n')
	h.stdout.Print(L, h.stdout.shown(b.String()))
	return 0
}

// printed returns the text that print writes for v. If the script has set another
// global tostring, print calls that one.
func (h *Host) printed(L *lua.LState, v lua.LValue) string {
	fn := h.globals.RawGetString("tostring")
	if own, ok := fn.(*lua.LFunction); ok && own == h.modules.tostring {
		return ToString(L, v)
	}
	switch text := Call(L, fn, 1, v)[0].(type) {
	case lua.LString:
		return string(text)
	case lua.LNumber:
		return luanum.Format(float64(text))
	}
	L.RaiseError("'tostring' must return a string to 'print'")
	return ""
}

func baseToString(L *lua.LState) int {
	L.Push(lua.LString(ToString(L, L.CheckAny(1))))
	return 1
}

func baseToNumber(L *lua.LState) int {
	v := L.CheckAny(1)
	if base := optInt(L, 2, 10); base != 10 {
		if base < 2 || base > 36 {
			L.ArgError(2, "base out of range")
		}
		if n, ok := luanum.ParseInteger(L.CheckString(1), base); ok {
			L.Push(lua.LNumber(n))
		} else {
			L.Push(lua.LNil)
		}
		return 1
	}
	switch v := v.(type) {
	case lua.LNumber:
		L.Push(v)
		return 1
	case lua.LString:
		if n, ok := luanum.Parse(string(v)); ok {
			L.Push(lua.LNumber(n))
			return 1
		}
	}
	L.Push(lua.LNil)
	return 1
}

func basePairs(L *lua.LState) int {
	v := L.Get(1)
	if mm := L.GetMetaField(v, "__pairs"); mm != lua.LNil {
		for _, r := range Call(L, mm, 3, v) {
			L.Push(r)
		}
		return 3
	}
	L.CheckTable(1)
	L.Push(hookOf(L).host.globals.RawGetString("next"))
	L.Push(v)
	L.Push(lua.LNil)
	return 3
}

func baseIpairs(L *lua.LState) int {
	v := L.Get(1)
	if mm := L.GetMetaField(v, "__ipairs"); mm != lua.LNil {
		for _, r := range Call(L, mm, 3, v) {
			L.Push(r)
		}
		return 3
	}
	L.CheckTable(1)
	L.Push(hookOf(L).host.modules.ipairsNext)
	L.Push(v)
	L.Push(lua.LNumber(0))
	return 3
}

func ipairsNext(L *lua.LState) int {
	i := L.CheckInt(2) + 1
	v := L.CheckTable(1).RawGetInt(i)
	if v == lua.LNil {
		L.Push(lua.LNil)
		return 1
	}
	L.Push(lua.LNumber(i))
	L.Push(v)
	return 2
}

func baseNext(L *lua.LState) int {
	t, last := L.CheckTable(1), L.Get(2)
	if last != lua.LNil && !vm.HasKey(t, last) {
		raiseFrom(hookOf(L), L, lua.LString("invalid key to 'next'"))
	}
	key, value := t.Next(last)
	L.Push(key)
	if key == lua.LNil {
		return 1
	}
	L.Push(value)
	return 2
}

// checkInt is like (*lua.LState).CheckInt but converts texts as well.
func checkInt(L *lua.LState, i int) int {
	if f, ok := toNumber(L.Get(i)); ok {
		return int(f)
	}
	return L.CheckInt(i)
}

// optInt is like checkInt for an argument that may be missing.
func optInt(L *lua.LState, i, missing int) int {
	if L.Get(i) == lua.LNil {
		return missing
	}
	return checkInt(L, i)
}

func baseSelect(L *lua.LState) int {
	n := L.GetTop()
	if s, ok := L.Get(1).(lua.LString); ok && s == "#" {
		L.Push(lua.LNumber(n - 1))
		return 1
	}
	i := checkInt(L, 1)
	if i < 0 {
		i = n + i
	}
	if i < 1 {
		L.ArgError(1, "index out of range")
	}
	return max(n-i, 0)
}

// maxUnpack is the largest number of values that unpack may put on the stack.
const maxUnpack = 100000

func baseUnpack(L *lua.LState) int {
	t := L.CheckTable(1)
	from := optInt(L, 2, 1)
	to := optInt(L, 3, t.Len())
	n := to - from + 1
	if n <= 0 {
		return 0
	}
	if n > maxUnpack {
		L.RaiseError("too many results to unpack (%d, limit is %d)", n, maxUnpack)
	}
	for i := from; i <= to; i++ {
		L.Push(t.RawGetInt(i))
	}
	return n
}

func baseSetMetatable(L *lua.LState) int {
	t := L.CheckTable(1)
	switch L.Get(2).Type() {
	case lua.LTNil, lua.LTTable:
	default:
		L.ArgError(2, "nil or table expected")
	}
	if L.GetTop() < 2 {
		L.ArgError(2, "nil or table expected")
	}
	if mt, ok := t.Metatable.(*lua.LTable); ok && mt.RawGetString("__metatable") != lua.LNil {
		L.RaiseError("cannot change a protected metatable")
	}
	t.Metatable = L.Get(2)
	L.SetTop(1)
	return 1
}

func baseCollectGarbage(L *lua.LState) int {
	switch opt := L.OptString(1, "collect"); opt {
	case "count":
		L.Push(lua.LNumber(float64(heapBytes()) / 1024))
	case "collect", "step":
		TryBlock(L, func(context.Context) error { runtime.GC(); return nil })
		L.Push(lua.LNumber(0))
	case "stop", "restart", "setpause", "setstepmul", "generational", "incremental":
		L.Push(lua.LNumber(0))
	default:
		L.ArgError(1, "invalid option '"+opt+"'")
	}
	return 1
}

// chunkName returns the name that messages use for a chunk that a script compiles.
// It is the argument at index at, or the first line of the source.
func chunkName(L *lua.LState, at int, source string) string {
	name := L.OptString(at, "")
	if name != "" {
		return strings.TrimLeft(name, "=@")
	}
	line, _, more := strings.Cut(source, "\n")
	if len(line) > 40 {
		line, more = line[:40], true
	}
	if more {
		line += "..."
	}
	return "[string \"" + line + "\"]"
}

// loaded compiles a chunk and pushes the results of load, loadstring and loadfile:
// the function, or nil and the error.
func (h *Host) loaded(L *lua.LState, chunk, source string, env lua.LValue) int {
	proto, err := h.compileFor(L, chunk, source)
	if err != nil {
		L.Push(lua.LNil)
		L.Push(lua.LString(err.Error()))
		return 2
	}
	fn := h.root.NewFunctionFromProto(proto)
	if t, ok := env.(*lua.LTable); ok {
		fn.Env = t
	}
	L.Push(fn)
	return 1
}

func (h *Host) baseLoadString(L *lua.LState) int {
	src := L.CheckString(1)
	return h.loaded(L, chunkName(L, 2, src), src, lua.LNil)
}

func (h *Host) baseLoad(L *lua.LState) int {
	if s, ok := L.Get(1).(lua.LString); ok {
		return h.loaded(L, chunkName(L, 2, string(s)), string(s), L.Get(4))
	}
	fn := L.CheckFunction(1)
	var b strings.Builder
	for b.Len() <= maxSource {
		part := Call(L, fn, 1)[0]
		s, ok := part.(lua.LString)
		if !ok && part != lua.LNil {
			L.RaiseError("reader function must return a string")
		}
		if s == "" {
			break
		}
		b.WriteString(string(s))
	}
	name := L.OptString(2, "=(load)")
	return h.loaded(L, strings.TrimLeft(name, "=@"), b.String(), L.Get(4))
}

func (h *Host) baseLoadFile(L *lua.LState) int {
	path := L.CheckString(1)
	src, err := h.readSource(L, path)
	if err != nil {
		L.Push(lua.LNil)
		L.Push(lua.LString(FileErrorText(path, err)))
		return 2
	}
	return h.loaded(L, path, src, L.Get(3))
}

func (h *Host) baseDoFile(L *lua.LState) int {
	path := L.CheckString(1)
	src, err := h.readSource(L, path)
	if err != nil {
		Raise(L, err)
	}
	proto, err := h.compileFor(L, path, src)
	if err != nil {
		Raise(L, err)
	}
	res := Call(L, h.root.NewFunctionFromProto(proto), lua.MultRet)
	for _, v := range res {
		L.Push(v)
	}
	return len(res)
}
