// Package repl is the interactive side of a Host: reading lines, running them
// in one long-lived session, printing values, help, completion and history.
//
//	imd> local dev = device()
//	imd(iPhone, iOS 17.5.1)> dev.name
//	"iPhone"
//	imd(iPhone, iOS 17.5.1)> for e in dev:syslog() do
//	..>   print(e.message)
//	..> end
//	^C
//	error[interrupted] interrupted
//	imd(iPhone, iOS 17.5.1)> :quit
//
// The session's tasks go on while the prompt waits; what they print appears
// above it. Top-level locals become globals, so that the next input sees them.
// Ctrl-C ends the input that is running, never the session.
package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Options describes a REPL. Host and Editor must be there.
type Options struct {
	Host   *host.Host
	Editor LineEditor
	// Output is what Host got as Options.Stdout, and as Stderr where both are
	// the same terminal.
	Output *Output
	Errors io.Writer // reports of failures; nil = Output
	Banner string    // printed before the first prompt
	Init   string    // Lua to run before it; when it fails the REPL does not begin
	Name   string    // what the prompt begins with; "" = "imd"
	// Batch means that nobody types: the input is run to its end, and the first
	// failure is what Run returns.
	Batch bool
	// Interrupts delivers each Ctrl-C that comes while Lua runs; nil = none comes.
	Interrupts <-chan os.Signal
	// Values lists what a string argument of the given kind (bundle_id, udid,
	// service, ...) can be, for completion.
	Values   func(ctx context.Context, kind string) []string
	Commands []Command // further commands
	Width    func() int
	Color    bool
}

// Command is something that is typed behind a colon.
type Command struct {
	Name, Args, Doc string
	Run             func(ctx context.Context, arg string, out io.Writer) error
}

// ErrKilled is returned after a third interrupt, when an input has not ended after
// two of them. The host may still be busy then.
var ErrKilled = errors.New("repl: killed")

// errQuit is how :quit ends the loop.
var errQuit = errors.New("repl: quit")

type repl struct {
	o       Options
	host    *host.Host
	session *host.Session
	index   *api.Index
	errors  io.Writer

	mu      sync.Mutex // what completion shares with the loop
	pending string     // lines of an unfinished input
	values  map[string][]string

	inputs int
	chunks map[string]string // source of each input by its chunk name
	record *recorder
	failed error // first failure, in batch mode
}

// Run reads and runs inputs until the end of the input, :quit, os.exit or the end
// of ctx. It closes the session and the editor, not the host. The error is an
// *host.ExitError, ErrKilled, the cause of the end of ctx, the failure of
// Options.Init, in batch mode the first failure, or that of reading or of closing.
// Failures have been reported to Options.Errors already.
func Run(ctx context.Context, o Options) error {
	if o.Name == "" {
		o.Name = "imd"
	}
	if o.Width == nil {
		o.Width = func() int { return 80 }
	}
	r := &repl{
		o: o, host: o.Host, errors: o.Errors,
		chunks: map[string]string{}, values: map[string][]string{},
	}
	if r.errors == nil {
		r.errors = o.Output
	}
	r.index = api.Registry(o.Host)
	r.session = o.Host.Session(context.WithoutCancel(ctx))
	defer o.Editor.Close()
	stop := context.AfterFunc(ctx, func() { o.Editor.Close() })
	defer stop()
	err := r.begin(ctx)
	if err == nil {
		err = r.loop(ctx)
	}
	if r.record != nil {
		r.stopRecording()
	}
	if errors.Is(err, ErrKilled) {
		return err // The session is busy, and there is nothing to wait for.
	}
	closing := r.close()
	if err == nil || errors.Is(closing, ErrKilled) {
		err = closing
	}
	if err == nil {
		err = r.failed
	}
	return err
}

// close ends the session, which runs its deferred functions.
func (r *repl) close() error {
	var err error
	killed := r.attend(func() { err = r.session.Close() }, func() {})
	if killed != nil {
		return killed
	}
	if err == nil || isCancelled(err) {
		return nil
	}
	r.host.Report(r.errors, err)
	return err
}

// isCancelled recognises how a session ends that was closed.
func isCancelled(err error) bool {
	var e *host.Error
	return errors.As(err, &e) && e.Code == "cancelled"
}

func (r *repl) begin(ctx context.Context) error {
	r.o.Editor.SetCompleter(r.complete)
	r.session.With(func(*lua.LState) {
		for _, name := range []string{"_", "__", "_e"} {
			r.host.SetGlobal(name, lua.LNil)
		}
	})
	if r.o.Init != "" {
		_, err := r.eval(ctx, "init", r.o.Init)
		if err != nil {
			r.host.Report(r.errors, err)
			return err
		}
	}
	if r.o.Banner != "" {
		fmt.Fprintln(r.o.Output, r.o.Banner)
	}
	return nil
}

