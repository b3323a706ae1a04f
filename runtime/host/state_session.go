package host

import (
	"context"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Session is a main task that lives through many chunks, for interactive use.
// Chunks may make new globals.
type Session struct {
	host *Host
	task *Task
	stop func()

	eval   sync.Mutex // one chunk at a time
	closed bool       // under eval
}

// Session starts a session. If the host runs something already or is closed,
// Eval tells.
func (h *Host) Session(ctx context.Context) *Session {
	s := &Session{host: h}
	t, err := h.startMain(ctx)
	if err != nil {
		s.closed = true
		return s
	}
	s.task, s.stop = t, h.watchMemory()
	h.lock.acquire(t.ticket)
	h.strict.open = true
	h.mu.Lock()
	h.session = s
	h.mu.Unlock()
	h.setScriptDir("")
	h.lock.release()
	return s
}

// Eval runs a chunk and returns its results. ctx ends this chunk only; tasks
// and resources live on. The error is an *Error or an *ExitError.
func (s *Session) Eval(ctx context.Context, chunk, source string) ([]lua.LValue, error) {
	s.eval.Lock()
	defer s.eval.Unlock()
	if s.closed {
		return nil, Errorf("closed", "the session is closed")
	}
	h, t := s.host, s.task
	h.forget(chunk)
	proto, err := h.compile(chunk, source)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancelCause(t.life)
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if cause == context.Canceled {
			cause = Errorf("interrupted", "interrupted")
		}
		cancel(cause)
		t.alarm.Store(true)
	})
	h.lock.acquire(t.ticket)
	h.began(t)
	t.ctx = life
	t.th.G.CurrentThread = t.th
	res, f := callOn(t.th, t.hook, h.root.NewFunctionFromProto(proto))
	t.ctx = t.life
	h.ended(t)
	if f != nil {
		err = h.failureError(f)
		if f.broken {
			t.th, t.hook = h.newThread(true, t)
		}
	}
	if exit, ok := context.Cause(t.life).(*ExitError); ok {
		err = exit
	}
	h.lock.release()
	stop()
	cancel(nil)
	if err != nil {
		return nil, err
	}
	return res, nil
}

// Compile checks a chunk without running it.
func (h *Host) Compile(chunk, source string) error {
	h.forget(chunk)
	_, err := h.compile(chunk, source)
	return err
}

func (h *Host) forget(chunk string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sources, chunk)
}

// With runs f with the lock held, waiting for it as long as needed. f gets a
// thread of its own; what it raises is thrown away.
func (s *Session) With(f func(L *lua.LState)) {
	if err := s.host.With(f); err != nil {
		s.host.log.Warn("error in With", "error", err)
	}
}

// TryWith is With that waits for the lock at most d, and reports whether f ran.
func (s *Session) TryWith(d time.Duration, f func(L *lua.LState)) bool {
	h := s.host
	if !h.lock.tryAcquire(newTicket(), d) {
		return false
	}
	defer h.lock.release()
	if err := h.visit(f); err != nil {
		h.log.Warn("error in TryWith", "error", err)
	}
	return true
}

// Close cancels the session's tasks and closes its scope. It may be called
// twice.
func (s *Session) Close() error {
	if s.task == nil {
		return nil
	}
	s.task.cancel(Errorf("cancelled", "the session was closed"))
	s.eval.Lock()
	defer s.eval.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	h, t := s.host, s.task
	h.lock.acquire(t.ticket)
	t.th.G.CurrentThread = t.th
	h.endMain(t)
	h.strict.open = false
	h.mu.Lock()
	h.session = nil
	h.mu.Unlock()
	h.lock.release()
	s.stop()
	close(t.done)
	return t.Err()
}
