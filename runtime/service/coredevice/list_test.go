package coredevice

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
)

// TestOddEntries checks that one entry that cannot be decoded does not hide the others
// of a list.
func TestOddEntries(t *testing.T) {
	bubble(t, "", func(t *testing.T, _ *rig) {
		app := xpc.Dict{{Key: keyBundleID, Value: "com.x"}}
		process := xpc.Dict{{Key: keyPID, Value: int64(7)}}
		screen := xpc.Dict{{Key: keyName, Value: "main"}}
		ctx, passed := link.WithPassed(t.Context())
		apps, err := (&Apps{replies(t, output([]any{"odd", app, xpc.Dict{}}))}).ListOnce(ctx,
			AllApps)
		if err != nil {
			t.Errorf("ListOnce: %v", err)
		}
		if len(apps) != 1 {
			t.Errorf("ListOnce = %v, want one app", apps)
		}
		tokens := xpc.Dict{
			{Key: keyProcessTokens, Value: []any{process, xpc.Dict{{Key: keyPID, Value: "7"}}}},
		}
		list, err := (&Apps{replies(t, output(tokens))}).Processes(ctx)
		if err != nil {
			t.Errorf("Processes: %v", err)
		}
		if len(list) != 1 {
			t.Errorf("Processes = %v, want one", list)
		}
		displays, err := (&Info{replies(t, output(xpc.Dict{
			{Key: keyDisplays, Value: []any{int64(1), screen}},
		}))}).Displays(ctx)
		if err != nil {
			t.Fatalf("Displays: %v", err)
		}
		if len(displays.List) != 1 {
			t.Errorf("Displays = %v, want one", displays)
		}
		if n, _ := passed.Count(); n != 4 {
			t.Errorf("%d entries passed over, want 4", n)
		}
	})
}
