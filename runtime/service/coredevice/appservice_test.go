package coredevice

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/remotexpc"
)

// profiles are the profiles that have the services.
var profiles = []string{"ios17", "ios18", "ios26"}

func TestApps(t *testing.T) {
	for _, profile := range profiles {
		t.Run(profile, func(t *testing.T) {
			bubble(t, profile, func(t *testing.T, r *rig) {
				ctx := t.Context()
				a := r.apps()
				all, err := a.List(ctx, AllApps)
				if err != nil || len(all) != len(r.phone.Apps.List()) {
					t.Fatalf("List: %d apps, %v, want %d", len(all), err, len(r.phone.Apps.List()))
				}
				for i, want := range r.phone.Apps.List() {
					got := all[i]
					attributes := want.Attributes()
					version, _ := attributes.String("CFBundleShortVersionString")
					build, _ := attributes.String("CFBundleVersion")
					if got.BundleID != want.BundleID() || got.Path != want.Path() {
						t.Errorf("app %+v, want %s", got, want.BundleID())
					}
					if got.Version != version || got.Build != build {
						t.Errorf("app %+v, want version %s, build %s", got, version, build)
					}
					if got.Name == "" {
						t.Errorf("app %+v has no name", got)
					}
					if got.Removable != (want.Type() == apps.User) {
						t.Errorf("app %+v of type %v: removable", got, want.Type())
					}
					if got.Hidden != (want.Type() == apps.Hidden) {
						t.Errorf("app %+v of type %v: hidden", got, want.Type())
					}
					if got.Developer != want.Developer() {
						t.Errorf("app %+v: developer, want %v", got, want.Developer())
					}
					if got.Container != "" || got.Groups != nil {
						t.Errorf("%s has a container that nobody asked for", got.BundleID)
					}
				}
				once, err := a.ListOnce(ctx, AllApps)
				if err != nil || !reflect.DeepEqual(once, all) {
					t.Errorf("ListOnce = %d apps, %v", len(once), err)
				}
				_, err = a.StreamList(ctx, AllApps)
				if streams := profile == "ios26"; (err == nil) != streams ||
					!streams && !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("StreamList: %v", err)
				}
			})
		})
	}
}

