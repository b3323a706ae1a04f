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

// Block runs f without the interpreter lock and raises the error that f returns.
// The context that f gets is the only one that Go code of bindings may use: it
// ends with the task, and after Options.CallTimeout. f must not touch Lua values.
func Block(L *lua.LState, f func(ctx context.Context) error) {
	if err := TryBlock(L, f); err != nil {
		Raise(L, err)
	}
}

// TryBlock is like Block but returns the error of f. It still raises if the task
// was cancelled.
func TryBlock(L *lua.LState, f func(ctx context.Context) error) error {
	return TryWithTimeout(L, 0, f)
}

// WithTimeout is like Block with a timeout of d. If d is 0, the timeout is
// Options.CallTimeout; if d is negative, there is none.
func WithTimeout(L *lua.LState, d time.Duration, f func(ctx context.Context) error) {
	if err := TryWithTimeout(L, d, f); err != nil {
		Raise(L, err)
	}
}

// Sleep waits for d without the interpreter lock. If d is NoTimeout, it waits until the task
// is cancelled, which raises an error.
func Sleep(L *lua.LState, d time.Duration) {
	WithTimeout(L, NoTimeout, func(ctx context.Context) error {
		if d == NoTimeout {
			<-ctx.Done()
			return ctx.Err()
		}
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// TryWithTimeout is like WithTimeout but returns the error of f.
func TryWithTimeout(L *lua.LState, d time.Duration, f func(ctx context.Context) error) error {
	k := hookOf(L)
	if d == 0 {
		d = k.host.o.CallTimeout
	}
	return block(k, &callContext{parent: k.task.ctx, limit: d}, nil, f)
}

// block runs f without the interpreter lock. It removes everything that it has
// registered before it returns or raises.
func block(k *hook, c *callContext, w *Waiter, f func(ctx context.Context) error) error {
	h, t, G := k.host, k.task, k.l.G
	t.raiseIfCancelled(k)
	if c.limit > 0 {
		c.deadline = time.Now().Add(c.limit)
	}
	cur := G.CurrentThread
	if w != nil {
		h.startWait(w)
	}
	h.lock.release()
	err := shielded(c, f)
	if w != nil {
		h.endWait(w)
	}
	c.finish()
	h.lock.acquire(t.ticket)
	G.CurrentThread = cur
	t.raiseIfCancelled(k)
	return err
}

// raiseIfCancelled raises the reason why the task has to stop.
func (t *Task) raiseIfCancelled(k *hook) {
	if t.ctx.Err() != nil {
		t.alarm.Store(true)
		raiseObject(k, t.cancelValue(k.l))
	}
}

// shielded calls f and turns a panic in f into an error. The lock is not held
// while f runs, so a panic must not unwind into the VM.
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
		if c.over {
			c.cancel(errFinished)
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

// Value asks the real context once there is one. Package context then recognises
// it, and contexts that are derived from this one need no goroutine to watch it.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner != nil {
		return inner.Value(key)
	}
	return c.parent.Value(key)
}

func (c *callContext) finish() {
	c.mu.Lock()
	c.over = true
	cancel, stop := c.cancel, c.stop
	c.mu.Unlock()
	if cancel != nil {
		cancel(errFinished)
	}
	if stop != nil {
		stop()
	}
}
