package host

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Task is a piece of Lua that runs beside others: a Lua thread on a goroutine
// of its own, under the interpreter lock. The script itself is the main task.
type Task struct {
	host *Host
	id   int
	name string
	main bool
	big  bool // large stacks
	th   *lua.LState
	hook *hook

	ticket  *ticket
	inner   *lua.LState     // the thread that runs now: th, a pcall's or a coroutine's
	life    context.Context // ends when the task is cancelled
	end     context.CancelCauseFunc
	unwatch func() bool
	alarm   atomic.Bool // tells the hook to look at once
	done    chan struct{}
	failed  atomic.Pointer[error]

	// The rest belongs to the lock holder.
	ctx       context.Context // the innermost: life, a deadline's, or a grace context
	scope     *Scope          // the innermost
	root      *Scope
	parent    *Scope // that the task belongs to
	over      bool   // the task has ended; done follows
	watches   []*Watch
	results   []lua.LValue
	failure   *failure
	raised    raised
	observed  bool // somebody looks at the result
	lost      bool // the failure counts among those that nobody looks at
	cancelled struct {
		ctx context.Context
		obj lua.LValue
	}
	depth     int // pcalls and coroutines inside each other
	noSwitch  int
	deadlines int
	turn      uint64
	turnStart time.Time
}

// newTask makes a task that has not been started. The lock is held.
func (h *Host) newTask(name string, ctx context.Context, parent *Scope, big bool) *Task {
	h.lastTask++
	t := &Task{
		host:   h,
		id:     h.lastTask,
		name:   name,
		big:    big,
		ticket: newTicket(),
		done:   make(chan struct{}),
		parent: parent,
	}
	if t.name == "" {
		t.name = fmt.Sprintf("task %d", t.id)
	}
	t.life, t.end = context.WithCancelCause(ctx)
	t.ctx = t.life
	t.unwatch = context.AfterFunc(t.life, func() { t.alarm.Store(true) })
	if n := len(h.idle); n > 0 && !big {
		t.hook = h.idle[n-1]
		h.idle = h.idle[:n-1]
		t.th, t.hook.task, t.hook.n, t.hook.granted = t.hook.l, t, hookSlice, hookSlice
	} else {
		t.th, t.hook = h.newThread(big, t)
	}
	t.inner = t.th
	t.root = &Scope{host: h, parent: parent}
	t.scope = t.root
	return t
}

// Spawn starts fn as a task that belongs to the current scope: when the scope
// ends, the task is cancelled and awaited. Tasks start in the order in which
// they were spawned. An empty name becomes "file:line" of fn.
func Spawn(L *lua.LState, name string, fn *lua.LFunction, args ...lua.LValue) *Task {
	k := hookOf(L)
	h, s := k.host, k.task.scope
	if name == "" && !fn.IsG {
		name = fmt.Sprintf("%s:%d", fn.Proto.SourceName, fn.Proto.LineDefined)
	}
	ctx := k.task.life
	if ctx.Err() != nil {
		ctx = k.task.ctx // under grace a clean-up may spawn
	}
	t := h.newTask(name, ctx, s, false)
	s.adopt(t)
	h.began(t)
	h.running.Add(1)
	if h.lock.enqueue(t.ticket) {
		t.ticket.ready <- struct{}{} // only without a running task
	}
	go t.run(fn, args)
	return t
}

// run is the life of a spawned task.
func (t *Task) run(fn *lua.LFunction, args []lua.LValue) {
	h := t.host
	<-t.ticket.ready
	t.th.G.CurrentThread = t.th
	t.results, t.failure = callOn(t.th, t.hook, fn, args...)
	t.closeScope()
	t.finish()
	t.parent.forget(t)
	h.instructions += uint64(t.hook.granted - t.hook.n)
	h.shelve(t.hook, t.failure == nil || !t.failure.broken)
	// Scripts may keep the task, and with it everything that it refers to.
	t.th, t.hook, t.inner, t.raised = nil, nil, nil, raised{}
	close(t.done)
	h.lock.release()
	h.running.Done()
}

// closeScope ends the task's own scope and adds what went wrong there.
func (t *Task) closeScope() {
	errs := t.root.close(t.hook)
	if len(errs) > 0 && t.failure == nil {
		t.failure = &failure{obj: t.host.errorValue(t.th, errs[0])}
		errs = errs[1:]
	}
	if t.failure != nil {
		t.failure.suppress(errs)
	}
}

// finish records the end and wakes the tasks that wait for it. A failure that
// nobody waits for is printed at once.
func (t *Task) finish() {
	h := t.host
	t.over = true
	for _, w := range t.watches {
		w.tell(t)
	}
	watched := len(t.watches) > 0
	t.watches = nil
	h.ended(t)
	t.unwatch()
	defer t.end(nil)
	if t.failure == nil {
		return
	}
	err := h.failureError(t.hook, t.failure)
	t.failed.Store(&err)
	cancelled := hasCode(err, "cancelled") ||
		t.life.Err() != nil && t.failure.obj == t.cancelled.obj
	if watched || t.observed || t.main || isExit(t.failure.obj) || cancelled {
		return
	}
	h.lost.add(t)
	h.warn(fmt.Sprintf("task %q failed", t.name), err)
}

// lostTasks counts the failures that nobody has looked at. It keeps only the
// first task: a script may spawn any number.
type lostTasks struct {
	first *Task
	count int
}

