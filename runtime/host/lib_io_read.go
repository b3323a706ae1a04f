package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/runtime/host/luanum"
	lua "github.com/yuin/gopher-lua"
)

// readRequest is one argument of read: "*l", "*L", "*n", "*a" or a count.
type readRequest struct {
	kind  byte
	count int
}

func (h *Host) readRequests(L *lua.LState, from int) []readRequest {
	if L.GetTop() < from {
		return []readRequest{{kind: 'l'}}
	}
	var reqs []readRequest
	for i := from; i <= L.GetTop(); i++ {
		if n, ok := L.Get(i).(lua.LNumber); ok {
			if n < 0 || int64(n) > h.o.MaxString {
				L.ArgError(i, fmt.Sprintf("count out of range 0 to %d", h.o.MaxString))
			}
			reqs = append(reqs, readRequest{kind: 'c', count: int(n)})
			continue
		}
		s := strings.TrimPrefix(L.CheckString(i), "*")
		if s == "" || strings.IndexByte("lLna", s[0]) < 0 {
			L.ArgError(i, "invalid format")
		}
		reqs = append(reqs, readRequest{kind: s[0]})
	}
	return reqs
}

// read serves one request. ok is false at the end of the file.
func (f *luaFile) read(
	ctx context.Context,
	q readRequest,
	limit int64,
) (s string, ok bool, err error) {
	switch q.kind {
	case 'a':
		b, err := localfile.ReadAll(ctx, f.r, f.name, 0, limit)
		return string(b), err == nil, err
	case 'c':
		if q.count == 0 {
			_, err := f.r.Peek(1)
			return "", err == nil, notEOF(err)
		}
		var b strings.Builder
		n, err := io.Copy(&b, io.LimitReader(localfile.Reader(ctx, f.r), int64(q.count)))
		return b.String(), n > 0, err
	case 'n':
		return f.readNumber()
	}
	var b strings.Builder
	for {
		part, err := f.r.ReadSlice('\n')
		b.Write(part)
		if int64(b.Len()) > limit+1 {
			return "", false, Errorf(
				"too_large",
				"%s: a line is longer than the limit of %d bytes",
				f.name,
				limit,
			).
				WithHint("read pieces with f:read(n), or raise the limit with --max-string")
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return "", false, ctx.Err()
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if b.Len() == 0 {
				return "", false, notEOF(err)
			}
			return b.String(), true, notEOF(err)
		}
	}
	s = b.String()
	if q.kind == 'l' {
		s = strings.TrimSuffix(s, "\n")
	}
	return s, true, nil
}

func (f *luaFile) readNumber() (string, bool, error) {
	var b strings.Builder
	for b.Len() < 200 {
		c, err := f.r.ReadByte()
		if err != nil {
			break
		}
		space := strings.IndexByte(" \t\r\n", c) >= 0
		if space && b.Len() == 0 {
			continue
		}
		if strings.IndexByte("0123456789abcdefABCDEFxXpP.+-", c) < 0 {
			f.r.UnreadByte()
			break
		}
		b.WriteByte(c)
	}
	return b.String(), b.Len() > 0, nil
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// readInto pushes what the requests give, nil where the file ends.
func (h *Host) readInto(L *lua.LState, f *luaFile, reqs []readRequest) (int, error) {
	if f.r == nil {
		return 0, errors.New("bad file descriptor")
	}
	type result struct {
		s  string
		ok bool
	}
	var got []result
	limit := h.o.MaxString
	read := func(ctx context.Context) error {
		for _, q := range reqs {
			s, ok, err := f.read(ctx, q, limit)
			if err != nil {
				return err
			}
			got = append(got, result{s, ok})
			if !ok {
				break
			}
		}
		return nil
	}
	err := TryWithTimeout(L, NoTimeout, func(ctx context.Context) error {
		if err := f.turn.enter(ctx); err != nil {
			return err
		}
		defer f.turn.leave()
		if f.in != nil {
			return f.in.with(ctx, read)
		}
		return localfile.Do(ctx, f.f, func() error { return read(ctx) })
	})
	if err != nil {
		return 0, err
	}
	for i, r := range got {
		n, isNumber := 0.0, false
		if r.ok && reqs[i].kind == 'n' {
			if n, isNumber = luanum.Parse(r.s); !isNumber {
				r.ok = false
			}
		}
		switch {
		case !r.ok:
			L.Push(lua.LNil)
		case isNumber:
			L.Push(lua.LNumber(n))
		default:
			L.Push(lua.LString(r.s))
		}
	}
	return len(got), nil
}

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

func (h *Host) fileRead(L *lua.LState) int {
	f := openFile(L, 1)
	n, err := h.readInto(L, f, h.readRequests(L, 2))
	if err != nil {
		return fileResult(L, f.name, err)
	}
	return n
}

// fileLines returns an iterator over lines.
func (h *Host) fileLines(L *lua.LState) int {
	return h.lines(L, openFile(L, 1), h.readRequests(L, 2), false)
}

func (h *Host) ioLines(L *lua.LState) int {
	if L.Get(1) == lua.LNil {
		return h.lines(L, h.stdin, []readRequest{{kind: 'l'}}, false)
	}
	path := L.CheckString(1)
	f, err := h.open(L, path, os.O_RDONLY)
	if err != nil {
		Raise(L, err)
	}
	return h.lines(L, f, h.readRequests(L, 2), true)
}

func (h *Host) lines(L *lua.LState, f *luaFile, reqs []readRequest, closeAtEnd bool) int {
	L.Push(L.NewFunction(func(L *lua.LState) int {
		if f.closed.Load() {
			L.RaiseError("file is already closed")
		}
		top := L.GetTop()
		n, err := h.readInto(L, f, reqs)
		if err != nil {
			Raise(L, err)
		}
		if closeAtEnd && L.Get(top+1) == lua.LNil {
			TryBlock(L, f.Close)
			f.entry.Remove()
		}
		return n
	}))
	return 1
}
