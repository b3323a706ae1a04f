package dvt

import (
	"context"
	"path"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

// notifier is the device side of a mobilenotifications channel.
type notifier struct {
	phone *phone.Phone
	ch    *dtx.Channel

	mu           sync.Mutex
	watching     bool
	apps, memory bool
}

func notifications(s *session, ch *dtx.Channel) dtx.Handler {
	n := &notifier{phone: s.phone, ch: ch}
	return dtx.Methods{
		selAppNotes:    n.enable(selAppNotes, &n.apps),
		selMemoryNotes: n.enable(selMemoryNotes, &n.memory),
	}
}

// enable turns notifications on or off. The notifications of apps begin with the state
// of each.
func (n *notifier) enable(
	selector string, flag *bool,
) func(context.Context, dtx.Args) (any, error) {
	return func(ctx context.Context, args dtx.Args) (any, error) {
		on, ok := boolArg(args, 0)
		if !ok {
			return nil, badArguments(selector)
		}
		n.mu.Lock()
		before := *flag
		*flag = on
		if on && !n.watching {
			n.watching = true
			n.watch()
		}
		n.mu.Unlock()
		if on && !before && selector == selAppNotes {
			n.burst(ctx)
		}
		return nil, nil
	}
}

// watch starts to send notifications. The caller holds mu.
func (n *notifier) watch() {
	w := n.phone.Processes.Watch()
	if !n.ch.Go(func(ctx context.Context) {
		defer w.Close()
		for {
			e, err := w.Next(ctx)
			if err != nil || n.tell(ctx, e) != nil {
				return
			}
		}
	}) {
		w.Close()
	}
}

func (n *notifier) tell(ctx context.Context, e processes.Event) error {
	n.mu.Lock()
	apps, memory := n.apps, n.memory
	n.mu.Unlock()
	switch {
	case e.Kind == processes.StateChanged && apps:
		return n.ch.Send(ctx, eventApp, n.appDict(e))
	case e.Kind == processes.MemoryLevel && memory:
		return n.ch.Send(ctx, eventMemory, nskeyed.Dict{
			{Key: "code", Value: int64(e.Level)},
			{Key: "mach_absolute_time", Value: e.MachTime},
			{Key: "pid", Value: int64(e.Process.PID)},
			{Key: "timestamp", Value: nskeyed.DateOf(e.Time)},
		})
	}
	return nil
}

// burst sends the state of every app that has an icon.
func (n *notifier) burst(ctx context.Context) {
	for _, a := range n.phone.Apps.List() {
		if a.Type() == apps.Hidden {
			continue
		}
		e := processes.Event{
			Kind: processes.StateChanged, State: processes.Terminated, Time: n.phone.Clock.Now(),
			MachTime: n.phone.Clock.MachTime(),
		}
		proc, ok := n.phone.Processes.OfApp(a.BundleID())
		if ok {
			e.State = n.phone.Processes.State(proc.PID)
		}
		e.Process = proc
		e.Process.BundleID = a.BundleID()
		if n.ch.Send(ctx, eventApp, n.appDict(e)) != nil {
			return
		}
	}
}

// appDict returns the notification about an app. It has all keys and no empty value,
// because go-ios requires some of them and other clients require others.
func (n *notifier) appDict(e processes.Event) nskeyed.Dict {
	name, executable := e.Process.Name, e.Process.Name
	if a, ok := n.phone.Apps.Find(e.Process.BundleID); ok {
		name = a.DisplayName()
		executable = path.Base(a.Executable())
	}
	state, text := int64(e.State), e.State.String()
	return nskeyed.Dict{
		{Key: "appName", Value: name},
		{Key: "displayID", Value: e.Process.BundleID},
		{Key: "elevated_state", Value: state},
		{Key: "elevated_state_description", Value: text},
		{Key: "execName", Value: executable},
		{Key: "mach_absolute_time", Value: e.MachTime},
		{Key: "name", Value: "SBApplicationNotificationStateChanged"},
		{Key: "pid", Value: int64(e.Process.PID)},
		{Key: "state", Value: state},
		{Key: "state_description", Value: text},
		{Key: "timestamp", Value: nskeyed.DateOf(e.Time)},
	}
}
