package host

import (
	"context"
	"time"
)

// closing is the state of closing one scope.
type closing struct {
	k *hook
	t *Task
	// grace is the context of clean-up after a cancellation. It is made when it is
	// first needed.
	grace   context.Context
	release context.CancelFunc
}

// close ends the scope in the task of k. The caller holds the lock; it is released
// while resources close.
func (s *Scope) close(k *hook) []error {
	t := k.task
	outer, noSwitch, deadlines := t.ctx, t.noSwitch, t.deadlines
	t.noSwitch, t.deadlines = 0, deadlines+1 // waiting here is never a deadlock
	c := &closing{k: k, t: t}
	var errs []error
	for {
		errs = append(errs, s.endTasks(k)...)
		e := s.pop()
		if e == nil {
			if s.end() {
				break
			}
			continue
		}
		if err := c.end(e, outer); err != nil {
			errs = append(errs, err)
		}
	}
	if c.release != nil {
		c.release()
	}
	t.ctx, t.noSwitch, t.deadlines = outer, noSwitch, deadlines
	if outer.Err() != nil {
		t.alarm.Store(true)
	}
	return errs
}

// end closes a resource or calls a deferred function.
func (c *closing) end(e *Entry, outer context.Context) error {
	h, k := c.k.host, c.k
	if e.fn == nil {
		return c.endResource(e)
	}
	ctx, limit := outer, deferTime
	if outer.Err() != nil {
		ctx, limit = c.afterCancel(), graceTime
	}
	cause := Errorf("timeout", "a deferred function did not end within %v", limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, cause)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.t.alarm.Store(true) })
	defer stop()
	c.t.ctx = ctx
	c.t.alarm.Store(ctx.Err() != nil)
	_, f := h.protect(k, e.fn, e.args...)
	if f == nil {
		return nil
	}
	return h.failureError(k, f)
}

// afterCancel returns the context that all deferred functions of the scope share
// after a cancellation.
func (c *closing) afterCancel() context.Context {
	if c.grace == nil {
		cause := Errorf("timeout", "the clean-up did not end within %v", graceTime)
		c.grace, c.release = context.WithTimeoutCause(c.k.host.graceContext(), graceTime, cause)
	}
	return c.grace
}

func (c *closing) endResource(e *Entry) error {
	h := c.k.host
	cur := c.k.l.G.CurrentThread
	h.lock.release()
	ctx, cancel := context.WithTimeout(h.graceContext(), graceTime)
	err := shielded(ctx, e.closer.Close)
	cancel()
	h.lock.acquire(c.t.ticket)
	c.k.l.G.CurrentThread = cur
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
			errs = append(
				errs,
				Errorf(
					"timeout",
					"task %q did not end within %v of being cancelled",
					c.name,
					taskGrace,
				),
			)
			s.forget(c)
		}
	}
	h.lock.acquire(k.task.ticket)
	k.l.G.CurrentThread = cur
	return errs
}
