package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// NoTimeout is the timeout of a wait without time limit.
const NoTimeout = time.Duration(-1)

// Waiter is one wait of a task for something that only other Lua code can cause,
// such as a value in a queue, the end of a task or an event. The host knows all of
// these waits, so it can detect that no task is left that could end one of them.
// The methods need the interpreter lock.
type Waiter struct {
	task     *Task
	thread   *lua.LState
	ctx      context.Context // of the wait
	what     string
	ready    chan struct{}
	woken    bool
	deadlock *Error
}

// NewWaiter returns a Waiter for the task that L runs in.
func NewWaiter(L *lua.LState) *Waiter {
	return &Waiter{task: hookOf(L).task, ready: make(chan struct{})}
}

// Wake ends the wait. It may be called before Wait, and more than once.
func (w *Waiter) Wake() {
	if w.woken {
		return
	}
	w.woken = true
	close(w.ready)
	w.task.host.endWait(w)
}

// Woken reports whether Wake was called.
func (w *Waiter) Woken() bool { return w.woken }

// Wait waits for Wake. It returns false if the timeout passes first. A timeout of 0
// only checks whether Wake was called, and NoTimeout waits without limit. Wait
// raises if the task is cancelled, and raises code "deadlock" if every task waits.
// what names the wait in that report, such as "queue:get".
func (w *Waiter) Wait(L *lua.LState, what string, timeout time.Duration) bool {
	if w.woken || timeout == 0 {
		return w.woken
	}
	k := hookOf(L)
	c := &callContext{parent: k.task.ctx, limit: max(timeout, 0)}
	w.what, w.thread, w.ctx = what, L, k.task.ctx
	wait := w
	if timeout > 0 || k.task.deadlines > 0 {
		wait = nil // a timer ends this wait
	}
	err := block(k, c, wait, func(ctx context.Context) error {
		select {
		case <-w.ready:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	switch {
	case w.deadlock != nil:
		Raise(L, w.deadlock)
	case err != nil && !errors.Is(err, context.DeadlineExceeded) && !w.woken:
		Raise(L, err)
	}
	return w.woken
}

// startWait registers the wait of a task. The lock is held.
func (h *Host) startWait(w *Waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits[w.task] = w
	h.checkDeadlock()
}

// endWait removes the wait, unless the task has begun another one.
func (h *Host) endWait(w *Waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waits[w.task] == w {
		delete(h.waits, w.task)
	}
}

// began adds a task to those that have not ended.
func (h *Host) began(t *Task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live = append(h.live, t)
}

// ended removes a task. The lock is held.
func (h *Host) ended(t *Task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, x := range h.live {
		if x == t {
			h.live = append(h.live[:i], h.live[i+1:]...)
			break
		}
	}
	h.checkDeadlock()
}

// stuck reports whether every live task, including the main one, waits for other
// Lua code. A task that was woken or cancelled does not wait: it continues as soon
// as it has the lock. mu is held.
func (h *Host) stuck() bool {
	if h.main == nil || h.waits[h.main] == nil {
		return false
	}
	for _, t := range h.live {
		if w := h.waits[t]; w == nil || w.ctx.Err() != nil {
			return false
		}
	}
	return true
}

// checkDeadlock raises code "deadlock" in the main task if no task can continue.
// The interpreter lock and mu are held.
func (h *Host) checkDeadlock() {
	if !h.stuck() {
		return
	}
	var list strings.Builder
	details := make([]any, 0, len(h.live))
	for _, t := range h.live {
		w := h.waits[t]
		at := where(w.thread)
		fmt.Fprintf(&list, "\n  %s waits in %s at %s", t.name, w.what, at)
		details = append(details, map[string]any{"task": t.name, "waits_for": w.what, "where": at})
	}
	w := h.waits[h.main]
	w.deadlock = Errorf("deadlock", "all tasks wait for each other:%s", list.String())
	w.deadlock.Details = map[string]any{"tasks": details}
	delete(h.waits, h.main)
	close(w.ready)
}

// Watch waits for several tasks at once and returns them in the order in which they
// end. The methods need the interpreter lock.
type Watch struct {
	ended  []*Task
	left   map[*Task]struct{}
	waiter *Waiter
}

// NewWatch returns a Watch of tasks. Tasks that have ended already come first.
func NewWatch(tasks ...*Task) *Watch {
	w := &Watch{left: make(map[*Task]struct{}, len(tasks))}
	for _, t := range tasks {
		if t.over {
			w.ended = append(w.ended, t)
			continue
		}
		w.left[t] = struct{}{}
		t.watches = append(t.watches, w)
	}
	return w
}

// Next waits for the next task that ends. It returns nil if Next has returned all
// tasks or if the timeout passes; see Waiter.Wait.
func (w *Watch) Next(L *lua.LState, what string, timeout time.Duration) *Task {
	if len(w.ended) == 0 && len(w.left) > 0 {
		w.waiter = NewWaiter(L)
		w.waiter.Wait(L, what, timeout)
		w.waiter = nil
	}
	if len(w.ended) == 0 {
		return nil
	}
	t := w.ended[0]
	w.ended = w.ended[1:]
	return t
}

// Stop ends the watch. It must be called, unless Next has returned every task.
func (w *Watch) Stop() {
	for t := range w.left {
		for i, x := range t.watches {
			if x == w {
				t.watches = append(t.watches[:i], t.watches[i+1:]...)
				break
			}
		}
	}
	clear(w.left)
}

// taskEnded adds a task that has ended to the watch.
func (w *Watch) taskEnded(t *Task) {
	delete(w.left, t)
	w.ended = append(w.ended, t)
	if w.waiter != nil {
		w.waiter.Wake()
	}
}
