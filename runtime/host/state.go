package host

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Options configures a Host. The zero value works: there is no input, output is
// discarded, and the default limits apply.
type Options struct {
	Stdin          io.Reader // input of io.read; nil means empty input
	Stdout, Stderr io.Writer // output of print, and of warnings; nil discards it
	Args           []string  // arguments of the script: its `...`, and for modules that use them
	// Env looks up an environment variable for os.getenv; nil means that there is
	// none.
	Env        func(string) (string, bool)
	Logger     *slog.Logger // nil is silent
	Verbose    bool         // reports include Go stacks and frames of embedded modules
	ErrorsJSON bool         // Report writes one JSON object a line
	Color      bool         // Report and Inspect may use colours
	Terminal   Terminal     // which of the streams are terminals
	// Timeout limits a whole run; 0 means no limit.
	Timeout time.Duration
	// CallTimeout limits one blocking call; 0 means 30 s, a negative value no limit.
	CallTimeout     time.Duration
	MaxInstructions uint64 // of a run, all tasks together; 0 means no limit
	MaxMemory       uint64 // of the values that a script can reach, in bytes; 0 means 1 GiB
	MaxString       int64  // longest string that a call makes, in bytes; 0 means 256 MiB
	// Allow returns an error if the script may not use something outside of itself,
	// see the function Allow. nil allows everything.
	Allow func(access Access, value string) error
	// SearchPath lists the folders that require searches after the script's own.
	SearchPath []string
}

// Terminal says which of the streams are terminals, and what the terminal can do.
type Terminal struct {
	Stdin, Stdout, Stderr bool
	Dumb                  bool       // the terminal cannot move its cursor
	Color                 bool       // text on Stdout may have colours
	Width                 func() int // columns; nil means 80
}

// Columns returns the width of the terminal.
func (t Terminal) Columns() int {
	if t.Width == nil {
		return 80
	}
	return t.Width()
}

// Host is one Lua state, with its interpreter lock, tasks, scopes, limits and
// output streams.
type Host struct {
	o       Options
	log     *slog.Logger
	lock    fifoLock
	root    *lua.LState // holds the libraries; runs no script
	factory *lua.LState // makes threads, has no hook
	globals *lua.LTable
	setup   *Task // the task of root and of idle threads
	null    *lua.LUserData
	meta    metatables
	stdout  *Stream
	stderr  *Stream

	running sync.WaitGroup // goroutines of tasks
	scopes  sync.Mutex     // guards the lists of all scopes
	memory  memory

	// These belong to the lock holder.
	trampoline    *lua.LFunction
	idle, idleBig []*hook
	instructions  uint64
	overBudget    bool
	lastTask      int
	unobserved    unobservedFailures
	strict        strictGlobals
	modules       modules
	converters    map[reflect.Type]func(*lua.LState, any) lua.LValue
	mappers       []func(error) *Error
	starters      []func(L *lua.LState, chunk string)

	mu          sync.Mutex
	main        *Task
	live        []*Task
	waits       map[*Task]*Waiter
	sources     map[string]string
	closed      bool
	interactive *Interactive
	// grace ends when clean-up has to stop: at a second interrupt, or in Close.
	// Each run and each input of an Interactive begins with a fresh one.
	grace     context.Context
	stopGrace context.CancelFunc
}

// metatables holds the metatables of the types of values that the host defines.
type metatables struct {
	err, exit, data, int64, uint64, date, null, array, dict *lua.LTable
}

