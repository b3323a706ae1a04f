package lua51

import (
	"context"
	"io"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// stdinKey is where the Lua registry has io.stdin, which scripts may replace.
const stdinKey = "imdlua.stdin"

// maxAnswer bounds a line that Stdin reads.
const maxAnswer = 64 << 10

// Stdin is the standard input of a host for modules that read from it. They share
// what was read ahead with the io library.
type Stdin struct{ f *file }

// StdinOf returns the standard input of h. The interpreter lock is held.
func StdinOf(h *host.Host) Stdin {
	registry := h.L().Get(lua.RegistryIndex).(*lua.LTable)
	return Stdin{registry.RawGetString(stdinKey).(*lua.LUserData).Value.(*file)}
}

// ReadLine waits for a line and returns it without its end. ok is false at the end
// of the input. It must be called without the interpreter lock.
func (s Stdin) ReadLine(ctx context.Context) (line string, ok bool, err error) {
	err = s.f.turn.enter(ctx)
	if err != nil {
		return "", false, err
	}
	defer s.f.turn.leave()
	err = s.f.in.with(ctx, func(ctx context.Context) (err error) {
		line, ok, err = s.f.read(ctx, readRequest{kind: 'l'}, maxAnswer)
		return err
	})
	return line, ok, err
}

// input is a stream whose reads cannot be interrupted. A goroutine reads it once
// there is something to read. Where the system cannot tell that, it is left waiting
// when the script is cancelled: what comes then is kept for the next read.
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
			if err := awaitInput(in.ctx, in.r); err != nil {
				return 0, err
			}
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
