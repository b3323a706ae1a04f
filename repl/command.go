package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/visible"
)

// builtin is a command that every REPL has.
type builtin struct {
	name, args, doc string
	run             func(r *repl, ctx context.Context, arg string) error
}

// builtins returns the commands in the order of :help. It is a function, not a
// variable, because :help itself uses it.
func builtins() []builtin {
	return []builtin{
		{"help", "[NAME]", "this list, or help on a name; NAME? does the same", (*repl).help},
		{"load", "FILE", "run a script as if it was typed", (*repl).load},
		{"time", "CODE", "run code and say how long it took", (*repl).time},
		{"i", "CODE", "say what a value is", (*repl).inform},
		{"devices", "", "list the devices", (*repl).devices},
		{"use", "UDID", "make a device the global dev", (*repl).use},
		{"tasks", "", "list the background tasks", (*repl).tasks},
		{"kill", "N", "cancel a background task", (*repl).kill},
		{"record", "FILE|stop", "write each input that succeeds to a script", (*repl).recording},
		{"quit", "", "leave; Ctrl-D does the same", (*repl).quit},
	}
}

func (r *repl) devices(ctx context.Context, _ string) error {
	return r.code(ctx, "return devices()")
}

func (r *repl) quit(context.Context, string) error { return errQuit }

func (r *repl) command(ctx context.Context, in input) error {
	if in.source {
		return r.showSource(in.help)
	}
	if in.help != "" {
		in.arg = in.help
	} else if in.meta == "help" && in.arg == "" && strings.TrimSpace(in.text) == "?" {
		return r.help(ctx, "")
	}
	name := in.meta
	switch name {
	case "q", "exit":
		name = "quit"
	case "?", "h":
		name = "help"
	case "run":
		name = "load"
	}
	for _, b := range builtins() {
		if b.name == name {
			return b.run(r, ctx, in.arg)
		}
	}
	for _, c := range r.o.Commands {
		if c.Name == name {
			return c.Run(ctx, in.arg, r.o.Output)
		}
	}
	var names []string
	for _, c := range r.commandNames() {
		names = append(names, c.Text)
	}
	e := host.Errorf("usage", "there is no command :%s", name)
	if near := host.Suggest(name, names); near != "" {
		return e.WithHint("did you mean :%s?", near)
	}
	return e.WithHint(":help lists the commands")
}

func (r *repl) commandNames() []api.Candidate {
	var out []api.Candidate
	for _, b := range builtins() {
		out = append(out, api.Candidate{Text: b.name, Doc: b.doc})
	}
	for _, c := range r.o.Commands {
		out = append(out, api.Candidate{Text: c.Name, Doc: c.Doc})
	}
	slices.SortFunc(out, func(a, b api.Candidate) int { return strings.Compare(a.Text, b.Text) })
	return out
}

// code runs Lua code for a command, as if the user had typed it.
func (r *repl) code(ctx context.Context, code string) error {
	res, err := r.eval(ctx, r.nextChunk(code), code)
	if err != nil {
		return err
	}
	return r.result(res, false)
}

func (r *repl) load(ctx context.Context, arg string) error {
	if arg == "" {
		return host.Errorf("usage", ":load needs a file")
	}
	source, err := os.ReadFile(arg)
	if err != nil {
		return host.Errorf("usage", "%v", err)
	}
	res, err := r.eval(ctx, arg, string(source))
	if err != nil {
		return err
	}
	return r.result(res, false)
}

func (r *repl) time(ctx context.Context, arg string) error {
	in, more, err := classify(r.host, "time", arg)
	switch {
	case more || arg == "":
		return host.Errorf("usage", ":time needs a whole expression or statement")
	case err != nil:
		return err
	case in.meta != "":
		return host.Errorf("usage", ":time needs Lua code")
	}
	start := time.Now()
	res, err := r.eval(ctx, r.nextChunk(in.code), in.code)
	took := time.Since(start)
	if err == nil {
		err = r.result(res, in.silent)
	}
	fmt.Fprintf(r.o.Output, "%v\n", took.Round(time.Microsecond))
	return err
}