// New returns a host. It opens the libraries that need access to the internals of
// the host: the base functions, coroutine, require and strict globals. Package
// stdlib/lua51 opens the other libraries of Lua 5.1.
func New(o Options) *Host {
	o = withDefaults(o)
	h := &Host{
		o: o, log: o.Logger,
		waits:      map[*Task]*Waiter{},
		sources:    map[string]string{},
		converters: map[reflect.Type]func(*lua.LState, any) lua.LValue{},
	}
	h.grace, h.stopGrace = context.WithCancel(context.Background())
	h.root = lua.NewState(stackOptions(taskFrames, 1024))
	h.globals = h.root.G.Global
	h.root.G.MainThread, h.root.G.CurrentThread = h.root, h.root
	h.factory, _ = h.root.NewThread()
	k := &hook{host: h, l: h.root, n: hookSlice}
	h.setup = &Task{
		host:   h,
		name:   "setup",
		ticket: newTicket(),
		th:     h.root,
		hook:   k,
		done:   make(chan struct{}),
		ctx:    context.Background(),
		life:   context.Background(),
		end:    func(error) {},
	}
	k.task = h.setup
	h.setup.inner = h.root
	h.setup.root = &Scope{host: h}
	h.setup.scope = h.setup.root
	h.root.SetContext(k)
	h.trampoline = h.root.NewFunction(trampoline)
	h.openOutput()
	h.openLibs()
	return h
}

func withDefaults(o Options) Options {
	if o.Stdin == nil {
		o.Stdin = strings.NewReader("")
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	if o.Env == nil {
		o.Env = func(string) (string, bool) { return "", false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("layer", "host")
	if o.CallTimeout == 0 {
		o.CallTimeout = defaultCallTimeout
	}
	if o.MaxMemory == 0 {
		o.MaxMemory = 1 << 30
	}
	if o.MaxString == 0 {
		o.MaxString = 256 << 20
	}
	return o
}

// Options returns the options with their defaults filled in.
func (h *Host) Options() Options { return h.o }

// L returns the state that holds the libraries. It may be used before Run, and
// later while the lock is held. No script runs on it.
func (h *Host) L() *lua.LState { return h.root }

// SetGlobal sets a global that scripts may read.
func (h *Host) SetGlobal(name string, v lua.LValue) {
	h.strict.declared[name] = true
	h.globals.RawSetString(name, v)
}

// OnStart adds a function that Run calls before each script, with the state that
// holds the libraries and the name of the chunk. f must not wait or raise.
func (h *Host) OnStart(f func(L *lua.LState, chunk string)) {
	h.starters = append(h.starters, f)
}

// Interrupt cancels the run, or the running input of an Interactive, with code
// "interrupted". The scopes then close. A second call ends the clean-up as well.
func (h *Host) Interrupt() {
	h.mu.Lock()
	t, s := h.main, h.interactive
	h.mu.Unlock()
	switch {
	case t == nil:
	case s != nil:
		s.Interrupt()
	case t.Cancelled():
		h.endGrace()
	default:
		t.cancel(Errorf("interrupted", "interrupted"))
	}
}

// graceContext returns the context of clean-up.
func (h *Host) graceContext() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.grace
}

// renewGrace makes a fresh context of clean-up if the old one has ended, unless the
// host is closed.
func (h *Host) renewGrace() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.grace.Err() != nil && !h.closed {
		h.grace, h.stopGrace = context.WithCancel(context.Background())
	}
}

// endGrace ends all clean-up at once.
func (h *Host) endGrace() {
	h.mu.Lock()
	stop := h.stopGrace
	h.mu.Unlock()
	stop()
}

// cancelAll stops every task.
func (h *Host) cancelAll(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.live {
		t.cancel(cause)
	}
}

// Close cancels the tasks that still run, closes their scopes and waits until all
// have ended. It may be called twice.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	t, s := h.main, h.interactive
	h.mu.Unlock()
	h.cancelAll(Errorf("cancelled", "the host was closed"))
	if t != nil {
		t.cancel(Errorf("cancelled", "the host was closed"))
		if s != nil {
			s.Close()
		}
		<-t.done
	}
	h.running.Wait()
	h.lock.acquire(h.setup.ticket)
	errs := h.setup.root.close(h.setup.hook)
	h.endGrace()
	h.lock.release()
	h.flush(stopped)
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// limited adds the time limit of a run.
func (h *Host) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if h.o.Timeout <= 0 {
		return ctx, func() {}
	}
	cause := Errorf("timeout", "the script ran longer than %v", h.o.Timeout)
	return context.WithTimeoutCause(ctx, h.o.Timeout, cause)
}

