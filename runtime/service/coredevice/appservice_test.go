package coredevice

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/power"
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
				if err != nil {
					t.Fatalf("List: %v", err)
				}
				if want := len(r.phone.Apps.List()); len(all) != want {
					t.Fatalf("List: %d apps, want %d", len(all), want)
				}
				for i, want := range r.phone.Apps.List() {
					got := all[i]
					attributes := want.Attributes()
					version, _ := attributes.String("CFBundleShortVersionString")
					build, _ := attributes.String("CFBundleVersion")
					if got.BundleID != want.BundleID() {
						t.Errorf("app %+v, want %s", got, want.BundleID())
					}
					if got.Path != want.Path() {
						t.Errorf("app %+v, want the path %s", got, want.Path())
					}
					if got.Version != version {
						t.Errorf("app %+v, want version %s", got, version)
					}
					if got.Build != build {
						t.Errorf("app %+v, want build %s", got, build)
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
					if got.Container != "" {
						t.Errorf("%s has the container %q that nobody asked for", got.BundleID,
							got.Container)
					}
					if got.Groups != nil {
						t.Errorf("%s has the groups %v that nobody asked for", got.BundleID,
							got.Groups)
					}
				}
				once, err := a.ListOnce(ctx, AllApps)
				if err != nil {
					t.Errorf("ListOnce: %v", err)
				}
				if !reflect.DeepEqual(once, all) {
					t.Errorf("ListOnce = %+v, want %+v", once, all)
				}
				_, err = a.StreamList(ctx, AllApps)
				var want error
				if profile != "ios26" {
					want = errors.ErrUnsupported
				}
				if !errors.Is(err, want) {
					t.Errorf("StreamList: %v, want %v", err, want)
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
			if err != nil {
				t.Errorf("List(%+v): %v", c.filter, err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("List(%+v) = %v, want %v", c.filter, got, want)
			}
			if len(want) == 0 {
				t.Errorf("List(%+v): the phone has no such app", c.filter)
			}
		}
		list, err := a.List(t.Context(), AppFilter{Containers: true, Groups: true})
		for _, got := range list {
			want, _ := r.phone.Apps.Find(got.BundleID)
			if got.Container != want.ContainerPath() {
				t.Errorf("app %+v, want the container %s", got, want.ContainerPath())
			}
			if groups := []string{"group." + got.BundleID}; !slices.Equal(got.Groups, groups) {
				t.Errorf("app %+v, want the groups %v", got, groups)
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
		if err != nil {
			t.Fatalf("Processes: %v", err)
		}
		if len(list) != len(want) {
			t.Fatalf("%d processes, want %d", len(list), len(want))
		}
		seen := map[int64]bool{}
		for i, p := range list {
			token := r.phone.Processes.AuditToken(want[i])
			if p.PID != want[i].PID {
				t.Errorf("process %+v, want %+v", p, want[i])
			}
			if p.Path != want[i].Path {
				t.Errorf("process %+v, want the path %s", p, want[i].Path)
			}
			if p.Name() != want[i].Name {
				t.Errorf("process %+v, want the name %s", p, want[i].Name)
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
			_, ok := pid.(int64)
			if !ok {
				t.Errorf("process %v: the identifier is not an int64", p.Raw)
			}
			if url == "" {
				t.Errorf("process %v has no URL", p.Raw)
			}
			_, ok = version.(int64)
			if !ok {
				t.Errorf("process %v: the version is not an int64", p.Raw)
			}
			if seen[p.Version] {
				t.Errorf("process %v: another process has the same version", p.Raw)
			}
			seen[p.Version] = true
		}
		streamed, err := a.StreamProcesses(t.Context())
		if err != nil {
			t.Errorf("StreamProcesses: %v", err)
		}
		if !reflect.DeepEqual(streamed, list) {
			t.Errorf("StreamProcesses = %+v, want %+v", streamed, list)
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
		d, err := a.Roots(t.Context(), "/")
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Roots: %v, want fs.ErrPermission", err)
		}
		if d != nil {
			t.Errorf("Roots = %v beside an error", d)
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
