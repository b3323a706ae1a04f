package dvt

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

// wantOutput checks the next outputs of a process.
func wantOutput(t *testing.T, p *Process, want ...string) {
	t.Helper()
	for _, text := range want {
		out, err := p.Next(t.Context())
		if err != nil {
			t.Fatalf("output: %v, want %q", err, text)
		}
		if out.Text != text {
			t.Fatalf("output %q, want %q", out.Text, text)
		}
		if out.PID != p.PID {
			t.Fatalf("output of process %d, want %d", out.PID, p.PID)
		}
		if out.MachTime == 0 {
			t.Fatalf("output %+v has no time", out)
		}
	}
}

func wantEnd(t *testing.T, p *Process, signal int) {
	t.Helper()
	for range 2 {
		out, err := p.Next(t.Context())
		if err != io.EOF {
			t.Fatalf("Next = %+v, %v, want io.EOF", out, err)
		}
		if e := p.Exit(); e == nil || *e != (Exit{Signal: signal}) {
			t.Fatalf("exit %v, want the end by signal %d", e, signal)
		}
	}
}

func TestStart(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		p, err := r.Start(ctx, "com.example.shop",
			LaunchOptions{Args: []string{"-x", "y z"}, Env: map[string]string{"MODE": "test"}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		wantOutput(t, p, "ShopDemo: launched with 2 arguments\n", "ShopDemo: argument 1: -x\n",
			"ShopDemo: argument 2: y z\n", "ShopDemo: environment MODE=test\n")
		if pid, err := r.PIDOf(ctx, "com.example.shop"); err != nil {
			t.Errorf("PIDOf: %v", err)
		} else if pid != p.PID {
			t.Errorf("PIDOf = %v, want %v", pid, p.PID)
		}
		if ok, err := r.IsRunning(ctx, p.PID); err != nil {
			t.Errorf("IsRunning: %v", err)
		} else if !ok {
			t.Error("IsRunning = false for a running process")
		}
		// Another process of the same session also writes output.
		q, err := r.Start(ctx, "com.example.reader", LaunchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		for pid, text := range map[int]string{p.PID: "one\n", q.PID: "two\n"} {
			if err := r.phone.Processes.Print(pid, text); err != nil {
				t.Fatal(err)
			}
		}
		wantOutput(t, q, "Reader: launched with 0 arguments\n", "two\n")
		wantOutput(t, p, "one\n")
		if p.Exit() != nil {
			t.Error("has ended")
		}
		if err := r.Kill(ctx, p.PID); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, p, 9)
		// Every call that waits learns that the process has ended.
		waiting := make(chan error)
		for range 3 {
			go func() { _, err := q.Next(ctx); waiting <- err }()
		}
		synctest.Wait()
		if err := r.Signal(ctx, q.PID, 15); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-waiting; err != io.EOF {
				t.Errorf("Next at the end: %v", err)
			}
		}
		wantEnd(t, q, 15)
		if pid, err := r.PIDOf(ctx, "com.example.shop"); err != nil {
			t.Errorf("PIDOf after the end: %v", err)
		} else if pid != 0 {
			t.Errorf("PIDOf after the end = %v, want 0", pid)
		}
	})
}

