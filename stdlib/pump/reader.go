package pump

import (
	"context"
	"errors"
	"io"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Reader reads from a pump for a script, one task at a time.
type Reader struct {
	*Pump
	Module string // for messages
	From   string // name of the source, for messages
	Limit  int64  // longest line
}

// Timeout returns the argument of Call.Timeout for an optional timeout. Without a timeout it is
// api.NoTimeout. For 0 it is the shortest duration, because 0 would mean the default.
func Timeout(timeout *time.Duration) time.Duration {
	switch {
	case timeout == nil:
		return api.NoTimeout
	case *timeout == 0:
		return time.Nanosecond
	}
	return *timeout
}

// AtEnd reports whether everything has been read and taken.
func (r *Reader) AtEnd() bool {
	_, finished := r.Take(0)
	return finished
}

// NextLine returns the next line without its end, nil at the end of the output or after limit.
func (r *Reader) NextLine(c *api.Call, limit time.Duration) (lua.LValue, error) {
	var line []byte
	ok, err := r.until(c, limit, func() (ok bool, err error) {
		line, ok, err = r.line(r.Limit)
		return ok, err
	})
	if !ok {
		return lua.LNil, err
	}
	host.MakeString(c.L, float64(len(line)))
	return lua.LString(line), nil
}

const defaultRead = 64 << 10

// NextBytes returns up to most bytes, nil at the end of the output or after limit.
func (r *Reader) NextBytes(c *api.Call, most *int64, limit time.Duration) (lua.LValue, error) {
	n := int64(defaultRead)
	if most != nil {
		n = min(*most, r.Limit)
		if n < 1 {
			return nil, c.ArgError(1, "must be at least 1")
		}
	}
	var b []byte
	ok, err := r.until(c, limit, func() (bool, error) {
		var finished bool
		b, finished = r.Take(n)
		if len(b) == 0 && finished {
			return false, io.EOF
		}
		return len(b) > 0, nil
	})
	if !ok {
		return lua.LNil, err
	}
	host.MakeString(c.L, float64(len(b)))
	return lua.LString(b), nil
}

// until calls try until it succeeds. It returns false at the end of the output or after limit. try
// is called with the interpreter lock held, so that nothing that it takes from the output is lost
// if the task is cancelled.
func (r *Reader) until(c *api.Call, limit time.Duration, try func() (bool, error)) (bool, error) {
	end := time.Now().Add(limit)
	for {
		ok, err := try()
		if ok {
			return true, nil
		}
		if err == nil {
			left := limit
			if limit != api.NoTimeout {
				left = max(time.Until(end), time.Nanosecond)
			}
			err = c.Timeout(left).TryBlock(r.Wait)
		}
		switch {
		case err == nil:
		case errors.Is(err, errLong):
			e := host.Errorf("too_large", "%s: a line of %s is longer than the limit of %d bytes",
				r.Module, r.From, r.Limit)
			return false, e.WithHint("raise the limit with --max-string, or use read")
		case err == io.EOF:
			return false, r.Failure()
		case errors.Is(err, context.DeadlineExceeded):
			return false, nil
		default:
			return false, err
		}
	}
}
