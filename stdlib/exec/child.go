package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/pump"
)

// Child is a program that a script has started.
type Child struct {
	p       *process
	outputs []*Output
}

// Output is one of the outputs of a Child, for one task at a time.
type Output struct {
	api.Turn
	pump.Reader
	name string // stdout or stderr
}

// Close ends the program.
func (ch *Child) Close(ctx context.Context) error { return ch.p.close(ctx) }

// Size returns how many bytes have not been read.
func (out *Output) Size(func(lua.LValue)) int { return out.Pump.Size() }

func start(c *api.Call, command lua.LValue, o startOptions) (opened api.Opened[*Child], err error) {
	args, err := readCommand(c, command, &o)
	if err != nil {
		return opened, err
	}
	pipes := pipeOptions{stdin: true, stderr: o.Stderr, limit: pump.Waiting}
	if o.Stdin != nil {
		pipes.content = append([]byte{}, *o.Stdin...)
	}
	limit := c.Host().Options().MaxString
	return api.Open(c, func(context.Context) (*Child, error) {
		p, err := o.open(args, pipes)
		if err != nil {
			return nil, err
		}
		ch := &Child{p: p}
		for _, out := range p.outputs {
			r := pump.Reader{Pump: out.Pump, Module: "exec", From: p.name, Limit: limit}
			ch.outputs = append(ch.outputs, &Output{Reader: r, name: out.name})
		}
		return ch, nil
	})
}

func childClass() *api.Class {
	c := api.NewClass[*Child]("ChildProcess", "A program that runs beside the script. Closing it, "+
		"or the end of its scope, ends the program and the processes that it has started. They "+
		"are asked to end, and killed if they have not ended after 2 seconds.")
	c.Var, c.Closer, c.Perm = "p", true, "none"
	c.String = func(ch *Child) string {
		if ch.p.over() {
			s := ch.p.status()
			return fmt.Sprintf("ChildProcess<%s, ended %s>", ch.p.name, ending(s.Code, s.Signal))
		}
		return fmt.Sprintf("ChildProcess<%s, pid %d>", ch.p.name, ch.p.cmd.Process.Pid)
	}
	c.Fields = []*api.Field{
		api.Property("pid", "number of the process",
			func(ch *Child) int { return ch.p.cmd.Process.Pid }),
		api.Property("running", "whether it has not ended",
			func(ch *Child) bool { return !ch.p.over() }),
		api.Property("name", "the program", func(ch *Child) string { return ch.p.name }),
	}
	c.Methods = append(outputMethods(), controlMethods()...)
	return c
}

// outputMethods returns the methods that read and write data.
func outputMethods() []*api.Func {
	return []*api.Func{
		api.Method(
			"lines",
			"Its output: `for line in p:lines() do`. Standard error is part of it, "+
				"unless start was told otherwise. Each call returns the same object.",
			"",
			func(_ *api.Call, ch *Child) *Output { return ch.outputs[0] },
			api.Example(`local p = require("imd.exec").start{ "echo", "hello" }
return p:lines():next(5) -- => "hello"`),
		),
		api.Method("errors", "Its standard error, if start was given stderr=\"separate\". It "+
			"must be read as well: the program is held up while 1 MB has not been read.",
			"", childErrors,
			api.Raises("argument"),
			api.Example(`local exec = require "imd.exec"
local p = exec.start{ "ls", "/no/such", stderr = "separate" }
return p:errors():next(5) ~= nil -- => true`)),
		api.Method("write", "Writes to its standard input, and waits until there is room for it.",
			"content timeout?", writeInput,
			api.ParamDoc("content", "string or Data"),
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Raises("closed", "timeout"),
			api.Example(`require("imd.exec").start{ "cat" }:write("hello\n")`)),
		api.Method("close_stdin", "Ends its standard input.",
			"", func(_ *api.Call, ch *Child) { ch.p.stdin.end() },
			api.Example(`local p = require("imd.exec").start{ "cat" }
p:close_stdin()
return p:wait(5).code -- => 0`)),
	}
}

// controlMethods returns the methods that wait for the program, signal it or kill it.
func controlMethods() []*api.Func {
	return []*api.Func{
		api.Method("wait", "Waits until the program has ended, and returns how it ended. What it "+
			"writes in the meantime is kept and can be read afterwards.",
			"timeout?", waitEnd,
			api.ParamDoc("timeout", "seconds to wait at most, no limit if it is not given"),
			api.Raises("timeout", "too_large"),
			api.Returns("ExecStatus"),
			api.Example(`return require("imd.exec").start{ "echo" }:wait(5).ok -- => true`)),
		api.Method(
			"signal",
			"Sends a signal to the program only. Returns false if it has ended "+
				"already. Windows has only KILL.",
			"name",
			sendSignal,
			api.ParamDoc("name", "such as INT or SIGINT"),
			api.Raises("argument"),
			api.Returns("boolean sent"),
			api.Example(`local p = require("imd.exec").start{ "cat" }
p:signal("TERM")
return p:wait(5).signal -- => "SIGTERM"`),
		),
		api.Method("kill", "Kills the program and the processes that it has started.",
			"", func(_ *api.Call, ch *Child) {
				if !ch.p.over() || !ch.p.silent() {
					ch.p.group.kill(ch.p.cmd.Process)
				}
			},
			api.Example(`local p = require("imd.exec").start{ "cat" }
p:kill()
return p:wait(5).code -- => 137`)),
	}
}

