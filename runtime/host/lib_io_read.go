package host

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/luanum"
	lua "github.com/yuin/gopher-lua"
)

// maxRead bounds what one read takes into memory.
const maxRead = maxString

// readRequest is one argument of read: "*l", "*L", "*n", "*a" or a count.
type readRequest struct {
	kind  byte
	count int
}

func readRequests(L *lua.LState, from int) []readRequest {
	if L.GetTop() < from {
		return []readRequest{{kind: 'l'}}
	}
	var reqs []readRequest
	for i := from; i <= L.GetTop(); i++ {
		if n, ok := L.Get(i).(lua.LNumber); ok {
			if n < 0 || n > maxRead {
				L.ArgError(i, "count out of range")
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
func (f *luaFile) read(q readRequest) (s string, ok bool, err error) {
	switch q.kind {
	case 'a':
		b, err := io.ReadAll(io.LimitReader(f.r, maxRead))
		return string(b), err == nil, err
	case 'c':
		if q.count == 0 {
			_, err := f.r.Peek(1)
			return "", err == nil, notEOF(err)
		}
		var b strings.Builder
		n, err := io.Copy(&b, io.LimitReader(f.r, int64(q.count)))
		return b.String(), n > 0, err
	case 'n':
		return f.readNumber()
	}
	var b strings.Builder
	for {
		part, err := f.r.ReadSlice('\n')
		b.Write(part)
		if err == nil {
			break
		}
		if b.Len() > maxRead {
			return "", false, errors.New("line too long")
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
	read := func(ctx context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, q := range reqs {
			s, ok, err := f.read(q)
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
	var err error
	if f.std {
		err = TryWithTimeout(L, -1, func(ctx context.Context) error { return waitFor(ctx, read) })
	} else {
		err = TryBlock(L, read)
	}
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

// waitFor runs a read of a stream that cannot be interrupted, and leaves it
// behind when ctx ends: a script that was cancelled must not wait for a key.
func waitFor(ctx context.Context, read func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- shielded(ctx, read) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Host) fileRead(L *lua.LState) int {
	f := openFile(L, 1)
	n, err := h.readInto(L, f, readRequests(L, 2))
	if err != nil {
		return fileResult(L, f.name, err)
	}
	return n
}

// fileLines returns an iterator over lines.
func (h *Host) fileLines(L *lua.LState) int {
	return h.lines(L, openFile(L, 1), readRequests(L, 2), false)
}

func (h *Host) ioLines(L *lua.LState) int {
	if L.Get(1) == lua.LNil {
		return h.lines(L, h.stdin, []readRequest{{kind: 'l'}}, false)
	}
	path := L.CheckString(1)
	v, err := h.open(L, path, os.O_RDONLY)
	if err != nil {
		Raise(L, err)
	}
	return h.lines(L, v.(*lua.LUserData).Value.(*luaFile), readRequests(L, 2), true)
}

func (h *Host) lines(L *lua.LState, f *luaFile, reqs []readRequest, closeAtEnd bool) int {
	L.Push(L.NewFunction(func(L *lua.LState) int {
		if f.closed {
			L.RaiseError("file is already closed")
		}
		top := L.GetTop()
		n, err := h.readInto(L, f, reqs)
		if err != nil {
			Raise(L, err)
		}
		if closeAtEnd && L.Get(top+1) == lua.LNil {
			TryBlock(L, f.Close)
			f.remove()
		}
		return n
	}))
	return 1
}
