package task

import (
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// waiter is a task that waits for a queue, event or mutex. Everything in this file is guarded by
// the interpreter lock.
type waiter struct {
	*host.Waiter
	value lua.LValue // passed to get by put, or the value of a put that waits
}

// line holds waiters in the order of their arrival.
type line []*waiter

func (l *line) next() *waiter {
	if len(*l) == 0 {
		return nil
	}
	w := (*l)[0]
	(*l)[0] = nil
	*l = (*l)[1:]
	return w
}

func (l *line) leave(w *waiter) {
	for i, x := range *l {
		if x == w {
			*l = append((*l)[:i:i], (*l)[i+1:]...)
			return
		}
	}
}

// wait waits in the line until another task wakes this one. It returns nil if the timeout passes
// first. If the task is cancelled, it calls undo, which must return what the waker has passed, and
// raises an error.
func (l *line) wait(
	c *api.Call, what string, v lua.LValue, timeout *time.Duration, undo func(*waiter),
) *waiter {
	w := &waiter{Waiter: host.NewWaiter(c.L), value: v}
	*l = append(*l, w)
	settled := false
	defer func() {
		if !settled {
			l.leave(w)
			undo(w)
		}
	}()
	woken := w.Wait(c.L, what, limit(timeout))
	settled = true
	if !woken {
		l.leave(w)
		return nil
	}
	return w
}

// Queue passes values from task to task.
type Queue struct {
	size    int // 0 means no limit
	items   []lua.LValue
	getters line
	putters line
	closed  bool
}

func newQueue(c *api.Call, size *int) (*Queue, error) {
	q := &Queue{}
	if size != nil {
		if *size < 1 {
			return nil, c.ArgError(1, "must be at least 1")
		}
		q.size = *size
	}
	return q, nil
}

// Size visits the values in the queue.
func (q *Queue) Size(visit func(lua.LValue)) int {
	for _, v := range q.items {
		visit(v)
	}
	for _, w := range q.putters {
		visit(w.value)
	}
	return 16 * len(q.items)
}

func queueClass() *api.Class {
	c := api.NewClass[*Queue]("Queue", "Passes values from task to task in order: `for v in "+
		"queue do ... end` reads until it is closed.")
	c.String = func(q *Queue) string {
		state := "open"
		if q.closed {
			state = "closed"
		}
		return fmt.Sprintf("Queue<%d waiting, %s>", len(q.items), state)
	}
	c.Next = func(c *api.Call, q *Queue) lua.LValue { return q.get(c, nil) }
	c.Shared = "a queue is made for several tasks: each value goes to one of them"
	c.Fields = []*api.Field{
		api.Property("count", "how many values it has", func(q *Queue) int { return len(q.items) }),
		api.Property("closed", "whether it was closed", func(q *Queue) bool { return q.closed }),
	}
	c.Methods = []*api.Func{
		api.Method("put", "Adds a value. Waits while the queue is full. Returns false if the "+
			"timeout has passed.",
			"value timeout?", put,
			api.ParamDoc("value", "anything but nil"),
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Raises("closed"),
			api.Example("queue:put({ id = 1 })")),
		api.Method("get", "Takes the oldest value. Waits while the queue is empty. Returns nil "+
			"if it is closed and empty, or the timeout has passed.",
			"timeout?", get,
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Returns("any value"),
			api.Example("local v = queue:get(1)")),
		api.Method("close", "Refuses further values. get returns the values that are left, then nil.",
			"", func(_ *api.Call, q *Queue) { q.close() },
			api.Example("queue:close()")),
	}
	return c
}

func put(c *api.Call, q *Queue, v lua.LValue, timeout *time.Duration) (bool, error) {
	return q.put(c, v, timeout)
}

func get(c *api.Call, q *Queue, timeout *time.Duration) lua.LValue { return q.get(c, timeout) }

func (q *Queue) put(c *api.Call, v lua.LValue, timeout *time.Duration) (bool, error) {
	if v == lua.LNil {
		return false, c.ArgError(1, "nil cannot be queued, use null")
	}
	if q.closed {
		return false, host.Errorf("closed", "the queue is closed")
	}
	if w := q.getters.next(); w != nil {
		w.value = v
		w.Wake()
		return true, nil
	}
	if q.size == 0 || len(q.items) < q.size {
		q.items = append(q.items, v)
		return true, nil
	}
	w := q.putters.wait(c, "queue:put", v, timeout, func(*waiter) {})
	if w == nil {
		return false, nil
	}
	if w.value != nil {
		return false, host.Errorf("closed", "the queue was closed")
	}
	return true, nil
}

func (q *Queue) get(c *api.Call, timeout *time.Duration) lua.LValue {
	if len(q.items) > 0 {
		v := q.items[0]
		q.items[0] = nil
		q.items = q.items[1:]
		if w := q.putters.next(); w != nil {
			q.items = append(q.items, w.value)
			w.value = nil
			w.Wake()
		}
		return v
	}
	if q.closed {
		return lua.LNil
	}
	w := q.getters.wait(c, "queue:get", nil, timeout, func(w *waiter) {
		if w.value != nil { // the task was cancelled after put: the next one gets the value
			q.items = append([]lua.LValue{w.value}, q.items...)
			if next := q.getters.next(); next != nil {
				next.value = q.items[0]
				q.items = q.items[1:]
				next.Wake()
			}
		}
	})
	if w == nil || w.value == nil {
		return lua.LNil
	}
	return w.value
}

func (q *Queue) close() {
	if q.closed {
		return
	}
	q.closed = true
	for w := q.getters.next(); w != nil; w = q.getters.next() {
		w.Wake()
	}
	for w := q.putters.next(); w != nil; w = q.putters.next() {
		w.Wake() // its put fails, because w still holds the value
	}
}

// Event is a flag to wait for.
type Event struct {
	set     bool
	waiters line
}

func eventClass() *api.Class {
	c := api.NewClass[*Event]("Event", "A flag that tasks wait for.")
	c.String = func(e *Event) string { return fmt.Sprintf("Event<set: %t>", e.set) }
	c.Methods = []*api.Func{
		api.Method("set", "Sets the flag and wakes all tasks that wait.",
			"", setEvent,
			api.Example("event:set()")),
		api.Method("clear", "Clears the flag.",
			"", func(_ *api.Call, e *Event) { e.set = false },
			api.Example("event:clear()")),
		api.Method("is_set", "Whether the flag is set.",
			"", func(_ *api.Call, e *Event) bool { return e.set },
			api.Example("print(event:is_set())")),
		api.Method("wait", "Waits until the flag is set. Returns false if the timeout has passed.",
			"timeout?", waitEvent,
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Example("local ok = event:wait(5)")),
	}
	return c
}

func setEvent(_ *api.Call, e *Event) {
	e.set = true
	for w := e.waiters.next(); w != nil; w = e.waiters.next() {
		w.Wake()
	}
}

func waitEvent(c *api.Call, e *Event, timeout *time.Duration) bool {
	return e.set || e.waiters.wait(c, "event:wait", nil, timeout, func(*waiter) {}) != nil
}

// Mutex is held by one task at a time.
type Mutex struct {
	taken   bool
	owner   *host.Task // nil until the task that gets the lock has run
	waiters line
}

func mutexClass() *api.Class {
	c := api.NewClass[*Mutex]("Mutex", "A lock that one task holds at a time.")
	c.Methods = []*api.Func{
		api.Method("lock", "Waits until the lock is free and takes it. Returns false if the "+
			"timeout has passed.",
			"timeout?", lock,
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Raises("deadlock"),
			api.Example("mutex:lock()")),
		api.Method("unlock", "Gives the lock to the task that has waited longest.",
			"", unlock,
			api.Example("mutex:unlock()")),
		api.Method("with", "Calls fn while holding the lock, and returns what it returns.",
			"fn args...", withLock,
			api.ParamDoc("fn", "what to call"),
			api.ParamDoc("args", "arguments for fn"),
			api.Returns("any ..."),
			api.Example("mutex:with(function() task.sleep(1) end)")),
	}
	return c
}

func lock(c *api.Call, m *Mutex, timeout *time.Duration) (bool, error) { return m.lock(c, timeout) }

func unlock(c *api.Call, m *Mutex) error {
	if m.owner != c.Task() {
		return host.Errorf("argument", "only the task that holds the mutex can unlock it")
	}
	m.unlock()
	return nil
}

func withLock(c *api.Call, m *Mutex, fn *lua.LFunction, args ...lua.LValue) (api.Values, error) {
	if _, err := m.lock(c, nil); err != nil {
		return nil, err
	}
	defer m.unlock() // also when fn raises
	return c.Invoke(fn, lua.MultRet, args...), nil
}

func (m *Mutex) lock(c *api.Call, timeout *time.Duration) (bool, error) {
	if m.owner == c.Task() {
		return false, host.Errorf("deadlock", "this task holds the mutex already")
	}
	if m.taken {
		w := m.waiters.wait(c, "mutex:lock", nil, timeout, func(w *waiter) {
			if w.Woken() { // this task got the lock, but was cancelled
				m.unlock()
			}
		})
		if w == nil {
			return false, nil
		}
	}
	m.taken, m.owner = true, c.Task()
	return true, nil
}

// unlock passes the lock to the next task. The lock stays taken until that task runs, so that no
// other task takes it before.
func (m *Mutex) unlock() {
	m.owner = nil
	w := m.waiters.next()
	m.taken = w != nil
	if w != nil {
		w.Wake()
	}
}