// inform shows a value with its type, its size and the members of its class.
func (r *repl) inform(ctx context.Context, arg string) error {
	if arg == "" {
		return host.Errorf("usage", ":i needs an expression")
	}
	code := "return " + arg
	res, err := r.eval(ctx, r.nextChunk(code), code)
	if err != nil {
		return err
	}
	var b strings.Builder
	err = r.with(func(L *lua.LState) {
		for _, v := range res {
			b.WriteString(r.inspect(L, v) + "\n")
			switch v := v.(type) {
			case lua.LString:
				fmt.Fprintf(&b, "string of %d bytes\n", len(v))
			case *lua.LTable:
				n := 0
				v.ForEach(func(lua.LValue, lua.LValue) { n++ })
				fmt.Fprintf(&b, "table with %d entries, %d of them numbered from 1\n", n, v.Len())
			case *lua.LUserData:
				b.WriteString(r.index.Help(v))
			default:
				b.WriteString(v.Type().String() + "\n")
			}
		}
	})
	if err != nil {
		return err
	}
	io.WriteString(r.o.Output, b.String())
	return nil
}

// plainName matches UDIDs and Wi-Fi addresses.
var plainName = regexp.MustCompile(`^[0-9A-Za-z:-]+$`)

func (r *repl) use(ctx context.Context, arg string) error {
	if !plainName.MatchString(arg) {
		return host.Errorf("usage", ":use needs a UDID").WithHint(":devices lists them")
	}
	return r.code(ctx, fmt.Sprintf("dev = device{ udid = %q } return dev", arg))
}

func (r *repl) tasks(context.Context, string) error {
	tasks := r.host.Tasks()
	if len(tasks) == 0 {
		fmt.Fprintln(r.o.Output, "no background tasks")
		return nil
	}
	var b strings.Builder
	err := r.with(func(*lua.LState) {
		for _, t := range tasks {
			fmt.Fprintf(&b, "%4d  %s", t.ID(), visible.Line(t.Name()))
			what, at := t.Waiting()
			if what != "" {
				fmt.Fprintf(&b, "  waits for %s at %s", visible.Line(what), visible.Line(at))
			}
			b.WriteByte('\n')
		}
	})
	if err != nil {
		return err
	}
	io.WriteString(r.o.Output, b.String())
	return nil
}

func (r *repl) kill(ctx context.Context, arg string) error {
	id, err := strconv.Atoi(arg)
	if err != nil {
		return host.Errorf("usage", ":kill needs the number of a task").
			WithHint(":tasks lists them")
	}
	for _, t := range r.host.Tasks() {
		if t.ID() == id {
			r.end(ctx, t)
			return nil
		}
	}
	return host.Errorf("usage", "there is no task %d", id).WithHint(":tasks lists them")
}

// end cancels a task and waits until it has cleaned up. An interrupt ends the wait.
func (r *repl) end(ctx context.Context, t *host.Task) {
	r.drain()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A task that is cancelled on request must not be reported as failed.
		r.interactive.With(func(*lua.LState) { t.Observe() })
		t.Cancel("killed at the prompt")
		<-t.Done()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	case <-r.o.Interrupts:
		fmt.Fprintf(r.o.Output, "\ntask %d goes on with its clean-up\n", t.ID())
	}
}

// recorder is the script to which :record writes inputs.
type recorder struct {
	path string
	file *os.File
}

func (r *repl) recording(_ context.Context, arg string) error {
	if arg == "stop" || arg == "" {
		if r.record == nil {
			return host.Errorf("usage", "nothing is being recorded").WithHint(":record FILE begins")
		}
		return r.stopRecording()
	}
	if r.record != nil {
		return host.Errorf("usage", "recording to %s already", r.record.path).
			WithHint(":record stop ends it")
	}
	f, err := os.OpenFile(arg, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		if errors.Is(err, os.ErrExist) {
			return host.Errorf("usage", "%s exists already", arg)
		}
		return host.Errorf("usage", "%v", err)
	}
	r.record = &recorder{arg, f}
	fmt.Fprintf(r.o.Output, "recording to %s\n", arg)
	return nil
}

func (r *repl) stopRecording() error {
	path, err := r.record.path, r.record.file.Close()
	r.record = nil
	if err != nil {
		return host.Errorf("io", "%v", err)
	}
	fmt.Fprintf(r.o.Output, "recorded to %s\n", path)
	return nil
}

// recorded writes an input that succeeded to the script. An expression is not a
// statement, so it becomes an argument of p, which prints its value.
func (r *repl) recorded(text string) error {
	if r.record == nil {
		return nil
	}
	if r.host.Compile("record", text) != nil {
		value := strings.TrimPrefix(strings.TrimSpace(text), "=")
		text = "p(" + strings.TrimRight(value, "; \n") + ")"
	}
	_, err := io.WriteString(r.record.file, text+"\n")
	if err != nil {
		return r.report(host.Errorf("io", "%v", err))
	}
	return nil
}
