package host

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/imdlua/imdlua/runtime/host/luanum"
	lua "github.com/yuin/gopher-lua"
)

func (h *Host) openOS() {
	started := time.Now()
	h.globals.RawSetString("os", h.functions(map[string]lua.LGFunction{
		"exit": osExit, "time": osTime, "date": osDate, "difftime": osDiffTime,
		"getenv": h.osGetenv, "remove": osRemove, "rename": osRename, "tmpname": osTmpname,
		// clock is the time since the host was made: processor time would say
		// little about a script that waits for devices.
		"clock": func(L *lua.LState) int {
			L.Push(lua.LNumber(time.Since(started).Seconds()))
			return 1
		},
	}))
	h.modules.loaded.RawSetString("os", h.globals.RawGetString("os"))
}

// osExit ends the script: the main task is cancelled with the exit sentinel, so
// that it unwinds whatever pcalls it is in, and scopes close.
func osExit(L *lua.LState) int {
	code := 0
	switch v := L.Get(1).(type) {
	case lua.LNumber:
		code = int(v)
	case lua.LBool:
		if !bool(v) {
			code = 1
		}
	}
	k := hookOf(L)
	exit := &ExitError{Code: code}
	k.host.mu.Lock()
	main := k.host.main
	k.host.mu.Unlock()
	if main != nil {
		main.cancel(exit)
	}
	raiseFrom(k, L, k.host.errorValue(L, exit))
	return 0
}

func (h *Host) osGetenv(L *lua.LState) int {
	name := L.CheckString(1)
	allowed(L, AccessEnv, name)
	v, ok := h.o.Env(name)
	if !ok {
		L.Push(lua.LNil)
	} else {
		L.Push(lua.LString(v))
	}
	return 1
}

func osDiffTime(L *lua.LState) int {
	L.Push(lua.LNumber(L.CheckNumber(1) - L.OptNumber(2, 0)))
	return 1
}

// fileResult pushes true, or nil, the text and the number of an error.
func fileResult(L *lua.LState, path string, err error) int {
	if err == nil {
		L.Push(lua.LTrue)
		return 1
	}
	L.Push(lua.LNil)
	L.Push(lua.LString(fileError(path, err)))
	L.Push(lua.LNumber(errorNumber(err)))
	return 3
}

// fileError is the text that C programs give: "/x: No such file or directory".
func fileError(path string, err error) string {
	var no syscall.Errno
	text := err.Error()
	switch {
	case errors.As(err, &no):
		text = no.Error()
	case errors.Is(err, fs.ErrNotExist):
		text = syscall.ENOENT.Error()
	}
	if text != "" {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	if path == "" {
		return text
	}
	return path + ": " + text
}

func errorNumber(err error) int {
	var no syscall.Errno
	if errors.As(err, &no) {
		return int(no)
	}
	return 0
}

func osRemove(L *lua.LState) int {
	path := L.CheckString(1)
	allowed(L, AccessWrite, path)
	err := TryBlock(L, func(context.Context) error { return os.Remove(path) })
	return fileResult(L, path, err)
}

func osRename(L *lua.LState) int {
	from, to := L.CheckString(1), L.CheckString(2)
	allowed(L, AccessWrite, from)
	allowed(L, AccessWrite, to)
	err := TryBlock(L, func(context.Context) error { return os.Rename(from, to) })
	return fileResult(L, from, err)
}

func osTmpname(L *lua.LState) int {
	var name string
	allowed(L, AccessWrite, os.TempDir())
	Block(L, func(context.Context) error {
		f, err := os.CreateTemp("", "lua_")
		if err != nil {
			return err
		}
		name = filepath.Clean(f.Name())
		return f.Close()
	})
	L.Push(lua.LString(name))
	return 1
}

func osTime(L *lua.LState) int {
	if L.Get(1) == lua.LNil {
		L.Push(lua.LNumber(time.Now().Unix()))
		return 1
	}
	t := L.CheckTable(1)
	field := func(name string, def int) int {
		switch v := t.RawGetString(name).(type) {
		case lua.LNumber:
			return int(v)
		case lua.LString:
			if f, ok := luanum.Parse(string(v)); ok {
				return int(f)
			}
		}
		if def < 0 {
			L.RaiseError("field '%s' missing in date table", name)
		}
		return def
	}
	at := time.Date(field("year", -1), time.Month(field("month", -1)), field("day", -1),
		field("hour", 12), field("min", 0), field("sec", 0), 0, time.Local)
	L.Push(lua.LNumber(at.Unix()))
	return 1
}

func osDate(L *lua.LState) int {
	format := L.OptString(1, "%c")
	at := time.Now()
	if v := L.Get(2); v != lua.LNil {
		sec, frac := math.Modf(float64(L.CheckNumber(2)))
		at = time.Unix(int64(sec), int64(frac*1e9))
	}
	if strings.HasPrefix(format, "!") {
		format, at = format[1:], at.UTC()
	}
	if strings.HasPrefix(format, "*t") {
		t := L.CreateTable(0, 9)
		for name, v := range map[string]int{
			"year": at.Year(), "month": int(at.Month()), "day": at.Day(), "hour": at.Hour(), "min": at.Minute(),
			"sec": at.Second(), "wday": int(at.Weekday()) + 1, "yday": at.YearDay(),
		} {
			t.RawSetString(name, lua.LNumber(v))
		}
		t.RawSetString("isdst", lua.LBool(at.IsDST()))
		L.Push(t)
		return 1
	}
	s, err := Strftime(format, at)
	if err != nil {
		L.ArgError(1, err.Error())
	}
	L.Push(lua.LString(s))
	return 1
}
