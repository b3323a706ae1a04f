package api

import (
	"context"
	"errors"
	"io"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Source is where a Stream gets its values: Go values that Wrap can convert.
type Source interface {
	// Next waits for the next value; io.EOF is the end.
	Next(ctx context.Context) (any, error)
	Close() error
}

// A Source may also have these: Ready gives a value that is there already, without waiting, so that the
// interpreter lock need not be given up; Dropped counts what was lost because the script was too slow.
type (
	readySource   interface{ Ready() (any, bool) }
	droppedSource interface{ Dropped() uint64 }
)

// Stream is the class behind everything that goes on for a while: log lines, events, samples. Bindings
// return NewStream and get the whole family of methods.
type Stream struct {
	name   string
	src    Source
	parent *Stream        // of a filtered stream
	keep   *lua.LFunction // the filter
	count  uint64
	ended  bool
}

// NewStream makes a stream; name ("syslog") is what it prints as.
func NewStream(name string, src Source) *Stream { return &Stream{name: name, src: src} }

// Close ends the source. A filtered stream closes the one that it filters.
func (s *Stream) Close() error {
	if s.parent != nil {
		return s.parent.Close()
	}
	return s.src.Close()
}

// StreamModule declares the class Stream. The standard library installs it.
func StreamModule() *Module {
	c := NewClass[*Stream]("Stream", "Values that arrive one after the other: `for x in stream do ... end`. "+
		"Waits without limit unless a timeout is given, and closes with its scope.")
	c.Closer, c.NextType = true, "any"
	c.String = (*Stream).describe
	c.Next = func(c *Call, s *Stream) lua.LValue { return s.next(c, NoTimeout) }
	c.Fields = []*Field{
		Property("count", "values read so far", func(s *Stream) uint64 { return s.count }),
		Property("dropped", "values lost because the script read too slowly", (*Stream).dropped),
		Property("name", "what the stream carries", func(s *Stream) string { return s.name }),
	}
	c.Methods = streamMethods()
	return &Module{Name: "stream", Doc: "The class of all streams.", Perm: "none", Classes: []*Class{c}}
}

type findOptions struct {
	Timeout time.Duration `lua:"timeout" doc:"seconds to wait" default:"30"`
}

type collectOptions struct {
	Count   int           `lua:"count" doc:"stop after so many values"`
	Seconds time.Duration `lua:"seconds" doc:"stop after so many seconds"`
}

func streamMethods() []*Func {
	return []*Func{
		Method("next", "Waits for the next value. Returns nil when the stream ended or the time is over.", "timeout?", streamNext,
			ParamDoc("timeout", "seconds to wait, no limit when absent"), Returns("any value"),
			Example("local entry = stream:next(5)")),
		Method("find", "Waits for a value that matches, and returns it. Text is matched with a Lua pattern; records by their "+
			"message. Raises timeout, or not_found when the stream ends before.", "what opts?", streamFind,
			ParamDoc("what", "Lua pattern, or function that gets the value and returns true for the right one"),
			Returns("any value"), Raises("timeout", "not_found"), Example(`stream:find("didFinishLaunching", { timeout = 20 })`)),
		Method("collect", "Reads values into a table, until the stream ends or the limit is reached.",
			"limit?:integer|StreamCollectOptions", streamCollect,
			ParamDoc("limit", "number of values, or a table { count = n, seconds = s }"), Returns("any[] values"),
			Example("local ten = stream:collect(10)")),
		Method("filter", "Makes a stream of those values for which fn returns true. It reads from this stream.", "fn",
			func(_ *Call, s *Stream, fn *lua.LFunction) *Stream { return &Stream{name: s.name, parent: s, keep: fn} },
			ParamDoc("fn", "gets the value"), Returns("Stream"),
			Example(`local faults = stream:filter(function(e) return e.level == "fault" end)`)),
		Method("on", "Starts a task that calls fn for each value.", "fn", streamOn, ParamDoc("fn", "gets the value"),
			Returns("Task"), Example("stream:on(function(e) print(e) end)")),
	}
}

func (s *Stream) describe() string {
	state := "open"
	if s.ended {
		state = "ended"
	}
	return "Stream<" + s.name + ", " + lua.LNumber(s.count).String() + " read, " + state + ">"
}

func (s *Stream) dropped() uint64 {
	if s.parent != nil {
		return s.parent.dropped()
	}
	if d, ok := s.src.(droppedSource); ok {
		return d.Dropped()
	}
	return 0
}

// next returns the next value, nil at the end and when the time is over.
func (s *Stream) next(c *Call, wait time.Duration) lua.LValue {
	v, err := s.read(c, deadlineIn(wait))
	switch {
	case err == nil:
		return v
	case errors.Is(err, io.EOF), isTimeout(err):
		return lua.LNil
	}
	host.Raise(c.L, err)
	return lua.LNil
}

// deadlineIn is the time at which a wait is over; zero when it never is.
func deadlineIn(wait time.Duration) time.Time {
	if wait == NoTimeout {
		return time.Time{}
	}
	return time.Now().Add(wait)
}

func isTimeout(err error) bool {
	var e *host.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) && e.Code == "timeout"
}

