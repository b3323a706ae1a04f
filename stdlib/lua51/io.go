package lua51

import (
	"bufio"
	"context"
	"os"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/localfile"
)

// ioLibrary is the io library of one host.
type ioLibrary struct {
	host      *host.Host
	maxString int64
	metatable *lua.LTable
	// input and output are the default files of io.read and io.write.
	input, output *lua.LUserData
}

// openIO opens the io library. It has no popen.
func openIO(h *host.Host) {
	l := &ioLibrary{host: h, maxString: h.Options().MaxString}
	l.metatable = l.newMetatable()
	l.input = l.value(newStdin(h.Options().Stdin))
	h.L().Get(lua.RegistryIndex).(*lua.LTable).RawSetString(stdinKey, l.input)
	l.output = l.value(&file{turn: newGate(), name: "stdout", out: h.Stdout()})
	t := h.Functions(map[string]lua.LGFunction{
		"open": l.ioOpen, "lines": l.ioLines, "type": ioType, "tmpfile": l.ioTmpfile,
		"read": l.ioRead, "write": l.ioWrite, "close": l.ioClose, "flush": l.ioFlush,
		"input": l.ioInput, "output": l.ioOutput,
	})
	t.RawSetString("stdin", l.input)
	t.RawSetString("stdout", l.output)
	t.RawSetString("stderr", l.value(&file{turn: newGate(), name: "stderr", out: h.Stderr()}))
	h.SetLibrary("io", t)
}

func (l *ioLibrary) newMetatable() *lua.LTable {
	mt := l.host.L().CreateTable(0, 4)
	mt.RawSetString("__index", l.host.Functions(map[string]lua.LGFunction{
		"read": l.fileRead, "write": fileWrite, "lines": l.fileLines, "close": fileClose,
		"flush": fileFlush, "seek": fileSeek, "setvbuf": fileSetvbuf,
	}))
	mt.RawSetString("__name", lua.LString("file"))
	mt.RawSetString("__metatable", lua.LString("file"))
	mt.RawSetString("__tostring", l.host.L().NewFunction(func(L *lua.LState) int {
		f := toFile(L, 1)
		s := "file (" + f.name + ")"
		if f.closed.Load() {
			s = "file (closed)"
		}
		L.Push(lua.LString(s))
		return 1
	}))
	return mt
}

// value returns the object that represents f in scripts.
func (l *ioLibrary) value(f *file) *lua.LUserData {
	return &lua.LUserData{Value: f, Env: l.host.L().G.Global, Metatable: l.metatable}
}

// current returns a default file, which must be open.
func (l *ioLibrary) current(L *lua.LState, ud *lua.LUserData, what string) *file {
	f := ud.Value.(*file)
	if f.closed.Load() {
		L.RaiseError("standard %s file is closed", what)
	}
	return f
}

func (l *ioLibrary) ioInput(L *lua.LState) int {
	return l.choose(L, &l.input, os.O_RDONLY)
}

func (l *ioLibrary) ioOutput(L *lua.LState) int {
	return l.choose(L, &l.output, openModes["w"])
}

// choose sets a default file to the first argument, which is a file or the name of one. It returns
// the default file.
func (l *ioLibrary) choose(L *lua.LState, which **lua.LUserData, flags int) int {
	switch v := L.Get(1).(type) {
	case *lua.LNilType:
	case lua.LString, lua.LNumber:
		f, err := l.open(L, stringArg(L, 1), flags)
		if err != nil {
			host.Raise(L, err)
		}
		*which = l.value(f)
	default:
		toFile(L, 1)
		*which = v.(*lua.LUserData)
	}
	L.Push(*which)
	return 1
}

func (l *ioLibrary) ioWrite(L *lua.LState) int {
	f := l.current(L, l.output, "output")
	return f.write(L, 1, l.output)
}

func (l *ioLibrary) ioFlush(L *lua.LState) int {
	return l.current(L, l.output, "output").flush(L)
}

// ioClose closes the file in the first argument, or the default output if there is none.
func (l *ioLibrary) ioClose(L *lua.LState) int {
	if L.GetTop() == 0 {
		return l.current(L, l.output, "output").close(L)
	}
	return fileClose(L)
}

var openModes = map[string]int{
	"r": os.O_RDONLY, "r+": os.O_RDWR, "w": os.O_WRONLY | os.O_CREATE | os.O_TRUNC,
	"w+": os.O_RDWR | os.O_CREATE | os.O_TRUNC, "a": os.O_WRONLY | os.O_CREATE | os.O_APPEND,
	"a+": os.O_RDWR | os.O_CREATE | os.O_APPEND,
}

// open opens a file that closes with the current scope.
func (l *ioLibrary) open(L *lua.LState, path string, flags int) (*file, error) {
	access := host.AccessRead
	if flags&(os.O_WRONLY|os.O_RDWR) != 0 {
		access = host.AccessWrite
	}
	if err := host.Allow(L, access, path); err != nil {
		return nil, err
	}
	return openIn(L, path, func(ctx context.Context) (*os.File, error) {
		return localfile.Open(ctx, path, flags, 0o666)
	})
}

// openIn makes a file handle of the file that open returns. It registers the file with the scope at
// once.
func openIn(
	L *lua.LState,
	name string,
	open func(ctx context.Context) (*os.File, error),
) (*file, error) {
	f, scope := &file{turn: newGate(), name: name}, host.CurrentScope(L)
	err := host.TryWithTimeout(L, host.NoTimeout, func(ctx context.Context) (err error) {
		f.f, err = open(ctx)
		if err == nil {
			f.r = bufio.NewReader(f.f)
			f.entry = scope.Add(f)
		}
		return err
	})
	return f, err
}

func (l *ioLibrary) ioOpen(L *lua.LState) int {
	path, mode := stringArg(L, 1), stringOr(L, 2, "r")
	flags, ok := openModes[strings.Replace(mode, "b", "", 1)]
	if !ok {
		L.ArgError(2, "invalid mode '"+mode+"'")
	}
	f, err := l.open(L, path, flags)
	if err != nil {
		return host.PushFileResult(L, path, err)
	}
	L.Push(l.value(f))
	return 1
}

// ioTmpfile makes a file that is removed when it is closed, or at the end of its scope.
func (l *ioLibrary) ioTmpfile(L *lua.LState) int {
	mustAllow(L, host.AccessWrite, os.TempDir())
	f, err := openIn(L, "tmpfile", func(context.Context) (*os.File, error) {
		return os.CreateTemp("", "lua_")
	})
	if err != nil {
		host.Raise(L, err)
	}
	f.temporary = true
	L.Push(l.value(f))
	return 1
}

func ioType(L *lua.LState) int {
	ud, _ := L.CheckAny(1).(*lua.LUserData)
	if ud != nil {
		if f, ok := ud.Value.(*file); ok {
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
