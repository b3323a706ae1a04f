package dvt

import (
	"context"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
)

const (
	selAppNotes    = "setApplicationStateNotificationsEnabled:"
	selMemoryNotes = "setMemoryNotificationsEnabled:"
	eventApp       = "applicationStateNotification:"
	eventMemory    = "memoryLevelNotification:"
)

// AppState is a state of an app. Its values are those of the protocol.
type AppState int

// Known states of apps.
const (
	AppTerminated AppState = 1
	AppSuspended  AppState = 2
	AppBackground AppState = 4
	AppForeground AppState = 8
)

// Notification reports a change of the state of an app or of the memory.
type Notification struct {
	Memory bool // the notification concerns the memory, not an app

	App, Executable, BundleID string // Executable is a name, not a path
	State                     AppState
	Description               string // description of the state as sent by the device

	Level int // level of the memory

	PID      int
	Time     time.Time
	MachTime uint64
	Raw      nskeyed.Dict
}

// NotificationOptions selects the notifications to receive.
type NotificationOptions struct{ Apps, Memory bool }

// Notifications is a stream of notifications.
type Notifications struct{ *feed }

// Notifications starts to receive notifications. The device first reports the states of
// all apps that it knows.
func (s *Session) Notifications(
	ctx context.Context, o NotificationOptions,
) (*Notifications, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	f, err := s.feed(ctx, "listen", "", ChannelNotifications)
	if err != nil {
		return nil, err
	}
	for _, want := range []struct {
		on       bool
		selector string
	}{{o.Apps, selAppNotes}, {o.Memory, selMemoryNotes}} {
		if !want.on {
			continue
		}
		if _, err := f.ch.Call(ctx, want.selector, true); err != nil {
			_ = f.Close()
			return nil, &Error{Op: "listen", Err: err}
		}
	}
	return &Notifications{f}, nil
}

// Next waits for the next notification. Notifications that cannot be decoded are
// ignored and counted by Malformed.
func (n *Notifications) Next(ctx context.Context) (*Notification, error) {
	return await(ctx, n.feed, notification)
}

// notification decodes a message of the channel. The result ok is false for other
// messages.
func notification(in *dtx.Incoming) (n *Notification, ok bool, err error) {
	if in.Type != dtx.Dispatch || in.Selector != eventApp && in.Selector != eventMemory {
		return nil, false, nil
	}
	args, err := in.Args()
	if err != nil {
		return nil, false, err
	}
	d, ok := args.Dict(0)
	if !ok {
		return nil, false, malformed(args.At(0))
	}
	return parseNotification(in.Selector, d), true, nil
}

func parseNotification(selector string, d nskeyed.Dict) *Notification {
	n := &Notification{Memory: selector == eventMemory, Raw: d}
	n.App, _ = d.String("appName")
	n.Executable, _ = d.String("execName")
	n.BundleID, _ = d.String("displayID")
	n.Description, _ = d.String("state_description")
	state, _ := d.Int("state")
	level, _ := d.Int("code")
	pid, _ := d.Int("pid")
	n.State, n.Level, n.PID = AppState(state), int(level), int(pid)
	n.MachTime, _ = d.Uint("mach_absolute_time")
	if at, ok := d.Date("timestamp"); ok {
		n.Time = at.Time()
	}
	return n
}
