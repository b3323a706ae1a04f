package host

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Task is Lua code that runs concurrently with other tasks: a Lua thread on a
// goroutine of its own, under the interpreter lock. The script itself is the main
// task.
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
	alarm   atomic.Bool // makes the hook check the limits at the next instruction
	done    chan struct{}
	failed  atomic.Pointer[error]

	// The rest belongs to the lock holder.
	ctx       context.Context // the innermost: life, a deadline's, or a grace context
	scope     *Scope          // the innermost
	root      *Scope
	parent    *Scope // the scope that the task belongs to
	over      bool   // the task has ended; done is closed soon after
	watches   []*Watch
	results   []lua.LValue
	failure   *failure
	raised    raised
	observed  bool // Observe was called
	counted   bool // the failure is counted in host.unobserved
	cancelled struct {
		ctx context.Context
		obj lua.LValue
	}
	depth     int       // nesting of pcalls and coroutines
	noSwitch  int       // nesting of Atomic
	deadlines int       // nesting of deadlines
	turn      uint64    // fifoLock.turn when the hook last checked
	turnStart time.Time // when the hook first saw that turn
}

// newTask returns a task that has not been started. The lock is held.
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

// Spawn starts fn as a task that belongs to the current scope. When the scope ends,
// it cancels the task and waits for it. Tasks start in the order in which they were
// spawned. If name is empty, it becomes "file:line" of fn.
func Spawn(L *lua.LState, name string, fn *lua.LFunction, args ...lua.LValue) *Task {
	k := hookOf(L)
	h, s := k.host, k.task.scope
	if name == "" && !fn.IsG {
		name = fmt.Sprintf("%s:%d", fn.Proto.SourceName, fn.Proto.LineDefined)
	}
	ctx := k.task.life
	if ctx.Err() != nil {
		ctx = k.task.ctx // clean-up after a cancellation may spawn tasks
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

// run runs a spawned task on its goroutine.
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
	// A script may keep the task, so the task must not keep its thread alive.
	t.th, t.hook, t.inner, t.raised = nil, nil, nil, raised{}
	close(t.done)
	h.lock.release()
	h.running.Done()
}

// closeScope closes the task's own scope and adds its errors to the failure of the
// task.
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

// finish records the end of the task and wakes the tasks that wait for it. If no
// task waits for it, a failure is printed at once.
func (t *Task) finish() {
	h := t.host
	t.over = true
	for _, w := range t.watches {
		w.taskEnded(t)
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
	h.unobserved.add(t)
	h.warn(fmt.Sprintf("task %q failed", t.name), err)
}

// unobservedFailures counts the failed tasks whose result no task has asked for.
// It keeps only the first task, because a script may spawn any number.
type unobservedFailures struct {
	first *Task
	count int
}

func (u *unobservedFailures) add(t *Task) {
	if t.host.strict.open {
		return // an interactive run has no exit code
	}
	t.counted = true
	u.count++
	if u.first == nil {
		u.first = t
	}
}

func (u *unobservedFailures) remove(t *Task) {
	if !t.counted {
		return
	}
	t.counted = false
	u.count--
	if u.first == t {
		u.first = nil
	}
}

// take returns the error of a run for these failures, nil if there is none, and
// resets the count.
func (u *unobservedFailures) take() error {
	if u.count == 0 {
		return nil
	}
	e := Errorf("task_failed", "%d tasks failed and nobody joined them", u.count)
	switch {
	case u.first != nil && u.count == 1:
		e.Message = fmt.Sprintf("task %q failed and nobody joined it", u.first.name)
		e.Cause = u.first.Err()
	case u.first != nil:
		e.Message += fmt.Sprintf("; the first is %q", u.first.name)
		e.Cause = u.first.Err()
	}
	e.reported = true
	*u = unobservedFailures{}
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

// ID returns a number that no other task of the host has.
func (t *Task) ID() int { return t.id }

// Name returns the name that the task was given when it was spawned.
func (t *Task) Name() string { return t.name }

// Done returns a channel that is closed when the task and its scope have ended.
func (t *Task) Done() <-chan struct{} { return t.done }

// Err returns the error with which the task failed. It is nil while the task runs
// and if it succeeded.
func (t *Task) Err() error {
	if p := t.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Observe declares that the caller will look at the result of the task. A failure
// is then not printed and does not fail the script. The lock is held.
func (t *Task) Observe() {
	t.observed = true
	t.host.unobserved.remove(t)
}

// Over reports whether the task has ended. The lock is held.
func (t *Task) Over() bool { return t.over }

// Waiting returns what the task waits for, such as "queue:get", and where. Both are
// empty if it does not wait for other Lua code. The lock is held.
func (t *Task) Waiting() (what, at string) {
	t.host.mu.Lock()
	w := t.host.waits[t]
	t.host.mu.Unlock()
	if w == nil {
		return "", ""
	}
	return w.what, where(w.thread)
}

// Cancel asks the task to stop. A blocking call returns, and every further
// instruction raises until the task is unwound. Any goroutine may call it.
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

// cancelValue returns the object to raise because the task's context has ended. It
// is the same object until the thread is unwound.
func (t *Task) cancelValue(L *lua.LState) lua.LValue {
	if t.cancelled.obj == nil || t.cancelled.ctx != t.ctx {
		t.cancelled.ctx = t.ctx
		t.cancelled.obj = t.host.errorValue(L, cancelCause(t.ctx, t.main))
	}
	return t.cancelled.obj
}

// Join waits for the task and returns its results. If the task failed, Join raises
// its error with the place where it happened. See Waiter.Wait for the timeout.
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

// WithDeadline calls fn in the same task and in a scope of its own. After the time
// at, every instruction and every blocking call in fn raises code "timeout", which
// the caller may catch. The scope closes afterwards. Deadlines nest; the earliest
// applies.
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

// Atomic calls fn and keeps the lock while fn computes, however long that takes.
// Blocking calls in fn still release it.
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