func TestSuspended(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		p, err := r.Start(ctx, "com.example.shop", LaunchOptions{Suspended: true})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		synctest.Wait()
		if s := r.phone.Processes.State(p.PID); s != processes.Suspended {
			t.Errorf("state %v, want suspended", s)
		}
		if n, _ := p.queue.Waiting(); n != 0 {
			t.Errorf("it has said %d things", n)
		}
		if err := r.Resume(ctx, p.PID); err != nil {
			t.Fatal(err)
		}
		wantOutput(t, p, "ShopDemo: launched with 0 arguments\n")
		if err := r.Suspend(ctx, p.PID); err != nil {
			t.Errorf("Suspend: %v", err)
		} else if r.phone.Processes.State(p.PID) != processes.Suspended {
			t.Errorf("state %v, want %v", r.phone.Processes.State(p.PID), processes.Suspended)
		}
		old := p.PID
		pid, err := r.Launch(ctx, "com.example.shop",
			LaunchOptions{KillExisting: true, Background: true})
		if err != nil {
			t.Errorf("launched again: %v", err)
		}
		if pid == old {
			t.Errorf("launched again with the same identifier %d", pid)
		}
		if got := r.phone.Processes.State(pid); got != processes.Background {
			t.Errorf("state %v, want Background", got)
		}
		wantEnd(t, p, 9)
		if again, err := r.Launch(ctx, "com.example.shop", LaunchOptions{}); err != nil {
			t.Errorf("Launch of a running app: %v", err)
		} else if again != pid {
			t.Errorf("Launch of a running app = %v, want %v", again, pid)
		}
		if ok, err := r.DisableMemoryLimits(ctx, pid); err != nil {
			t.Errorf("DisableMemoryLimits: %v", err)
		} else if !ok {
			t.Error("DisableMemoryLimits = false")
		} else if !r.phone.Processes.MemoryUnlimited(pid) {
			t.Errorf("the memory of process %d is still limited", pid)
		}
		if ok, err := r.DisableMemoryLimits(ctx, old); err != nil {
			t.Errorf("DisableMemoryLimits of a dead process: %v", err)
		} else if ok {
			t.Error("DisableMemoryLimits of a dead process = true")
		}
		// A session receives the events of a process that it observes, even if another
		// session launched it.
		o, err := r.Observe(ctx, pid)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if _, err := r.phone.Crash(pid); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, o, 11)
	})
}

func TestLaunchRefused(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		pid, err := r.Launch(ctx, "com.example.none", LaunchOptions{})
		var e *Error
		if pid != 0 {
			t.Errorf("Launch = %d, want 0", pid)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Launch: %v, want fs.ErrNotExist", err)
		}
		if errors.Is(err, ErrLocked) {
			t.Errorf("Launch: %v matches ErrLocked", err)
		}
		if !errors.As(err, &e) {
			t.Fatalf("Launch: %v is not an *Error", err)
		}
		ns := e.Remote()
		if ns.Domain != "com.apple.dt.deviceprocesscontrolservice" {
			t.Errorf("refusal: Domain = %q, want %q", ns.Domain,
				"com.apple.dt.deviceprocesscontrolservice")
		}
		if ns.Code != 1 {
			t.Errorf("refusal: Code = %v, want 1", ns.Code)
		}
		u := ns.Underlying()
		if u.Domain != "FBSOpenApplicationErrorDomain" {
			t.Errorf("cause: Domain = %q, want %q", u.Domain, "FBSOpenApplicationErrorDomain")
		}
		if u.Code != 4 {
			t.Errorf("cause: Code = %v, want 4", u.Code)
		}
		if reason, _ := ns.UserInfo.String("NSLocalizedFailureReason"); !strings.Contains(reason,
			`"com.example.none" is unknown`) {
			t.Errorf("reason %q", reason)
		}
		if p, err := r.Start(ctx, "com.example.none", LaunchOptions{}); p != nil {
			t.Errorf("Start = %v, want nil", p)
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Start: %v, want %v", err, fs.ErrNotExist)
		}
		for name, c := range map[string]struct{ got, want error }{
			"kill":        {r.Kill(ctx, 99_999), fs.ErrNotExist},
			"kill 1":      {r.Kill(ctx, 1), fs.ErrPermission},
			"signal":      {r.Signal(ctx, 99_999, 9), fs.ErrNotExist},
			"signal 99":   {r.Signal(ctx, 99_999, 99), fs.ErrInvalid},
			"signal huge": {r.Signal(ctx, 1, 1<<40), fs.ErrInvalid},
			"resume":      {r.Resume(ctx, 99_999), fs.ErrNotExist},
			"suspend":     {r.Suspend(ctx, 99_999), fs.ErrNotExist},
		} {
			if !errors.Is(c.got, c.want) {
				t.Errorf("%s: %v, want %v", name, c.got, c.want)
			}
			if !errors.Is(c.got, dtx.ErrRemote) {
				t.Errorf("%s: %v, want %v", name, c.got, dtx.ErrRemote)
			}
		}
		if p, err := r.Observe(ctx, 99_999); p != nil {
			t.Errorf("Observe = %v, want nil", p)
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Observe: %v, want %v", err, fs.ErrNotExist)
		}
		r.phone.Screen.SetPasscode(true)
		r.phone.Screen.Lock()
		if _, err := r.Launch(ctx, "com.example.shop", LaunchOptions{}); !errors.Is(err,
			ErrLocked) {
			t.Errorf("Launch on a locked phone: %v, want %v", err, ErrLocked)
		} else if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Launch on a locked phone: %v matches fs.ErrNotExist", err)
		}
		synctest.Wait()
		if r.open != 1 {
			t.Errorf("%d channels are open, want the shared one", r.open)
		}
	})
}

