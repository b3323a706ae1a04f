package lua51

import (
	"math"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/luanum"
)

// numberArg returns the number at index at. A string that Lua can convert to a number is accepted.
func numberArg(L *lua.LState, at int) float64 {
	switch v := L.Get(at).(type) {
	case lua.LNumber:
		return float64(v)
	case lua.LString:
		n, ok := luanum.Parse(string(v))
		if ok {
			return n
		}
	}
	L.TypeError(at, lua.LTNumber)
	return 0
}

// integerArg returns the number at index at without its fraction. Numbers outside of the int32
// range become its nearest end.
func integerArg(L *lua.LState, at int) int {
	n := math.Trunc(numberArg(L, at))
	switch {
	case math.IsNaN(n):
		return 0
	case n > math.MaxInt32:
		return math.MaxInt32
	case n < math.MinInt32:
		return math.MinInt32
	}
	return int(n)
}

// stringArg returns the string at index at. A number is converted as by tostring.
func stringArg(L *lua.LState, at int) string {
	switch v := L.Get(at).(type) {
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return luanum.Format(float64(v))
	}
	L.TypeError(at, lua.LTString)
	return ""
}

// stringOr is stringArg with a default for nil.
func stringOr(L *lua.LState, at int, def string) string {
	if L.Get(at) == lua.LNil {
		return def
	}
	return stringArg(L, at)
}

// mustAllow raises an error if the script may not use value.
func mustAllow(L *lua.LState, access host.Access, value string) {
	err := host.Allow(L, access, value)
	if err != nil {
		host.Raise(L, err)
	}
}
