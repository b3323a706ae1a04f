package api

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// NoTimeout is the duration for an argument of math.huge. It means a wait without time limit.
const NoTimeout = time.Duration(-1)

// AtOnce is the duration for an option "timeout" of 0, unless the option has a default. The wait
// ends at once.
const AtOnce = time.Nanosecond

// getter converts a Lua value and stores it in dst, which is settable and zero.
type getter func(L *lua.LState, v lua.LValue, dst reflect.Value) error

var (
	typeLValue   = reflect.TypeFor[lua.LValue]()
	typeTable    = reflect.TypeFor[*lua.LTable]()
	typeFunction = reflect.TypeFor[*lua.LFunction]()
	typeAny      = reflect.TypeFor[any]()
	typeBytes    = reflect.TypeFor[[]byte]()
	typeDuration = reflect.TypeFor[time.Duration]()
	typeTime     = reflect.TypeFor[time.Time]()
	typeError    = reflect.TypeFor[error]()
	typeCall     = reflect.TypeFor[*Call]()
	typeValues   = reflect.TypeFor[Values]()
)

// getterFor returns the getter for type t, or an error if a parameter cannot have that type.
func (ix *Index) getterFor(t reflect.Type) (getter, error) {
	switch t {
	case typeLValue:
		return func(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
			dst.Set(reflect.ValueOf(v))
			return nil
		}, nil
	case typeTable:
		return getTable, nil
	case typeFunction:
		return getFunction, nil
	case typeAny:
		return getAny, nil
	case typeBytes:
		return getBytes, nil
	case typeDuration:
		return getDuration, nil
	case typeTime:
		return getTime, nil
	}
	if c := ix.classOf(t); c != nil {
		return ix.objectGetter(c), nil
	}
	if r := ix.recordOf(t); r != nil {
		return recordGetter(r), nil
	}
	return ix.kindGetter(t)
}

func (ix *Index) kindGetter(t reflect.Type) (getter, error) {
	switch t.Kind() {
	case reflect.String:
		return getString, nil
	case reflect.Bool:
		return getBool, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return getInt, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return getUint, nil
	case reflect.Float32, reflect.Float64:
		return getFloat, nil
	case reflect.Pointer:
		return ix.pointerGetter(t)
	case reflect.Slice:
		return ix.sliceGetter(t)
	case reflect.Map:
		return ix.mapGetter(t)
	case reflect.Struct:
		o, err := ix.optionsFor(t)
		if err != nil {
			return nil, err
		}
		return o.get, nil
	}
	return nil, fmt.Errorf("parameters of type %s are not supported", t)
}

func getString(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	s, ok := v.(lua.LString)
	if !ok {
		return mismatch("string", v)
	}
	dst.SetString(string(s))
	return nil
}

func getBool(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	b, ok := v.(lua.LBool)
	if !ok {
		return mismatch("boolean", v)
	}
	dst.SetBool(bool(b))
	return nil
}

// integerObject returns the int64 or uint64 of an Int64 or UInt64 object.
func integerObject(v lua.LValue) (any, bool) {
	if _, ok := v.(*lua.LUserData); !ok {
		return nil, false
	}
	switch n, err := host.FromLua(v); n.(type) {
	case int64, uint64:
		return n, err == nil
	}
	return nil, false
}

func getInt(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	var n int64
	switch x := v.(type) {
	case lua.LNumber:
		if float64(x) != math.Trunc(float64(x)) || math.IsInf(float64(x), 0) {
			return errors.New("number has no integer representation")
		}
		if float64(x) < -(1<<63) || float64(x) >= 1<<63 {
			return rangeError(dst)
		}
		n = int64(x)
	default:
		e, ok := integerObject(v)
		if !ok {
			return mismatch("integer", v)
		}
		if u, ok := e.(uint64); ok {
			if u > math.MaxInt64 {
				return rangeError(dst)
			}
			e = int64(u)
		}
		n = e.(int64)
	}
	if dst.OverflowInt(n) {
		return rangeError(dst)
	}
	dst.SetInt(n)
	return nil
}

func getUint(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	var n uint64
	switch x := v.(type) {
	case lua.LNumber:
		if float64(x) != math.Trunc(float64(x)) || math.IsInf(float64(x), 0) {
			return errors.New("number has no integer representation")
		}
		if x < 0 {
			return errors.New("must not be negative")
		}
		if float64(x) >= 1<<64 {
			return rangeError(dst)
		}
		n = uint64(x)
	default:
		e, ok := integerObject(v)
		if !ok {
			return mismatch("integer", v)
		}
		if i, ok := e.(int64); ok {
			if i < 0 {
				return errors.New("must not be negative")
			}
			e = uint64(i)
		}
		n = e.(uint64)
	}
	if dst.OverflowUint(n) {
		return rangeError(dst)
	}
	dst.SetUint(n)
	return nil
}

func rangeError(dst reflect.Value) error {
	if dst.CanUint() {
		return fmt.Errorf("number out of range 0 to %d", ^uint64(0)>>(64-dst.Type().Bits()))
	}
	top := int64(^uint64(0) >> 1 >> (64 - dst.Type().Bits()))
	return fmt.Errorf("number out of range %d to %d", -top-1, top)
}

