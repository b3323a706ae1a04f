package host

import (
	"context"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
)

const (
	// graceTime is what clean-up gets after a cancel, for each scope.
	graceTime = 10 * time.Second
	// taskGrace is how long a scope waits for its tasks to unwind: their own
	// clean-up and a little.
	taskGrace = graceTime + 5*time.Second
)

// Closer is what a scope closes at its end. Close runs without the interpreter
// lock and must not touch Lua values.
type Closer interface {
	Close(ctx context.Context) error
}

// CloserFunc makes a Closer of a function.
type CloserFunc func(ctx context.Context) error

// Close calls f.
func (f CloserFunc) Close(ctx context.Context) error { return f(ctx) }

// Scope owns resources, deferred functions and tasks. The script has one, each
// task has one, and RunScope makes more. At the end tasks are cancelled and
// awaited, then everything else is closed, last made first closed.
type Scope struct {
	host   *Host
	parent *Scope

	mu     sync.Mutex
	items  []*scopeItem
	gone   int // removed entries in items
	tasks  []*Task
	closed bool
}

type scopeItem struct {
	closer Closer
	fn     *lua.LFunction
	args   []lua.LValue
	gone   bool
}

// CurrentScope returns the innermost scope of the task that L runs in.
func CurrentScope(L *lua.LState) *Scope { return hookOf(L).task.scope }

// Add registers c and returns a function that takes it out again, for c that
// was closed early. Both may be called from any goroutine.
func (s *Scope) Add(c Closer) (remove func()) {
	it := &scopeItem{closer: c}
	s.push(it)
	return func() { s.remove(it) }
}

// Defer calls fn at the end of the scope. The lock is held.
func (s *Scope) Defer(fn *lua.LFunction, args ...lua.LValue) {
	s.push(&scopeItem{fn: fn, args: args})
}

// Keep moves c to the parent scope, for functions that make something and hand
// it out. It reports whether c was in this scope and there is a parent.
func (s *Scope) Keep(c Closer) bool {
	if s.parent == nil {
		return false
	}
	s.mu.Lock()
	var found *scopeItem
	for _, it := range s.items {
		if !it.gone && it.closer == c {
			found = it
		}
	}
	s.mu.Unlock()
	if found == nil {
		return false
	}
	// The item itself stays in this list as gone, so that an early close still
	// finds it through the function that Add returned.
	moved := &scopeItem{closer: closerOf(found)}
	s.parent.push(moved)
	s.mu.Lock()
	found.closer = &keptCloser{Closer: c, scope: s.parent, item: moved}
	s.mu.Unlock()
	s.drop(found)
	return true
}

// keptCloser leads from an item to the one that replaced it.
type keptCloser struct {
	Closer
	scope *Scope
	item  *scopeItem
}

func closerOf(it *scopeItem) Closer {
	if k, ok := it.closer.(*keptCloser); ok {
		return k.Closer
	}
	return it.closer
}

func (s *Scope) push(it *scopeItem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = append(s.items, it)
}

func (s *Scope) remove(it *scopeItem) {
	s.mu.Lock()
	kept, _ := it.closer.(*keptCloser)
	s.mu.Unlock()
	if kept != nil {
		kept.scope.remove(kept.item)
		return
	}
	s.drop(it)
}

func (s *Scope) drop(it *scopeItem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it.gone {
		return
	}
	it.gone = true
	s.gone++
	if s.gone > 32 && s.gone*2 > len(s.items) {
		keep := s.items[:0]
		for _, i := range s.items {
			if !i.gone {
				keep = append(keep, i)
			}
		}
		clear(s.items[len(keep):])
		s.items, s.gone = keep, 0
	}
}

// pop takes the item that was added last.
func (s *Scope) pop() *scopeItem {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.items); n > 0; n = len(s.items) {
		it := s.items[n-1]
		s.items[n-1] = nil
		s.items = s.items[:n-1]
		if !it.gone {
			it.gone = true
			return it
		}
		s.gone--
	}
	return nil
}

func (s *Scope) adopt(t *Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks = append(s.tasks, t)
}

func (s *Scope) forget(t *Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.tasks {
		if x == t {
			s.tasks = append(s.tasks[:i], s.tasks[i+1:]...)
			return
		}
	}
}

func (s *Scope) unfinished() []*Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Task(nil), s.tasks...)
}

// close ends the scope in the task of k. The lock is held, and given up while
// resources close.
func (s *Scope) close(k *hook) []error {
	t := k.task
	outer, noSwitch, deadlines := t.ctx, t.noSwitch, t.deadlines
	t.noSwitch, t.deadlines = 0, deadlines+1 // waiting here is never a deadlock
	var release context.CancelFunc
	grace := func() {
		if t.ctx.Err() == nil {
			return
		}
		if release != nil {
			release()
		}
		t.ctx, release = context.WithTimeout(s.host.hard, graceTime)
		t.alarm.Store(false)
	}
	var errs []error
	for {
		errs = append(errs, s.endTasks(k)...)
		it := s.pop()
		if it == nil {
			break
		}
		if t.ctx == outer {
			grace()
		}
		if err := it.end(k); err != nil {
			errs = append(errs, err)
		}
	}
	if release != nil {
		release()
	}
	t.ctx, t.noSwitch, t.deadlines = outer, noSwitch, deadlines
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return errs
}

func (it *scopeItem) end(k *hook) error {
	h, t := k.host, k.task
	if it.fn != nil {
		if _, f := h.protect(k, it.fn, it.args...); f != nil {
			return h.failureError(f)
		}
		return nil
	}
	cur := k.l.G.CurrentThread
	h.lock.release()
	ctx, cancel := context.WithTimeout(h.hard, graceTime)
	err := shielded(ctx, it.closer.Close)
	cancel()
	h.lock.acquire(t.ticket)
	k.l.G.CurrentThread = cur
	return err
}

// endTasks cancels the scope's tasks and waits until they have unwound.
func (s *Scope) endTasks(k *hook) []error {
	tasks := s.unfinished()
	if len(tasks) == 0 {
		return nil
	}
	for _, c := range tasks {
		c.cancel(Errorf("cancelled", "the scope of the task has ended"))
	}
	h := k.host
	cur := k.l.G.CurrentThread
	h.lock.release()
	limit := time.NewTimer(taskGrace)
	defer limit.Stop()
	var errs []error
	for _, c := range tasks {
		select {
		case <-c.done:
		case <-limit.C:
			limit.Reset(0)
			h.log.Warn("task did not end", "task", c.name)
			errs = append(errs, Errorf("timeout", "task %q did not end within %v of being cancelled", c.name, taskGrace))
			s.forget(c)
		}
	}
	h.lock.acquire(k.task.ticket)
	k.l.G.CurrentThread = cur
	return errs
}

// RunScope calls fn in a scope of its own and closes that when fn has ended,
// however it ended.
func RunScope(L *lua.LState, fn lua.LValue, args ...lua.LValue) []lua.LValue {
	k := hookOf(L)
	t := k.task
	s := &Scope{host: k.host, parent: t.scope}
	t.scope = s
	res, f := k.host.protect(k, fn, args...)
	errs := s.close(k)
	t.scope = s.parent
	if f == nil && len(errs) > 0 {
		f = &failure{obj: k.host.errorValue(L, errs[0])}
		errs = errs[1:]
	}
	if f != nil {
		suppress(f, errs)
		rethrow(k, f, "")
	}
	return res
}
