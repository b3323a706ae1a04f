package host

import (
	"context"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Closer is a resource that a scope closes at its end.
type Closer interface {
	// Close runs without the interpreter lock and must not touch Lua values.
	Close(ctx context.Context) error
}

// CloserFunc is a function that is used as a Closer.
type CloserFunc func(ctx context.Context) error

// Close calls f.
func (f CloserFunc) Close(ctx context.Context) error { return f(ctx) }

// Scope owns resources, deferred functions and tasks. The script has a scope, each
// task has one, and RunScope makes more. When a scope ends, it cancels its tasks
// and waits for them. Then it closes resources and calls deferred functions in the
// reverse order of their registration.
type Scope struct {
	host   *Host
	parent *Scope

	// The fields below are guarded by host.scopes.
	items  []*Entry
	gone   int // removed entries in items
	tasks  map[*Task]struct{}
	closed bool
}

// Entry is the place of a resource in a scope. Its methods may be called from
// any goroutine.
type Entry struct {
	scope  *Scope // changed by Keep; guarded by host.scopes
	closer Closer
	fn     *lua.LFunction
	args   []lua.LValue
	gone   bool // guarded by host.scopes
}

// CurrentScope returns the innermost scope of the task that L runs in.
func CurrentScope(L *lua.LState) *Scope { return hookOf(L).task.scope }

// Add registers c, which is closed when the scope ends. If the scope has ended
// already, Add closes c at once. Add may be called from any goroutine. It must be
// called where the resource is opened, inside the function that Block runs: if the
// task is cancelled when that function returns, its result is lost.
func (s *Scope) Add(c Closer) *Entry {
	e := &Entry{scope: s, closer: c}
	if !s.push(e) {
		e.closeNow()
	}
	return e
}

// Defer calls fn at the end of the scope. The lock is held.
func (s *Scope) Defer(fn *lua.LFunction, args ...lua.LValue) {
	s.push(&Entry{scope: s, fn: fn, args: args})
}

// push adds an entry. It returns false if the scope has ended.
func (s *Scope) push(e *Entry) bool {
	s.host.scopes.Lock()
	defer s.host.scopes.Unlock()
	if s.closed {
		e.gone = true
		return false
	}
	s.items = append(s.items, e)
	return true
}

// closeNow closes a resource whose scope has ended already.
func (e *Entry) closeNow() {
	ctx, cancel := context.WithTimeout(context.Background(), graceTime)
	defer cancel()
	if err := shielded(ctx, e.closer.Close); err != nil {
		e.scope.host.log.Warn(
			"a resource that came after the end of its scope did not close",
			"error",
			err,
		)
	}
}

// Remove removes the resource from its scope. A resource that is closed before the
// scope ends calls it.
func (e *Entry) Remove() {
	e.scope.host.scopes.Lock()
	defer e.scope.host.scopes.Unlock()
	e.drop()
}

// drop removes the entry. scopes is held.
func (e *Entry) drop() {
	if e.gone {
		return
	}
	e.gone = true
	s := e.scope
	s.gone++
	if s.gone <= 32 || s.gone*2 <= len(s.items) {
		return
	}
	keep := s.items[:0]
	for _, x := range s.items {
		if x.scope == s && !x.gone {
			keep = append(keep, x)
		}
	}
	clear(s.items[len(keep):])
	s.items, s.gone = keep, 0
}

// Keep moves the resource to the surrounding scope, for functions that make a
// resource and return it. It returns false if the scope is the outermost one.
func (e *Entry) Keep() bool {
	h := e.scope.host
	h.scopes.Lock()
	to := e.scope.parent
	if e.gone || to == nil {
		h.scopes.Unlock()
		return false
	}
	e.drop()
	e.scope = to
	if to.closed {
		h.scopes.Unlock()
		e.closeNow()
		return true
	}
	e.gone = false
	to.items = append(to.items, e)
	h.scopes.Unlock()
	return true
}

// pop removes and returns the entry that was added last, or nil if there is none.
func (s *Scope) pop() *Entry {
	s.host.scopes.Lock()
	defer s.host.scopes.Unlock()
	for n := len(s.items); n > 0; n = len(s.items) {
		e := s.items[n-1]
		s.items[n-1] = nil
		s.items = s.items[:n-1]
		if e.scope == s && !e.gone {
			e.gone = true
			return e
		}
	}
	s.gone = 0
	return nil
}

func (s *Scope) adopt(t *Task) {
	s.host.scopes.Lock()
	defer s.host.scopes.Unlock()
	if s.tasks == nil {
		s.tasks = map[*Task]struct{}{}
	}
	s.tasks[t] = struct{}{}
}

func (s *Scope) forget(t *Task) {
	s.host.scopes.Lock()
	defer s.host.scopes.Unlock()
	delete(s.tasks, t)
}

func (s *Scope) unfinished() []*Task {
	s.host.scopes.Lock()
	defer s.host.scopes.Unlock()
	tasks := make([]*Task, 0, len(s.tasks))
	for t := range s.tasks {
		tasks = append(tasks, t)
	}
	slices.SortFunc(tasks, func(a, b *Task) int { return a.id - b.id })
	return tasks
}

// end marks the scope as closed if nothing is left in it, and reports whether it
// did.
func (s *Scope) end() bool {
	s.host.scopes.Lock()
	defer s.host.scopes.Unlock()
	for _, e := range s.items {
		if e.scope == s && !e.gone {
			return false
		}
	}
	s.closed = len(s.tasks) == 0
	return s.closed
}

// RunScope calls fn in a new scope, closes the scope when fn returns or raises, and
// returns the results of fn.
func RunScope(L *lua.LState, fn lua.LValue, args ...lua.LValue) []lua.LValue {
	k := hookOf(L)
	res, f := runScope(k, fn, args...)
	if f != nil {
		rethrow(k, f, "")
	}
	return res
}

func runScope(k *hook, fn lua.LValue, args ...lua.LValue) ([]lua.LValue, *failure) {
	t := k.task
	s := &Scope{host: k.host, parent: t.scope}
	t.scope = s
	res, f := k.host.protect(k, fn, args...)
	errs := s.close(k)
	t.scope = s.parent
	if f == nil && len(errs) > 0 {
		f = &failure{obj: k.host.errorValue(k.l, errs[0])}
		errs = errs[1:]
	}
	if f != nil {
		f.suppress(errs)
	}
	return res, f
}

const (
	// graceTime limits the clean-up of one scope after a cancellation.
	graceTime = 10 * time.Second
	// deferTime limits one deferred function if the task was not cancelled.
	deferTime = 30 * time.Second
	// taskGrace is how long a scope waits for its tasks to unwind. It is longer
	// than the clean-up of a task may take.
	taskGrace = graceTime + 5*time.Second
)
