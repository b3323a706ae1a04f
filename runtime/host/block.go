package host

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
)

const defaultCallTimeout = 30 * time.Second

// Block runs f without the interpreter lock and raises what it returns. f gets
// the only context that Go code of bindings may use: it ends with the task, and
// after Options.CallTimeout. Inside f no Lua value may be touched.
func Block(L *lua.LState, f func(ctx context.Context) error) {
	if err := TryBlock(L, f); err != nil {
		Raise(L, err)
	}
}

// TryBlock is Block that returns f's error. It still raises when the task was
// cancelled.
func TryBlock(L *lua.LState, f func(ctx context.Context) error) error {
	return TryWithTimeout(L, 0, f)
}

// WithTimeout is Block with a deadline of its own: 0 means
// Options.CallTimeout, less than 0 none.
func WithTimeout(L *lua.LState, d time.Duration, f func(ctx context.Context) error) {
	if err := TryWithTimeout(L, d, f); err != nil {
		Raise(L, err)
	}
}

// TryWithTimeout is WithTimeout that returns f's error.
func TryWithTimeout(L *lua.LState, d time.Duration, f func(ctx context.Context) error) error {
	k := hookOf(L)
	if d == 0 {
		d = k.host.o.CallTimeout
	}
	return block(k, &callContext{parent: k.task.ctx, limit: d}, f)
}

// BlockLua waits for something that only other Lua code can bring about: a
// queue, a join, an event, a mutex. It counts towards the deadlock report, and
// there is no deadline, so f must not bring one of its own (BlockLuaTimeout
// does that). what is shown in the report: "queue:get", "join worker".
func BlockLua(L *lua.LState, what string, f func(ctx context.Context) error) {
	if err := BlockLuaTimeout(L, what, 0, f); err != nil {
		Raise(L, err)
	}
}

// BlockLuaTimeout is BlockLua with a deadline; d <= 0 is none. It returns f's
// error, which is context.DeadlineExceeded when f handed that on.
func BlockLuaTimeout(L *lua.LState, what string, d time.Duration, f func(ctx context.Context) error) error {
	k := hookOf(L)
	c := &callContext{parent: k.task.ctx, limit: d}
	if d > 0 || k.task.deadlines > 0 {
		return block(k, c, f)
	}
	w := k.host.startWait(k, what, c)
	err := block(k, c, f)
	k.host.endWait(k.task)
	if dead := w.deadlock; dead != nil && err != nil {
		return dead
	}
	return err
}

func block(k *hook, c *callContext, f func(ctx context.Context) error) error {
	h, t, G := k.host, k.task, k.l.G
	if t.ctx.Err() != nil {
		raiseObject(k, t.cancelValue(k.l))
	}
	if c.limit > 0 {
		c.deadline = time.Now().Add(c.limit)
	}
	cur := G.CurrentThread
	h.lock.release()
	err := shielded(c, f)
	c.finish()
	h.lock.acquire(t.ticket)
	G.CurrentThread = cur
	if t.ctx.Err() != nil {
		t.alarm.Store(true)
		raiseObject(k, t.cancelValue(k.l))
	}
	return err
}

// shielded turns a panic in f into an error: the lock is not held there, so it
// must not unwind into the VM.
func shielded(ctx context.Context, f func(ctx context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = internalError(r, string(debug.Stack()))
		}
	}()
	return f(ctx)
}

var errFinished = errors.New("host: the call is over")

// callContext is the context of one blocking call. Most calls neither time out
// nor ask for Done, so the timer is made only when somebody asks.
type callContext struct {
	parent   context.Context
	limit    time.Duration
	deadline time.Time

	mu     sync.Mutex
	inner  context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc
	cause  error
	over   bool
}

func (c *callContext) Deadline() (time.Time, bool) {
	at, ok := c.parent.Deadline()
	if c.limit > 0 && (!ok || c.deadline.Before(at)) {
		return c.deadline, true
	}
	return at, ok
}

func (c *callContext) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithCancelCause(c.parent)
		if c.limit > 0 {
			c.inner, c.stop = context.WithDeadline(c.inner, c.deadline)
		}
		if c.cause != nil || c.over {
			c.cancel(c.cause)
		}
	}
	return c.inner
}

func (c *callContext) Done() <-chan struct{} { return c.context().Done() }

func (c *callContext) Err() error {
	c.mu.Lock()
	inner, over := c.inner, c.over
	c.mu.Unlock()
	switch {
	case inner != nil:
		return inner.Err()
	case over:
		return context.Canceled
	case c.limit > 0 && !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	}
	return c.parent.Err()
}

// Value hands on to the real context once there is one, so that contexts which
// are derived from this one need no goroutine to watch it.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner != nil {
		return inner.Value(key)
	}
	return c.parent.Value(key)
}

// abort ends the call early, for the deadlock report.
func (c *callContext) abort(cause error) {
	c.mu.Lock()
	c.cause = cause
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

func (c *callContext) finish() {
	c.mu.Lock()
	c.over = true
	if c.cause == nil {
		c.cause = errFinished
	}
	cancel, stop := c.cancel, c.stop
	c.mu.Unlock()
	if cancel != nil {
		cancel(c.cause)
	}
	if stop != nil {
		stop()
	}
}
