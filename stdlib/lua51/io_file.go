package lua51

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/runtime/host/luanum"
)

// file is a file handle of the io library.
type file struct {
	turn gate // one reader or writer at a time
	name string
	r    *bufio.Reader
	f    *os.File     // nil for the standard streams
	out  *host.Stream // standard output or error
	in   *input       // standard input
	// temporary is true if the file is removed when it is closed.
	temporary bool
	closed    atomic.Bool
	entry     *host.Entry // nil for the standard streams
}

func newStdin(r io.Reader) *file {
	in := &input{r: r}
	return &file{turn: newGate(), name: "stdin", r: bufio.NewReader(in), in: in}
}

// Close closes a file. A running read ends, if the system supports that.
func (f *file) Close(context.Context) error {
	if f.f == nil || f.closed.Swap(true) {
		return nil
	}
	err := f.f.Close()
	if f.temporary {
		err = errors.Join(err, os.Remove(f.f.Name()))
	}
	return err
}

// gate is a lock that one call holds at a time. Calls stop waiting for it when their context ends.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }

func toFile(L *lua.LState, at int) *file {
	ud, ok := L.Get(at).(*lua.LUserData)
	if ok {
		f, isFile := ud.Value.(*file)
		if isFile {
			return f
		}
	}
	L.ArgError(at, "FILE* expected, got "+L.Get(at).Type().String())
	return nil
}

func openFile(L *lua.LState, at int) *file {
	f := toFile(L, at)
	if f.closed.Load() {
		L.RaiseError("attempt to use a closed file")
	}
	return f
}

func fileClose(L *lua.LState) int { return openFile(L, 1).close(L) }

// close closes a file. The standard streams stay open.
func (f *file) close(L *lua.LState) int {
	if f.f == nil {
		L.Push(lua.LNil)
		L.Push(lua.LString("cannot close standard file"))
		return 2
	}
	err := host.TryBlock(L, f.Close)
	f.entry.Remove()
	return host.PushFileResult(L, "", err)
}

func fileFlush(L *lua.LState) int { return openFile(L, 1).flush(L) }

// flush waits until a stream is written. Files have no buffer for writing.
func (f *file) flush(L *lua.LState) int {
	if f.out == nil {
		L.Push(lua.LTrue)
		return 1
	}
	return host.PushFileResult(L, "", f.out.Flush(L))
}

// fileSetvbuf only checks its arguments, because files have no buffer for writing.
func fileSetvbuf(L *lua.LState) int {
	f, mode := openFile(L, 1), stringArg(L, 2)
	switch mode {
	case "no", "full", "line":
	default:
		L.ArgError(2, "invalid option '"+mode+"'")
	}
	return f.flush(L)
}

var seekFrom = map[string]int{
	"set": io.SeekStart,
	"cur": io.SeekCurrent,
	"end": io.SeekEnd,
}

func fileSeek(L *lua.LState) int {
	f := openFile(L, 1)
	from := stringOr(L, 2, "cur")
	whence, ok := seekFrom[from]
	if !ok {
		L.ArgError(2, "invalid option '"+from+"'")
	}
	offset := int64(0)
	if L.Get(3) != lua.LNil {
		offset = int64(numberArg(L, 3))
	}
	if f.f == nil {
		return host.PushFileResult(L, "", syscall.ESPIPE)
	}
	var at int64
	err := host.TryBlock(L, func(ctx context.Context) (err error) {
		if err := f.turn.enter(ctx); err != nil {
			return err
		}
		defer f.turn.leave()
		if whence == io.SeekCurrent {
			offset -= int64(f.r.Buffered())
		}
		at, err = f.f.Seek(offset, whence)
		f.r.Reset(f.f)
		return err
	})
	if err != nil {
		return host.PushFileResult(L, "", err)
	}
	L.Push(lua.LNumber(at))
	return 1
}

func joinArguments(L *lua.LState, from int) string {
	var b strings.Builder
	for i := from; i <= L.GetTop(); i++ {
		switch v := L.Get(i).(type) {
		case lua.LString:
			b.WriteString(string(v))
		case lua.LNumber:
			b.WriteString(luanum.Format(float64(v)))
		default:
			data, ok := host.Bytes(v)
			if !ok {
				L.ArgError(i, "string expected, got "+v.Type().String())
			}
			b.Write(data)
		}
	}
	return b.String()
}

func fileWrite(L *lua.LState) int {
	return openFile(L, 1).write(L, 2, L.Get(1))
}

// write writes the arguments from index at on, and returns result.
func (f *file) write(L *lua.LState, at int, result lua.LValue) int {
	s := joinArguments(L, at)
	switch {
	case f.out != nil:
		f.out.Print(L, s)
	case f.f == nil:
		return host.PushFileResult(L, "", syscall.EBADF)
	default:
		err := host.TryWithTimeout(L, host.NoTimeout, func(ctx context.Context) error {
			err := f.turn.enter(ctx)
			if err != nil {
				return err
			}
			defer f.turn.leave()
			return localfile.Do(ctx, f.f, func() error { return f.writeText(s) })
		})
		if err != nil {
			return host.PushFileResult(L, "", err)
		}
	}
	L.Push(result)
	return 1
}

// writeText writes at the position of the script, which is before the bytes that were read ahead.
func (f *file) writeText(s string) error {
	ahead := f.r.Buffered()
	if ahead > 0 {
		_, err := f.f.Seek(-int64(ahead), io.SeekCurrent)
		if err != nil {
			return err
		}
		f.r.Reset(f.f)
	}
	_, err := io.WriteString(f.f, s)
	return err
}
