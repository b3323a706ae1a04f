package lua51

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/runtime/host/luanum"
)

// readRequest is one argument of read: "*l", "*L", "*n", "*a" or a count.
type readRequest struct {
	kind  byte
	count int
}

func (l *ioLibrary) readRequests(L *lua.LState, from int) []readRequest {
	if L.GetTop() < from {
		return []readRequest{{kind: 'l'}}
	}
	var reqs []readRequest
	for i := from; i <= L.GetTop(); i++ {
		if n, ok := L.Get(i).(lua.LNumber); ok {
			if n < 0 || int64(n) > l.maxString {
				L.ArgError(i, fmt.Sprintf("count out of range 0 to %d", l.maxString))
			}
			reqs = append(reqs, readRequest{kind: 'c', count: int(n)})
			continue
		}
		if L.Get(i).Type() != lua.LTString {
			L.ArgError(i, "invalid option")
		}
		s, starred := strings.CutPrefix(stringArg(L, i), "*")
		if s == "" || strings.IndexByte("lLna", s[0]) < 0 {
			if starred {
				L.ArgError(i, "invalid format")
			}
			L.ArgError(i, "invalid option")
		}
		reqs = append(reqs, readRequest{kind: s[0]})
	}
	return reqs
}

// read reads what one request asks for. ok is false at the end of the file.
func (f *file) read(
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
			return "", false, host.Errorf(
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

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// readInto pushes the results of the requests, nil for those after the end of the file.
func (l *ioLibrary) readInto(L *lua.LState, f *file, reqs []readRequest) (int, error) {
	if f.r == nil {
		return 0, syscall.EBADF
	}
	type result struct {
		s  string
		ok bool
	}
	var got []result
	limit := l.maxString
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
	err := host.TryWithTimeout(L, host.NoTimeout, func(ctx context.Context) error {
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
			n, isNumber = luanum.Parse(r.s)
			r.ok = isNumber
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

func (l *ioLibrary) fileRead(L *lua.LState) int { return l.readFrom(L, openFile(L, 1), 2) }

func (l *ioLibrary) ioRead(L *lua.LState) int {
	return l.readFrom(L, l.current(L, l.input, "input"), 1)
}

// readFrom reads the requests in the arguments that begin at index at.
func (l *ioLibrary) readFrom(L *lua.LState, f *file, at int) int {
	n, err := l.readInto(L, f, l.readRequests(L, at))
	if err != nil {
		return host.PushFileResult(L, "", err)
	}
	return n
}

// fileLines returns an iterator over lines.
func (l *ioLibrary) fileLines(L *lua.LState) int {
	return l.lines(L, openFile(L, 1), l.readRequests(L, 2), false)
}

func (l *ioLibrary) ioLines(L *lua.LState) int {
	if L.Get(1) == lua.LNil {
		return l.lines(L, l.current(L, l.input, "input"), []readRequest{{kind: 'l'}}, false)
	}
	path := stringArg(L, 1)
	f, err := l.open(L, path, os.O_RDONLY)
	if err != nil {
		host.Raise(L, err)
	}
	return l.lines(L, f, l.readRequests(L, 2), true)
}

func (l *ioLibrary) lines(L *lua.LState, f *file, reqs []readRequest, closeAtEnd bool) int {
	L.Push(L.NewFunction(func(L *lua.LState) int {
		if f.closed.Load() {
			L.RaiseError("file is already closed")
		}
		top := L.GetTop()
		n, err := l.readInto(L, f, reqs)
		if err != nil {
			host.Raise(L, err)
		}
		if closeAtEnd && L.Get(top+1) == lua.LNil {
			host.TryBlock(L, f.Close)
			f.entry.Remove()
		}
		return n
	}))
	return 1
}
