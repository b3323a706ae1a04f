// Package repl runs a Host interactively. It reads inputs, runs them in one
// host.Interactive, and prints their values. It has help, completion and a history.
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
// Background tasks continue while the prompt waits, and what they print appears above
// the prompt. Top-level locals become globals, so that later inputs can use them.
// Ctrl-C ends the running input, not the REPL.
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

// Options configures a REPL. Host, Editor and Output are required.
type Options struct {
	Host   *host.Host
	Editor LineEditor
	// Output is the writer that Host has as Options.Stdout. If standard error is
	// the same terminal, Host has it as Options.Stderr as well.
	Output *Output
	Errors io.Writer // reports of failures; nil means Output
	Banner string    // printed before the first prompt
	Init   string    // Lua code that runs first; if it fails, Run returns its error
	Name   string    // beginning of the prompt; "" means "imd"
	// Batch is set if the input is not typed by a user. Run then runs all of it and
	// returns the first failure.
	Batch bool
	// Interrupts delivers the Ctrl-C signals that come while Lua runs. It may be nil.
	Interrupts <-chan os.Signal
	// Values lists the values that a string argument of a kind can have, for
	// completion. The kinds are those of api.Param, such as bundle_id.
	Values   func(ctx context.Context, kind string) []string
	Commands []Command // further commands
	Width    func() int
	Color    bool
}

// Command is a command that is typed after a colon.
type Command struct {
	Name, Args, Doc string
	Run             func(ctx context.Context, arg string, out io.Writer) error
}

// ErrKilled is returned after the third interrupt of an input that has not ended after
// two of them. The host may still be busy.
var ErrKilled = errors.New("repl: killed")

// errQuit is the error with which :quit ends the loop.
var errQuit = errors.New("repl: quit")

type repl struct {
	o           Options
	host        *host.Host
	interactive *host.Interactive
	index       *api.Index
	errors      io.Writer

	mu      sync.Mutex          // guards the fields that completion and the loop use
	pending string              // lines of an unfinished input
	values  map[string][]string // results of Options.Values, by kind

	inputs int
	chunks map[string]string // source of each input by its chunk name
	record *recorder         // nil if :record is not active
	failed error             // first failure, in batch mode
}

// Run reads and runs inputs until the end of the input, :quit, os.exit or the end of
// ctx. It closes the editor, but not the host. The error is a *host.ExitError,
// ErrKilled, the cause of the end of ctx, the failure of Options.Init, an error of
// reading, an error of deferred functions at the end, or, in batch mode, the first
// failure. Failures have been reported to Options.Errors already.
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
	r.interactive = o.Host.Interactive(context.WithoutCancel(ctx))
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
		return err // the host is busy, so its run cannot be closed
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

// close closes the host.Interactive, which runs the deferred functions of its scope.
func (r *repl) close() error {
	var err error
	killed := r.attend(func() { err = r.interactive.Close() }, func() {})
	if killed != nil {
		return killed
	}
	if err == nil || isCancelled(err) {
		return nil
	}
	r.host.Report(r.errors, err)
	return err
}

// isCancelled reports whether err is the error of a host.Interactive that was closed.
func isCancelled(err error) bool {
	var e *host.Error
	return errors.As(err, &e) && e.Code == "cancelled"
}

func (r *repl) begin(ctx context.Context) error {
	r.o.Editor.SetCompleter(r.complete)
	r.interactive.With(func(*lua.LState) {
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

// errRead is wrapped by errors of reading the input.
var errRead = errors.New("repl: reading the input")

// read reads lines until they are a complete input.
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

// unfinished reports the syntax error of an input that is incomplete at the end of the
// input.
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

// report reports a failure and stores it in the global _e. It returns ErrKilled if the
// user has ended the wait for the interpreter lock.
func (r *repl) report(err error) error {
	if r.failed == nil && r.o.Batch {
		r.failed = err
	}
	r.host.Report(r.errors, err)
	return r.with(func(L *lua.LState) { r.host.SetGlobal("_e", host.ToLua(L, err)) })
}

// run runs one input.
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

// result stores the values of an input and, unless silent is set, shows them.
func (r *repl) result(res []lua.LValue, silent bool) error {
	err := r.keep(res)
	if err != nil || silent {
		return err
	}
	return r.show(res)
}

// nextChunk returns the chunk name of the next input and stores its source, which
// name?? shows.
func (r *repl) nextChunk(code string) string {
	r.inputs++
	name := fmt.Sprintf("[%d]", r.inputs)
	r.chunks[name] = code
	return name
}

// eval runs code. The first interrupt cancels the code, the second one its clean-up,
// and the third one ends the wait for both.
func (r *repl) eval(ctx context.Context, chunk, code string) ([]lua.LValue, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var values []lua.LValue
	var err error
	r.drain()
	killed := r.attend(
		func() { values, err = r.interactive.Eval(ctx, chunk, code) },
		func() {
			r.interactive.Interrupt()
			cancel() // Interrupt has no effect while the code is compiled
		})
	if killed != nil {
		return nil, killed
	}
	return values, err
}

// with calls f with the interpreter lock held. It waits until the running task releases
// the lock.
func (r *repl) with(f func(L *lua.LState)) error {
	return r.attend(func() { r.interactive.With(f) }, func() {})
}

// attend calls f and waits until it returns. It calls interrupt for the first and the
// second signal. At the third one it returns ErrKilled while f still runs, so the
// caller must not read variables that f writes.
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
				// The terminal has written ^C at the cursor.
				fmt.Fprintln(r.o.Output)
			}
			if n == 3 {
				return ErrKilled
			}
			interrupt()
		}
	}
}

// drain discards interrupts that came while no input ran.
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

// keep stores the first result in the global _, and the previous one in __.
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
