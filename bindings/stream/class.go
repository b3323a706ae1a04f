package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// predicate is the Lua predicate of a filtered stream.
type predicate = *lua.LFunction

// errClosed is returned by pull when the script has closed the stream.
var errClosed = errors.New("the stream was closed")

// pull returns the next value that passes every filter. It returns io.EOF at the
// end of the source, errClosed if the stream was closed, and errLate if no value
// came before until. The zero time means no limit.
func (s *Stream) pull(c *api.Call, until time.Time) (any, error) {
	for {
		if s.parent != nil {
			v, err := s.parent.pull(c, until)
			if err != nil {
				return nil, err
			}
			if lua.LVAsBool(c.Invoke(s.keep, 1, c.Wrap(v))[0]) {
				return v, nil
			}
			continue
		}
		v, ok, err := s.pop()
		if err == io.EOF && s.Closed() {
			return nil, errClosed
		}
		if ok || err != nil {
			return v, err
		}
		err = c.Timeout(api.NoTimeout).TryBlock(func(ctx context.Context) error {
			return s.wait(ctx, until)
		})
		if err != nil {
			return nil, err
		}
	}
}

// closedError returns the error of a call whose stream was closed while it waited.
func (s *Stream) closedError() error {
	return host.Errorf("closed", "%s: the stream was closed while a call waited in it", s.Kind())
}

// deadline returns the time after d. It returns the zero time if d is nil or negative,
// which mean no limit.
func deadline(d *time.Duration) time.Time {
	if d == nil || *d < 0 {
		return time.Time{}
	}
	return time.Now().Add(*d)
}

func next(c *api.Call, s *Stream, timeout *time.Duration) (any, error) {
	v, err := s.pull(c, deadline(timeout))
	switch err {
	case errLate, io.EOF:
		return nil, nil
	case errClosed:
		return nil, s.closedError()
	}
	return v, err
}

// step returns the next value for a for loop. It returns nil, which ends the loop, at
// the end of the source or when the stream is closed.
func step(c *api.Call, s *Stream) (any, error) {
	v, err := s.pull(c, time.Time{})
	if err == errClosed || err == io.EOF {
		return nil, nil
	}
	return v, err
}

type findOptions struct {
	Timeout *time.Duration `lua:"timeout" doc:"seconds to wait; default 30, math.huge for ever"`
}

func find(c *api.Call, s *Stream, what lua.LValue, o findOptions) (any, error) {
	accept, err := matcher(c, s, what)
	if err != nil {
		return nil, err
	}
	limit := 30 * time.Second
	if o.Timeout != nil {
		limit = *o.Timeout
	}
	until := deadline(&limit)
	for {
		v, err := s.pull(c, until)
		switch {
		case err == errLate:
			return nil, host.Errorf("timeout", "%s: nothing matched %s within %v",
				s.Kind(), describe(what), limit)
		case err == errClosed:
			return nil, s.closedError()
		case err == io.EOF:
			return nil, host.Errorf("closed", "%s: ended before anything matched %s",
				s.Kind(), describe(what))
		case err != nil:
			return nil, err
		}
		if accept(v) {
			return v, nil
		}
	}
}

func describe(what lua.LValue) string {
	if s, ok := what.(lua.LString); ok {
		return fmt.Sprintf("%q", string(s))
	}
	return "the function"
}

// matcher returns the test on values that the first argument of find describes.
func matcher(c *api.Call, s *Stream, what lua.LValue) (func(any) bool, error) {
	switch w := what.(type) {
	case lua.LString:
		text := s.root().opts.Text
		if text == nil {
			return nil, c.ArgError(1, "function expected: values of a %s stream are not text",
				s.Kind())
		}
		return func(v any) bool { return strings.Contains(text(v), string(w)) }, nil
	case *lua.LFunction:
		return func(v any) bool { return lua.LVAsBool(c.Invoke(w, 1, c.Wrap(v))[0]) }, nil
	}
	return nil, c.ArgError(1, "text or function expected, got %s", what.Type())
}

type collectOptions struct {
	Count int            `lua:"count" doc:"stop after so many values"`
	Limit *time.Duration `lua:"seconds" doc:"stop after this time"`
}

// collect takes values until there are Count of them or Limit has passed.
func collect(c *api.Call, s *Stream, o collectOptions) ([]any, error) {
	if o.Count <= 0 && o.Limit == nil {
		return nil, c.ArgError(1, "give count, seconds or both")
	}
	until := deadline(o.Limit)
	out := []any{}
	for o.Count <= 0 || len(out) < o.Count {
		v, err := s.pull(c, until)
		switch err {
		case nil:
			out = append(out, v)
		case errLate, io.EOF:
			return out, nil
		case errClosed:
			return nil, s.closedError()
		default:
			return nil, err
		}
	}
	return out, nil
}

