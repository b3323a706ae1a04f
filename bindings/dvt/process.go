package dvt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// maxLine bounds what is kept of a line whose end has not come yet.
const maxLine = 64 << 10

// Process is an app that was launched.
type Process struct {
	dev    *device.Device
	id     string
	pid    int
	output *stream.Stream // nil unless it was asked for
}

type launchOptions struct {
	device.Timeout
	Args      []string          `lua:"args" doc:"arguments of the app"`
	Env       map[string]string `lua:"env" doc:"further environment variables"`
	Kill      bool              `lua:"kill" doc:"end the instance that runs; without it a running app comes to the front and keeps its arguments"`
	Suspended bool              `lua:"suspended" doc:"stop the app before its first instruction, until resume"`
	Output    bool              `lua:"output" doc:"follow what the app writes to standard output and error"`
}

func launch(c *api.Call, d *device.Device, id string, o launchOptions) (*Process, error) {
	p := &Process{dev: d, id: id}
	options := dvt.LaunchOptions{Args: o.Args, Env: o.Env, KillExisting: o.Kill, Suspended: o.Suspended}
	var followed *dvt.Process
	err := with(c, d, o.Timeout, func(ctx context.Context, s *dvt.Session) (err error) {
		if !o.Output {
			p.pid, err = s.Launch(ctx, id, options)
			return err
		}
		if followed, err = s.Start(ctx, id, options); err == nil {
			p.pid = followed.PID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if followed != nil {
		p.output = stream.New(func(ctx context.Context, push func(...any)) error { return lines(ctx, d, followed, push) }, followed.Close,
			stream.Options{Kind: "output", Text: func(v any) string { return v.(string) }, Dropped: followed.Dropped})
		api.Own(c, p.output) // it ends with the scope of the launch, whether or not the script reads it
	}
	return p, nil
}

// lines hands over the output of a process by lines. The end of the process is
// the end of the stream; that of the session is an error.
func lines(ctx context.Context, d *device.Device, p *dvt.Process, push func(...any)) error {
	defer p.Close() // gives the channel back
	rest := ""
	for {
		out, err := p.Next(ctx)
		if err != nil {
			if rest != "" {
				push(rest)
			}
			if errors.Is(err, io.EOF) && p.Exit() != nil {
				return nil
			}
			return d.Ended(err)
		}
		rest += out.Text
		for {
			line, after, ok := strings.Cut(rest, "\n")
			if !ok {
				break
			}
			push(line)
			rest = after
		}
		if len(rest) > maxLine {
			push(rest)
			rest = ""
		}
	}
}

func kill(c *api.Call, d *device.Device, pid int, t device.Timeout) error {
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error { return s.Kill(ctx, pid) })
}

func (p *Process) kill(c *api.Call, t device.Timeout) error { return kill(c, p.dev, p.pid, t) }

func (p *Process) resume(c *api.Call, t device.Timeout) error {
	return with(c, p.dev, t, func(ctx context.Context, s *dvt.Session) error { return s.Resume(ctx, p.pid) })
}

func (p *Process) signal(c *api.Call, number int, t device.Timeout) error {
	return with(c, p.dev, t, func(ctx context.Context, s *dvt.Session) error { return s.Signal(ctx, p.pid, number) })
}

func (p *Process) alive(c *api.Call, t device.Timeout) (alive bool, err error) {
	err = with(c, p.dev, t, func(ctx context.Context, s *dvt.Session) error {
		alive, err = s.IsRunning(ctx, p.pid)
		return err
	})
	return alive, err
}

func (p *Process) lines() (*stream.Stream, error) {
	if p.output == nil {
		return nil, host.Errorf("not_observed", "the output of %s is not followed: launch it with output = true", p.id)
	}
	return p.output, nil
}

func processClass() *api.Class {
	c := api.NewClass[*Process]("RunningProcess", "An app that was launched. It goes on when the script ends.")
	c.Var = "proc"
	c.String = func(p *Process) string { return fmt.Sprintf("RunningProcess<%s, pid %d>", p.id, p.pid) }
	c.Fields = []*api.Field{
		api.Property("pid", "process id", func(p *Process) int { return p.pid }),
		api.Property("bundle_id", "of the app", func(p *Process) string { return p.id }),
	}
	const open = start + "local proc = dev:launch(\"com.example.shop\")\n"
	opts := api.ParamDoc("opts", "timeout")
	c.Methods = []*api.Func{
		api.Method("kill", "Ends the process.", "opts?", func(c *api.Call, p *Process, t device.Timeout) error { return p.kill(c, t) },
			opts, raises("not_found"), api.NeedsDDI(), api.Perm("control"), api.Example(open+"proc:kill()")),
		api.Method("signal", "Sends a signal to the process.", "number opts?", func(c *api.Call, p *Process, n int, t device.Timeout) error { return p.signal(c, n, t) },
			api.ParamDoc("number", "of the signal as iOS counts them, such as 15 for SIGTERM"), opts, raises("not_found", "invalid"), api.NeedsDDI(), api.Perm("control"),
			api.Example(open+"proc:signal(15)")),
		api.Method("resume", "Lets a process go on that was launched suspended.", "opts?", func(c *api.Call, p *Process, t device.Timeout) error { return p.resume(c, t) },
			opts, raises("not_found"), api.NeedsDDI(), api.Perm("control"),
			api.Example(start+"local proc = dev:launch(\"com.example.shop\", { kill = true, suspended = true })\nproc:resume()")),
		api.Method("alive", "Says whether there is still a process of that id.", "opts?", func(c *api.Call, p *Process, t device.Timeout) (bool, error) { return p.alive(c, t) },
			opts, raises(), api.Returns("boolean alive"), api.NeedsDDI(), api.Perm("read"), api.Example(open+"print(proc:alive())")),
		api.Method("output", "Returns what the process writes to standard output and error, as a stream of lines that ends with the process. It has to be launched with `output = true`; the stream then begins with the launch.", "", func(_ *api.Call, p *Process) (*stream.Stream, error) { return p.lines() },
			api.Raises("not_observed"), api.Returns("Stream stream"), api.Perm("none"),
			api.Example(start+"local proc = dev:launch(\"com.example.shop\", { kill = true, output = true })\nprint(proc:output():next(10))")),
	}
	return c
}
