package dvt

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
)

// Selectors of processcontrol.
const (
	selLaunch       = "launchSuspendedProcessWithDevicePath:bundleIdentifier:environment:arguments:options:"
	selKill         = "killPid:"
	selSignal       = "sendSignal:toPid:"
	selPIDOf        = "processIdentifierForBundleIdentifier:"
	selNoLimits     = "requestDisableMemoryLimitsForPid:"
	selObserve      = "startObservingPid:"
	selStopObserve  = "stopObservingPid:"
	selResume       = "resumePid:"
	selSuspend      = "suspendProcess:"
	eventOutput     = "outputReceived:fromProcess:atTime:"
	eventTerminated = "processWithPID:terminatedWithExitCode:orCrashingSignal:"

	optionSuspended  = "StartSuspendedKey"
	optionKill       = "KillExisting"
	optionBackground = "ActivateSuspended"
)

// LaunchOptions says how to start an app.
type LaunchOptions struct {
	Args []string
	Env  map[string]string
	// KillExisting ends a running instance of the app first. Without it, a running app
	// comes to the foreground and keeps its arguments.
	KillExisting bool
	// Suspended stops the app before its first instruction until Resume is called.
	Suspended bool
	// Background starts the app without showing it on the screen.
	Background bool
}

// arguments returns the arguments of the call. Environment and options must be
// dictionaries and the arguments an array, even if they are empty.
func (o LaunchOptions) arguments(bundleID string) []any {
	env := make(nskeyed.Dict, 0, len(o.Env))
	for _, key := range slices.Sorted(maps.Keys(o.Env)) {
		env = append(env, nskeyed.Pair{Key: key, Value: o.Env[key]})
	}
	args := make([]any, len(o.Args))
	for i, a := range o.Args {
		args[i] = a
	}
	options := nskeyed.Dict{
		{Key: optionKill, Value: o.KillExisting}, {Key: optionSuspended, Value: o.Suspended},
	}
	if o.Background {
		options = append(options, nskeyed.Pair{Key: optionBackground, Value: true})
	}
	return []any{"", bundleID, env, args, options}
}

// Launch starts an app and returns its process identifier.
func (s *Session) Launch(ctx context.Context, bundleID string, o LaunchOptions) (int, error) {
	v, err := s.call(ctx, "launch", bundleID, ChannelProcessControl, selLaunch,
		o.arguments(bundleID)...)
	if err != nil {
		return 0, err
	}
	return launched(bundleID, v)
}

func launched(bundleID string, v any) (int, error) {
	pid, ok := nskeyed.Int(v)
	if !ok || pid <= 0 || pid > 1<<31-1 {
		return 0, unexpected("launch", bundleID, v)
	}
	return int(pid), nil
}

