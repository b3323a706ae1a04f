package values

import (
	"io/fs"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

func setString(_ *Values, v any) (any, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	return nil, ErrType
}

func setBool(_ *Values, v any) (any, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return nil, ErrType
}

// setSwitch accepts a boolean, 0 or 1, and keeps an integer. Hosts write both types
// and expect to read integers.
func setSwitch(_ *Values, v any) (any, error) {
	if b, ok := v.(bool); ok {
		if b {
			return int64(1), nil
		}
		return int64(0), nil
	}
	n, ok := plist.Int(v)
	switch {
	case !ok:
		return nil, ErrType
	case n != 0 && n != 1:
		return nil, fs.ErrInvalid
	}
	return n, nil
}

func setName(vs *Values, v any) (any, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return nil, ErrType
	case s == "":
		return nil, fs.ErrInvalid
	}
	vs.mu.Lock()
	vs.name = s
	vs.mu.Unlock()
	return nil, nil
}

func setTimeZone(_ *Values, v any) (any, error) {
	s, ok := v.(string)
	if !ok {
		return nil, ErrType
	}
	// LoadLocation accepts "" and "Local", which are not names of time zones.
	if _, err := time.LoadLocation(s); err != nil || s == "" || s == "Local" {
		return nil, fs.ErrInvalid
	}
	return s, nil
}

// setClock sets the clock of the phone. The value is a number of seconds, an integer
// or a real.
func setClock(vs *Values, v any) (any, error) {
	sec, ok := v.(float64)
	if !ok {
		n, isInt := plist.Int(v)
		if !isInt {
			return nil, ErrType
		}
		sec = float64(n)
	}
	// Refuse times before 1970 and times that do not fit into a time.Duration.
	if !(sec >= 0 && sec < 1<<33) {
		return nil, fs.ErrInvalid
	}
	vs.o.Clock.Set(time.Unix(0, 0).Add(time.Duration(sec * float64(time.Second))))
	return nil, nil
}