func getFloat(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	n, ok := v.(lua.LNumber)
	if !ok {
		return mismatch("number", v)
	}
	dst.SetFloat(float64(n))
	return nil
}

func getTable(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	t, ok := v.(*lua.LTable)
	if !ok {
		return mismatch("table", v)
	}
	dst.Set(reflect.ValueOf(t))
	return nil
}

// getFunction accepts any value that can be called.
func getFunction(L *lua.LState, v lua.LValue, dst reflect.Value) error {
	f, ok := host.Function(L, v)
	if !ok {
		return mismatch("function", v)
	}
	dst.Set(reflect.ValueOf(f))
	return nil
}

func getAny(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	x, err := Plain(v)
	if err != nil {
		return err
	}
	if x != nil {
		dst.Set(reflect.ValueOf(x))
	}
	return nil
}

func getBytes(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	b, ok := host.Bytes(v)
	if !ok {
		return mismatch("string or Data", v)
	}
	dst.SetBytes(b)
	return nil
}

// seconds converts a number of seconds. math.huge becomes NoTimeout.
func seconds(n float64) (time.Duration, error) {
	switch {
	case math.IsNaN(n):
		return 0, errors.New("seconds expected, got nan")
	case n < 0:
		return 0, errors.New("seconds must not be negative")
	case n > float64(math.MaxInt64)/float64(time.Second):
		return NoTimeout, nil
	}
	return time.Duration(n * float64(time.Second)), nil
}

func getDuration(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	n, ok := v.(lua.LNumber)
	if !ok {
		return mismatch("seconds (number)", v)
	}
	d, err := seconds(float64(n))
	dst.SetInt(int64(d))
	return err
}

func getTime(_ *lua.LState, v lua.LValue, dst reflect.Value) error {
	var t time.Time
	switch x := v.(type) {
	case lua.LNumber:
		sec, frac := math.Modf(float64(x))
		if math.IsNaN(sec) || math.Abs(sec) > 1<<53 {
			return errors.New("number of seconds out of range")
		}
		t = time.Unix(int64(sec), int64(math.Round(frac*1e9)))
	default:
		g, err := host.FromLua(v)
		d, ok := g.(time.Time)
		if err != nil || !ok {
			return mismatch("Date", v)
		}
		t = d
	}
	dst.Set(reflect.ValueOf(t))
	return nil
}

// pointerGetter returns the getter for a pointer type *T. The pointer is nil if the argument was
// not given, so that a function can distinguish that from zero.
func (ix *Index) pointerGetter(t reflect.Type) (getter, error) {
	elem, err := ix.getterFor(t.Elem())
	if err != nil {
		return nil, err
	}
	return func(L *lua.LState, v lua.LValue, dst reflect.Value) error {
		if v == lua.LNil {
			return nil
		}
		p := reflect.New(t.Elem())
		if err := elem(L, v, p.Elem()); err != nil {
			return err
		}
		dst.Set(p)
		return nil
	}, nil
}

func (ix *Index) sliceGetter(t reflect.Type) (getter, error) {
	elem, err := ix.getterFor(t.Elem())
	if err != nil {
		return nil, err
	}
	return func(L *lua.LState, v lua.LValue, dst reflect.Value) error {
		if l, ok := listOf(v); ok && l.ref.Type().ConvertibleTo(t) {
			dst.Set(l.ref.Convert(t))
			return nil
		}
		tb, ok := v.(*lua.LTable)
		if !ok {
			return mismatch("table", v)
		}
		n := tb.Len()
		s := reflect.MakeSlice(t, n, n)
		for i := range n {
			if err := elem(L, tb.RawGetInt(i+1), s.Index(i)); err != nil {
				return fmt.Errorf("item %d: %w", i+1, err)
			}
		}
		if n == 0 {
			if k, _ := tb.Next(lua.LNil); k != lua.LNil {
				return fmt.Errorf("list expected, got a table with key %s", k)
			}
		}
		dst.Set(s)
		return nil
	}, nil
}

func (ix *Index) mapGetter(t reflect.Type) (getter, error) {
	if t.Key().Kind() != reflect.String {
		return nil, fmt.Errorf("parameters of type %s are not supported", t)
	}
	elem, err := ix.getterFor(t.Elem())
	if err != nil {
		return nil, err
	}
	return func(L *lua.LState, v lua.LValue, dst reflect.Value) error {
		tb, ok := v.(*lua.LTable)
		if !ok {
			return mismatch("table", v)
		}
		m := reflect.MakeMap(t)
		for k, x := tb.Next(lua.LNil); k != lua.LNil; k, x = tb.Next(k) {
			s, ok := k.(lua.LString)
			if !ok {
				return fmt.Errorf("keys must be strings, got %s %s", k.Type(), k)
			}
			e := reflect.New(t.Elem()).Elem()
			if err := elem(L, x, e); err != nil {
				return fmt.Errorf("key %q: %w", string(s), err)
			}
			m.SetMapIndex(reflect.ValueOf(string(s)).Convert(t.Key()), e)
		}
		dst.Set(m)
		return nil
	}, nil
}
