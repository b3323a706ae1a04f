package host

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/runtime/host/luanum"
	lua "github.com/yuin/gopher-lua"
)

// luaFile is a file handle of the io library.
type luaFile struct {
	turn   gate // one reader or writer at a time
	name   string
	r      *bufio.Reader
	f      *os.File // nil for the standard streams
	out    *stream  // standard output or error
	in     *input   // standard input
	closed atomic.Bool
	entry  *Entry // nil for the standard streams
}

func newStdin(r io.Reader) *luaFile {
	in := &input{r: r}
	return &luaFile{turn: newGate(), name: "stdin", r: bufio.NewReader(in), in: in}
}

// Close closes a file. A read under way ends if the system can do that.
func (f *luaFile) Close(context.Context) error {
	if f.f == nil || f.closed.Swap(true) {
		return nil
	}
	return f.f.Close()
}

// gate lets one call in at a time, and those that wait give up with their
// context.
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

func (h *Host) openIO() {
	mt := h.root.CreateTable(0, 6)
	h.meta.file = mt
	mt.RawSetString("__index", h.functions(map[string]lua.LGFunction{
		"read": h.fileRead, "write": h.fileWrite, "lines": h.fileLines, "close": fileClose,
		"flush": fileFlush, "seek": fileSeek, "setvbuf": fileFlush,
	}))
	mt.RawSetString("__name", lua.LString("file"))
	mt.RawSetString("__metatable", lua.LString("file"))
	mt.RawSetString("__tostring", h.root.NewFunction(func(L *lua.LState) int {
		f := toFile(L, 1)
		s := "file (" + f.name + ")"
		if f.closed.Load() {
			s = "file (closed)"
		}
		L.Push(lua.LString(s))
		return 1
	}))
	lib := h.functions(map[string]lua.LGFunction{
		"open": h.ioOpen, "lines": h.ioLines, "type": ioType, "tmpfile": h.ioTmpfile,
		"read":  func(L *lua.LState) int { L.Insert(h.pushFile(h.stdin), 1); return h.fileRead(L) },
		"write": h.ioWrite,
		"close": fileClose,
	})
	out := &luaFile{turn: newGate(), name: "stdout", out: h.stdout}
	lib.RawSetString("stdin", h.pushFile(h.stdin))
	lib.RawSetString("stdout", h.pushFile(out))
	lib.RawSetString("stderr", h.pushFile(&luaFile{turn: newGate(), name: "stderr", out: h.stderr}))
	h.globals.RawSetString("io", lib)
	h.modules.loaded.RawSetString("io", lib)
}

func (h *Host) pushFile(f *luaFile) lua.LValue {
	return &lua.LUserData{Value: f, Env: h.globals, Metatable: h.meta.file}
}

func toFile(L *lua.LState, at int) *luaFile {
	f, ok := L.CheckUserData(at).Value.(*luaFile)
	if !ok {
		L.ArgError(at, "file expected")
	}
	return f
}

func openFile(L *lua.LState, at int) *luaFile {
	f := toFile(L, at)
	if f.closed.Load() {
		L.RaiseError("attempt to use a closed file")
	}
	return f
}

var openModes = map[string]int{
	"r": os.O_RDONLY, "r+": os.O_RDWR, "w": os.O_WRONLY | os.O_CREATE | os.O_TRUNC,
	"w+": os.O_RDWR | os.O_CREATE | os.O_TRUNC, "a": os.O_WRONLY | os.O_CREATE | os.O_APPEND,
	"a+": os.O_RDWR | os.O_CREATE | os.O_APPEND,
}

// open opens a file that closes with the current scope.
func (h *Host) open(L *lua.LState, path string, flags int) (*luaFile, error) {
	access := AccessRead
	if flags&(os.O_WRONLY|os.O_RDWR) != 0 {
		access = AccessWrite
	}
	if err := Allow(L, access, path); err != nil {
		return nil, err
	}
	return openIn(L, path, func(ctx context.Context) (*os.File, error) {
		return localfile.Open(ctx, path, flags, 0o666)
	})
}

