package repl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib"
)

// step is the reaction of the user at one prompt.
type step struct {
	text   string
	err    error
	before func() // while the prompt waits
}

// type_ returns the steps of typing lines.
func type_(lines ...string) []step {
	var out []step
	for _, l := range lines {
		out = append(out, step{text: l})
	}
	return out
}

// scriptedEditor is a LineEditor that plays a user.
type scriptedEditor struct {
	steps    []step
	prompts  []string
	history  []string
	out      io.Writer
	complete Completer
	closed   chan struct{}
	once     sync.Once
}

func (e *scriptedEditor) ReadLine(prompt string) (string, error) {
	e.prompts = append(e.prompts, prompt)
	if len(e.steps) == 0 {
		return "", io.EOF
	}
	s := e.steps[0]
	e.steps = e.steps[1:]
	if s.before != nil {
		s.before()
	}
	return s.text, s.err
}

func (e *scriptedEditor) SetCompleter(c Completer) { e.complete = c }
func (e *scriptedEditor) AddHistory(s string)      { e.history = append(e.history, s) }
func (e *scriptedEditor) Output() io.Writer        { return e.out }
func (e *scriptedEditor) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

// syncBuffer is a buffer that tasks write to while the test reads it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// phone is a device with the fields that the prompt and completion use.
type phone struct{ name, version string }

func phoneModule() *api.Module {
	c := api.NewClass[*phone]("Device", "A device.")
	c.Var = "dev"
	c.Fields = []*api.Field{
		api.Property("name", "its name", func(p *phone) string { return p.name }),
		api.Property("version", "its version", func(p *phone) string { return p.version }),
	}
	c.Methods = []*api.Func{
		api.Method("launch", "Starts an app.", "bundle_id",
			func(*api.Call, *phone, string) error { return nil },
			api.StringKind("bundle_id", "bundle_id"),
			api.ParamDoc("bundle_id", "which"),
			api.Perm("none"),
			api.Example(`dev:launch("a")`)),
		api.Method("lock", "Locks it.", "",
			func(*api.Call, *phone) error { return nil },
			api.Perm("none"),
			api.Example("dev:lock()")),
	}
	return &api.Module{
		Name: "devices", Flat: true, Doc: "Devices.", Perm: "none", Classes: []*api.Class{c},
		Funcs: []*api.Func{
			api.Function("device", "Returns the device.", "opts?",
				func(*api.Call, lua.LValue) (*phone, error) {
					return &phone{"Shelf 7", "17.5"}, nil
				},
				api.Returns("Device dev"),
				api.ParamDoc("opts", "which"),
				api.Perm("none"),
				api.Example("device()")),
		},
	}
}

// bench is a REPL under test.
type bench struct {
	host   *host.Host
	editor *scriptedEditor
	out    *syncBuffer
	opts   Options
}

func newBench(t *testing.T, steps ...step) *bench {
	t.Helper()
	return newBenchWith(t, host.Options{}, steps...)
}

func newBenchWith(t *testing.T, o host.Options, steps ...step) *bench {
	t.Helper()
	b := &bench{out: &syncBuffer{}}
	output := NewOutput(b.out)
	o.Stdout, o.Stderr = output, output
	b.host = host.New(o)
	t.Cleanup(func() {
		if err := b.host.Close(); err != nil {
			t.Errorf("closing the host: %v", err)
		}
	})
	if err := stdlib.Install(b.host); err != nil {
		t.Fatal(err)
	}
	if err := api.Install(b.host, phoneModule()); err != nil {
		t.Fatal(err)
	}
	b.editor = &scriptedEditor{steps: steps, out: b.out, closed: make(chan struct{})}
	b.opts = Options{Host: b.host, Editor: b.editor, Output: output}
	return b
}

func (b *bench) run(t *testing.T) error {
	t.Helper()
	err := Run(t.Context(), b.opts)
	select {
	case <-b.editor.closed:
	default:
		t.Error("the editor was not closed")
	}
	return err
}

