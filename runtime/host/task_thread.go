package host

import (
	"fmt"

	"github.com/imdlua/imdlua/runtime/host/vm"
	lua "github.com/yuin/gopher-lua"
)

// Stack sizes. The stacks have a fixed size, because with the growing stacks of
// gopher-lua an overflow makes pcall return its own function as a result.
const (
	mainFrames, mainRegistry  = 1000, 4096
	taskFrames, taskRegistry  = 200, 256
	registryStep, registryMax = 1024, 131072
	maxIdleThreads            = 16
	// noStackTrace is a stack trace that is not empty. It keeps gopher-lua from
	// building its own, which takes quadratic time.
	noStackTrace = "-"
)

func stackOptions(frames, registry int) lua.Options {
	return lua.Options{
		CallStackSize: frames, RegistrySize: registry,
		RegistryGrowStep: registryStep, RegistryMaxSize: registryMax,
		SkipOpenLibs: true, IncludeGoStackTrace: true,
	}
}

// newThread returns a Lua thread with a hook. The factory has no context, so
// gopher-lua does not derive a context for the thread.
func (h *Host) newThread(big bool, t *Task) (*lua.LState, *hook) {
	if big {
		h.factory.Options = stackOptions(mainFrames, mainRegistry)
	} else {
		h.factory.Options = stackOptions(taskFrames, taskRegistry)
	}
	th, _ := h.factory.NewThread()
	k := &hook{host: h, task: t, l: th, big: big, n: hookSlice, granted: hookSlice}
	th.SetContext(k)
	return th, k
}

// borrow returns a thread for a protected call made by caller, an idle one if there
// is any.
func (h *Host) borrow(caller *hook) (*lua.LState, *hook) {
	t := caller.task
	idle := &h.idle
	if t.big {
		idle = &h.idleBig
	}
	var th *lua.LState
	var k *hook
	if n := len(*idle); n > 0 {
		k = (*idle)[n-1]
		*idle = (*idle)[:n-1]
		th = k.l
		k.task = t
	} else {
		th, k = h.newThread(t.big, t)
	}
	k.n, k.granted, k.up, k.co = caller.n, caller.granted, caller.l, caller.co
	t.depth++
	t.inner = th
	return th, k
}

// giveBack ends the use of a thread that borrow returned.
func (h *Host) giveBack(caller, k *hook, reusable bool) {
	t := caller.task
	t.depth--
	t.inner = caller.l
	caller.n, caller.granted = k.n, k.granted
	h.shelve(k, reusable)
}

// shelve keeps a thread for later calls and tasks if it is reusable.
func (h *Host) shelve(k *hook, reusable bool) {
	idle := &h.idle
	if k.big {
		idle = &h.idleBig
	}
	k.up, k.co, k.handler, k.handled, k.pending, k.own = nil, nil, nil, false, nil, false
	if reusable && len(*idle) < maxIdleThreads {
		k.task = h.setup
		k.l.SetTop(0)
		*idle = append(*idle, k)
	}
}

// trampoline calls its first argument with the other arguments. Before that it
// replaces the panic function that PCall has just installed by the host's own.
func trampoline(L *lua.LState) int {
	L.Panic = raisePanic
	L.Call(L.GetTop()-1, lua.MultRet)
	return L.GetTop()
}

// failure is an error that was caught: the Lua value and where it was raised.
type failure struct {
	obj   lua.LValue
	trace []Frame
	kind  string // "assertion" if assert raised it
	// suppressed holds the errors of the clean-up that followed, unless obj can
	// hold them itself.
	suppressed []error
	// broken is set after a Go panic. It leaves open upvalues that point into the
	// registers of the thread, so the thread must not be used again.
	broken bool
}

// caught returns the failure for an error that PCall returned.
func (k *hook) caught(err error) *failure {
	t := k.task
	api, ok := err.(*lua.ApiError)
	if !ok {
		return &failure{obj: lua.LString(err.Error()), broken: true}
	}
	if api.Type == lua.ApiErrorPanic {
		e := internalError(api.Object.String(), api.StackTrace)
		e.Traceback = parseTrace(api.StackTrace)
		if len(e.Traceback) > 0 {
			e.Where = fmt.Sprintf("%s:%d", e.Traceback[0].File, e.Traceback[0].Line)
		}
		return &failure{obj: k.host.errorValue(k.l, e), trace: e.Traceback, broken: true}
	}
	f := &failure{obj: api.Object}
	if t.raised.obj != nil && sameObject(t.raised.obj, api.Object) {
		f.trace, f.kind, f.suppressed = t.raised.trace, t.raised.kind, t.raised.suppressed
	}
	return f
}

// suppress adds the errors of the clean-up that followed.
func (f *failure) suppress(errs []error) {
	if e := asError(f.obj); e != nil {
		e.Suppressed = append(e.Suppressed, errs...)
		return
	}
	f.suppressed = append(f.suppressed, errs...)
}

