package host

import (
	"fmt"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// quiet is how long nothing must have happened before tasks that all wait for
// each other count as a deadlock: a task that was just woken still counts as
// waiting until it has the lock.
const quiet = 250 * time.Millisecond

// wait is a task that waits for other Lua code.
type wait struct {
	what     string
	l        *lua.LState
	call     *callContext
	deadlock *Error
}

func (h *Host) startWait(k *hook, what string, c *callContext) *wait {
	w := &wait{what: what, l: k.l, call: c}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch++
	h.waits[k.task] = w
	h.suspect()
	return w
}

func (h *Host) endWait(t *Task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch++
	delete(h.waits, t)
}

// began and ended keep the list of tasks that can still do something.
func (h *Host) began(t *Task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch++
	h.live = append(h.live, t)
}

func (h *Host) ended(t *Task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch++
	for i, x := range h.live {
		if x == t {
			h.live = append(h.live[:i], h.live[i+1:]...)
			break
		}
	}
	h.suspect()
}

// suspect starts the clock when every task waits for another. mu is held.
func (h *Host) suspect() {
	if !h.stuck() {
		return
	}
	epoch := h.epoch
	time.AfterFunc(quiet, func() { h.confirm(epoch, 1) })
}

// stuck tells whether all tasks, the main one among them, wait for Lua code.
func (h *Host) stuck() bool {
	return h.main != nil && len(h.waits) == len(h.live) && h.waits[h.main] != nil
}

// confirm raises the deadlock in the main task if nothing has moved since.
func (h *Host) confirm(epoch uint64, again int) {
	h.mu.Lock()
	if h.epoch != epoch || !h.stuck() {
		h.mu.Unlock()
		return
	}
	h.mu.Unlock()
	if again > 0 {
		time.AfterFunc(quiet, func() { h.confirm(epoch, again-1) })
		return
	}
	t := newTicket()
	h.lock.acquire(t)
	defer h.lock.release()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.epoch != epoch {
		return
	}
	var list strings.Builder
	details := make([]any, 0, len(h.live))
	for _, t := range h.live {
		w := h.waits[t]
		at := where(w.l)
		fmt.Fprintf(&list, "\n  %s waits in %s at %s", t.name, w.what, at)
		details = append(details, map[string]any{"task": t.name, "waits_for": w.what, "where": at})
	}
	w := h.waits[h.main]
	w.deadlock = Errorf("deadlock", "all tasks wait for each other:%s", list.String())
	w.deadlock.Details = map[string]any{"tasks": details}
	w.call.abort(w.deadlock)
}