func TestInputs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lines []string
		want  string // all that is printed, or after a ~ a part of it
	}{
		{"expression", []string{"1 + 1"}, "2\n"},
		{"several values", []string{"1, nil, 'a'"}, "1\nnil\n\"a\"\n"},
		{"nothing", []string{"", "  ", "-- only a comment"}, ""},
		{"call without results", []string{"(function() end)()"}, ""},
		{"statement", []string{"x = 3", "x"}, "3\n"},
		{"leading =", []string{"= 4 + 1"}, "5\n"},
		{"== is no leading =", []string{"== 4"}, "~error[syntax]"},
		{"silent", []string{"6;", "_"}, "6\n"},
		{"silent statement", []string{"y = 1;", "y"}, "1\n"},
		{"last and the one before", []string{"1", "2", "__ * 10 + _"}, "1\n2\n12\n"},
		{"nil keeps the last", []string{"7", "nil", "_"}, "7\nnil\n7\n"},
		{"no last yet", []string{"_"}, "nil\n"},
		{"local", []string{"local a, b = 1, 2", "a + b"}, "3\n"},
		{"local without value", []string{"local a", "a == nil"}, "true\n"},
		{"local function",
			[]string{
				"local function f(n) if n < 2 then return 1 end return n * f(n - 1) end",
				"f(5)",
			},
			"120\n"},
		{"inner locals stay local",
			[]string{"do local inner = 1 end", "inner"}, "~error[undefined]"},
		{"several lines", []string{"for i = 1, 2 do", "print(i)", "end"}, "1\n2\n"},
		{"open bracket", []string{"(1 +", "2)"}, "3\n"},
		{"open = expression", []string{"= (1 +", "2)"}, "3\n"},
		{"long string", []string{"[[a", "b]]"}, "\"a\\nb\"\n"},
		{"pasted block",
			[]string{"function add(a, b)\n  return a + b\nend\nprint(add(1, 2))"}, "3\n"},
		{"an error goes on", []string{"error('boom')", "1"}, "~boom"},
		{"last error",
			[]string{"error(errors.new{ code = 'mine', message = 'm' })", "_e.code"},
			"~\n\"mine\"\n"},
		{"undefined", []string{"prnt"}, "~did you mean print"},
		{"syntax", []string{"x = = 1", "2"}, "~\n2\n"},
		{"unknown command", []string{":taks"}, "~did you mean :tasks?"},
		{"tasks", []string{":tasks"}, "no background tasks\n"},
		{"no such task", []string{":kill 5"}, "~there is no task 5"},
		{"kill needs a number", []string{":kill it"}, "~needs the number of a task"},
		{"use needs a UDID", []string{`:use "] os.exit()`}, "~needs a UDID"},
		{"use", []string{":use 00-11", "dev.name"}, "~\n\"Shelf 7\"\n"},
		{"quit", []string{":quit", "1"}, ""},
		{"labels are not commands", []string{"do ::here:: x = 9 end", "x"}, "9\n"},
		{"help on a function", []string{"device?"}, "~Returns the device."},
		{"help on a value's method", []string{"d = device();", "d:launch?"}, "~Starts an app."},
		{"help on a value", []string{"d = device();", "d?"}, "~class Device"},
		{"help on a declared name", []string{":help Device:lock"}, "~Locks it."},
		{"overview", []string{":help"}, "~:record"},
		{"question mark alone", []string{"?"}, "~:record"},
		{"source",
			[]string{"function f()\n  return 1\nend", "f??"},
			"-- [1]:1\nfunction f()\n  return 1\nend\n"},
		{"no source", []string{"print??"}, "~no Lua source for print"},
		{"inform",
			[]string{":i {1, 2, x = 3}"}, "~table with 3 entries, 2 of them numbered from 1\n"},
		{"time runs", []string{":time 20 + 2"}, "~22\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, type_(test.lines...)...)
			if err := b.run(t); err != nil {
				t.Fatalf("Run: %v", err)
			}
			got := b.out.String()
			part, partly := strings.CutPrefix(test.want, "~")
			if got != test.want && !(partly && strings.Contains(got, part)) {
				t.Errorf("%q printed\n%s\nwant\n%s", test.lines, got, test.want)
			}
		})
	}
}

func TestPrompts(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_("do", "end", "dev = device()", "hold = task.queue(1)",
		"w = task.spawn(function() hold:get() end)",
		"v = task.spawn(function() hold:get() end)", "dev = 1")...)
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"imd> ", "..> ", "imd> ", "imd(Shelf 7, iOS 17.5)> ", "imd(Shelf 7, iOS 17.5)> ",
		"imd(Shelf 7, iOS 17.5)[1 task]> ", "imd(Shelf 7, iOS 17.5)[2 tasks]> ",
		"imd[2 tasks]> ",
	}
	if !slices.Equal(b.editor.prompts, want) {
		t.Errorf("prompts %q, want %q", b.editor.prompts, want)
	}
}

func TestHistoryEntries(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_("1", "for i = 1, 1 do", "end", ":tasks", "x = = 2")...)
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	want := []string{"1", "for i = 1, 1 do\nend", ":tasks", "x = = 2"}
	if !slices.Equal(b.editor.history, want) {
		t.Errorf("history %q, want %q", b.editor.history, want)
	}
}

