package exec

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/imdlua/imdlua/stdlib/pump"
)

// errLong means that a program has written more than the limit.
var errLong = errors.New("too much output")

const (
	// killGrace is how long a program may take to end after it was asked to.
	killGrace = 2 * time.Second
	// reapTime is how long the end of a killed program is waited for. A process that waits for a
	// broken disk does not end.
	reapTime = 5 * time.Second
)

// output is what a program writes to one pipe.
type output struct {
	*pump.Pump
	name string // "stdout" or "stderr", for messages
	cut  bool   // whether output beyond the limit is dropped
}

func newOutput(name string, file *os.File, o pipeOptions) output {
	closeFile := func() { file.Close() }
	return output{pump.New(file, closeFile, o.limit, o.cut), name, o.cut}
}

// process is a running program with its pipes. Its methods may be called from any goroutine.
type process struct {
	name    string
	cmd     *exec.Cmd
	group   *group
	stdin   *input
	outputs []output // standard output, and standard error when it is separate
	began   time.Time

	exited chan struct{} // closed when the program has ended; the fields below are set then
	code   int
	signal string
	took   time.Duration
	err    error // why the system could not wait for it

	stop sync.Once
}

// launch starts a program.
func launch(cmd *exec.Cmd, o pipeOptions) (*process, error) {
	p := &process{name: cmd.Args[0], cmd: cmd, exited: make(chan struct{})}
	var theirs, ours []*os.File
	fail := func(err error) (*process, error) {
		for _, f := range append(theirs, ours...) {
			f.Close()
		}
		return nil, err
	}
	pipe := func(input bool) (their, our *os.File, err error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		their, our = w, r
		if input {
			their, our = r, w
		}
		theirs, ours = append(theirs, their), append(ours, our)
		return their, our, nil
	}
	if o.stdin {
		their, our, err := pipe(true)
		if err != nil {
			return fail(err)
		}
		cmd.Stdin, p.stdin = their, newInput(our, o.content)
	}
	their, our, err := pipe(false)
	if err != nil {
		return fail(err)
	}
	cmd.Stdout, p.outputs = their, []output{newOutput("stdout", our, o)}
	switch o.stderr {
	case "merge":
		cmd.Stderr = their
	case "separate":
		their, our, err = pipe(false)
		if err != nil {
			return fail(err)
		}
		cmd.Stderr = their
		p.outputs = append(p.outputs, newOutput("stderr", our, o))
	}
	p.group = newGroup(cmd)
	p.began = time.Now()
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	p.group.started(cmd)
	for _, f := range theirs {
		f.Close()
	}
	p.run()
	return p, nil
}

// run starts the goroutines of a process. They end when the process has ended, or in close.
func (p *process) run() {
	if p.stdin != nil {
		go p.stdin.pump()
	}
	for _, o := range p.outputs {
		go o.Run()
	}
	go func() {
		var exit *exec.ExitError
		if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
			p.err = err
		}
		p.took = time.Since(p.began)
		p.code, p.signal = exitOf(p.cmd.ProcessState)
		close(p.exited)
		if p.stdin != nil {
			p.stdin.end()
		}
		for _, o := range p.outputs {
			go o.Drain()
		}
	}()
}

// over reports whether the program has ended.
func (p *process) over() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// silent reports whether all outputs have ended.
func (p *process) silent() bool {
	for _, o := range p.outputs {
		select {
		case <-o.Ended():
		default:
			return false
		}
	}
	return true
}

// wait waits for the end of the program. If an output grows to more than limit bytes, the error is
// a *longError.
func (p *process) wait(ctx context.Context, limit int64) error {
	for _, o := range p.outputs {
		o.Raise(limit)
		defer o.Lower()
	}
	return p.watch(ctx, limit, p.exited)
}

// collect waits for the end of the program and of its outputs, as wait does.
func (p *process) collect(ctx context.Context, limit int64) error {
	if err := p.watch(ctx, limit, p.exited); err != nil {
		return err
	}
	for _, o := range p.outputs {
		if err := p.watch(ctx, limit, o.Ended()); err != nil {
			return err
		}
	}
	return nil
}

// longError is the error of an output that has more than limit bytes.
type longError struct{ output string }

func (e *longError) Error() string { return e.output + ": " + errLong.Error() }

func (e *longError) Unwrap() error { return errLong }

// watch waits until done is closed, ctx ends, or an output has more than limit bytes.
func (p *process) watch(ctx context.Context, limit int64, done <-chan struct{}) error {
	first, last := p.outputs[0], p.outputs[len(p.outputs)-1]
	for {
		for _, o := range p.outputs {
			if !o.cut && o.TooLong(limit) {
				return &longError{o.name}
			}
		}
		select {
		case <-done:
			return nil
		case <-first.Full():
		case <-last.Full():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends the program and all processes in its group. It asks them to end, and kills them when
// killGrace is over or ctx ends. It returns when the program has ended.
func (p *process) close(ctx context.Context) error {
	p.stop.Do(func() { p.end(ctx) })
	return nil
}

func (p *process) end(ctx context.Context) {
	if !p.over() || !p.silent() {
		p.group.ask(p.cmd.Process)
		grace := time.NewTimer(killGrace)
		select {
		case <-p.exited:
		case <-grace.C:
		case <-ctx.Done():
		}
		grace.Stop()
		p.group.kill(p.cmd.Process)
	}
	limit := time.NewTimer(reapTime)
	defer limit.Stop()
	select {
	case <-p.exited:
	case <-limit.C:
	}
	if p.stdin != nil {
		p.stdin.end()
	}
	for _, o := range p.outputs {
		o.End(nil)
	}
	p.group.close()
}
