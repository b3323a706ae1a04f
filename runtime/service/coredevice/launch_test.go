package coredevice

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/remotexpc"
)

func TestSignal(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		a := r.apps()
		p, err := a.Launch(ctx, "com.example.shop", LaunchOptions{})
		r.check(err)
		s, err := a.Signal(ctx, p.PID, processes.SIGSTOP)
		if err != nil {
			t.Fatalf("Signal: %v", err)
		}
		if s.Process.PID != p.PID {
			t.Errorf("Signal: process %d, want %d", s.Process.PID, p.PID)
		}
		if s.Process.Version != p.Version {
			t.Errorf("Signal: version %d, want %d", s.Process.Version, p.Version)
		}
		if s.Signal != processes.SIGSTOP {
			t.Errorf("Signal: signal %d, want %d", s.Signal, processes.SIGSTOP)
		}
		if now := time.Now(); !s.Time.Equal(now) {
			t.Errorf("Signal: time %v, want %v", s.Time, now)
		}
		if got := r.phone.Processes.State(p.PID); got != processes.Suspended {
			t.Errorf("state %v", got)
		}
		if err := a.WarnMemory(ctx, p.PID); err != nil {
			t.Error(err)
		}
		log := r.phone.Log.History()
		e := log[len(log)-1]
		if e.PID != p.PID {
			t.Errorf("the log ends with process %d, want %d", e.PID, p.PID)
		}
		if e.Message != "Received memory warning." {
			t.Errorf("the log ends with %q, want a memory warning", e.Message)
		}
		s, err = a.Signal(ctx, p.PID, processes.SIGKILL)
		if err != nil {
			t.Fatalf("Signal: %v", err)
		}
		if s.Process.Path != p.Path {
			t.Errorf("Signal: path %q, want %q", s.Process.Path, p.Path)
		}
		if _, ok := r.phone.Processes.Find(p.PID); ok {
			t.Errorf("process %d has not ended", p.PID)
		}
		_, err = a.Signal(ctx, p.PID, processes.SIGKILL)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Signal = %v", err)
		}
	})
}

func TestLaunch(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		a := r.apps()
		first, err := a.Launch(ctx, "com.example.shop", LaunchOptions{})
		proc, ok := r.phone.Processes.OfApp("com.example.shop")
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			t.Fatal("the app does not run")
		}
		if first.PID != proc.PID {
			t.Fatalf("Launch = process %d, want %d", first.PID, proc.PID)
		}
		if first.Path != proc.Path {
			t.Fatalf("Launch = path %s, want %s", first.Path, proc.Path)
		}
		front, _ := r.phone.Processes.Front()
		again, err := a.Launch(ctx, "com.example.shop", LaunchOptions{})
		if err != nil {
			t.Fatalf("Launch again: %v", err)
		}
		if again.PID != first.PID {
			t.Errorf("Launch again = process %d, want %d", again.PID, first.PID)
		}
		if again.Version != first.Version {
			t.Errorf("Launch again = version %d, want %d", again.Version, first.Version)
		}
		if front.PID != first.PID {
			t.Errorf("process %d is in front, want %d", front.PID, first.PID)
		}
		anew, err := a.Launch(ctx, "com.example.shop",
			LaunchOptions{TerminateExisting: true, Suspended: true})
		if err != nil {
			t.Fatalf("Launch anew: %v", err)
		}
		if anew.PID == first.PID {
			t.Errorf("Launch anew = process %d, which is not a new one", anew.PID)
		}
		if anew.Version == first.Version {
			t.Errorf("Launch anew = version %d, which is not a new one", anew.Version)
		}
		if got := r.phone.Processes.State(anew.PID); got != processes.Suspended {
			t.Errorf("state after Launch anew: %v", got)
		}
		back, err := a.Launch(ctx, "com.example.reader",
			LaunchOptions{Background: true, Platform: plist.Dict{"__PayloadURL": "http://x"}})
		if err != nil {
			t.Fatalf("Launch in the background: %v", err)
		}
		front, _ = r.phone.Processes.Front()
		if front.PID != anew.PID {
			t.Errorf("process %d is in front, want %d", front.PID, anew.PID)
		}
		if got := r.phone.Processes.State(back.PID); got != processes.Background {
			t.Errorf("state after Launch in the background: %v", got)
		}
		r.phone.Screen.SetPasscode(true)
		r.phone.Screen.Lock()
		_, err = a.Launch(ctx, "com.example.sky", LaunchOptions{})
		want := `coredevice: launchapplication "com.example.sky": The application failed to launch. (com.apple.dt.CoreDeviceError 10002): ` +
			`The operation couldn’t be completed. Unable to launch com.example.sky because the device was not, or could not be, unlocked.`
		if !errors.Is(err, ErrLocked) {
			t.Fatalf("Launch while locked: %v does not match ErrLocked", err)
		}
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Launch while locked: %v matches fs.ErrNotExist", err)
		}
		if err.Error() != want {
			t.Errorf("Launch while locked: %v, want %s", err, want)
		}
	})
}

