package lua51

import (
	"context"
	"io"
)

// input is a stream whose reads cannot be interrupted. A goroutine reads it, and
// is left waiting when the script is cancelled: what comes then is kept for the
// next read.
type input struct {
	r    io.Reader
	ctx  context.Context // of the running call
	more chan fetched    // what the goroutine reads; nil if none runs
	rest []byte
	err  error
}

// fetched is the result of one read.
type fetched struct {
	b   []byte
	err error
}

// with calls read, whose reads end with ctx.
func (in *input) with(ctx context.Context, read func(ctx context.Context) error) error {
	in.ctx = ctx
	return read(ctx)
}

// Read returns what was read before, or waits for more.
func (in *input) Read(p []byte) (int, error) {
	if len(in.rest) == 0 {
		if in.more == nil {
			in.more = make(chan fetched, 1)
			go in.fetch(in.more)
		}
		select {
		case got := <-in.more:
			in.rest, in.err, in.more = got.b, got.err, nil
		case <-in.ctx.Done():
			return 0, in.ctx.Err()
		}
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	if n > 0 {
		return n, nil
	}
	err := in.err
	in.err = nil
	return 0, err
}

func (in *input) fetch(more chan<- fetched) {
	b := make([]byte, 32<<10)
	n, err := in.r.Read(b)
	more <- fetched{b[:n], err}
}
