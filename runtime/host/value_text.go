package host

import (
	"fmt"
	"sort"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/luanum"
)

// ToString returns the text that tostring(v) returns. It uses the metafields
// __tostring and __name. A number is as short as possible without loss, and
// integers up to 2^63 have no exponent.
func ToString(L *lua.LState, v lua.LValue) string {
	switch v := v.(type) {
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return luanum.Format(float64(v))
	case *lua.LTable, *lua.LUserData:
		if mm := L.GetMetaField(v, "__tostring"); mm != lua.LNil {
			res := Call(L, mm, 1, v)
			if s, ok := res[0].(lua.LString); ok {
				return string(s)
			}
			if n, ok := res[0].(lua.LNumber); ok {
				return luanum.Format(float64(n))
			}
			L.RaiseError("'__tostring' must return a string")
		}
		if name, ok := L.GetMetaField(v, "__name").(lua.LString); ok {
			return fmt.Sprintf("%s: %p", string(name), v)
		}
	}
	return plainString(v)
}

// plainString is like ToString but does not call metamethods.
func plainString(v lua.LValue) string {
	switch v := v.(type) {
	case lua.LNumber:
		return luanum.Format(float64(v))
	case *lua.LFunction:
		if v.IsG {
			return fmt.Sprintf("builtin: %p", v)
		}
	}
	return v.String()
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
