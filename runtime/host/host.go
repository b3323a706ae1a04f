package host

import (
	"context"
	"io"
	"log/slog"
	"reflect"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Options configures a Host. The zero value works: no input, output thrown
// away, no limits but the default ones.
type Options struct {
	Stdin           io.Reader                   // what io.read reads; nil is empty
	Stdout, Stderr  io.Writer                   // where print and warnings go; nil throws away
	Args            []string                    // arguments of the script
	Env             func(string) (string, bool) // os.getenv; nil knows no variable
	Logger          *slog.Logger                // nil is silent
	Verbose         bool                        // Go stacks and embedded frames in reports
	ErrorsJSON      bool                        // Report writes one JSON object
	Timeout         time.Duration               // of a whole run; 0 is none
	CallTimeout     time.Duration               // of one blocking call; 0 is 30 s, negative none
	MaxInstructions uint64                      // 0 is none
	MaxMemory       uint64                      // soft heap limit in bytes; 0 is 1 GiB
	SearchPath      []string                    // folders that require looks in, after the script's own
}

// Host is one Lua state with everything around it.
type Host struct{ l *lua.LState }

// New makes a host with the base libraries opened.
func New(o Options) *Host { return &Host{l: lua.NewState()} }

// Close ends it.
func (h *Host) Close() error { return nil }

// Run runs a script.
func (h *Host) Run(ctx context.Context, chunk, source string) error { return nil }

// Session starts a session.
func (h *Host) Session(ctx context.Context) *Session { return &Session{} }

// SetGlobal sets a global.
func (h *Host) SetGlobal(name string, v lua.LValue) {}

// Preload registers a module.
func (h *Host) Preload(name string, loader lua.LGFunction) {}

// PreloadSource registers a module written in Lua.
func (h *Host) PreloadSource(name, source string) {}

// L is the root state.
func (h *Host) L() *lua.LState { return h.l }

// MapError adds a mapper.
func (h *Host) MapError(f func(err error) *Error) {}

// Report writes the report.
func (h *Host) Report(w io.Writer, err error) {}

// RegisterType adds a converter.
func (h *Host) RegisterType(t reflect.Type, to func(*lua.LState, any) lua.LValue) {}

// Null is the null value.
func (h *Host) Null() lua.LValue { return lua.LNil }

// Options are the options.
func (h *Host) Options() Options { return Options{} }

// Interrupt stops the run.
func (h *Host) Interrupt() {}

// Of is the host of a thread.
func Of(L *lua.LState) *Host { return nil }

// Session is a REPL session.
type Session struct{}

// Eval runs a chunk.
func (s *Session) Eval(ctx context.Context, chunk, source string) ([]lua.LValue, error) {
	return nil, nil
}

// With takes the lock.
func (s *Session) With(f func(L *lua.LState)) {}

// TryWith takes the lock in time.
func (s *Session) TryWith(d time.Duration, f func(L *lua.LState)) bool { return false }

// Close ends the session.
func (s *Session) Close() error { return nil }

// Block blocks.
func Block(L *lua.LState, f func(ctx context.Context) error) {}

// TryBlock blocks.
func TryBlock(L *lua.LState, f func(ctx context.Context) error) error { return nil }

// WithTimeout blocks.
func WithTimeout(L *lua.LState, d time.Duration, f func(ctx context.Context) error) {}

// TryWithTimeout blocks.
func TryWithTimeout(L *lua.LState, d time.Duration, f func(ctx context.Context) error) error {
	return nil
}

// BlockLua waits for other Lua code only.
func BlockLua(L *lua.LState, what string, f func(ctx context.Context) error) {}

// BlockLuaTimeout waits for other Lua code at most d.
func BlockLuaTimeout(L *lua.LState, what string, d time.Duration, f func(ctx context.Context) error) error {
	return nil
}

// Task is a task.
type Task struct{}

// Spawn starts a task.
func Spawn(L *lua.LState, name string, fn *lua.LFunction, args ...lua.LValue) *Task { return nil }

// CurrentTask is the task of a thread.
func CurrentTask(L *lua.LState) *Task { return nil }

// Tasks lists the tasks.
func (h *Host) Tasks() []*Task { return nil }

// Join waits.
func (t *Task) Join(L *lua.LState, timeout time.Duration) []lua.LValue { return nil }

// Cancel cancels.
func (t *Task) Cancel(reason string) {}

// Done is closed at the end.
func (t *Task) Done() <-chan struct{} { return nil }

// Name is the name.
func (t *Task) Name() string { return "" }

// Err is why it failed.
func (t *Task) Err() error { return nil }

// Observe says that somebody looks at the result.
func (t *Task) Observe() {}

// WithDeadline runs fn in this task under a deadline.
func WithDeadline(L *lua.LState, at time.Time, fn lua.LValue, args ...lua.LValue) []lua.LValue {
	return nil
}

// Atomic runs fn without the starvation switch.
func Atomic(L *lua.LState, fn lua.LValue, args ...lua.LValue) []lua.LValue { return nil }

// Closer is what a scope closes.
type Closer interface {
	Close(ctx context.Context) error
}

// Scope owns things.
type Scope struct{}

// CurrentScope is the innermost scope.
func CurrentScope(L *lua.LState) *Scope { return nil }

// Add registers.
func (s *Scope) Add(c Closer) (remove func()) { return func() {} }

// Defer registers a function.
func (s *Scope) Defer(fn *lua.LFunction, args ...lua.LValue) {}

// Keep moves c to the parent.
func (s *Scope) Keep(c Closer) bool { return false }

// RunScope runs fn in a scope.
func RunScope(L *lua.LState, fn lua.LValue, args ...lua.LValue) []lua.LValue { return nil }

// Frame is one line of a traceback.
type Frame struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Name string `json:"name"`
}

// Error is the error object.
type Error struct {
	Code, Message, Service, Op, Device, Hint string
	Where                                    string
	Traceback                                []Frame
	Details                                  map[string]any
	Cause                                    error
	Suppressed                               []error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error.
func Errorf(code, format string, args ...any) *Error { return &Error{Code: code} }

// Raise raises.
func Raise(L *lua.LState, err error) {}

// ExitError is os.exit.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return "exit" }

// ExitCode is the exit code for err.
func ExitCode(err error) int { return 0 }

// Call calls a Lua value.
func Call(L *lua.LState, fn lua.LValue, nret int, args ...lua.LValue) []lua.LValue { return nil }

// ToLua converts.
func ToLua(L *lua.LState, v any) lua.LValue { return lua.LNil }

// FromLua converts.
func FromLua(v lua.LValue) (any, error) { return nil, nil }

// Bytes are the bytes of a string or Data.
func Bytes(v lua.LValue) ([]byte, bool) { return nil, false }

// ToString is tostring.
func ToString(L *lua.LState, v lua.LValue) string { return "" }

// InspectOptions says how Inspect prints.
type InspectOptions struct {
	Width, Depth, MaxItems, MaxString int
	Sort, Full, Color                 bool
}

// Inspect prints a value.
func Inspect(L *lua.LState, v lua.LValue, o InspectOptions) string { return "" }