func (l *lostTasks) add(t *Task) {
	if t.host.strict.open {
		return // a session has no exit code
	}
	t.lost = true
	l.count++
	if l.first == nil {
		l.first = t
	}
}

func (l *lostTasks) remove(t *Task) {
	if !t.lost {
		return
	}
	t.lost = false
	l.count--
	if l.first == t {
		l.first = nil
	}
}

// verdict is the error that the lost failures make of a run.
func (l *lostTasks) verdict() error {
	if l.count == 0 {
		return nil
	}
	e := Errorf("task_failed", "%d tasks failed and nobody joined them", l.count)
	switch {
	case l.first != nil && l.count == 1:
		e.Message = fmt.Sprintf("task %q failed and nobody joined it", l.first.name)
		e.Cause = l.first.Err()
	case l.first != nil:
		e.Message += fmt.Sprintf("; the first is %q", l.first.name)
		e.Cause = l.first.Err()
	}
	e.told = true
	*l = lostTasks{}
	return e
}

// CurrentTask returns the task that L runs in.
func CurrentTask(L *lua.LState) *Task { return hookOf(L).task }

// Tasks lists the tasks that have not ended, oldest first. The lock is held.
func (h *Host) Tasks() []*Task {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*Task(nil), h.live...)
}

// ID is a number that no other task of the host has.
func (t *Task) ID() int { return t.id }

// Name is what the task was called when it was spawned.
func (t *Task) Name() string { return t.name }

// Done is closed when the task and its scope have ended.
func (t *Task) Done() <-chan struct{} { return t.done }

// Err is why the task failed, nil while it runs and when it succeeded.
func (t *Task) Err() error {
	if p := t.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Observe says that somebody will look at the result: a failure is then not
// printed and does not fail the script. The lock is held.
func (t *Task) Observe() {
	t.observed = true
	t.host.lost.remove(t)
}

// Over reports whether the task has ended. The lock is held.
func (t *Task) Over() bool { return t.over }

// Waiting says what the task waits for ("queue:get") and where, empty if it
// does not wait for other Lua code. The lock is held.
func (t *Task) Waiting() (what, at string) {
	t.host.mu.Lock()
	w := t.host.waits[t]
	t.host.mu.Unlock()
	if w == nil {
		return "", ""
	}
	return w.what, where(w.thread)
}

// Cancel asks the task to stop: a blocking call returns, and the next
// instruction raises, again and again until the task is unwound. Any goroutine
// may call it.
func (t *Task) Cancel(reason string) {
	if reason == "" {
		reason = "the task was cancelled"
	}
	t.cancel(Errorf("cancelled", "%s", reason))
}

func (t *Task) cancel(cause error) {
	t.end(cause)
	t.alarm.Store(true)
}

// Cancelled reports whether the task has been asked to stop.
func (t *Task) Cancelled() bool { return t.life.Err() != nil }

// cancelValue is the object to raise because the task's context has ended. It
// stays the same while the thread unwinds.
func (t *Task) cancelValue(L *lua.LState) lua.LValue {
	if t.cancelled.obj == nil || t.cancelled.ctx != t.ctx {
		t.cancelled.ctx = t.ctx
		t.cancelled.obj = t.host.errorValue(L, cancelCause(t.ctx, t.main))
	}
	return t.cancelled.obj
}

// Join waits for the task and returns its results, or raises its error with the
// place where it happened. See Waiter.Wait for the timeout.
func (t *Task) Join(L *lua.LState, timeout time.Duration) []lua.LValue {
	k := hookOf(L)
	if k.task == t {
		Raise(L, Errorf("deadlock", "a task cannot join itself"))
	}
	t.Observe()
	if !t.over {
		w := NewWatch(t)
		defer w.Stop()
		if w.Next(L, "join "+t.name, timeout) == nil {
			Raise(L, Errorf("timeout", "task %q did not end within %v", t.name, timeout))
		}
	}
	if t.failure != nil {
		rethrow(k, t.failure, "join")
	}
	return t.results
}

// WithDeadline calls fn in the same task, in a scope of its own, and stops it
// when at has come: every instruction and every blocking call in it then raises
// code "timeout", which the caller may catch. The scope closes afterwards.
// Deadlines nest, the earlier one wins.
func WithDeadline(L *lua.LState, at time.Time, fn lua.LValue, args ...lua.LValue) []lua.LValue {
	k := hookOf(L)
	t, outer := k.task, k.task.ctx
	cause := Errorf("timeout", "not finished within %v", time.Until(at).Round(time.Millisecond))
	ctx, cancel := context.WithDeadlineCause(outer, at, cause)
	stop := context.AfterFunc(ctx, func() { t.alarm.Store(true) })
	t.ctx = ctx
	if ctx.Err() != nil {
		t.alarm.Store(true)
	}
	t.deadlines++
	res, f := runScope(k, fn, args...)
	t.deadlines--
	t.ctx = outer
	stop()
	cancel()
	if f != nil {
		rethrow(k, f, "")
	}
	return res
}

// Atomic calls fn and keeps the lock while it computes, however long that
// takes. Blocking calls in fn still give it up.
func Atomic(L *lua.LState, fn lua.LValue, args ...lua.LValue) []lua.LValue {
	k := hookOf(L)
	t := k.task
	t.noSwitch++
	res, f := k.host.protect(k, fn, args...)
	t.noSwitch--
	if f != nil {
		rethrow(k, f, "")
	}
	return res
}