// TestLaunchArguments checks the bytes of a launch, because devices require certain
// kinds of arguments.
func TestLaunchArguments(t *testing.T) {
	t.Parallel()
	seen := make(chan []dtx.Arg, 1)
	s := fake(t, map[string]dtx.Handler{ChannelProcessControl: dtx.HandlerFunc(func(
		_ context.Context, in *dtx.Incoming,
	) (any, error) {
		list, err := dtx.DecodeArgs(in.Aux)
		seen <- list
		if in.Selector == selNoLimits {
			return true, err
		}
		return int64(77), err
	})})
	pid, err := s.Launch(t.Context(), "a.b",
		LaunchOptions{Env: map[string]string{"B": "", "A": "1"}})
	if err != nil {
		t.Fatalf("Launch: %v", err)
	}
	if pid != 77 {
		t.Fatalf("Launch = %v, want 77", pid)
	}
	want := []any{"", "a.b", nskeyed.Dict{{Key: "A", Value: "1"}, {Key: "B", Value: ""}}, []any{},
		nskeyed.Dict{{Key: "KillExisting", Value: false}, {Key: "StartSuspendedKey", Value: false}}}
	for i, a := range <-seen {
		if a.Kind != dtx.ArgBuffer {
			t.Errorf("argument %d has the kind %v", i, a.Kind)
		}
		if v, err := nskeyed.Decode(a.Bytes); err != nil {
			t.Errorf("argument %d: %v", i, err)
		} else if !reflect.DeepEqual(v, want[i]) {
			t.Errorf("argument %d = %v, want %v", i, v, want[i])
		}
	}
	if _, err := s.DisableMemoryLimits(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; !reflect.DeepEqual(got, []dtx.Arg{dtx.Int32(5)}) {
		t.Errorf("arguments %+v, want a bare number", got)
	}
}

// TestForeignLaunch launches apps without the client of this package, and checks the
// events.
func TestForeignLaunch(t *testing.T) {
	for name, c := range map[string]struct {
		options dtx.Options
		ends    bool
	}{
		"with callback": {
			dtx.Options{Capabilities: nskeyed.Dict{{Key: capTermination, Value: int64(1)}}}, true,
		},
		"silent": {dtx.Options{Silent: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, "", func(t *testing.T, r *rig) {
				ctx := t.Context()
				ch := r.host(ChannelProcessControl, c.options)
				v, err := ch.Call(ctx, selLaunch, "/private/", "com.example.shop",
					nskeyed.Dict{{Key: "NSUnbufferedIO", Value: "YES"}}, []any{},
					nskeyed.Dict{
						{Key: optionKill, Value: int64(1)}, {Key: optionSuspended, Value: int64(0)},
						{Key: "__" + optionBackground, Value: int64(1)},
					})
				pid, _ := v.(int64)
				if err != nil {
					t.Fatalf("launch: %v", err)
				}
				if pid <= 0 {
					t.Fatalf("launch = %v, want a PID", v)
				}
				if r.phone.Processes.State(int(pid)) != processes.Background {
					t.Fatalf("state %v, want %v", r.phone.Processes.State(int(pid)),
						processes.Background)
				}
				for _, text := range []string{
					"ShopDemo: launched with 0 arguments\n",
					"ShopDemo: environment NSUnbufferedIO=YES\n",
				} {
					in, err := ch.Next(ctx)
					wantEvent(t, in, err, eventOutput)
					args, err := dtx.DecodeArgs(in.Aux)
					if err != nil {
						t.Fatal(err)
					}
					if len(args) != 3 {
						t.Fatalf("arguments %+v, want three", args)
					}
					if args[0].Kind != dtx.ArgBuffer {
						t.Errorf("args[0].Kind = %v, want %v", args[0].Kind, dtx.ArgBuffer)
					}
					if args[1].Kind != dtx.ArgInt32 {
						t.Errorf("args[1].Kind = %v, want %v", args[1].Kind, dtx.ArgInt32)
					}
					if args[2].Kind != dtx.ArgInt64 {
						t.Errorf("args[2].Kind = %v, want %v", args[2].Kind, dtx.ArgInt64)
					}
					if args[1].Bits != uint64(pid) {
						t.Errorf("process %d, want %d", args[1].Bits, pid)
					}
					if got, _ := args[0].Value(nil); got != text {
						t.Errorf("output %q, want %q", got, text)
					}
				}
				if err := ch.Send(ctx, selKill, dtx.Int32(int32(pid))); err != nil {
					t.Fatal(err)
				}
				// The next event is the end. If there is none, the answer comes first.
				if _, err := ch.Call(ctx, selPIDOf, "com.example.shop"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if !c.ends {
					now, cancel := context.WithCancel(ctx)
					cancel()
					if in, err := ch.Next(now); !errors.Is(err, context.Canceled) {
						t.Errorf("%+v, %v", in, err)
					}
					return
				}
				in, err := ch.Next(ctx)
				wantEvent(t, in, err, eventTerminated)
				want := dtx.Args{pid, nil, int64(9)}
				if args, err := in.Args(); err != nil {
					t.Errorf("arguments: %v", err)
				} else if !reflect.DeepEqual(args, want) {
					t.Errorf("arguments %v, want %v", args, want)
				}
			})
		})
	}
}

// TestStopObserving checks that no further events are sent.
func TestStopObserving(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		proc, err := r.phone.Processes.Launch("com.example.shop")
		if err != nil {
			t.Fatal(err)
		}
		o, err := r.Observe(ctx, proc.PID)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if _, err := o.ch.Call(ctx, selStopObserve, int64(proc.PID)); err != nil {
			t.Fatal(err)
		}
		if err := r.Kill(ctx, proc.PID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n, _ := o.queue.Waiting(); n != 0 {
			t.Errorf("%d events were told", n)
		}
	})
}

