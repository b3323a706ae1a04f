package api

import (
	"math"
	"reflect"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Keyed is implemented by instances of a class that are compared by value. Two instances are
// equal if Key returns the same comparable value.
type Keyed interface{ Key() any }

// The types of keys for objects that are compared by value.
type (
	dataKey string
	dateKey struct {
		seconds     int64
		nanoseconds int
	}
)

// Key returns a key for a Go map. It is the same for two Lua values that are equal by ==, except
// that a table is equal only to itself, whatever its metatable says. It returns false for nil and
// for nan, which cannot be keys.
func Key(v lua.LValue) (any, bool) {
	switch x := v.(type) {
	case *lua.LNilType:
		return nil, false
	case lua.LNumber:
		return x, !math.IsNaN(float64(x))
	case *lua.LUserData:
		return objectKey(x), true
	}
	return v, true
}

func objectKey(ud *lua.LUserData) any {
	switch x := ud.Value.(type) {
	case *host.Data:
		return dataKey(x.Bytes)
	case host.UInt64:
		if x <= math.MaxInt64 {
			return host.Int64(x)
		}
		return x
	case host.Int64:
		return x
	case *Object:
		if k, ok := x.Value.(Keyed); ok {
			return k.Key()
		}
		if reflect.TypeOf(x.Value).Kind() == reflect.Pointer {
			return x.Value
		}
	}
	if t, ok := ud.Value.(time.Time); ok {
		return dateKey{t.Unix(), t.Nanosecond()}
	}
	return ud
}
