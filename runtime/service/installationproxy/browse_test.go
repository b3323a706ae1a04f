package installationproxy

import (
	"context"
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

func TestBrowseTypes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, tc := range []struct {
			in   Options
			keep func(*apps.App) bool
		}{
			{Options{}, func(a *apps.App) bool { return a.Type() != Hidden }},
			{Options{Type: User}, func(a *apps.App) bool { return a.Type() == User }},
			{Options{Type: System}, func(a *apps.App) bool { return a.Type() == System }},
			{Options{Type: Hidden}, func(a *apps.App) bool { return a.Type() == Hidden }},
			{Options{Type: Any}, func(a *apps.App) bool { return true }},
			{Options{Type: "Internal"}, func(a *apps.App) bool { return false }},
			{Options{
				Type:      User,
				BundleIDs: []string{"com.apple.Preferences", "com.example.app07", "no.such.app"},
			},
				func(a *apps.App) bool { return a.BundleID() == "com.example.app07" }},
			{Options{BundleIDs: []string{}}, func(a *apps.App) bool { return false }},
		} {
			apps, err := r.client.Browse(t.Context(), tc.in)
			var got []string
			for _, a := range apps {
				got = append(got, a.BundleID)
			}
			if err != nil {
				t.Errorf("Browse(%+v): %v", tc.in, err)
			}
			if want := r.ids(tc.keep); !slices.Equal(got, want) {
				t.Errorf("Browse(%+v) = %v, want %v", tc.in, got, want)
			}
		}
	})
}

// TestBrowseChunks checks that the indexes of the messages are exact and contiguous,
// and that the last message has no list. Clients rely on this.
func TestBrowseChunks(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		want := r.ids(func(a *apps.App) bool { return a.Type() == User })
		m := r.ask(plist.Dict{"Command": "Browse", "ClientOptions": plist.Dict{
			"ApplicationType": "User", "ShowLaunchProhibitedApps": true,
		}})
		next, messages := uint64(0), 0
		for ; m["Status"] == "BrowsingApplications"; messages++ {
			index, _ := m.Uint("CurrentIndex")
			amount, _ := m.Uint("CurrentAmount")
			total, _ := m.Uint("Total")
			list, _ := m.Array("CurrentList")
			if index != next {
				t.Fatalf("message %d: index %d, want %d", messages, index, next)
			}
			if int(amount) != len(list) {
				t.Fatalf("message %d: amount %d, but %d in the list", messages, amount, len(list))
			}
			if len(list) == 0 || len(list) > chunk {
				t.Fatalf("message %d: %d in the list, want 1 to %d", messages, len(list), chunk)
			}
			if int(total) != len(want) {
				t.Fatalf("message %d: total %d, want %d", messages, total, len(want))
			}
			next += amount
			var err error
			m, err = r.conn.RecvDict(t.Context())
			if err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(m, plist.Dict{"Status": "Complete"}) {
			t.Errorf("last message %v, want Complete alone", m)
		}
		if int(next) != len(want) {
			t.Errorf("%d apps in all messages, want %d", next, len(want))
		}
		if messages < 2 {
			t.Errorf("%d messages, want at least 2", messages)
		}
		if m := r.ask(
			plist.Dict{"Command": "Browse", "ClientOptions": plist.Dict{"BundleIDs": []any{}}},
		); !reflect.DeepEqual(m, plist.Dict{"Status": "Complete"}) {
			t.Errorf("no apps: %v", m)
		}
	})
}

// TestListInComplete checks that apps in the last message are in the result.
func TestListInComplete(t *testing.T) {
	t.Parallel()
	apps, err := answer(t,
		"<key>Status</key><string>Complete</string><key>CurrentList</key><array><dict/></array>").
		Browse(
			t.Context(), Options{},
		)
	if err != nil {
		t.Errorf("Browse: %v", err)
	}
	if len(apps) != 1 {
		t.Errorf("Browse = %v, want one app", apps)
	}
}

func TestEndlessBrowse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		empty := []byte(frames(browsing))
		cl := New(servicetest.Conn(t, servicetest.HandlerFunc(
			func(_ context.Context, c net.Conn) error { // an empty list each second, without end
				for {
					if _, err := c.Write(empty); err != nil {
						return nil
					}
					<-time.NewTimer(time.Second).C
				}
			})))
		if _, err := cl.Browse(context.Background(), Options{}); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("Browse = %v", err)
		}
		if _, err := cl.Browse(context.Background(), Options{}); err == nil ||
			!strings.Contains(err.Error(), "out of step") {
			t.Errorf("second Browse = %v", err)
		}
		cl.Close()
	})
}
