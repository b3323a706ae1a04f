package repl

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// help shows the commands, or help on a name. It describes the current value of the
// name if there is one, else the declaration with this name.
func (r *repl) help(ctx context.Context, name string) error {
	if name == "" {
		io.WriteString(r.o.Output, r.overview())
		return nil
	}
	v := r.lookup(ctx, name)
	var text string
	err := r.with(func(*lua.LState) {
		switch v.(type) {
		case *lua.LFunction, *lua.LTable, *lua.LUserData:
			text = r.index.Help(v)
		}
		if text == "" || strings.HasPrefix(text, "no help for") {
			text = r.index.Help(lua.LString(name))
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(r.o.Output, strings.TrimRight(text, "\n"))
	return nil
}

// lookup returns the current value of a chain of names such as dev.name, or nil if
// there is none.
func (r *repl) lookup(ctx context.Context, name string) lua.LValue {
	code := "return " + strings.ReplaceAll(name, ":", ".")
	res, err := r.eval(ctx, "help", code)
	if err != nil || len(res) == 0 {
		return lua.LNil
	}
	return res[0]
}

func (r *repl) overview() string {
	var b strings.Builder
	b.WriteString("Lua is run as it is typed; the value of an expression is printed.\n" +
		"_ is the last value, __ the one before, _e the last error.\n" +
		"NAME? shows help, NAME?? the source; a ; at the end keeps a value quiet.\n" +
		"Ctrl-C ends what is running, Ctrl-D leaves. help() lists what scripts can do.\n\n")
	type line struct{ usage, doc string }
	var lines []line
	for _, c := range builtins() {
		lines = append(lines, line{strings.TrimSpace(":" + c.name + " " + c.args), c.doc})
	}
	for _, c := range r.o.Commands {
		lines = append(lines, line{strings.TrimSpace(":" + c.Name + " " + c.Args), c.Doc})
	}
	width := 0
	for _, l := range lines {
		width = max(width, len(l.usage))
	}
	for _, l := range lines {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, l.usage, l.doc)
	}
	return b.String()
}

// showSource prints the source of a Lua function that was typed or loaded.
func (r *repl) showSource(name string) error {
	f, ok := r.lookup(context.Background(), name).(*lua.LFunction)
	if !ok || f.Proto == nil {
		return host.Errorf("usage", "there is no Lua source for %s", name).
			WithHint("%s? shows help", name)
	}
	file := f.Proto.SourceName
	source, known := r.chunks[file]
	if !known {
		b, err := os.ReadFile(file)
		if err != nil {
			return host.Errorf("usage", "the source of %s (%s) cannot be read", name, file)
		}
		source = string(b)
	}
	lines := strings.Split(source, "\n")
	from, to := f.Proto.LineDefined-1, f.Proto.LastLineDefined
	if from < 0 || to > len(lines) || from >= to {
		return host.Errorf("usage", "the source of %s (%s) has changed", name, file)
	}
	fmt.Fprintf(r.o.Output, "-- %s:%d\n%s\n", file, from+1, strings.Join(lines[from:to], "\n"))
	return nil
}