func (r *repl) loop(ctx context.Context) error {
	for {
		in, err := r.read(ctx)
		if err == nil {
			err = r.run(ctx, in)
		}
		ended := errors.Is(err, io.EOF) || errors.Is(err, errQuit)
		var exit *host.ExitError
		switch {
		case errors.As(err, &exit) || errors.Is(err, ErrKilled):
			return err
		case errors.Is(err, errRead):
			r.host.Report(r.errors, err)
			return err
		case err != nil && !ended:
			err = r.report(err)
			if err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if ended {
			return nil
		}
	}
}

// errRead marks the failures of the input itself.
var errRead = errors.New("repl: reading the input")

// read reads lines until they make a whole input.
func (r *repl) read(ctx context.Context) (input, error) {
	var lines []string
	interrupts := 0
	chunk := fmt.Sprintf("[%d]", r.inputs+1)
	defer r.setPending("")
	for {
		r.o.Output.prompt(r.o.Editor.Output())
		line, err := r.o.Editor.ReadLine(r.prompt(len(lines) > 0))
		r.o.Output.run()
		switch {
		case ctx.Err() != nil:
			return input{}, io.EOF
		case errors.Is(err, ErrInterrupt):
			if len(lines) > 0 || strings.TrimSpace(line) != "" {
				lines, interrupts = nil, 0
				r.setPending("")
				continue
			}
			interrupts++
			if interrupts == 2 {
				return input{}, errQuit
			}
			fmt.Fprintln(r.o.Output, "(Ctrl-C again or Ctrl-D leaves)")
			continue
		case err == io.EOF && len(lines) > 0:
			return input{}, r.unfinished(chunk, strings.Join(lines, "\n"))
		case err == io.EOF:
			return input{}, io.EOF
		case err != nil:
			return input{}, fmt.Errorf("%w: %w", errRead, err)
		}
		interrupts = 0
		blank := strings.TrimSpace(line) == ""
		if blank && len(lines) == 0 {
			continue
		}
		if blank && !r.o.Batch && strings.TrimSpace(lines[len(lines)-1]) == "" {
			fmt.Fprintln(r.o.Output, "(input abandoned)")
			lines = nil
			r.setPending("")
			continue
		}
		lines = append(lines, line)
		text := strings.Join(lines, "\n")
		in, more, err := classify(r.host, chunk, text)
		if more {
			r.setPending(text + "\n")
			continue
		}
		r.o.Editor.AddHistory(text)
		return in, err
	}
}

// unfinished reports a statement that the end of the input cut off.
func (r *repl) unfinished(chunk, text string) error {
	_, err := r.eval(context.Background(), chunk, globalise(text))
	if killed := r.report(err); killed != nil {
		return killed
	}
	return io.EOF
}

func (r *repl) setPending(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = s
}

// report shows a failure and keeps it as _e. Like all that waits for the session,
// it returns ErrKilled if it was given up.
func (r *repl) report(err error) error {
	if r.failed == nil && r.o.Batch {
		r.failed = err
	}
	r.host.Report(r.errors, err)
	return r.with(func(L *lua.LState) { r.host.SetGlobal("_e", host.ToLua(L, err)) })
}

// run carries out one input.
func (r *repl) run(ctx context.Context, in input) error {
	if in.meta != "" {
		return r.command(ctx, in)
	}
	res, err := r.eval(ctx, r.nextChunk(in.code), in.code)
	if err != nil {
		return err
	}
	err = r.recorded(in.text)
	if err != nil {
		return err
	}
	return r.result(res, in.silent)
}

// result keeps the values of an input and shows them.
func (r *repl) result(res []lua.LValue, silent bool) error {
	err := r.keep(res)
	if err != nil || silent {
		return err
	}
	return r.show(res)
}

// nextChunk names an input and keeps its source, for name??.
func (r *repl) nextChunk(code string) string {
	r.inputs++
	name := fmt.Sprintf("[%d]", r.inputs)
	r.chunks[name] = code
	return name
}

// eval runs code. The first interrupt ends the code, the second one its
// clean-up, the third one gives up waiting.
func (r *repl) eval(ctx context.Context, chunk, code string) ([]lua.LValue, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var values []lua.LValue
	var err error
	r.drain()
	killed := r.attend(
		func() { values, err = r.session.Eval(ctx, chunk, code) },
		func() {
			r.session.Interrupt()
			cancel() // It is compiled still, and Interrupt had nothing to end.
		})
	if killed != nil {
		return nil, killed
	}
	return values, err
}

// with runs f with the lock of the interpreter held. A task that does not give the
// lock up can make it wait.
func (r *repl) with(f func(L *lua.LState)) error {
	return r.attend(func() { r.session.With(f) }, func() {})
}

// attend runs f and waits for its end. It calls interrupt for the first interrupt
// and for the second one. At the third one it returns ErrKilled, while f goes on:
// nothing that f writes may be read then.
func (r *repl) attend(f, interrupt func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	interrupts := r.o.Interrupts
	for n := 0; ; {
		select {
		case <-done:
			return nil
		case _, ok := <-interrupts:
			if !ok {
				interrupts = nil
				continue
			}
			n++
			if n == 1 {
				// The terminal has written ^C where the cursor was.
				fmt.Fprintln(r.o.Output)
			}
			if n == 3 {
				return ErrKilled
			}
			interrupt()
		}
	}
}

// drain forgets interrupts that came while nothing ran.
func (r *repl) drain() {
	for {
		select {
		case _, ok := <-r.o.Interrupts:
			if !ok {
				return
			}
		default:
			return
		}
	}
}

// keep makes the first result the last value.
func (r *repl) keep(res []lua.LValue) error {
	if len(res) == 0 || res[0] == lua.LNil {
		return nil
	}
	err := r.with(func(L *lua.LState) {
		r.host.SetGlobal("__", L.G.Global.RawGetString("_"))
		r.host.SetGlobal("_", res[0])
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.values) // the device may have changed
	return err
}

func (r *repl) show(res []lua.LValue) error {
	var b strings.Builder
	err := r.with(func(L *lua.LState) {
		for _, v := range res {
			b.WriteString(strings.TrimRight(r.inspect(L, v), "\n") + "\n")
		}
	})
	if err != nil {
		return err
	}
	io.WriteString(r.o.Output, b.String())
	return nil
}

func (r *repl) inspect(L *lua.LState, v lua.LValue) string {
	return host.Inspect(L, v, host.InspectOptions{Width: r.o.Width(), Color: r.o.Color})
}