// dropped prints the suppressed errors of a failure that a script has caught. They
// would be lost, because the value that the script gets cannot hold them.
func (h *Host) dropped(f *failure) {
	for _, err := range f.suppressed {
		h.warn("a deferred function failed", err)
	}
}

func sameObject(a, b lua.LValue) bool { return a == b }

// protect calls fn on a thread of its own. It returns the results, or the failure
// if fn raised an error.
func (h *Host) protect(caller *hook, fn lua.LValue, args ...lua.LValue) ([]lua.LValue, *failure) {
	if caller.task.depth >= maxNesting {
		return nil, &failure{
			obj: lua.LString("stack overflow (too many pcalls and coroutines inside each other)"),
		}
	}
	th, k := h.borrow(caller)
	res, f := callOn(th, k, fn, args...)
	h.giveBack(caller, k, f == nil || !f.broken)
	return res, f
}

// raisePanic is the panic function of every thread. It runs where an error is
// raised, before the stack is unwound.
func raisePanic(L *lua.LState) {
	k := hookOf(L)
	t := k.task
	obj := L.Get(-1)
	if !k.own {
		t.raised = raised{}
		if s, ok := obj.(lua.LString); ok {
			obj = lua.LString(vm.Explain(L, string(s)))
		}
	}
	k.own = false
	if t.raised.obj == nil || !sameObject(t.raised.obj, obj) {
		t.raised = raised{
			obj:        obj,
			trace:      traceback(L),
			kind:       t.raised.kind,
			suppressed: t.raised.suppressed,
		}
	}
	if k.handler != nil && t.ctx.Err() == nil && !isExit(obj) {
		fn := k.handler
		k.handler, k.pending = nil, obj
		keep := t.raised
		L.Push(fn)
		L.Push(obj)
		L.Call(1, 1)
		obj = L.Get(-1)
		k.handled = true
		keep.obj = obj
		t.raised = keep
	}
	panic(&lua.ApiError{Type: lua.ApiErrorRun, Object: obj, StackTrace: noStackTrace})
}

// raised is the last error that a task raised.
type raised struct {
	obj        lua.LValue
	trace      []Frame
	kind       string
	suppressed []error
}

// raiseObject raises obj as it is, from the thread of k.
func raiseObject(k *hook, obj lua.LValue) {
	k.task.raised = raised{}
	k.own = true
	k.l.Error(obj, 0)
}

// rethrow raises a caught error again and keeps its traceback. If note is not
// empty, the frames of the rethrowing thread are appended, and the first of them is
// marked with note.
func rethrow(k *hook, f *failure, note string) {
	trace := f.trace
	if trace == nil {
		trace = traceback(k.l)
	} else if note != "" && len(trace) < maxTrace {
		if own := traceback(k.l); len(own) > 0 {
			own[0].Name += " (" + note + ")"
			trace = append(trace[:len(trace):len(trace)], own...)
		}
	}
	k.task.raised = raised{obj: f.obj, trace: trace, kind: f.kind, suppressed: f.suppressed}
	k.own = true
	k.l.Error(f.obj, 0)
}

// Call calls a Lua value from Go code that runs in the same task and returns nret
// results, or all results if nret is negative. It does not catch errors.
func Call(L *lua.LState, fn lua.LValue, nret int, args ...lua.LValue) []lua.LValue {
	top := L.GetTop()
	L.Push(fn)
	for _, a := range args {
		L.Push(a)
	}
	L.Call(len(args), nret)
	n := L.GetTop() - top
	if n <= 0 {
		return nil
	}
	res := make([]lua.LValue, n)
	for i := range res {
		res[i] = L.Get(top + 1 + i)
	}
	L.SetTop(top)
	return res
}

// Function returns v if it is a function, or a function that calls the __call
// metamethod of v. It returns false if v cannot be called.
func Function(L *lua.LState, v lua.LValue) (*lua.LFunction, bool) {
	if fn, ok := v.(*lua.LFunction); ok {
		return fn, true
	}
	call, ok := L.GetMetaField(v, "__call").(*lua.LFunction)
	if !ok {
		return nil, false
	}
	return L.NewFunction(func(L *lua.LState) int {
		n := L.GetTop()
		L.Insert(call, 1)
		L.Insert(v, 2)
		L.Call(n+1, lua.MultRet)
		return L.GetTop()
	}), true
}

// callOn calls fn on an idle thread. It returns the results, or the failure if fn
// raised an error.
func callOn(th *lua.LState, k *hook, fn lua.LValue, args ...lua.LValue) ([]lua.LValue, *failure) {
	th.Push(k.host.trampoline)
	th.Push(fn)
	for _, a := range args {
		th.Push(a)
	}
	cur := th.G.CurrentThread
	err := th.PCall(len(args)+1, lua.MultRet, nil)
	th.G.CurrentThread = cur
	if err != nil {
		return nil, k.caught(err)
	}
	n := th.GetTop()
	if n == 0 {
		return nil, nil
	}
	res := make([]lua.LValue, n)
	for i := range res {
		res[i] = th.Get(i + 1)
	}
	th.SetTop(0)
	return res, nil
}
