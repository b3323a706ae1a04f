package lua51

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/luanum"
)

// openOS opens the os library. It has no execute and no setlocale.
func openOS(h *host.Host) {
	started := time.Now()
	h.SetLibrary("os", h.Functions(map[string]lua.LGFunction{
		"exit": osExit, "time": osTime, "date": osDate, "difftime": osDiffTime,
		"getenv": osGetenv, "remove": osRemove, "rename": osRename, "tmpname": osTmpname,
		// clock returns the time since the host was made. Processor time would be of little use
		// for a script that waits for devices.
		"clock": func(L *lua.LState) int {
			L.Push(lua.LNumber(time.Since(started).Seconds()))
			return 1
		},
	}))
}

// osExit is os.exit(code). true is 0, false is 1.
func osExit(L *lua.LState) int {
	switch v := L.Get(1).(type) {
	case lua.LBool:
		if bool(v) {
			host.Exit(L, 0)
		}
		host.Exit(L, 1)
	case *lua.LNilType:
		host.Exit(L, 0)
	}
	host.Exit(L, integerArg(L, 1))
	return 0
}

func osGetenv(L *lua.LState) int {
	name := stringArg(L, 1)
	mustAllow(L, host.AccessEnv, name)
	v, ok := host.Of(L).Options().Env(name)
	if !ok {
		L.Push(lua.LNil)
	} else {
		L.Push(lua.LString(v))
	}
	return 1
}

func osDiffTime(L *lua.LState) int {
	earlier := 0.0
	if L.Get(2) != lua.LNil {
		earlier = numberArg(L, 2)
	}
	L.Push(lua.LNumber(numberArg(L, 1) - earlier))
	return 1
}

func osRemove(L *lua.LState) int {
	path := stringArg(L, 1)
	mustAllow(L, host.AccessWrite, path)
	err := host.TryBlock(L, func(context.Context) error { return os.Remove(path) })
	return host.PushFileResult(L, path, err)
}

func osRename(L *lua.LState) int {
	from, to := stringArg(L, 1), stringArg(L, 2)
	mustAllow(L, host.AccessWrite, from)
	mustAllow(L, host.AccessWrite, to)
	err := host.TryBlock(L, func(context.Context) error { return os.Rename(from, to) })
	return host.PushFileResult(L, from, err)
}

func osTmpname(L *lua.LState) int {
	var name string
	mustAllow(L, host.AccessWrite, os.TempDir())
	host.Block(L, func(context.Context) error {
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

func osDate(L *lua.LState) int {
	format := stringOr(L, 1, "%c")
	at := time.Now()
	if L.Get(2) != lua.LNil {
		sec, frac := math.Modf(numberArg(L, 2))
		if !(math.Abs(sec) <= maxDate) {
			L.Push(lua.LNil)
			return 1
		}
		at = time.Unix(int64(sec), int64(frac*1e9))
	}
	if strings.HasPrefix(format, "!") {
		format, at = format[1:], at.UTC()
	}
	if strings.HasPrefix(format, "*t") {
		L.Push(dateTable(L, at))
		return 1
	}
	s, err := host.Strftime(format, at)
	if err != nil {
		L.ArgError(1, err.Error())
	}
	L.Push(lua.LString(s))
	return 1
}

// maxDate is the last time that os.date formats, in seconds. It is the end of the year 2147483647,
// the last one that C supports.
const maxDate = 67768036191676799

// dateTable makes the table that os.date returns for "*t".
func dateTable(L *lua.LState, at time.Time) *lua.LTable {
	t := L.CreateTable(0, 9)
	t.RawSetString("sec", lua.LNumber(at.Second()))
	t.RawSetString("min", lua.LNumber(at.Minute()))
	t.RawSetString("hour", lua.LNumber(at.Hour()))
	t.RawSetString("day", lua.LNumber(at.Day()))
	t.RawSetString("month", lua.LNumber(at.Month()))
	t.RawSetString("year", lua.LNumber(at.Year()))
	t.RawSetString("wday", lua.LNumber(at.Weekday()+1))
	t.RawSetString("yday", lua.LNumber(at.YearDay()))
	t.RawSetString("isdst", lua.LBool(at.IsDST()))
	return t
}

// osTime is os.time(): now, or the local time that a table describes.
func osTime(L *lua.LState) int {
	if L.Get(1) == lua.LNil {
		L.Push(lua.LNumber(time.Now().Unix()))
		return 1
	}
	t := L.CheckTable(1)
	// The order is that of lua5.1, so that the error names the same missing field.
	sec := dateField(L, t, "sec", 0)
	minute := dateField(L, t, "min", 0)
	hour := dateField(L, t, "hour", 12)
	day := dateField(L, t, "day", -1)
	month := dateField(L, t, "month", -1)
	year := dateField(L, t, "year", -1)
	// Date normalises fields that are out of range.
	wall := time.Date(year, time.Month(month), day, hour, minute, sec, 0, time.UTC).Unix()
	isDST := L.GetField(t, "isdst")
	if isDST == lua.LNil {
		at, _ := localTime(wall)
		L.Push(lua.LNumber(at))
		return 1
	}
	L.Push(lua.LNumber(localTimeWith(wall, lua.LVAsBool(isDST))))
	return 1
}

// dateField returns a field of a date table. A negative default means that it is required.
func dateField(L *lua.LState, t *lua.LTable, name string, def int) int {
	n, ok := 0.0, false
	switch v := L.GetField(t, name).(type) {
	case lua.LNumber:
		n, ok = float64(v), true
	case lua.LString:
		n, ok = luanum.Parse(string(v))
	}
	switch {
	case ok:
		return int(max(math.MinInt32, min(math.MaxInt32, n)))
	case def < 0:
		L.RaiseError("field '%s' missing in date table", name)
	}
	return def
}

// zoneAt returns the offset of the local time zone from UTC at a time, in seconds, and whether that
// is daylight saving time.
func zoneAt(unix int64) (offset int64, isDST bool) {
	at := time.Unix(unix, 0)
	_, seconds := at.Zone()
	return int64(seconds), at.IsDST()
}

const day = 24 * 60 * 60

// localTime returns the time at which local clocks show wall, which is in seconds since 1970 as if
// the clocks showed UTC. If they show wall twice, it returns the first time. If they skip wall,
// exists is false and the time is computed with the offset before the gap.
func localTime(wall int64) (unix int64, exists bool) {
	before, _ := zoneAt(wall - day)
	after, _ := zoneAt(wall + day)
	for _, offset := range []int64{before, after} {
		actual, _ := zoneAt(wall - offset)
		if actual == offset {
			return wall - offset, true
		}
	}
	return wall - before, false
}

// localTimeWith does what localTime does for clocks that show daylight saving time if isDST is
// true, and standard time otherwise. As with mktime of C, noon in winter with isDST is 11 o'clock.
func localTimeWith(wall int64, isDST bool) int64 {
	unix, exists := localTime(wall)
	offset, actual := zoneAt(unix)
	if exists && actual == isDST {
		return unix
	}
	for days := int64(1); days <= 366; days++ {
		for _, near := range []int64{wall - days*day, wall + days*day} {
			offset, actual := zoneAt(near)
			if actual == isDST {
				return wall - offset
			}
		}
	}
	const hour = 60 * 60
	if isDST {
		return wall - offset - hour
	}
	return wall - offset + hour
}