// TestSlowReader does not read the output of an app. The oldest output is dropped, and
// other calls continue to work.
func TestSlowReader(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		p, err := r.Start(ctx, "com.example.shop", LaunchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		const lines = feedLimit + 10
		for range lines {
			if err := r.phone.Processes.Print(p.PID, "line\n"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if _, err := r.KernelName(ctx); err != nil {
			t.Error(err)
		}
		if n := p.Dropped(); n != lines+1-feedLimit {
			t.Errorf("%d dropped, want %d", n, lines+1-feedLimit)
		}
		for range feedLimit {
			wantOutput(t, p, "line\n")
		}
		// The queue is limited in bytes as well as in messages.
		for range 3 {
			if err := r.phone.Processes.Print(p.PID, strings.Repeat("x", feedBytes/2)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := p.Dropped(); n != lines+1-feedLimit+2 {
			t.Errorf("%d dropped, want %d", n, lines+1-feedLimit+2)
		}
		if n, _ := p.queue.Waiting(); n != 1 {
			t.Errorf("%d wait, want 1", n)
		}
		// Close ends a call that waits.
		wantOutput(t, p, strings.Repeat("x", feedBytes/2))
		waiting := make(chan error)
		for range 2 {
			go func() { _, err := p.Next(ctx); waiting <- err }()
		}
		synctest.Wait()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-waiting; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Next after Close: %v", err)
			}
		}
	})
}