// filter returns a stream of the values of s for which fn returns true.
func filter(c *api.Call, s *Stream, fn *lua.LFunction) api.Opened[*Stream] {
	return api.Own(c, &Stream{parent: s, keep: fn, opts: s.opts})
}

// on starts a task that calls fn with each value.
func on(c *api.Call, s *Stream, fn *lua.LFunction) *host.Task {
	loop := c.L.NewFunction(func(L *lua.LState) int {
		inner := c.On(L)
		for {
			v, err := s.pull(inner, time.Time{})
			if err == errClosed || err == io.EOF {
				return 0
			}
			if err != nil {
				host.Raise(L, err)
			}
			inner.Invoke(fn, 0, inner.Wrap(v))
		}
	})
	return host.Spawn(c.L, s.Kind()+" handler", loop)
}

// Class declares Stream for the scripts of one host.
func Class() *api.Class {
	c := api.NewClass[*Stream]("Stream", "An endless source: log entries, notifications, devices. "+
		"Pull from it with `for x in stream do`, next, find or collect. A bounded queue stands "+
		"between the source and the script: a script that is too slow loses the oldest values, "+
		"and `dropped` says how many.")
	c.Var = "stream"
	c.Closer = true
	c.NextType = "any"
	c.String = func(s *Stream) string {
		return fmt.Sprintf("Stream<%s, %d read, %d dropped>", s.Kind(), s.Read(), s.Dropped())
	}
	c.Next = step
	c.Shared = "each value goes to one task: the queue has a lock"
	c.Fields = []*api.Field{
		api.Property("dropped", "how many values were lost because nobody took them in time",
			func(s *Stream) uint64 { return s.Dropped() }),
		api.Property("malformed", "how many values the device sent in a form that could not be "+
			"read; they are passed over",
			func(s *Stream) uint64 { return s.Malformed() }),
		api.Property("gaps", "how often the connection was lost and the stream went on; what "+
			"happened in between is not in it",
			func(s *Stream) uint64 { return s.Gaps() }),
		api.Property("count", "how many values were taken so far",
			func(s *Stream) uint64 { return s.Read() }),
	}
	const open = "local dev = device()\nlocal stream = dev:syslog()\n"
	c.Methods = []*api.Func{
		api.Method("next", "Takes the next value, waiting for it. Returns nil at the end of the "+
			"source, or when the time runs out.",
			"timeout?", next,
			api.ParamDoc("timeout", "seconds to wait; for ever when left out"),
			api.Returns("any value"),
			api.Perm("none"),
			api.Example(open+"print(stream:next(5))")),
		api.Method("find", "Takes values until one matches and returns it; the others are gone. "+
			"Text matches anywhere in the value's text, letter by letter; a function is asked "+
			"about each value.",
			"what opts?", find,
			api.ParamDoc("what", "text, or a function that gets a value and says true"),
			api.ParamDoc("opts", "how long to wait"),
			api.Returns("any value"),
			api.Raises("timeout", "closed"),
			api.Perm("none"),
			api.Example(open+`local function any(e) return e.pid > 0 end
local entry = stream:find(any, { timeout = 10 })
print(entry.message)`)),
		api.Method("collect", "Takes values until there are `count` of them, or for `seconds`, "+
			"and returns them as a list.",
			"opts", collect,
			api.ParamDoc("opts", "count, seconds or both"),
			api.Returns("any[] values"),
			api.Perm("none"),
			api.Example(open+"print(#stream:collect{ count = 3, seconds = 10 })")),
		api.Method("filter", "Returns a stream of the values for which fn says true. Both read "+
			"from the same source: take values from one of them.",
			"fn", filter,
			api.ParamDoc("fn", "gets a value, returns whether to keep it"),
			api.Returns("Stream stream"),
			api.Perm("none"),
			api.Example(open+`local function said(e) return e.message ~= "" end
for e in stream:filter(said) do print(e.message) break end`)),
		api.Method("on", "Starts a task that calls fn with each value, until the stream ends or "+
			"the task is cancelled.",
			"fn", on,
			api.ParamDoc("fn", "gets a value"),
			api.Returns("Task task"),
			api.Perm("none"),
			api.Example(open+`local t = stream:on(function(e) log.info(e.message) end)
t:cancel()`)),
	}
	return c
}