func TestInterruptAtPrompt(t *testing.T) {
	t.Parallel()
	b := newBench(t,
		step{text: "for i = 1, 2 do"},
		step{text: "half", err: ErrInterrupt}, // abandons the loop
		step{text: "5"},
		step{err: ErrInterrupt},
		step{text: "6"}, // typing on makes the next one the first again
		step{err: ErrInterrupt},
		step{err: ErrInterrupt},
		step{text: "7"})
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	const want = "5\n(Ctrl-C again or Ctrl-D leaves)\n6\n(Ctrl-C again or Ctrl-D leaves)\n"
	if got := b.out.String(); got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestTwoEmptyLinesAbandon(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_("for i = 1, 2 do", "", "", "8")...)
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	if got, want := b.out.String(), "(input abandoned)\n8\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

// interruptible defines the Lua function ctrl_c(n), which presses Ctrl-C n times.
func (b *bench) interruptible() {
	signals := make(chan os.Signal, 8)
	b.opts.Interrupts = signals
	b.host.SetGlobal("ctrl_c", b.host.L().NewFunction(func(L *lua.LState) int {
		for range L.CheckInt(1) {
			signals <- os.Interrupt
		}
		return 0
	}))
}

// stuckValue returns a function that defines the global stuck. Its __tostring presses
// Ctrl-C three times and does not return before release is closed.
func (b *bench) stuckValue(release <-chan struct{}) func(L *lua.LState) {
	return func(L *lua.LState) {
		meta := L.CreateTable(0, 1)
		meta.RawSetString("__tostring", L.NewFunction(func(L *lua.LState) int {
			L.Push(L.GetGlobal("ctrl_c"))
			L.Push(lua.LNumber(3))
			L.Call(1, 0)
			<-release
			L.Push(lua.LString("shown"))
			return 1
		}))
		v := L.CreateTable(0, 0)
		v.Metatable = meta
		b.host.SetGlobal("stuck", v)
	}
}

func TestInterruptRunning(t *testing.T) {
	t.Parallel()
	for _, code := range []string{
		"task.sleep(1000)", "while true do end",
		"while true do pcall(function() while true do end end) end",
	} {
		b := newBench(t, type_("keep = 1", "ctrl_c(1) "+code, "keep", "_e.code")...)
		b.interruptible()
		if err := b.run(t); err != nil {
			t.Fatal(err)
		}
		wantInOrder(t, b.out.String(), []string{
			"error[interrupted]", "1\n\"interrupted\"\n",
		})
	}
}

func TestInterruptRunsCleanUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_(`scope(function()
		defer(function() print('closed') end)
		ctrl_c(1)
		task.sleep(1000)
	end)`, "1")...)
	b.interruptible()
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	wantInOrder(t, b.out.String(), []string{"closed\n", "error[interrupted]", "1\n"})
}

// TestKilled runs a call that ignores cancellation. The third interrupt must end the
// wait for it.
func TestKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_("ctrl_c(3) stuck()", "1")...)
	b.interruptible()
	release := make(chan struct{})
	b.host.SetGlobal("stuck", b.host.L().NewFunction(func(*lua.LState) int { <-release; return 0 }))
	err := b.run(t)
	close(release)
	if !errors.Is(err, ErrKilled) {
		t.Errorf("Run = %v, want ErrKilled", err)
	}
}

