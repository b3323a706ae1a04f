package host

import (
	"github.com/imdlua/imdlua/runtime/host/vm"
	lua "github.com/yuin/gopher-lua"
)

type coStatus string

const (
	coNone      coStatus = "" // not a coroutine
	coSuspended coStatus = "suspended"
	coRunning   coStatus = "running"
	coNormal    coStatus = "normal"
	coDead      coStatus = "dead"
)

func (h *Host) openCoroutine() {
	h.globals.RawSetString("coroutine", h.Functions(map[string]lua.LGFunction{
		"create": coCreate, "resume": coResume, "yield": coYield, "wrap": coWrap,
		"status": coStatusOf, "running": coRunningNow, "isyieldable": coIsYieldable,
	}))
}

func newCoroutine(L *lua.LState) (*lua.LState, *hook) {
	fn := L.CheckFunction(1)
	k := hookOf(L)
	th, ck := k.host.newThread(false, k.task)
	ck.co, ck.body, ck.status = th, fn, coSuspended
	return th, ck
}

func coCreate(L *lua.LState) int {
	th, _ := newCoroutine(L)
	L.Push(th)
	return 1
}

// resume runs a coroutine in the task of k until it yields, ends or fails.
func resume(k *hook, ck *hook, args []lua.LValue) ([]lua.LValue, *failure) {
	refuse := func(msg string) ([]lua.LValue, *failure) {
		return nil, &failure{obj: lua.LString(msg)}
	}
	switch ck.status {
	case coDead:
		return refuse("cannot resume dead coroutine")
	case coSuspended:
	default:
		// This includes a coroutine that is blocked in another task, because the
		// goroutine of that task runs on the stack of the coroutine.
		return refuse("cannot resume non-suspended coroutine")
	}
	t := k.task
	if t.depth >= maxNesting {
		return refuse("stack overflow (too many pcalls and coroutines inside each other)")
	}
	var outer *hook
	if k.co != nil {
		outer = hookOf(k.co)
		outer.status = coNormal
	}
	ck.status, ck.task, ck.up = coRunning, t, k.l
	if ck.started {
		args = fitToYield(ck.l, args)
	} else {
		// The hook has to run at the first instruction, because gopher-lua is about
		// to install its own panic function.
		ck.started, ck.n, ck.granted = true, 1, 1
	}
	t.depth++
	t.inner = ck.l
	cur := k.l.G.CurrentThread
	t.raised = raised{}
	vm.Mark(k.l)
	state, err, res := k.l.Resume(ck.l, ck.body, args...)
	if vm.Marked(k.l) {
		res = nil // gopher-lua returns one nil if there are no results
	}
	k.l.G.CurrentThread = cur
	t.depth--
	t.inner = k.l
	ck.up, ck.own = nil, false
	if outer != nil {
		outer.status = coRunning
	}
	switch state {
	case lua.ResumeYield:
		ck.status = coSuspended
	case lua.ResumeOK:
		ck.status = coDead
	default:
		ck.status, ck.body = coDead, nil
		return nil, ck.resumeFailure(err)
	}
	return res, nil
}

// fitToYield makes args as long as the number of results that the call of yield
// has to return. gopher-lua would pass args on unchanged and then read registers
// that were never set.
func fitToYield(co *lua.LState, args []lua.LValue) []lua.LValue {
	f, ok := vm.Innermost(co)
	if !ok || f.Fn().IsG {
		return args
	}
	i, ok := f.Instruction()
	if !ok || i.Op() != lua.OP_CALL || i.C() == 0 {
		return args
	}
	n := i.C() - 1
	for len(args) < n {
		args = append(args, lua.LNil)
	}
	return args[:n]
}

func (k *hook) resumeFailure(err error) *failure {
	f := k.caught(err)
	if s, ok := f.obj.(lua.LString); ok && f.trace == nil {
		// The error is a Go panic, of which gopher-lua keeps only the text.
		e := internalError(string(s), "")
		f.obj = k.host.errorValue(k.l, e)
	}
	return f
}

