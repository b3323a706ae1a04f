package exec

import (
	"context"
	"errors"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// shownOutput is how much of the end of standard error an error message shows.
const shownOutput = 500

func run(c *api.Call, command lua.LValue, o runOptions) (*Result, error) {
	args, err := readCommand(c, command, &o)
	if err != nil {
		return nil, err
	}
	limit := c.Host().Options().MaxString
	if o.MaxOutput != nil {
		if *o.MaxOutput < 0 {
			return nil, c.ArgError(2, "option \"max_output\": must not be negative")
		}
		limit = min(limit, *o.MaxOutput)
	}
	allowed := c.Host().Options().CallTimeout
	if o.Timeout != nil {
		allowed = *o.Timeout
	}
	if allowed == 0 {
		return nil, late(args[0], allowed)
	}
	pipes := pipeOptions{stderr: o.Stderr, limit: limit, cut: o.Truncate}
	if o.Stdin != nil {
		pipes.stdin, pipes.content = true, append([]byte{}, *o.Stdin...)
	}
	var p *process
	err = c.Timeout(allowed).TryBlock(func(ctx context.Context) error {
		var err error
		p, err = o.open(args, pipes)
		if err != nil {
			return err
		}
		defer p.close(context.Background()) // a program may clean up even if ctx has ended
		return p.collect(ctx, limit)
	})
	var long *longError
	switch {
	case errors.As(err, &long):
		e := host.Errorf("too_large", "exec: %s wrote more than the limit of %d bytes to %s",
			args[0], limit, long.output)
		return nil, e.WithHint("raise max_output, or set truncate to drop the rest")
	case errors.Is(err, context.DeadlineExceeded):
		return nil, late(args[0], allowed)
	case err != nil:
		return nil, err
	}
	r, err := p.result(c)
	if err == nil && o.Check && !r.OK {
		return nil, r.failure(args[0])
	}
	return r, err
}

// late returns the error for a program that did not end in time.
func late(name string, allowed time.Duration) error {
	e := host.Errorf("timeout", "exec: %s did not end within %v", name, allowed)
	return e.WithHint("raise the option timeout; math.huge is no limit")
}

// result returns the outputs and the status of a program that has ended.
func (p *process) result(c *api.Call) (*Result, error) {
	if p.err != nil {
		return nil, host.Errorf("error", "exec: %s: %v", p.name, p.err)
	}
	s := p.status()
	r := &Result{OK: s.OK, Code: s.Code, Signal: s.Signal, Seconds: s.Seconds}
	for i, o := range p.outputs {
		if err := o.Failure(); err != nil {
			return nil, host.Errorf("error", "exec: %s of %s: %v", o.name, p.name, err)
		}
		b, _ := o.Take(1 << 62)
		r.Truncated = r.Truncated || o.Dropped() > 0
		host.MakeString(c.L, float64(len(b)))
		if i == 0 {
			r.Out = string(b)
		} else {
			r.Err = string(b)
		}
	}
	return r, nil
}

// status returns the status of a program that has ended.
func (p *process) status() *Status {
	s := &Status{OK: p.code == 0, Code: p.code, Seconds: p.took.Seconds()}
	if p.signal != "" {
		s.Signal = &p.signal
	}
	return s
}

// failure returns the error that the option check raises.
func (r *Result) failure(name string) error {
	text := strings.TrimSpace(r.Err)
	if text == "" {
		text = strings.TrimSpace(r.Out)
	}
	if len(text) > shownOutput {
		text = "..." + text[len(text)-shownOutput:]
	}
	how := ending(r.Code, r.Signal)
	if text != "" {
		how += ": " + text
	}
	e := host.Errorf("exit", "exec: %s ended %s", name, how)
	e.Details = map[string]any{"code": r.Code, "out": r.Out, "err": r.Err}
	if r.Signal != nil {
		e.Details["signal"] = *r.Signal
	}
	return e
}
