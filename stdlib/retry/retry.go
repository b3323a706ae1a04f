// Package retry has the script modules imd.retry and imd.eventually, which call a function until it
// succeeds.
//
//	local info = require("imd.retry")(function() return dev:info() end, { times = 5 })
package retry

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Module declares imd.retry.
func Module() *api.Module {
	return &api.Module{
		Name: "retry",
		Doc:  "Calls a function until it succeeds: retry(fn, opts).",
		Perm: "none",
		Call: api.Function("retry", "Calls fn until it does not raise an error, and returns its "+
			"results. After the last try it raises the error of that try, whose details.tries "+
			"is the number of tries. If the task is cancelled, fn is not called again.",
			"fn opts?", retry,
			api.ParamDoc("fn", "what to call; it gets the number of the try"),
			api.Returns("any ..."),
			api.Example(`local retry = require("imd.retry")
return retry(function(try) assert(try == 3) return "ok" end, { delay = 0 }) -- => "ok"`)),
	}
}

// EventuallyModule declares imd.eventually.
func EventuallyModule() *api.Module {
	return &api.Module{
		Name: "eventually",
		Doc:  "Waits until a function returns a true value: eventually(fn, opts).",
		Perm: "none",
		Call: api.Function("eventually", "Calls fn until it returns a true value, and returns its "+
			"results. If fn raises an error, it is called again; the last such error is the "+
			"cause of the error with code timeout. The timeout does not interrupt a call of fn.",
			"fn opts?", eventually,
			api.ParamDoc("fn", "what to call"),
			api.Raises("timeout"),
			api.Returns("any ..."),
			api.Example(`local n = 0
local function ready() n = n + 1 return n > 2 and n end
return require("imd.eventually")(ready, { interval = 0.001 }) -- => 3`)),
	}
}

type retryOptions struct {
	Times    int            `lua:"times" doc:"how often fn is called at most" default:"3"`
	Delay    time.Duration  `lua:"delay" doc:"seconds to wait after the first try" default:"1"`
	Backoff  float64        `lua:"backoff" doc:"factor by which the delay grows" default:"2"`
	MaxDelay *time.Duration `lua:"max_delay" doc:"seconds to wait at most after a try"`
	Jitter   float64        `lua:"jitter" doc:"share of the delay that is random, 0 to 1"`
	On       []string       `lua:"on" doc:"error codes after which to try again, all by default"`
	OnError  *lua.LFunction `lua:"on_error" doc:"called with each error and the number of the try"`
}

func (o retryOptions) check(c *api.Call) error {
	switch {
	case o.Times < 1:
		return c.ArgError(2, "times must be at least 1")
	case !(o.Backoff > 0) || math.IsInf(o.Backoff, 0):
		return c.ArgError(2, "backoff must be more than 0")
	case !(o.Jitter >= 0 && o.Jitter <= 1):
		return c.ArgError(2, "jitter must be 0 to 1")
	}
	return nil
}

// delay returns how long to wait after a try.
func (o retryOptions) delay(try int) time.Duration {
	if o.Delay == api.NoTimeout {
		return math.MaxInt64
	}
	d := float64(o.Delay) * math.Pow(o.Backoff, float64(try-1))
	if o.MaxDelay != nil && *o.MaxDelay != api.NoTimeout {
		d = min(d, float64(*o.MaxDelay))
	}
	d *= 1 + o.Jitter*(2*rand.Float64()-1)
	if d >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(d)
}

func retry(c *api.Call, fn *lua.LFunction, o retryOptions) (api.Values, error) {
	if err := o.check(c); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		res, err := c.PCall(fn, lua.LNumber(try))
		if err == nil {
			return res, nil
		}
		var e *host.Error
		if !errors.As(err, &e) {
			return nil, err // the script ends
		}
		if o.OnError != nil {
			c.Invoke(o.OnError, 0, c.Wrap(err), lua.LNumber(try))
		}
		if try == o.Times || o.On != nil && !slices.Contains(o.On, e.Code) {
			return nil, counted(e, try)
		}
		host.Sleep(c.L, o.delay(try))
	}
}

// counted returns a copy of the error with the number of tries in its details. It does not change
// e, because the script may hold it.
func counted(e *host.Error, tries int) error {
	details := maps.Clone(e.Details)
	if details == nil {
		details = map[string]any{}
	}
	details["tries"] = tries
	return &host.Error{
		Code: e.Code, Message: e.Message, Service: e.Service, Op: e.Op, Device: e.Device,
		Hint: e.Hint, Where: e.Where, Traceback: e.Traceback, Details: details, Cause: e.Cause,
		Suppressed: e.Suppressed,
	}
}

type eventuallyOptions struct {
	Timeout  time.Duration `lua:"timeout" doc:"seconds to wait at most" default:"10"`
	Interval time.Duration `lua:"interval" doc:"seconds between two calls" default:"0.2"`
	Message  string        `lua:"message" doc:"the condition, for the text of the error"`
}

func eventually(c *api.Call, fn *lua.LFunction, o eventuallyOptions) (api.Values, error) {
	if o.Interval == api.NoTimeout {
		return nil, c.ArgError(2, "interval must be a number of seconds")
	}
	start := time.Now()
	for calls := 1; ; calls++ {
		res, err := c.PCall(fn)
		var e *host.Error
		if err != nil && !errors.As(err, &e) {
			return nil, err // the script ends
		}
		if len(res) > 0 && lua.LVAsBool(res[0]) {
			return res, nil
		}
		wait := o.Interval
		if o.Timeout != api.NoTimeout {
			left := o.Timeout - time.Since(start)
			if left <= 0 {
				return nil, late(o, calls, err)
			}
			wait = min(wait, left)
		}
		host.Sleep(c.L, wait)
	}
}

// late returns the error for a condition that did not become true. cause is the error of the last
// call.
func late(o eventuallyOptions, calls int, cause error) error {
	what := o.Message
	if what == "" {
		what = "the function returned no true value"
	}
	e := host.Errorf("timeout", "%s within %v (%d calls)", what, o.Timeout, calls)
	e.Details = map[string]any{"calls": calls}
	e.Cause = cause
	return e
}