// TestXcode sends the device a request that Xcode sent to a real device.
func TestXcode(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		x := r.host(AppService)
		m := &remotexpc.Message{
			Stream: 1, Message: xpc.Message{Flags: xpc.FlagsRequest, ID: 1, Body: xcode(t)},
		}
		for _, installed := range []bool{false, true} {
			if installed {
				_, err := r.phone.Apps.Install(apps.Spec{BundleID: "xxx.xxxxxxxxx.xxxxxxxx"})
				r.check(err)
			}
			r.check(x.Write(t.Context(), m))
			reply, err := x.Receive(t.Context())
			r.check(err)
			if reply.Stream != 3 {
				t.Errorf("reply on stream %d, want 3", reply.Stream)
			}
			if reply.Flags != xpc.FlagsReply {
				t.Errorf("reply with the flags %#x, want %#x", reply.Flags, xpc.FlagsReply)
			}
			if reply.ID != 1 {
				t.Errorf("reply with the id %d, want 1", reply.ID)
			}
			pid, _ := reply.Body.Path(keyOutput, keyProcessToken, keyPID)
			_, refused := reply.Body.Get(keyError)
			id, _ := reply.Body.String(keyInvocation)
			proc, _ := r.phone.Processes.OfApp("xxx.xxxxxxxxx.xxxxxxxx")
			if refused == installed {
				t.Errorf("installed %v: reply %v", installed, reply.Body)
			}
			if installed && pid != int64(proc.PID) {
				t.Errorf("process %d, want %d", pid, proc.PID)
			}
			if id != invocationID {
				t.Errorf("invocation %q, want %q", id, invocationID)
			}
		}
	})
}

func TestSpawn(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		a := r.apps()
		for file, want := range map[string]error{
			"/usr/bin/nothere": fs.ErrNotExist, "relative": fs.ErrNotExist,
			"/usr/libexec": fs.ErrPermission, "/kernel": fs.ErrPermission,
		} {
			p, err := a.Spawn(ctx, file, LaunchOptions{})
			if !errors.Is(err, want) {
				t.Errorf("Spawn(%q): %v, want %v", file, err, want)
			}
			if p != nil {
				t.Errorf("Spawn(%q) = %v beside an error", file, p)
			}
		}
		term, err := OpenTerminal(ctx, r)
		r.check(err)
		defer term.Close()
		p, err := a.Spawn(ctx, "/usr/libexec/timed",
			LaunchOptions{Args: []string{"-v"}, Terminal: term})
		proc, ok := r.phone.Processes.Find(p.PID)
		if err != nil {
			t.Fatalf("Spawn: %v", err)
		}
		if !ok {
			t.Fatalf("process %d does not run", p.PID)
		}
		if p.Path != "/usr/libexec/timed" {
			t.Errorf("Spawn: path %q", p.Path)
		}
		if proc.User != "mobile" {
			t.Errorf("Spawn: user %q, want mobile", proc.User)
		}
		wantText(t, term, "timed: launched with 1 arguments\ntimed: argument 1: -v\n")
		if _, err := a.Signal(ctx, p.PID, processes.SIGTERM); err != nil {
			t.Error(err)
		}
		wantEnd(t, term)
	})
}

func TestAwaitEnd(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		a, waiter := r.apps(), r.apps()
		p, err := a.Launch(ctx, "com.example.shop", LaunchOptions{})
		r.check(err)
		ended := make(chan *Ending)
		go func() {
			e, err := waiter.AwaitEnd(ctx, p.PID)
			if err != nil {
				t.Error(err)
			}
			ended <- e
		}()
		time.Sleep(time.Hour) // longer than any other call may take
		if _, err := a.Signal(ctx, p.PID, processes.SIGTERM); err != nil {
			t.Error(err)
		}
		e := <-ended
		if e == nil {
			t.Fatal("AwaitEnd = nil")
		}
		if e.Process.PID != p.PID {
			t.Errorf("AwaitEnd: process %d, want %d", e.Process.PID, p.PID)
		}
		if e.Process.Version != p.Version {
			t.Errorf("AwaitEnd: version %d, want %d", e.Process.Version, p.Version)
		}
		if e.Signal != processes.SIGTERM {
			t.Errorf("AwaitEnd: signal %d, want %d", e.Signal, processes.SIGTERM)
		}
		// A call whose context ended leaves the connection usable, on the device side
		// too.
		p, err = a.Launch(ctx, "com.example.shop", LaunchOptions{})
		r.check(err)
		brief, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := waiter.AwaitEnd(brief, p.PID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("AwaitEnd = %v", err)
		}
		if _, err := waiter.Processes(ctx); err != nil {
			t.Errorf("Processes = %v", err)
		}
		// A host may start more invocations than the device allows to wait.
		x := r.host(AppService)
		i := &Invocation{
			Feature: FeaturePrefix + featMonitor,
			Input:   xpc.Dict{processInput(keyProcessToken, p.PID)},
		}
		for range maxWaiting {
			r.check(x.Write(ctx, &remotexpc.Message{
				Stream: 1, Message: xpc.Message{Flags: xpc.FlagsRequest, ID: 1, Body: i.Encode()},
			}))
		}
		synctest.Wait()
		reply, err := x.Call(ctx, i.Encode())
		if err != nil {
			t.Errorf("Call: %v", err)
		}
		if _, ok := reply.Dict(keyError); !ok {
			t.Errorf("answer %v, want an error", reply)
		}
	})
}