// openIn makes a file handle of what open returns. It belongs to the scope as
// soon as it is open.
func openIn(
	L *lua.LState,
	name string,
	open func(ctx context.Context) (*os.File, error),
) (*luaFile, error) {
	f, scope := &luaFile{turn: newGate(), name: name}, CurrentScope(L)
	err := TryWithTimeout(L, NoTimeout, func(ctx context.Context) (err error) {
		if f.f, err = open(ctx); err == nil {
			f.r = bufio.NewReader(f.f)
			f.entry = scope.Add(f)
		}
		return err
	})
	return f, err
}

func (h *Host) ioOpen(L *lua.LState) int {
	path, mode := L.CheckString(1), L.OptString(2, "r")
	flags, ok := openModes[strings.Replace(mode, "b", "", 1)]
	if !ok {
		L.ArgError(2, "invalid mode '"+mode+"'")
	}
	f, err := h.open(L, path, flags)
	if err != nil {
		return fileResult(L, path, err)
	}
	L.Push(h.pushFile(f))
	return 1
}

func (h *Host) ioTmpfile(L *lua.LState) int {
	f, err := openIn(L, "tmpfile", func(context.Context) (*os.File, error) {
		f, err := os.CreateTemp("", "lua_")
		if err == nil {
			err = os.Remove(f.Name())
		}
		return f, err
	})
	if err != nil {
		Raise(L, err)
	}
	L.Push(h.pushFile(f))
	return 1
}

func ioType(L *lua.LState) int {
	ud, _ := L.CheckAny(1).(*lua.LUserData)
	if ud != nil {
		if f, ok := ud.Value.(*luaFile); ok {
			if f.closed.Load() {
				L.Push(lua.LString("closed file"))
			} else {
				L.Push(lua.LString("file"))
			}
			return 1
		}
	}
	L.Push(lua.LNil)
	return 1
}

func fileClose(L *lua.LState) int {
	if L.GetTop() == 0 {
		L.Push(lua.LTrue)
		return 1
	}
	f := openFile(L, 1)
	err := TryBlock(L, f.Close)
	if f.entry != nil {
		f.entry.Remove()
	}
	return fileResult(L, f.name, err)
}

func fileFlush(L *lua.LState) int {
	f := openFile(L, 1)
	if f.out != nil {
		WithTimeout(L, NoTimeout, func(ctx context.Context) error { return f.out.out.written(ctx) })
		if err := f.out.failed(); err != nil {
			return fileResult(L, f.name, err)
		}
	}
	L.Push(lua.LTrue)
	return 1
}

func fileSeek(L *lua.LState) int {
	f := openFile(L, 1)
	whence, ok := map[string]int{"set": io.SeekStart, "cur": io.SeekCurrent, "end": io.SeekEnd}[L.OptString(2, "cur")]
	if !ok {
		L.ArgError(2, "invalid option")
	}
	offset := L.OptInt64(3, 0)
	if f.f == nil {
		return fileResult(L, f.name, errors.New("illegal seek"))
	}
	var at int64
	err := TryBlock(L, func(ctx context.Context) (err error) {
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
		return fileResult(L, f.name, err)
	}
	L.Push(lua.LNumber(at))
	return 1
}

func (h *Host) ioWrite(L *lua.LState) int {
	h.write(L, h.stdout, joinArguments(L, 1))
	L.Push(h.globals.RawGetString("io").(*lua.LTable).RawGetString("stdout"))
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
			data, ok := Bytes(v)
			if !ok {
				L.ArgError(i, "string expected, got "+v.Type().String())
			}
			b.Write(data)
		}
	}
	return b.String()
}

func (h *Host) fileWrite(L *lua.LState) int {
	f := openFile(L, 1)
	s := joinArguments(L, 2)
	switch {
	case f.out != nil:
		h.write(L, f.out, s)
	case f.f == nil:
		return fileResult(L, f.name, errors.New("bad file descriptor"))
	default:
		err := TryWithTimeout(L, NoTimeout, func(ctx context.Context) error {
			if err := f.turn.enter(ctx); err != nil {
				return err
			}
			defer f.turn.leave()
			return localfile.Do(ctx, f.f, func() error {
				_, err := io.WriteString(f.f, s)
				return err
			})
		})
		if err != nil {
			return fileResult(L, f.name, err)
		}
	}
	L.Push(L.Get(1))
	return 1
}
