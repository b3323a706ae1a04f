package lua51

import (
	"context"
	"io"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// stdinKey is the key of io.stdin in the Lua registry. Scripts may replace the field io.stdin.
const stdinKey = "imdlua.stdin"

// maxAnswer is the length of the longest line that Stdin reads.
const maxAnswer = 64 << 10

// Stdin is the standard input of a host for modules that read from it. They share its buffer with
// the io library.
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

// input is a stream whose reads cannot be interrupted. A goroutine reads it when there is something
// to read. If the system cannot report that, the goroutine is left waiting when the script is
// cancelled, and the next call gets what it reads.
type input struct {
	r    io.Reader
	ctx  context.Context // of the running call
	more chan fetched    // receives what the goroutine reads; nil if none runs
	rest []byte
	err  error
}

// fetched is the result of one read.
type fetched struct {
	b   []byte
	err error
}

// with calls read. Reads of the input end with ctx during this call.
func (in *input) with(ctx context.Context, read func(ctx context.Context) error) error {
	in.ctx = ctx
	return read(ctx)
}

// Read returns bytes that were read before, or waits for more.
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
