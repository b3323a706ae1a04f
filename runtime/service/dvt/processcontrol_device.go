package dvt

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/phone/screen"
)

// controller is the device side of a processcontrol channel.
type controller struct {
	phone *phone.Phone
	ch    *dtx.Channel

	// mu is held during a launch. The first output of the app is then handled only
	// after the channel knows that it launched the app.
	mu        sync.Mutex
	following bool
	launched  map[int]bool // processes whose output and end are reported
	observed  map[int]bool // processes whose end is reported
}

func processControl(s *session, ch *dtx.Channel) dtx.Handler {
	c := &controller{phone: s.phone, ch: ch, launched: map[int]bool{}, observed: map[int]bool{}}
	m := dtx.Methods{
		selLaunch: c.launch,
		selSignal: c.signal,
		selPIDOf: func(_ context.Context, args dtx.Args) (any, error) {
			id, ok := args.String(0)
			if !ok {
				return nil, badArguments(selPIDOf)
			}
			proc, _ := s.phone.Processes.OfApp(id)
			return int64(proc.PID), nil
		},
	}
	for selector, f := range map[string]func(int) (any, error){
		selKill: func(pid int) (any, error) {
			return nil, refused(s.phone.Processes.Kill(pid),
				codeESRCH)
		},
		selResume: func(pid int) (any, error) {
			return nil, refused(s.phone.Processes.Signal(pid, processes.SIGCONT), codeESRCH)
		},
		selSuspend: func(pid int) (any, error) {
			return nil, refused(s.phone.Processes.Signal(pid, processes.SIGSTOP), codeESRCH)
		},
		selNoLimits: func(pid int) (any, error) {
			return s.phone.Processes.DisableMemoryLimits(pid), nil
		},
		selObserve:     c.observe,
		selStopObserve: c.stopObserving,
	} {
		m[selector] = func(_ context.Context, args dtx.Args) (any, error) {
			pid, err := pidOf(args, 0, selector)
			if err != nil {
				return nil, err
			}
			return f(pid)
		}
	}
	return m
}

func (c *controller) signal(_ context.Context, args dtx.Args) (any, error) {
	number, ok := args.Int(0)
	pid, err := pidOf(args, 1, selSignal)
	if !ok || err != nil {
		return nil, badArguments(selSignal)
	}
	if number < 0 || number > 31 {
		return nil, refusePOSIX(codeEINVAL)
	}
	return nil, refused(c.phone.Processes.Signal(pid, int(number)), codeESRCH)
}

func (c *controller) launch(_ context.Context, args dtx.Args) (any, error) {
	spec, ok := launchSpec(args)
	if !ok {
		return nil, badArguments(selLaunch)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow()
	proc, err := c.phone.Processes.LaunchApp(spec)
	if err != nil {
		return nil, launchRefusal(spec.BundleID, err)
	}
	c.launched[proc.PID] = true
	return int64(proc.PID), nil
}

// launchSpec decodes the arguments of a launch. Flags may be booleans or, from go-ios,
// numbers.
func launchSpec(args dtx.Args) (processes.LaunchSpec, bool) {
	var spec processes.LaunchSpec
	id, ok1 := args.String(1)
	env, ok2 := args.Dict(2)
	list, ok3 := args.Array(3)
	options, ok4 := args.Dict(4)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return spec, false
	}
	spec.BundleID, spec.Env = id, make(map[string]string, len(env))
	for _, p := range env {
		key, ok1 := p.Key.(string)
		value, ok2 := p.Value.(string)
		if !ok1 || !ok2 {
			return spec, false
		}
		spec.Env[key] = value
	}
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			return spec, false
		}
		spec.Args = append(spec.Args, text)
	}
	option := func(key string) bool {
		v, _ := options.Get(key)
		on, _ := dtx.Args{v}.Bool(0)
		return on
	}
	spec.KillExisting, spec.Suspended = option(optionKill), option(optionSuspended)
	spec.Background = option(optionBackground) || option("__"+optionBackground)
	return spec, true
}

// launchRefusal returns a nested error as devices send it: the outer one says what
// failed, the inner one is the reason from FrontBoard.
func launchRefusal(bundleID string, err error) error {
	code, reason := int64(1), "Unspecified"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code, reason = codeFrontBoardUnknown, "NotFound (\"Application \""+bundleID+
			"\" is unknown to FrontBoard\")"
	case errors.Is(err, screen.ErrPasswordProtected):
		code, reason = codeFrontBoardLocked, "Locked (\"Unable to launch "+bundleID+
			" because the device was not, or could not be, unlocked\")"
	}
	reason = "The request was denied by service delegate (SBMainWorkspace) for reason: " + reason +
		"."
	refusal := dtx.Refuse(domainProcessControl, 1, "The request to open \""+bundleID+"\" failed.")
	refusal.UserInfo = append(refusal.UserInfo,
		nskeyed.Pair{Key: "NSLocalizedFailureReason", Value: reason},
		nskeyed.Pair{Key: "NSUnderlyingError",
			Value: &nskeyed.NSError{Domain: domainFrontBoard, Code: code,
				UserInfo: nskeyed.Dict{{Key: "NSLocalizedFailureReason", Value: reason}}}})
	return refusal
}

func (c *controller) observe(pid int) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow()
	if _, ok := c.phone.Processes.Find(pid); !ok {
		return nil, refusePOSIX(codeESRCH)
	}
	c.observed[pid] = true
	return nil, nil
}

func (c *controller) stopObserving(pid int) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.observed, pid)
	return nil, nil
}

// follow starts to watch the processes. The caller holds mu.
func (c *controller) follow() {
	if c.following {
		return
	}
	c.following = true
	w := c.phone.Processes.Watch()
	if !c.ch.Go(func(ctx context.Context) {
		defer w.Close()
		for {
			e, err := w.Next(ctx)
			if err != nil || c.tell(ctx, e) != nil {
				return
			}
		}
	}) {
		w.Close()
	}
}

// tell sends an event to the host if the host launched or observes the process.
func (c *controller) tell(ctx context.Context, e processes.Event) error {
	pid := e.Process.PID
	c.mu.Lock()
	launched, known := c.launched[pid], c.launched[pid] || c.observed[pid]
	if e.Kind == processes.Ended {
		delete(c.launched, pid)
		delete(c.observed, pid)
	}
	c.mu.Unlock()
	switch {
	case e.Kind == processes.Output && launched:
		return c.ch.Send(ctx, eventOutput, e.Text, dtx.Int32(int32(pid)),
			dtx.Int64(int64(e.MachTime)))
	case e.Kind == processes.Ended && known && c.wantsEnds():
		return c.ch.Send(ctx, eventTerminated, int64(pid), nil, int64(e.Signal))
	}
	return nil
}

// wantsEnds reports whether the host published, when it connected, that it wants to
// hear of the end of processes.
func (c *controller) wantsEnds() bool {
	now, cancel := context.WithCancel(context.Background())
	cancel() // do not wait for capabilities that the host has not published yet
	caps, err := c.ch.Conn().Capabilities(now)
	n, ok := caps.Int(capTermination)
	return err == nil && ok && n > 0
}