func childErrors(_ *api.Call, ch *Child) (*Output, error) {
	if len(ch.outputs) < 2 {
		return nil, host.Errorf("argument", "exec: standard error of %s is not separate",
			ch.p.name).
			WithHint(`start it with stderr = "separate"`)
	}
	return ch.outputs[1], nil
}

func writeInput(c *api.Call, ch *Child, content []byte, timeout *time.Duration) error {
	limit := pump.Timeout(timeout)
	content = append([]byte{}, content...)
	err := c.Timeout(limit).TryBlock(func(ctx context.Context) error {
		return ch.p.stdin.write(ctx, content)
	})
	switch {
	case errors.Is(err, os.ErrClosed), isBrokenPipe(err):
		return host.Errorf("closed", "exec: %s does not read its input any more", ch.p.name)
	case errors.Is(err, context.DeadlineExceeded):
		return host.Errorf("timeout", "exec: %s did not read its input within %v", ch.p.name, limit)
	}
	return err
}

// isBrokenPipe reports whether err means that the reader of a pipe has closed it. On Windows it is
// ERROR_BROKEN_PIPE or ERROR_NO_DATA.
func isBrokenPipe(err error) bool {
	var no syscall.Errno
	return errors.As(err, &no) &&
		(no == syscall.EPIPE || runtime.GOOS == "windows" && (no == 109 || no == 232))
}

func waitEnd(c *api.Call, ch *Child, timeout *time.Duration) (*Status, error) {
	p, most := ch.p, c.Host().Options().MaxString
	if !p.over() {
		limit := pump.Timeout(timeout)
		err := c.Timeout(limit).TryBlock(func(ctx context.Context) error {
			return p.wait(ctx, most)
		})
		var long *longError
		switch {
		case errors.As(err, &long):
			e := host.Errorf("too_large", "exec: more than the limit of %d bytes of %s wait to be "+
				"read", most, p.name)
			return nil, e.WithHint("read p:lines() while the program runs")
		case errors.Is(err, context.DeadlineExceeded):
			return nil, host.Errorf("timeout", "exec: %s did not end within %v", p.name, limit)
		case err != nil:
			return nil, err
		}
	}
	if p.err != nil {
		return nil, host.Errorf("error", "exec: %s: %v", p.name, p.err)
	}
	return p.status(), nil
}

func sendSignal(c *api.Call, ch *Child, name string) (bool, error) {
	s, ok := signalOf(name)
	if !ok {
		return false, c.ArgError(1, "%q is not a signal that can be sent on this system", name)
	}
	if ch.p.over() {
		return false, nil
	}
	err := ch.p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return false, nil
	}
	return err == nil, err
}

// ending describes how a program ended: "with code 1", "by SIGKILL".
func ending(code int, signal *string) string {
	if signal != nil {
		return "by " + *signal
	}
	return fmt.Sprintf("with code %d", code)
}

func outputClass() *api.Class {
	c := api.NewClass[*Output](
		"ProcessOutput",
		"The output of a program. It ends with the program. If other processes hold the pipe "+
			"open, it ends when they have written nothing for 1 second.",
	)
	c.Var, c.Perm, c.NextType = "output", "none", "string"
	c.String = func(out *Output) string {
		return fmt.Sprintf("ProcessOutput<%s of %s>", out.name, out.From)
	}
	c.Next = func(c *api.Call, out *Output) (lua.LValue, error) {
		return out.NextLine(c, api.NoTimeout)
	}
	c.Fields = []*api.Field{
		api.Property("ended", "whether everything has been read",
			func(out *Output) bool { return out.AtEnd() }),
	}
	c.Methods = []*api.Func{
		api.Method("next", "The next line without its end. nil if the output has ended or the "+
			"timeout has passed.",
			"timeout?", func(c *api.Call, out *Output, timeout *time.Duration) (lua.LValue, error) {
				return out.NextLine(c, pump.Timeout(timeout))
			},
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Raises("too_large"),
			api.Returns("string? line"),
			api.Example(`local p = require("imd.exec").start{ "cat" }
return p:lines():next(0) -- => nil`)),
		api.Method(
			"read",
			"The next bytes as they are. Waits until there are some and returns all "+
				"of them. nil if the output has ended or the timeout has passed.",
			"max_size? timeout?",
			func(c *api.Call, out *Output, most *int64, timeout *time.Duration) (
				lua.LValue, error,
			) {
				return out.NextBytes(c, most, pump.Timeout(timeout))
			},
			api.ParamDoc("max_size", "how many bytes at most, 65536 by default"),
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Returns("string? bytes"),
			api.Example(`local p = require("imd.exec").start({ "cat" }, { stdin = "a\0b" })
return p:lines():read(2, 5) -- => "a\0"`),
		),
	}
	return c
}
