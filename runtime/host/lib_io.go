package host

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/host/luanum"
	lua "github.com/yuin/gopher-lua"
)

// luaFile is a file handle of the io library.
type luaFile struct {
	mu     sync.Mutex // one reader or writer at a time
	name   string
	r      *bufio.Reader
	w      io.Writer
	f      *os.File // nil for the standard streams
	std    bool
	closed bool
	remove func()
}

type stdinFile = luaFile

func newStdin(r io.Reader) *luaFile {
	return &luaFile{name: "stdin", r: bufio.NewReader(r), std: true}
}

// Close ends an open file.
func (f *luaFile) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.f == nil {
		return nil
	}
	f.closed = true
	return f.f.Close()
}

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
		if f.closed {
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
	out := &luaFile{name: "stdout", w: h.o.Stdout, std: true}
	lib.RawSetString("stdin", h.pushFile(h.stdin))
	lib.RawSetString("stdout", h.pushFile(out))
	lib.RawSetString("stderr", h.pushFile(&luaFile{name: "stderr", w: h.o.Stderr, std: true}))
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
	if f.closed {
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
func (h *Host) open(L *lua.LState, path string, flags int) (lua.LValue, error) {
	f := &luaFile{name: path}
	err := TryBlock(L, func(context.Context) (err error) {
		f.f, err = os.OpenFile(path, flags, 0o666)
		return err
	})
	if err != nil {
		return nil, err
	}
	return h.register(L, f), nil
}

func (h *Host) register(L *lua.LState, f *luaFile) lua.LValue {
	f.r, f.w = bufio.NewReader(f.f), f.f
	f.remove = CurrentScope(L).Add(f)
	return h.pushFile(f)
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
	L.Push(f)
	return 1
}

func (h *Host) ioTmpfile(L *lua.LState) int {
	f := &luaFile{name: "tmpfile"}
	Block(L, func(context.Context) (err error) {
		if f.f, err = os.CreateTemp("", "lua_"); err == nil {
			err = os.Remove(f.f.Name())
		}
		return err
	})
	L.Push(h.register(L, f))
	return 1
}

func ioType(L *lua.LState) int {
	ud, _ := L.CheckAny(1).(*lua.LUserData)
	if ud != nil {
		if f, ok := ud.Value.(*luaFile); ok {
			if f.closed {
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
	if f.remove != nil {
		f.remove()
	}
	return fileResult(L, f.name, err)
}

func fileFlush(L *lua.LState) int {
	openFile(L, 1)
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
	err := TryBlock(L, func(context.Context) (err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
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
	h.write(L, h.o.Stdout, joinArguments(L, 1))
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
	if f.w == nil {
		return fileResult(L, f.name, errors.New("bad file descriptor"))
	}
	if f.std {
		h.write(L, f.w, s)
	} else if err := TryBlock(L, func(context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		_, err := io.WriteString(f.w, s)
		return err
	}); err != nil {
		return fileResult(L, f.name, err)
	}
	L.Push(L.Get(1))
	return 1
}