// read returns the next value, or io.EOF, a deadline error, or the error of the source.
func (s *Stream) read(c *Call, end time.Time) (lua.LValue, error) {
	if s.parent != nil {
		return s.readFiltered(c, end)
	}
	if s.ended {
		return nil, io.EOF
	}
	v, err := s.pull(c, end)
	if err != nil {
		s.ended = errors.Is(err, io.EOF)
		return nil, err
	}
	s.count++
	return c.Wrap(v), nil
}

func (s *Stream) readFiltered(c *Call, end time.Time) (lua.LValue, error) {
	for {
		v, err := s.parent.read(c, end)
		if err != nil {
			s.ended = s.parent.ended
			return nil, err
		}
		if lua.LVAsBool(c.Invoke(s.keep, 1, v)[0]) {
			s.count++
			return v, nil
		}
	}
}

func (s *Stream) pull(c *Call, end time.Time) (v any, err error) {
	if r, ok := s.src.(readySource); ok {
		if v, ok := r.Ready(); ok {
			return v, nil
		}
	}
	wait := NoTimeout
	if !end.IsZero() {
		if wait = time.Until(end); wait <= 0 {
			return nil, context.DeadlineExceeded
		}
	}
	err = host.TryWithTimeout(c.L, wait, func(ctx context.Context) (err error) {
		v, err = s.src.Next(ctx)
		return err
	})
	return v, err
}

func streamNext(c *Call, s *Stream, timeout *time.Duration) lua.LValue {
	if timeout == nil {
		return s.next(c, NoTimeout)
	}
	return s.next(c, *timeout)
}

func streamFind(c *Call, s *Stream, what lua.LValue, o findOptions) (lua.LValue, error) {
	match, err := s.matcher(c, what)
	if err != nil {
		return nil, err
	}
	end := deadlineIn(o.Timeout)
	for {
		v, err := s.read(c, end)
		switch {
		case errors.Is(err, io.EOF):
			return nil, host.Errorf("not_found", "%s: the stream ended without a match for %s", s.name, host.ToString(c.L, what))
		case err != nil && isTimeout(err):
			return nil, host.Errorf("timeout", "%s: no match for %s within %s", s.name, host.ToString(c.L, what), o.Timeout)
		case err != nil:
			return nil, err
		}
		if match(v) {
			return v, nil
		}
	}
}

// matcher makes the test for find.
func (s *Stream) matcher(c *Call, what lua.LValue) (func(lua.LValue) bool, error) {
	switch what.(type) {
	case *lua.LFunction:
		return func(v lua.LValue) bool { return lua.LVAsBool(c.Invoke(what, 1, v)[0]) }, nil
	case lua.LString:
		find := c.L.GetField(c.L.GetGlobal("string"), "find")
		return func(v lua.LValue) bool {
			return c.Invoke(find, 1, lua.LString(textOf(c.L, v)), what)[0] != lua.LNil
		}, nil
	}
	return nil, c.ArgError(1, "pattern or function expected, got %s", typeName(what))
}

// textOf is what a pattern is matched against: the string itself, the message of a record, or tostring.
func textOf(L *lua.LState, v lua.LValue) string {
	switch x := v.(type) {
	case lua.LString:
		return string(x)
	case *lua.LTable:
		if m, ok := x.RawGetString("message").(lua.LString); ok {
			return string(m)
		}
	case *lua.LUserData:
		if m, ok := messageOf(x.Value); ok {
			return m
		}
	}
	return host.ToString(L, v)
}

func streamCollect(c *Call, s *Stream, limit lua.LValue) (lua.LValue, error) {
	o := collectOptions{Seconds: NoTimeout}
	switch x := limit.(type) {
	case *lua.LNilType:
	case lua.LNumber:
		o.Count = int(x)
	default:
		if err := c.ix.Options(c.L, limit, &o); err != nil {
			return nil, c.ArgError(1, "%s", err)
		}
		if o.Seconds == 0 {
			o.Seconds = NoTimeout
		}
	}
	end := deadlineIn(o.Seconds)
	out := c.L.CreateTable(16, 0)
	for o.Count == 0 || out.Len() < o.Count {
		v, err := s.read(c, end)
		if errors.Is(err, io.EOF) || err != nil && isTimeout(err) {
			break
		}
		if err != nil {
			return nil, err
		}
		out.Append(v)
	}
	return out, nil
}

func streamOn(c *Call, s *Stream, fn *lua.LFunction) *host.Task {
	ix, decl := c.ix, c.decl
	loop := c.L.NewFunction(func(L *lua.LState) int {
		c := &Call{L: L, ix: ix, decl: decl}
		for v := s.next(c, NoTimeout); v != lua.LNil; v = s.next(c, NoTimeout) {
			c.Invoke(fn, 0, v)
		}
		return 0
	})
	return host.Spawn(c.L, "on "+s.name, loop)
}