func TestAppFilter(t *testing.T) {
	bubble(t, "ios26", func(t *testing.T, r *rig) {
		a := r.apps()
		for _, c := range []struct {
			filter AppFilter
			want   func(a *apps.App) bool
		}{
			{AppFilter{}, (*apps.App).Developer},
			{AppFilter{AppClips: true, Internal: true}, (*apps.App).Developer},
			{
				AppFilter{Removable: true},
				func(a *apps.App) bool { return a.Type() == apps.User },
			},
			{
				AppFilter{Default: true},
				func(a *apps.App) bool { return a.Developer() || a.Type() == apps.System },
			},
			{
				AppFilter{Hidden: true},
				func(a *apps.App) bool { return a.Developer() || a.Type() == apps.Hidden },
			},
			{
				AppFilter{Removable: true, Default: true, OnlyWithContainer: true},
				(*apps.App).Developer,
			},
		} {
			var want []string
			for _, app := range r.phone.Apps.List() {
				if c.want(app) {
					want = append(want, app.BundleID())
				}
			}
			list, err := a.List(t.Context(), c.filter)
			var got []string
			for _, app := range list {
				got = append(got, app.BundleID)
			}
			if err != nil || !slices.Equal(got, want) || len(want) == 0 {
				t.Errorf("List(%+v) = %v, %v, want %v", c.filter, got, err, want)
			}
		}
		list, err := a.List(t.Context(), AppFilter{Containers: true, Groups: true})
		for _, got := range list {
			want, _ := r.phone.Apps.Find(got.BundleID)
			if got.Container != want.ContainerPath() ||
				!slices.Equal(got.Groups, []string{"group." + got.BundleID}) {
				t.Errorf("app %+v", got)
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func TestProcesses(t *testing.T) {
	bubble(t, "ios26", func(t *testing.T, r *rig) {
		a := r.apps()
		list, err := a.Processes(t.Context())
		want := r.phone.Processes.List()
		if err != nil || len(list) != len(want) {
			t.Fatalf("%d processes, %v, want %d", len(list), err, len(want))
		}
		seen := map[int64]bool{}
		for i, p := range list {
			token := r.phone.Processes.AuditToken(want[i])
			if p.PID != want[i].PID || p.Path != want[i].Path || p.Name() != want[i].Name {
				t.Errorf("process %+v, want %+v", p, want[i])
			}
			if !slices.Equal(p.AuditToken, token[:]) {
				t.Errorf("audit token %v, want %v", p.AuditToken, token)
			}
			if p.Version != int64(token[7]) {
				t.Errorf("version %d, want %d", p.Version, token[7])
			}
			// go-ios and idevice require these keys.
			pid, _ := p.Raw.Get(keyPID)
			version, _ := p.Raw.Get(keyPIDVersion)
			url, _ := p.Raw.Path(keyExecutable, keyRelative)
			if _, ok := pid.(int64); !ok || url == "" {
				t.Errorf("process %v", p.Raw)
			}
			if _, ok := version.(int64); !ok || seen[p.Version] {
				t.Errorf("version of %v", p.Raw)
			}
			seen[p.Version] = true
		}
		streamed, err := a.StreamProcesses(t.Context())
		if err != nil || !reflect.DeepEqual(streamed, list) {
			t.Errorf("StreamProcesses = %d, %v", len(streamed), err)
		}
	})
}

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
		if s.Process.PID != p.PID || s.Process.Version != p.Version {
			t.Errorf("Signal: process %+v, want %+v", s.Process, p)
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
		if e := log[len(log)-1]; e.PID != p.PID || e.Message != "Received memory warning." {
			t.Errorf("log ends with %+v", e)
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
		if first.PID != proc.PID || first.Path != proc.Path {
			t.Fatalf("Launch = %+v, want %+v", first, proc)
		}
		front, _ := r.phone.Processes.Front()
		again, err := a.Launch(ctx, "com.example.shop", LaunchOptions{})
		if err != nil {
			t.Fatalf("Launch again: %v", err)
		}
		if again.PID != first.PID || again.Version != first.Version {
			t.Errorf("Launch again = %+v, want %+v", again, first)
		}
		if front.PID != first.PID {
			t.Errorf("process %d is in front, want %d", front.PID, first.PID)
		}
		anew, err := a.Launch(ctx, "com.example.shop",
			LaunchOptions{TerminateExisting: true, Suspended: true})
		if err != nil {
			t.Fatalf("Launch anew: %v", err)
		}
		if anew.PID == first.PID || anew.Version == first.Version {
			t.Errorf("Launch anew = %+v, which is not a new process", anew)
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
			if reply.Stream != 3 || reply.Flags != xpc.FlagsReply || reply.ID != 1 {
				t.Errorf("reply on stream %d, flags %#x, id %d", reply.Stream, reply.Flags,
					reply.ID)
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
			if p, err := a.Spawn(ctx, file, LaunchOptions{}); !errors.Is(err, want) || p != nil {
				t.Errorf("Spawn(%q) = %v, %v, want %v", file, p, err, want)
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
		if e.Process.PID != p.PID || e.Process.Version != p.Version {
			t.Errorf("AwaitEnd: process %+v, want %+v", e.Process, p)
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
		if d, ok := reply.Dict(keyError); !ok || err != nil {
			t.Errorf("answer %v, %v", d, err)
		}
	})
}

func TestUninstall(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		a := r.apps()
		if err := a.Uninstall(t.Context(), "com.example.shop"); err != nil {
			t.Error(err)
		}
		if _, ok := r.phone.Apps.Find("com.example.shop"); ok {
			t.Error("the app is still there")
		}
		if err := a.Uninstall(t.Context(), "com.example.shop"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Uninstall = %v", err)
		}
		if d, err := a.Roots(t.Context(), "/"); !errors.Is(err, fs.ErrPermission) || d != nil {
			t.Errorf("Roots = %v, %v", d, err)
		}
	})
}

func TestReboot(t *testing.T) {
	for _, style := range []RebootStyle{RebootFull, RebootUserspace} {
		t.Run(string(style), func(t *testing.T) {
			bubble(t, "ios17", func(t *testing.T, r *rig) {
				restarts := make(chan power.Action, 2)
				r.phone.Power.OnAction(func(a power.Action) { restarts <- a })
				a := r.apps()
				if err := a.Reboot(t.Context(), style); err != nil {
					t.Error(err)
				}
				<-a.Done() // the device hangs up
				if got := <-restarts; got != power.Restart {
					t.Errorf("power action %v", got)
				}
				if err := a.Reboot(t.Context(), style); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Reboot over a closed connection = %v", err)
				}
			})
		})
	}
	// go-ios does not ask for a reply but reads stream 3, and takes the end of the
	// connection for success.
	t.Run("without a reply", func(t *testing.T) {
		bubble(t, "ios17", func(t *testing.T, r *rig) {
			restarts := make(chan power.Action, 2)
			r.phone.Power.OnAction(func(a power.Action) { restarts <- a })
			x := r.host(AppService)
			i := &Invocation{Feature: FeaturePrefix + featReboot, Input: xpc.Dict{
				{Key: "rebootStyle", Value: xpc.Dict{{Key: "full", Value: xpc.Dict{}}}},
			}}
			r.check(x.Send(t.Context(), i.Encode()))
			if m, err := x.Receive(t.Context()); !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %+v, %v", m, err)
			}
			<-restarts
		})
	})
	// The device closes the connection before it answers.
	t.Run("gone", func(t *testing.T) {
		bubble(t, "", func(t *testing.T, _ *rig) {
			c := fake(t, func(*remotexpc.Conn, *remotexpc.Message) error { return net.ErrClosed })
			if err := (&Apps{c}).Reboot(t.Context(), RebootFull); err != nil {
				t.Error(err)
			}
			silent := &Apps{fake(t, func(*remotexpc.Conn, *remotexpc.Message) error { return nil })}
			if err := silent.Reboot(t.Context(), RebootFull); err != nil {
				t.Error(err)
			}
			brief, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := silent.Reboot(brief, RebootFull); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Reboot = %v", err)
			}
		})
	})
}

// streaming is what a device sends after a request for a stream.
type streaming func(c *remotexpc.Conn, m *remotexpc.Message, channel xpc.UUID)

// streamer returns a client of a device that answers the first stream with ways[0], the
// second with ways[1], and so on.
func streamer(t *testing.T, ways ...streaming) *Apps {
	return &Apps{fake(t, func(c *remotexpc.Conn, m *remotexpc.Message) error {
		i, err := DecodeInvocation(m.Body)
		if err != nil {
			return err
		}
		in, _ := i.Input.(xpc.Dict)
		proxy, _ := in.Dict(keyProxy)
		channel, _ := proxy.UUID(keyChannel)
		ways[0](c, m, channel)
		ways = ways[1:]
		return nil
	})}
}

// TestStreams uses devices that send streams in unusual ways.
func TestStreams(t *testing.T) {
	bubble(t, "", func(t *testing.T, _ *rig) {
		ctx := context.Background()
		token := func(pid int) xpc.Dict { return xpc.Dict{{Key: keyPID, Value: int64(pid)}} }
		say := func(c *remotexpc.Conn, p *push) {
			if err := c.Send(ctx, p.encode()); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		failing := func(c *remotexpc.Conn, _ *remotexpc.Message, channel xpc.UUID) {
			say(c, &push{channel: channel, elements: []any{token(1)}})
			_ = c.Send(ctx, encodeFailure("", refuse(DomainAction, actionFailed, "no more")))
		}
		a := streamer(t, func(c *remotexpc.Conn, m *remotexpc.Message, channel xpc.UUID) {
			_ = c.Reply(ctx, &remotexpc.Message{Message: xpc.Message{ID: 99}},
				encodeFailure("", refuse("D", 1, "late")))
			_ = c.Reply(ctx, m, output(xpc.Dict{}))
			say(c, &push{channel: xpc.UUID{9}, finished: true})
			say(c, &push{channel: channel, elements: []any{token(1), token(2)}})
			say(c, &push{channel: channel})
			say(c, &push{channel: channel, elements: []any{token(3)}})
			say(c, &push{channel: channel, finished: true})
		}, failing, failing)
		// The stream has several pieces, a reply between them, and messages of another
		// channel.
		list, err := a.StreamProcesses(ctx)
		if err != nil || len(list) != 3 || list[2].PID != 3 {
			t.Errorf("StreamProcesses = %+v, %v", list, err)
		}
		// The device reports an error. The connection stays usable.
		if list, err := a.StreamProcesses(ctx); list != nil || err == nil ||
			err.Error() != "coredevice: streamprocesslist: no more (CoreDevice.ActionError 3)" {
			t.Errorf("StreamProcesses = %v, %v", list, err)
		}
		// If the host stops reading, the connection ends, because the device would not
		// stop.
		want := errors.New("enough")
		if err := a.Stream(ctx, featStreamProcess, nil,
			func([]any) error { return want }); !errors.Is(err, want) {
			t.Errorf("Stream = %v", err)
		}
		<-a.Done()
		// The device sends more elements than the limit.
		many := make([]any, maxElements/4+1)
		for i := range many {
			many[i] = token(i)
		}
		a = streamer(t, func(c *remotexpc.Conn, _ *remotexpc.Message, channel xpc.UUID) {
			for range 4 {
				say(c, &push{channel: channel, elements: many})
			}
		})
		if _, err := a.StreamProcesses(ctx); !errors.Is(err, ErrProtocol) {
			t.Errorf("StreamProcesses = %v", err)
		}
		// The device sends nothing.
		a = streamer(t, func(*remotexpc.Conn, *remotexpc.Message, xpc.UUID) {})
		if _, err := a.StreamProcesses(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("StreamProcesses = %v", err)
		}
	})
}
