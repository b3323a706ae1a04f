package link

import (
	"context"
	"io"
	"time"
)

// DefaultIdle is how long a transfer waits for a byte if it is not told otherwise.
const DefaultIdle = 30 * time.Second

// Idle bounds a transfer from r by silence: the context that it returns ends with a
// SilentError when the transfer has waited for a byte for the time of limit. The clock
// runs from now on until the first read returns, and in later reads. What is done with
// the bytes in between may take its time. A limit of 0 is DefaultIdle, and below 0 there
// is none. The caller bounds the reads by the context, as Guard does, and calls stop at
// the end.
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

// idleReader runs the clock of Idle.
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
