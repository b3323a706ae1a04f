package host

import (
	"context"
	"time"

	lua "github.com/yuin/gopher-lua"
)

const (
	// hookSlice is the number of instructions between two checks of the limits,
	// which is 10 to 50 us of work.
	hookSlice = 1000
	// maxTurn is how long a task may compute while others wait.
	maxTurn = 10 * time.Millisecond
	// maxNesting limits how deep pcalls and coroutines may nest, because each of
	// them nests on the Go stack. The limit of PUC Lua is 200.
	maxNesting = 190
)

// hook is the context.Context of one Lua thread. gopher-lua calls Done before
// every instruction, on the thread's own goroutine and under the lock. There the
// host counts instructions, cancels the script and switches tasks. A real context
// would make calls twice as slow.
type hook struct {
	n       int // instructions left of granted
	granted int
	host    *Host
	task    *Task // changes when a coroutine is resumed by another task
	l       *lua.LState
	up      *lua.LState // the thread that called into this one
	co      *lua.LState // the coroutine that this thread works for, nil in a task's body

	handler *lua.LFunction // the handler of xpcall, called where the error is raised
	handled bool           // the handler has returned
	pending lua.LValue     // the error for which the handler was called
	// own is set while the host itself raises, so that its text is not mistaken
	// for a message of the VM.
	own bool

	status  coStatus
	started bool
	big     bool // large stacks
	body    *lua.LFunction
}

type hookKey struct{}

func (k *hook) Deadline() (time.Time, bool) { return time.Time{}, false }
func (k *hook) Err() error                  { return nil }

func (k *hook) Value(key any) any {
	if _, ok := key.(hookKey); ok {
		return k
	}
	return nil
}

// Done counts one instruction. It always returns nil, a channel that is never
// ready. If the thread has to stop, it raises.
func (k *hook) Done() <-chan struct{} {
	k.n--
	if k.n > 0 && !k.task.alarm.Load() {
		return nil
	}
	k.checkLimits()
	return nil
}

// checkLimits raises if the thread has to stop, and lets other tasks run if they
// have waited for long.
func (k *hook) checkLimits() {
	// The first instruction of a coroutine comes here as well. gopher-lua has just
	// installed its own panic function, which would lose the traceback.
	k.l.Panic = raisePanic
	h, t := k.host, k.task
	h.instructions += uint64(k.granted - k.n)
	k.n, k.granted = hookSlice, hookSlice
	if limit := h.o.MaxInstructions; limit > 0 && h.instructions > limit && !h.overBudget {
		h.overBudget = true
		h.cancelAll(Errorf("instructions", "the script ran more than %d instructions", limit).
			WithHint("raise the limit with --max-instructions"))
	}
	if t.ctx.Err() != nil {
		t.alarm.Store(true)
		raiseObject(k, t.cancelValue(k.l))
	}
	t.alarm.Store(false)
	if h.memory.due.Load() && t != h.setup {
		h.measure(k, 0)
	}
	if h.lock.waiting.Load() > 0 && t.noSwitch == 0 {
		k.yieldAfterTurn()
	}
}

// Tick applies the limits of the host to Go code that computes for a script. It
// must be called on the task's own goroutine, about every 10,000 steps of the
// work, and counts as hookSlice instructions. It raises if the task has to stop.
// It lets other tasks run if they have waited for long, so a table that the Go
// code works on may have changed when Tick returns.
func Tick(L *lua.LState) {
	k := hookOf(L)
	k.host.instructions += hookSlice
	k.checkLimits()
}

// yieldAfterTurn hands the lock over if this task has held it for maxTurn.
func (k *hook) yieldAfterTurn() {
	h, t := k.host, k.task
	if t.turn != h.lock.turn {
		t.turn, t.turnStart = h.lock.turn, time.Now()
		return
	}
	if time.Since(t.turnStart) < maxTurn {
		return
	}
	if h.o.Verbose {
		h.log.Info("task computed for 10 ms while others waited", "task", t.name, "at", where(k.l))
	}
	cur := k.l.G.CurrentThread
	h.lock.yield(t.ticket)
	k.l.G.CurrentThread = cur
}

// hookOf finds the hook of a thread that this package made.
func hookOf(L *lua.LState) *hook {
	ctx := L.Context()
	if k, ok := ctx.(*hook); ok {
		return k
	}
	if ctx != nil {
		// Libraries that make threads derive a context from the hook.
		if k, ok := ctx.Value(hookKey{}).(*hook); ok {
			return k
		}
	}
	panic("host: the Lua thread was not made by this package")
}

// Of returns the host that a thread belongs to.
func Of(L *lua.LState) *Host { return hookOf(L).host }

// cancelCause turns the reason why ctx ended into an error to raise.
func cancelCause(ctx context.Context, main bool) error {
	cause := context.Cause(ctx)
	switch cause.(type) {
	case *Error, *ExitError:
		return cause
	}
	if cause == context.DeadlineExceeded {
		return Errorf("timeout", "the time for the run is over")
	}
	if main {
		return Errorf("interrupted", "interrupted")
	}
	return Errorf("cancelled", "the task was cancelled")
}