// Start launches an app like Launch. The result receives the output and the end of the
// app.
func (s *Session) Start(ctx context.Context, bundleID string, o LaunchOptions) (*Process, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	f, err := s.feed(ctx, "launch", bundleID, ChannelProcessControl)
	if err != nil {
		return nil, err
	}
	v, err := f.ch.Call(ctx, selLaunch, o.arguments(bundleID)...)
	if err != nil {
		err = &Error{Op: "launch", Subject: bundleID, Err: err}
	}
	p := &Process{feed: f}
	if err == nil {
		p.PID, err = launched(bundleID, v)
	}
	if err == nil {
		// The device reports the end of a process only to hosts that ask for it.
		// Versions that lack the method do not report it.
		err = f.ch.Send(ctx, selObserve, int64(p.PID))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	f.op, f.subject = "follow process", strconv.Itoa(p.PID)
	return p, nil
}

// Observe follows a running process: its end, and the part of its output that the
// device still sends.
func (s *Session) Observe(ctx context.Context, pid int) (*Process, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	subject := strconv.Itoa(pid)
	f, err := s.feed(ctx, "observe", subject, ChannelProcessControl)
	if err != nil {
		return nil, err
	}
	if _, err := f.ch.Call(ctx, selObserve, int64(pid)); err != nil {
		_ = f.Close()
		return nil, &Error{Op: "observe", Subject: subject, Err: err}
	}
	return &Process{PID: pid, feed: f}, nil
}

// Output is data that a process wrote to its standard output or standard error.
type Output struct {
	PID      int
	Text     string
	MachTime uint64
}

// Exit says how a process ended. If Signal is 0, the process exited by itself. A number
// is -1 if the device sent it in an unknown form.
type Exit struct{ Code, Signal int }

// Process is a process whose output and end are followed. Close ends only that, not the
// process.
type Process struct {
	PID int
	*feed

	mu   sync.Mutex
	exit *Exit
}

// Next waits for the next output. After the end of the process it returns io.EOF, and
// Exit returns the details. Events that cannot be decoded are ignored and counted by
// Malformed.
func (p *Process) Next(ctx context.Context) (Output, error) {
	out, err := await(ctx, p.feed, p.event)
	if errors.Is(err, io.EOF) {
		return Output{}, io.EOF
	}
	return out, err
}

// event decodes a message of the channel. The result ok is false unless it is output.
func (p *Process) event(in *dtx.Incoming) (out Output, ok bool, err error) {
	o, exit, err := parseProcessEvent(in, p.PID)
	if exit != nil {
		p.mu.Lock()
		p.exit = exit
		p.mu.Unlock()
		p.queue.End(io.EOF)
	}
	if o == nil {
		return Output{}, false, err
	}
	return *o, true, err
}

// Exit says how the process ended. It returns nil until Next has received the end.
func (p *Process) Exit() *Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// parseProcessEvent decodes an event of a process. It returns neither an output nor an
// exit for events of other processes and for unknown events.
func parseProcessEvent(in *dtx.Incoming, pid int) (*Output, *Exit, error) {
	if in.Type != dtx.Dispatch || in.Selector != eventOutput && in.Selector != eventTerminated {
		return nil, nil, nil
	}
	args, err := in.Args()
	if err != nil {
		return nil, nil, err
	}
	if in.Selector == eventTerminated {
		exit, err := parseExit(args, pid)
		return nil, exit, err
	}
	text, ok := args.String(0)
	if !ok {
		return nil, nil, malformed(args.At(0)) // iOS 26.4 sends some without arguments
	}
	// Old versions may omit the process. The channel has only one process then.
	from, known := args.Int(1)
	if known && from != int64(pid) {
		return nil, nil, nil
	}
	ticks, _ := args.Int(2)
	return &Output{PID: pid, Text: text, MachTime: uint64(max(ticks, 0))}, nil, nil
}

// parseExit decodes the end of a process. It returns nil if another process ended. The
// process has ended even if the numbers are invalid. Devices send nil for a number that
// does not apply.
func parseExit(args dtx.Args, pid int) (*Exit, error) {
	from, ok := args.Int(0)
	if !ok {
		return nil, malformed(args.At(0))
	}
	if from != int64(pid) {
		return nil, nil
	}
	var err error
	number := func(i int) int {
		v := args.At(i)
		n, ok := args.Int(i)
		switch {
		case v == nil:
			return 0
		case !ok || n != int64(int32(n)):
			err = malformed(v)
			return -1
		}
		return int(n)
	}
	return &Exit{Code: number(1), Signal: number(2)}, err
}

// Kill ends a process.
func (s *Session) Kill(ctx context.Context, pid int) error {
	_, err := s.call(ctx, "kill", strconv.Itoa(pid), ChannelProcessControl, selKill, int64(pid))
	return err
}

// Signal sends a signal to a process. Signals have the numbers of iOS.
func (s *Session) Signal(ctx context.Context, pid, signal int) error {
	_, err := s.call(ctx, "signal", strconv.Itoa(pid), ChannelProcessControl, selSignal,
		int64(signal), int64(pid))
	return err
}

// Suspend stops a process until Resume is called.
func (s *Session) Suspend(ctx context.Context, pid int) error {
	_, err := s.call(ctx, "suspend", strconv.Itoa(pid), ChannelProcessControl, selSuspend,
		int64(pid))
	return err
}

// Resume continues a process that was suspended or launched suspended.
func (s *Session) Resume(ctx context.Context, pid int) error {
	_, err := s.call(ctx, "resume", strconv.Itoa(pid), ChannelProcessControl, selResume, int64(pid))
	return err
}

// PIDOf returns the process identifier of an app, or 0 if the app does not run.
func (s *Session) PIDOf(ctx context.Context, bundleID string) (int, error) {
	v, err := s.call(ctx, "find process", bundleID, ChannelProcessControl, selPIDOf, bundleID)
	if err != nil {
		return 0, err
	}
	pid, ok := nskeyed.Int(v)
	if !ok {
		return 0, unexpected("find process", bundleID, v)
	}
	return int(max(pid, 0)), nil // some versions send -1
}

// DisableMemoryLimits removes the memory limit at which iOS would end a process. It
// reports whether the device has done so.
func (s *Session) DisableMemoryLimits(ctx context.Context, pid int) (bool, error) {
	return ask[bool](ctx, s, "disable memory limits", strconv.Itoa(pid), ChannelProcessControl,
		selNoLimits, dtx.Int32(int32(pid)))
}
