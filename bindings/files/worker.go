package files

import (
	"context"
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// amounts are the bytes of a transfer.
type amounts struct{ done, total int64 }

// worker is a transfer on a goroutine of its own. It belongs to a scope, which
// waits for it: also when the task is cancelled the transfer ends before the
// script does.
type worker struct {
	entry  *host.Entry
	cancel context.CancelFunc
	latest chan amounts  // what was not reported yet
	done   chan struct{} // closed when err is set
	err    error
}

func newWorker(
	scope *host.Scope, run func(ctx context.Context, told func(done, total int64)) error,
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

// tell keeps the progress for the script. A slow script gets fewer reports, but
// never old ones.
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
	defer w.cancel() // of a cancelled task, the scope waits for the end
	until := time.Time{}
	if o.Timeout != nil && *o.Timeout >= 0 {
		until = time.Now().Add(*o.Timeout)
	}
	over := false
	for !over {
		p, some := amounts{}, false
		err := d.Do(c, device.Timeout{Timeout: remaining(until)}, func(ctx context.Context) error {
			select {
			case p = <-w.latest:
				some = true
			case <-w.done:
				over = true
				return w.err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			return nil
		})
		if err == nil && some {
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

// leave waits for the end of the transfer and takes it out of its scope. The
// deadline of the transfer may be over, so it has one of its own.
func (w *worker) leave(c *api.Call, err error) error {
	c.Timeout(0).Block(w.stop)
	w.entry.Remove()
	return err
}

func remaining(until time.Time) time.Duration {
	if until.IsZero() {
		return api.NoTimeout
	}
	return max(time.Until(until), time.Nanosecond)
}
