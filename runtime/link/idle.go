package link

import (
	"context"
	"io"
	"time"
)

// DefaultIdle is the default limit of Idle.
const DefaultIdle = 30 * time.Second

// Idle ends a transfer from r on which no byte arrives for the time limit. The context
// that it returns is then cancelled with a SilentError. The time is measured from the
// call until the first read returns, and during later reads. The time that the caller
// uses between reads does not count. If limit is 0, it is DefaultIdle. If it is
// negative, there is no limit. The caller bounds the reads by the context, as Guard
// does, and calls stop at the end.
func Idle(ctx context.Context, r io.Reader, limit time.Duration) (
	bounded context.Context, in io.Reader, stop func(),
) {
	if limit < 0 {
		return ctx, r, func() {}
	}
	if limit == 0 {
		limit = DefaultIdle
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(&SilentError{For: limit}) })
	stop = func() {
		timer.Stop()
		cancel(nil)
	}
	return ctx, &idleReader{r, timer, limit}, stop
}

// idleReader measures the time for Idle.
type idleReader struct {
	r     io.Reader
	timer *time.Timer
	limit time.Duration
}

func (i *idleReader) Read(p []byte) (int, error) {
	i.timer.Reset(i.limit)
	defer i.timer.Stop()
	return i.r.Read(p)
}