// TestOldInterrupt checks that a signal that comes at the prompt does not interrupt
// the next input.
func TestOldInterrupt(t *testing.T) {
	t.Parallel()
	signals := make(chan os.Signal, 1)
	b := newBench(t, step{
		text: "task.sleep(0.01) return 3", before: func() { signals <- os.Interrupt },
	})
	b.opts.Interrupts = signals
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	if got := b.out.String(); got != "3\n" {
		t.Errorf("printed %q, want 3", got)
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	t.Run("os.exit", func(t *testing.T) {
		b := newBench(t, type_("os.exit(7)", "1")...)
		err := b.run(t)
		var exit *host.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("Run = %v, want an ExitError", err)
		}
		if exit.Code != 7 {
			t.Errorf("exit code %d, want 7", exit.Code)
		}
	})
	t.Run("failing init", func(t *testing.T) {
		b := newBench(t, type_("1")...)
		b.opts.Init = "error('no device')"
		err := b.run(t)
		if err == nil {
			t.Fatal("Run = nil, want the failure of Init")
		}
		if !strings.Contains(err.Error(), "no device") {
			t.Errorf("Run = %v, want the failure of Init", err)
		}
		if len(b.editor.prompts) != 0 {
			t.Error("it asked for input after Init failed")
		}
	})
	t.Run("init and banner", func(t *testing.T) {
		b := newBench(t, type_("svc")...)
		b.opts.Init, b.opts.Banner, b.opts.Name = "svc = 12", "hello", "relay"
		if err := b.run(t); err != nil {
			t.Fatal(err)
		}
		if got, want := b.out.String(), "hello\n12\n"; got != want {
			t.Errorf("printed %q, want %q", got, want)
		}
		if got, want := b.editor.prompts[0], "relay> "; got != want {
			t.Errorf("the prompt is %q, want %q", got, want)
		}
	})
	t.Run("context", func(t *testing.T) {
		b := newBench(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("terminated")
		b.editor.steps = []step{{text: "1", before: func() { cancel(gone); <-b.editor.closed }}}
		if err := Run(ctx, b.opts); err != gone {
			t.Errorf("Run = %v, want the cause", err)
		}
		if got := b.out.String(); got != "" {
			t.Errorf("%q was run after the end", got)
		}
	})
	t.Run("read error", func(t *testing.T) {
		broken := errors.New("broken")
		b := newBench(t, step{err: broken})
		if err := b.run(t); !errors.Is(err, broken) {
			t.Errorf("Run = %v, want the read error", err)
		}
	})
	t.Run("tasks end with the REPL", func(t *testing.T) {
		b := newBench(t, type_(`t = task.spawn(function()
			defer(function() print('ended') end)
			task.sleep(1000)
		end)`)...)
		if err := b.run(t); err != nil {
			t.Fatal(err)
		}
		if got := b.out.String(); !strings.HasSuffix(got, "ended\n") {
			t.Errorf("printed %q, want the task's clean-up", got)
		}
	})
}

func TestBatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, in, out string
		code          int
	}{
		{"all well", "x = 2\nx * 4\n", "8\n", 0},
		{"no newline at the end", "1 + 1", "2\n", 0},
		{"first failure", "error('boom')\n3\n", "3\n", 1},
		{"unfinished", "for i = 1, 2 do\n  print(i)\n", "near '<eof>'", 2},
		{"empty lines in a block", "do\n\n\n\nprint(5)\nend\n", "5\n", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			b.opts.Editor, b.opts.Batch = NewPlainEditor(strings.NewReader(test.in), b.out), true
			err := Run(t.Context(), b.opts)
			if got := host.ExitCode(err); got != test.code {
				t.Errorf("exit code %d (%v), want %d", got, err, test.code)
			}
			if got := b.out.String(); !strings.Contains(got, test.out) {
				t.Errorf("printed %q, want %q in it", got, test.out)
			}
		})
	}
}

func TestKillTask(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_("t = task.spawn(function() task.sleep(1000) end)", ":tasks")...)
	b.editor.steps = append(b.editor.steps, step{before: func() {
		id := strconv.Itoa(b.host.Tasks()[0].ID())
		b.editor.steps = append(b.editor.steps, type_(":kill "+id, ":tasks")...)
	}})
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	wantInOrder(t, b.out.String(), []string{"[1]:1", "no background tasks\n"})
}

func TestRecord(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.lua")
	b := newBench(t, type_(":record "+path, "local x = 20", "x + 2", "= x",
		"error('not this')", ":record "+path, ":record stop", "x", ":record stop",
		":record "+path)...)
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "local x = 20\np(x + 2)\np( x)\n"; string(got) != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
	for _, want := range []string{"already", "nothing is being recorded", "exists already"} {
		if !strings.Contains(b.out.String(), want) {
			t.Errorf("printed %q, want %q in it", b.out, want)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "part.lua")
	const source = "#!/usr/bin/env imdlua\nfunction triple(n)\n  return n * 3\nend\n"
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, type_(":load "+path, "triple(5)", "triple??", ":load "+path+"x", ":load")...)
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	wantInOrder(t, b.out.String(), []string{
		"15\n", "return n * 3\nend\n", "no such file", ":load needs a file",
	})
}

func TestCommands(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_(":shout hello there", ":help")...)
	shout := func(_ context.Context, arg string, out io.Writer) error {
		_, err := io.WriteString(out, strings.ToUpper(arg)+"\n")
		return err
	}
	b.opts.Commands = []Command{{"shout", "TEXT", "say it loudly", shout}}
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	if got := b.out.String(); !strings.HasPrefix(got, "HELLO THERE\n") {
		t.Errorf("printed %q, want the words of the command first", got)
	}
	wantInOrder(t, b.out.String(), []string{":shout TEXT"})
}