func arguments(L *lua.LState, from int) []lua.LValue {
	n := L.GetTop()
	if n < from {
		return nil
	}
	args := make([]lua.LValue, 0, n-from+1)
	for i := from; i <= n; i++ {
		args = append(args, L.Get(i))
	}
	return args
}

func checkCoroutine(L *lua.LState) *hook {
	th, ok := L.Get(1).(*lua.LState)
	if !ok {
		L.ArgError(1, "coroutine expected")
	}
	return hookOf(th)
}

func coResume(L *lua.LState) int {
	ck := checkCoroutine(L)
	k := hookOf(L)
	res, f := resume(k, ck, arguments(L, 2))
	if f != nil {
		if isExit(f.obj) {
			rethrow(k, f, "")
		}
		k.host.dropped(f)
		L.Push(lua.LFalse)
		L.Push(f.obj)
		return 2
	}
	L.Push(lua.LTrue)
	for _, v := range res {
		L.Push(v)
	}
	return len(res) + 1
}

func coWrap(L *lua.LState) int {
	_, ck := newCoroutine(L)
	L.Push(L.NewFunction(func(L *lua.LState) int {
		k := hookOf(L)
		res, f := resume(k, ck, arguments(L, 1))
		if f != nil {
			if s, ok := f.obj.(lua.LString); ok && f.trace == nil {
				if pos := positionAt(L, 1); pos != "" {
					f.obj = lua.LString(pos + ": " + string(s))
				}
			}
			rethrow(k, f, "")
		}
		for _, v := range res {
			L.Push(v)
		}
		return len(res)
	}))
	return 1
}

func coYield(L *lua.LState) int {
	if reason := whyNotYieldable(L, hookOf(L), true); reason != "" {
		if pos := positionAt(L, 1); pos != "" {
			reason = pos + ": " + reason
		}
		raiseFrom(hookOf(L), L, lua.LString(reason))
	}
	return -1
}

// whyNotYieldable returns the reason why the running function cannot yield, or ""
// if it can. gopher-lua would crash if a Go function or the VM itself waited for
// the result. inYield is set if the running function is yield itself, which must
// not be a tail call.
func whyNotYieldable(L *lua.LState, k *hook, inYield bool) string {
	if k.co == nil {
		return "attempt to yield from outside a coroutine"
	}
	if k.co != L {
		return "attempt to yield across a pcall"
	}
	f, _ := vm.Innermost(L)
	p, ok := f.Parent()
	if !ok {
		return "attempt to yield from a Go function"
	}
	for first := inYield; ok; first = false {
		if p.Fn().IsG {
			return "attempt to yield across a Go function"
		}
		i, _ := p.Instruction()
		switch i.Op() {
		case lua.OP_CALL:
		case lua.OP_TAILCALL:
			if first {
				return "attempt to yield in a tail call; write local x = coroutine.yield()"
			}
		case lua.OP_TFORLOOP:
			return "attempt to yield across the iterator of a for loop"
		default:
			return "attempt to yield across a metamethod"
		}
		p, ok = p.Parent()
	}
	return ""
}

func coIsYieldable(L *lua.LState) int {
	L.Push(lua.LBool(whyNotYieldable(L, hookOf(L), false) == ""))
	return 1
}

func coStatusOf(L *lua.LState) int {
	ck := checkCoroutine(L)
	status := ck.status
	if status == coNone {
		status = coRunning
		if hookOf(L).task != ck.task {
			status = coNormal
		}
	}
	L.Push(lua.LString(status))
	return 1
}

func coRunningNow(L *lua.LState) int {
	k := hookOf(L)
	if k.co == nil {
		L.Push(lua.LNil)
	} else {
		L.Push(k.co)
	}
	return 1
}
