package host

import (
	"context"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Interactive is an interactive run: one main task that evaluates many inputs. Inputs
// may make new globals. An input that fails or is cancelled does not prevent the
// next one.
type Interactive struct {
	host *Host
	task *Task
	stop func()

	eval   sync.Mutex // held while an input runs
	closed bool       // guarded by eval

	mu          sync.Mutex
	cancel      context.CancelCauseFunc // of the running input, else nil
	interrupted bool                    // the running input has been interrupted
}

// Interactive starts an interactive run. If the host is closed or runs something
// already, Eval returns an error.
func (h *Host) Interactive(ctx context.Context) *Interactive {
	s := &Interactive{host: h}
	ctx, stop := h.limited(ctx)
	t, err := h.startMain(ctx)
	if err != nil {
		stop()
		s.closed = true
		return s
	}
	watch := h.watchMemory()
	s.task, s.stop = t, func() { watch(); stop() }
	h.lock.acquire(t.ticket)
	h.strict.open = true
	h.mu.Lock()
	h.interactive = s
	h.mu.Unlock()
	h.setScriptDir("")
	h.lock.release()
	h.showProgress(false)
	return s
}

// Eval runs an input and returns its results. The end of ctx cancels this input
// only; tasks and resources of the run stay. The error is an *Error or an
// *ExitError.
func (s *Interactive) Eval(ctx context.Context, chunk, source string) ([]lua.LValue, error) {
	s.eval.Lock()
	defer s.eval.Unlock()
	if s.closed {
		return nil, Errorf("closed", "the run is closed")
	}
	h, t := s.host, s.task
	h.forget(chunk)
	h.renewGrace()
	h.showProgress(true)
	life, end := s.begin(ctx)
	proto, err := h.compileUntil(life, chunk, source)
	if err != nil {
		end()
		return nil, err
	}
	h.lock.acquire(t.ticket)
	h.makeRoom()
	h.began(t)
	t.ctx = life
	t.alarm.Store(life.Err() != nil)
	t.th.G.CurrentThread = t.th
	res, f := callOn(t.th, t.hook, h.root.NewFunctionFromProto(proto))
	h.ended(t)
	if f != nil {
		err = h.failureError(t.hook, f)
		if f.broken {
			t.th, t.hook = h.newThread(true, t)
			t.inner = t.th
		}
	}
	t.ctx, t.raised = t.life, raised{}
	if exit, ok := context.Cause(t.life).(*ExitError); ok {
		err = exit
	}
	h.lock.release()
	h.showProgress(false) // a prompt comes next
	h.flush(life)
	end()
	if err != nil {
		return nil, err
	}
	return res, nil
}

// begin returns the context of an input, and a function that must be called when
// the input has ended.
func (s *Interactive) begin(ctx context.Context) (life context.Context, end func()) {
	t := s.task
	life, cancel := context.WithCancelCause(t.life)
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if cause == context.Canceled {
			cause = Errorf("interrupted", "interrupted")
		}
		cancel(cause)
		t.alarm.Store(true)
	})
	s.mu.Lock()
	s.cancel, s.interrupted = cancel, false
	s.mu.Unlock()
	return life, func() {
		s.mu.Lock()
		s.cancel = nil
		s.mu.Unlock()
		stop()
		cancel(nil)
	}
}

// Interrupt cancels the running input with code "interrupted". A second call during
// the same input ends its clean-up as well. If no input runs, Interrupt does
// nothing.
func (s *Interactive) Interrupt() {
	s.mu.Lock()
	again := s.interrupted
	s.interrupted = s.cancel != nil
	s.mu.Unlock()
	if again {
		s.host.endGrace()
		return
	}
	s.cancelInput(Errorf("interrupted", "interrupted"))
}

// cancelInput cancels the running input.
func (s *Interactive) cancelInput(cause error) {
	s.mu.Lock()
	cancel := s.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel(cause)
		s.task.alarm.Store(true)
	}
}

// Compile checks a chunk without running it.
func (h *Host) Compile(chunk, source string) error {
	h.forget(chunk)
	_, err := h.compile(chunk, source)
	return err
}

// forget removes the source of a chunk, which remember has kept.
func (h *Host) forget(chunk string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sources, chunk)
}

// With waits for the lock and calls f with a thread of its own. An error that f
// raises is only logged.
func (s *Interactive) With(f func(L *lua.LState)) {
	if err := s.host.With(f); err != nil {
		s.host.log.Warn("error in With", "error", err)
	}
}

// TryWith is like With but waits for the lock at most d. It reports whether f ran.
func (s *Interactive) TryWith(d time.Duration, f func(L *lua.LState)) bool {
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

// Close cancels the tasks of the run and closes its scope. It may be called twice.
func (s *Interactive) Close() error {
	if s.task == nil {
		return nil
	}
	s.task.cancel(Errorf("cancelled", "the run was closed"))
	s.eval.Lock()
	defer s.eval.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	h, t := s.host, s.task
	h.renewGrace()
	h.lock.acquire(t.ticket)
	t.th.G.CurrentThread = t.th
	h.endMain(t)
	h.strict.open = false
	h.mu.Lock()
	h.interactive = nil
	h.mu.Unlock()
	h.lock.release()
	s.stop()
	close(t.done)
	h.flush(stopped)
	return t.Err()
}
