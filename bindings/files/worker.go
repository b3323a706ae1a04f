package files

import (
	"context"
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// amounts holds the numbers of bytes of a transfer.
type amounts struct{ done, total int64 }

// worker runs a transfer on its own goroutine. It belongs to a scope, which waits for
// it. Therefore the transfer ends before the script does, even if the task is
// cancelled.
type worker struct {
	entry  *host.Entry
	cancel context.CancelFunc
	latest chan amounts  // the latest progress that was not reported yet
	done   chan struct{} // closed when err is set
	err    error
}

// newWorker starts run and adds the worker to scope.
func newWorker(
	scope *host.Scope, run func(ctx context.Context, tell func(done, total int64)) error,
) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{cancel: cancel, latest: make(chan amounts, 1), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = run(ctx, w.tell)
	}()
	w.entry = scope.Add(host.CloserFunc(w.stop))
	return w
}

// tell keeps the latest progress for the script. It replaces progress that was not
// reported yet, so that a slow script gets fewer reports but no outdated ones.
func (w *worker) tell(done, total int64) {
	select {
	case <-w.latest:
	default:
	}
	w.latest <- amounts{done, total}
}

// stop ends the transfer and waits for it.
func (w *worker) stop(ctx context.Context) error {
	w.cancel()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// follow reports the progress until the transfer has ended.
func (w *worker) follow(
	c *api.Call, d *device.Device, o transferOptions, report func(amounts) error,
) error {
	defer w.cancel() // if the task was cancelled, the scope waits for the transfer
	until := time.Time{}
	if o.Timeout != nil && *o.Timeout >= 0 {
		until = time.Now().Add(*o.Timeout)
	}
	over := false
	for !over {
		p, progressed := amounts{}, false
		err := d.Do(c, device.Timeout{Timeout: remaining(until)}, func(ctx context.Context) error {
			select {
			case p = <-w.latest:
				progressed = true
			case <-w.done:
				over = true
				return w.err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			return nil
		})
		if err == nil && progressed {
			err = report(p)
		}
		if err != nil {
			return w.leave(c, err)
		}
	}
	select {
	case p := <-w.latest:
		return w.leave(c, report(p))
	default:
		return w.leave(c, nil)
	}
}

// leave waits for the end of the transfer and removes it from its scope. It uses the
// default deadline, because the deadline of the transfer may have passed.
func (w *worker) leave(c *api.Call, err error) error {
	c.Timeout(0).Block(w.stop)
	w.entry.Remove()
	return err
}

// remaining returns the time left until a deadline. The zero time means no deadline.
func remaining(until time.Time) time.Duration {
	if until.IsZero() {
		return api.NoTimeout
	}
	return max(time.Until(until), time.Nanosecond)
}