// startMain makes the main task. It fails if there is one already.
func (h *Host) startMain(ctx context.Context) (*Task, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, Errorf("closed", "the host is closed")
	}
	if h.main != nil {
		return nil, Errorf("busy", "the host runs a script already")
	}
	t := h.newTask("main", ctx, nil, true)
	t.main = true
	h.main = t
	h.instructions, h.overBudget = 0, false
	if h.grace.Err() != nil {
		h.grace, h.stopGrace = context.WithCancel(context.Background())
	}
	return t, nil
}

// endMain closes the script's scope. The lock is held.
func (h *Host) endMain(t *Task) {
	t.closeScope()
	if t.failure != nil && isExit(t.failure.obj) {
		h.dropped(t.failure)
	}
	t.finish()
	h.mu.Lock()
	h.main = nil
	h.mu.Unlock()
}

// Run runs a script as the main task: it compiles the source, runs the chunk,
// cancels the tasks that are left and closes the scopes. chunk is the name that
// messages use; if it is a path, require searches its folder. The error is an
// *Error or an *ExitError.
func (h *Host) Run(ctx context.Context, chunk, source string) error {
	var proto *lua.FunctionProto
	if len(source) < longSource {
		var err error
		proto, err = h.compile(chunk, source)
		if err != nil {
			return err
		}
	}
	ctx, stop := h.limited(ctx)
	defer stop()
	t, err := h.startMain(ctx)
	if err != nil {
		return err
	}
	watch := h.watchMemory()
	h.lock.acquire(t.ticket)
	h.began(t)
	h.setScriptDir(chunk)
	t.th.G.CurrentThread = t.th
	args := make([]lua.LValue, len(h.o.Args))
	for i, a := range h.o.Args {
		args[i] = lua.LString(a)
	}
	for _, f := range h.starters {
		f(h.root, chunk)
	}
	var syntax error
	if proto == nil {
		proto, t.failure, syntax = h.compileMain(t, chunk, source)
	}
	if proto != nil && t.failure == nil {
		_, t.failure = callOn(t.th, t.hook, h.root.NewFunctionFromProto(proto), args...)
	}
	cancelled := t.Cancelled()
	h.endMain(t)
	err = h.runError(t)
	if err == nil {
		err = syntax
	}
	h.lock.release()
	watch()
	close(t.done)
	if cancelled {
		ctx = stopped
	}
	h.flush(ctx)
	if unwritten := h.stdout.unreported(); unwritten != nil && err == nil {
		err = h.ToError(unwritten)
	}
	return err
}

// runError returns the error of a run that has ended: an exit, the error of the
// main task, or an error for failed tasks that no task has joined.
func (h *Host) runError(t *Task) error {
	unobserved := h.unobserved.take()
	if exit, ok := context.Cause(t.life).(*ExitError); ok {
		return exit
	}
	if err := t.Err(); err != nil {
		return err
	}
	return unobserved
}

func (h *Host) setScriptDir(chunk string) {
	h.modules.dir = "."
	if strings.HasSuffix(chunk, ".lua") || strings.ContainsRune(chunk, filepath.Separator) {
		h.modules.dir = filepath.Dir(chunk)
	}
}

// With calls f from outside of any script, on a thread of its own and with the lock
// held. It returns the error that f raised.
func (h *Host) With(f func(L *lua.LState)) error {
	t := newTicket()
	h.lock.acquire(t)
	defer h.lock.release()
	return h.visit(f)
}

// visit calls f on a thread of the set-up task and returns the error that f raised.
// The lock is held.
func (h *Host) visit(f func(L *lua.LState)) error {
	cur := h.root.G.CurrentThread
	defer func() { h.root.G.CurrentThread = cur }()
	fn := h.root.NewFunction(func(L *lua.LState) int { f(L); return 0 })
	if _, fail := h.protect(h.setup.hook, fn); fail != nil {
		return h.failureError(h.setup.hook, fail)
	}
	return nil
}
