package dvt

import (
	"context"
	"errors"
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
		if note.BundleID != a.BundleID() || note.State != want {
			r.t.Errorf("%+v, want %s as %v", note, a.BundleID(), want)
		}
		if note.App == "" || note.Executable == "" {
			r.t.Errorf("%+v lacks a name", note)
		}
		if note.Memory {
			r.t.Errorf("%+v concerns the memory", note)
		}
		if note.BundleID == proc.BundleID && (note.PID != proc.PID || note.State != AppForeground) {
			r.t.Errorf("%+v", note)
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
			late := time.Until(got.Time).Abs() > time.Millisecond || got.MachTime == 0
			if got.BundleID != want.BundleID || got.App != want.App || got.State != want.State ||
				got.Description != want.Description || got.PID != want.PID || late {
				t.Errorf("%+v, want %+v", got, want)
			}
			for _, key := range []string{"elevated_state", "state", "pid", "mach_absolute_time"} {
				if _, ok := got.Raw.Uint(key); !ok {
					t.Errorf("%s is missing in %v", key, got.Raw)
				}
			}
		}
		r.phone.Processes.SetMemoryLevel(3)
		if note := next(); !note.Memory || note.Level != 3 || note.MachTime == 0 {
			t.Errorf("%+v", note)
		}
		if err := r.Kill(ctx, pid); err != nil {
			t.Fatal(err)
		}
		if note := next(); note.State != AppTerminated || note.PID != pid {
			t.Errorf("%+v", note)
		}
	})
}

// TestForeignNotifications turns notifications on and off as other clients do.
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
		if err != nil || in.Type != dtx.Dispatch || in.Selector != eventMemory || in.ExpectsReply {
			t.Fatalf("%+v, %v", in, err)
		}
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
			if err != nil || in.Type != dtx.Dispatch || in.Selector != eventApp {
				t.Fatalf("%+v, %v", in, err)
			}
			args, err := in.Args()
			d, _ := args.At(0).(nskeyed.Dict)
			id, _ := d.String("displayID")
			if told[id] || err != nil {
				t.Errorf("%s comes twice, %v", id, err)
			}
			told[id] = true
		}
		quiet()
	})
}
