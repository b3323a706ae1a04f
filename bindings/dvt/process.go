package dvt

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// Process is the RunningProcess of scripts: an app that was launched.
type Process struct {
	dev    *device.Device
	id     string
	pid    int
	output *stream.Stream // nil unless launch was called with output = true
}

type launchOptions struct {
	device.Timeout
	Args      []string          `lua:"args" doc:"arguments of the app"`
	Env       map[string]string `lua:"env" doc:"further environment variables"`
	Kill      bool              `lua:"kill" doc:"end an instance that runs, and start anew"`
	Suspended bool              `lua:"suspended" doc:"wait for resume before the first instruction"`
	Output    bool              `lua:"output" doc:"follow its standard output and error"`
}

func launch(c *api.Call, d *device.Device, id string, o launchOptions) (*Process, error) {
	p := &Process{dev: d, id: id}
	options := dvt.LaunchOptions{
		Args: o.Args, Env: o.Env, KillExisting: o.Kill, Suspended: o.Suspended,
	}
	if o.Output {
		return p, p.follow(c, o.Timeout, options)
	}
	err := with(c, d, o.Timeout, func(ctx context.Context, s *dvt.Session) (err error) {
		p.pid, err = s.Launch(ctx, id, options)
		return err
	})
	return p, err
}

// follow launches the app and opens the stream of its output. The stream belongs to the
// scope of the launch.
func (p *Process) follow(c *api.Call, t device.Timeout, options dvt.LaunchOptions) error {
	output, err := device.Open(c, p.dev, t, func(ctx context.Context) (*stream.Stream, error) {
		s, err := sessionOf(p.dev).Get(ctx)
		if err != nil {
			return nil, err
		}
		followed, err := s.Start(ctx, p.id, options)
		if err != nil {
			return nil, err
		}
		p.pid = followed.PID
		source := func(ctx context.Context, push func(...any)) error {
			return lines(ctx, p.dev, followed, push)
		}
		text := func(v any) string { return v.(string) }
		return stream.New(source, followed.Close, stream.Options{
			Kind: "output", Text: text, Size: func(v any) int { return len(v.(string)) },
			Dropped: followed.Dropped, Malformed: followed.Malformed,
		}), nil
	})
	if err == nil {
		p.output = output.Value()
	}
	return err
}

// lines pushes the output of a process line by line. It returns nil when the process ends
// and an error when the session ends.
func lines(ctx context.Context, d *device.Device, p *dvt.Process, push func(...any)) error {
	defer p.Close() // closes the channel of the process
	var cut stream.Lines
	for {
		out, err := p.Next(ctx)
		if err == nil {
			cut.Add(out.Text, push)
			continue
		}
		cut.End(push)
		if errors.Is(err, io.EOF) && p.Exit() != nil {
			return nil
		}
		return d.Ended(err)
	}
}

func kill(c *api.Call, d *device.Device, pid int, t device.Timeout) error {
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error {
		return s.Kill(ctx, pid)
	})
}

func killProcess(c *api.Call, p *Process, t device.Timeout) error {
	return kill(c, p.dev, p.pid, t)
}

func resume(c *api.Call, p *Process, t device.Timeout) error {
	return with(c, p.dev, t, func(ctx context.Context, s *dvt.Session) error {
		return s.Resume(ctx, p.pid)
	})
}

func signal(c *api.Call, p *Process, number int, t device.Timeout) error {
	return with(c, p.dev, t, func(ctx context.Context, s *dvt.Session) error {
		return s.Signal(ctx, p.pid, number)
	})
}

func alive(c *api.Call, p *Process, t device.Timeout) (alive bool, err error) {
	err = with(c, p.dev, t, func(ctx context.Context, s *dvt.Session) error {
		alive, err = s.IsRunning(ctx, p.pid)
		return err
	})
	return alive, err
}

func output(c *api.Call, p *Process) (api.Opened[*stream.Stream], error) {
	var none api.Opened[*stream.Stream]
	if p.output == nil {
		return none, host.Errorf("not_observed",
			"the output of %s is not followed: launch it with output = true", p.id)
	}
	if p.output.Closed() {
		return none, host.Errorf("closed", "the output of %s was closed", p.id)
	}
	return api.Own(c, p.output), nil
}

func processClass() *api.Class {
	c := api.NewClass[*Process]("RunningProcess", "An app that was launched. It goes on when the "+
		"script ends.")
	c.Var = "proc"
	c.String = func(p *Process) string {
		return fmt.Sprintf("RunningProcess<%s, pid %d>", p.id, p.pid)
	}
	c.Fields = []*api.Field{
		api.Property("pid", "process id", func(p *Process) int { return p.pid }),
		api.Property("bundle_id", "of the app", func(p *Process) string { return p.id }),
	}
	const open = start + "local proc = dev:launch(\"com.example.shop\")\n"
	opts := api.ParamDoc("opts", "timeout")
	c.Methods = []*api.Func{
		api.Method("kill", "Ends the process.",
			"opts?", killProcess,
			opts,
			raises("not_found"),
			api.NeedsDDI(),
			api.Perm("control"),
			api.Example(open+"proc:kill()")),
		api.Method("signal", "Sends a signal to the process.",
			"number opts?", signal,
			api.ParamDoc("number", "of the signal as iOS counts them, such as 15 for SIGTERM"),
			opts,
			raises("not_found", "invalid"),
			api.NeedsDDI(),
			api.Perm("control"),
			api.Example(open+"proc:signal(15)")),
		api.Method("resume", "Lets a process go on that was launched suspended.",
			"opts?", resume,
			opts,
			raises("not_found"),
			api.NeedsDDI(),
			api.Perm("control"),
			api.Example(start+`local options = { kill = true, suspended = true }
local proc = dev:launch("com.example.shop", options)
proc:resume()`)),
		api.Method("alive", "Says whether there is still a process of that id.",
			"opts?", alive,
			opts,
			raises(),
			api.Returns("boolean alive"),
			api.NeedsDDI(),
			api.Perm("read"),
			api.Example(open+"print(proc:alive())")),
		api.Method("output", "Returns what the process writes to standard output and error, as a "+
			"stream of lines that ends with the process. It has to be launched with `output = "+
			"true`; the stream then begins with the launch.",
			"", output,
			api.Raises("not_observed"),
			api.Returns("Stream stream"),
			api.Perm("none"),
			api.Example(start+`local options = { kill = true, output = true }
local proc = dev:launch("com.example.shop", options)
print(proc:output():next(10))`)),
	}
	return c
}
