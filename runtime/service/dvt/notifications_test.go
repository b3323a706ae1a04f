package dvt

import (
	"context"
	"errors"
	"path"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

// wantApps checks that every app with an icon is reported, with proc in the foreground.
func (r *rig) wantApps(next func() *Notification, proc processes.Process) {
	r.t.Helper()
	shown := 0
	for _, a := range r.phone.Apps.List() {
		if a.Type() == apps.Hidden {
			continue
		}
		shown++
		note := next()
		want := AppTerminated
		if p, ok := r.phone.Processes.OfApp(a.BundleID()); ok {
			want = AppState(r.phone.Processes.State(p.PID))
		}
		if note.BundleID != a.BundleID() {
			r.t.Errorf("%+v, want a notification of %s", note, a.BundleID())
		}
		if note.State != want {
			r.t.Errorf("%s: State = %v, want %v", a.BundleID(), note.State, want)
		}
		if note.App == "" {
			r.t.Errorf("%+v has no app name", note)
		}
		if want := path.Base(a.Executable()); note.Executable != want {
			r.t.Errorf("%+v: Executable = %q, want the name %q", note, note.Executable, want)
		}
		if note.Memory {
			r.t.Errorf("%+v concerns the memory", note)
		}
		if note.BundleID != proc.BundleID {
			continue
		}
		if note.PID != proc.PID {
			r.t.Errorf("%s: PID = %d, want %d", note.BundleID, note.PID, proc.PID)
		}
		if note.State != AppForeground {
			r.t.Errorf("%s: State = %v, want %v", note.BundleID, note.State, AppForeground)
		}
	}
	if shown < 10 {
		r.t.Errorf("%d apps", shown)
	}
}

func TestNotifications(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		proc, err := r.phone.Processes.Launch("com.example.reader")
		if err != nil {
			t.Fatal(err)
		}
		n, err := r.Notifications(ctx, NotificationOptions{Apps: true, Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		next := func() *Notification {
			t.Helper()
			note, err := n.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return note
		}
		r.wantApps(next, proc)
		time.Sleep(time.Second)
		pid, err := r.Launch(ctx, "com.example.shop", LaunchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []Notification{
			{
				BundleID: "com.example.reader", App: "Reader", State: AppBackground,
				Description: "Background Running", PID: proc.PID,
			},
			{
				BundleID: "com.example.reader", App: "Reader", State: AppSuspended,
				Description: "Background Task Suspended", PID: proc.PID,
			},
			{
				BundleID: "com.example.shop", App: "Shop", State: AppForeground,
				Description: "Foreground Running", PID: pid,
			},
		} {
			got := next()
			if time.Until(got.Time).Abs() > time.Millisecond {
				t.Errorf("Time = %v, want %v", got.Time, time.Now())
			}
			if got.MachTime == 0 {
				t.Errorf("%+v has no MachTime", got)
			}
			told := Notification{
				BundleID: got.BundleID, App: got.App, State: got.State,
				Description: got.Description, PID: got.PID,
			}
			if !reflect.DeepEqual(told, want) {
				t.Errorf("%+v, want %+v", told, want)
			}
			for _, key := range []string{"elevated_state", "state", "pid", "mach_absolute_time"} {
				if _, ok := got.Raw.Uint(key); !ok {
					t.Errorf("%s is missing in %v", key, got.Raw)
				}
			}
		}
		r.phone.Processes.SetMemoryLevel(3)
		if note := next(); !note.Memory {
			t.Errorf("%+v does not concern the memory", note)
		} else if note.Level != 3 {
			t.Errorf("memory notification: Level = %v, want 3", note.Level)
		} else if note.MachTime == 0 {
			t.Errorf("%+v has no time", note)
		}
		if err := r.Kill(ctx, pid); err != nil {
			t.Fatal(err)
		}
		if note := next(); note.State != AppTerminated {
			t.Errorf("notification of the end: State = %v, want %v", note.State, AppTerminated)
		} else if note.PID != pid {
			t.Errorf("notification of the end: PID = %v, want %v", note.PID, pid)
		}
	})
}

// TestForeignNotifications turns notifications on and off without the client of this
// package.
func TestForeignNotifications(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		ch := r.host(ChannelNotifications, dtx.Options{Silent: true})
		quiet := func() {
			t.Helper()
			synctest.Wait()
			now, cancel := context.WithCancel(ctx)
			cancel()
			if in, err := ch.Next(now); !errors.Is(err, context.Canceled) {
				t.Errorf("%+v, %v", in, err)
			}
		}
		if err := ch.Send(ctx, selMemoryNotes, "True"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := r.phone.Processes.Launch("com.example.shop"); err != nil { // not enabled
			t.Fatal(err)
		}
		r.phone.Processes.SetMemoryLevel(1)
		in, err := ch.Next(ctx)
		wantEvent(t, in, err, eventMemory)
		quiet()
		if err := ch.Send(ctx, selMemoryNotes, int64(0)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.phone.Processes.SetMemoryLevel(0)
		quiet()
		if _, err := ch.Call(ctx, selMemoryNotes, "perhaps"); !errors.Is(err, dtx.ErrRemote) {
			t.Errorf("perhaps: %v", err)
		}
		// A second request does not report the states of the apps again.
		for range 2 {
			if _, err := ch.Call(ctx, selAppNotes, true); err != nil {
				t.Fatal(err)
			}
		}
		told := map[string]bool{}
		for _, a := range r.phone.Apps.List() {
			if a.Type() == apps.Hidden {
				continue
			}
			in, err := ch.Next(ctx)
			wantEvent(t, in, err, eventApp)
			args, err := in.Args()
			d, _ := args.At(0).(nskeyed.Dict)
			id, _ := d.String("displayID")
			if err != nil {
				t.Errorf("arguments: %v", err)
			} else if told[id] {
				t.Errorf("%s comes twice", id)
			}
			told[id] = true
		}
		quiet()
	})
}
