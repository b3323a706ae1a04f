package dvt

import (
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
)

func TestConditions(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		if err := r.EnableCondition(ctx, "SlowNetworkCondition",
			"SlowNetwork100PctLoss"); err != nil {
			t.Fatal(err)
		}
		list, err := r.Conditions(ctx)
		if err != nil || len(list) != len(r.phone.Conditions.List()) {
			t.Fatalf("%v, %v", list, err)
		}
		c := list[0]
		if c.ID != "SlowNetworkCondition" || c.Name != "Network Link" || !c.Active ||
			c.ActiveProfile != "SlowNetwork100PctLoss" ||
			c.Profiles[0] != (ConditionProfile{
				"SlowNetwork100PctLoss", "100% packet loss", "Nothing arrives.",
			}) {
			t.Errorf("%+v", c)
		}
		if list[1].Active || list[1].ActiveProfile != "" || !list[1].Sorted {
			t.Errorf("%+v", list[1])
		}
		if err := r.EnableCondition(ctx, "ThermalCondition", "ThermalFair"); !errors.Is(err,
			ErrConditionActive) {
			t.Errorf("a second condition: %v", err)
		}
		for range 2 {
			if err := r.DisableCondition(ctx); err != nil {
				t.Errorf("disable: %v", err)
			}
		}
		if id, _ := r.phone.Conditions.Active(); id != "" {
			t.Errorf("%s is active", id)
		}
		if err := r.EnableCondition(ctx, "ThermalCondition", "None"); !errors.Is(err,
			fs.ErrNotExist) {
			t.Errorf("unknown profile: %v", err)
		}
	})
}

// TestForeignConditions checks the types of the values that other clients read.
func TestForeignConditions(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		ch := r.host(ChannelConditions, dtx.Options{Silent: true})
		v, err := ch.Call(ctx, "availableConditionInducers")
		list, _ := v.([]any)
		if len(list) == 0 || err != nil {
			t.Fatalf("%v, %v", v, err)
		}
		for _, v := range list {
			d := v.(nskeyed.Dict)
			for _, key := range []string{"identifier", "name", "activeProfile"} {
				if _, ok := d.String(key); !ok {
					t.Errorf("%s is not text in %v", key, d)
				}
			}
			for _, key := range []string{
				"profilesSorted", "isActive", "isDestructive", "isInternal",
			} {
				if _, ok := d.Bool(key); !ok {
					t.Errorf("%s is not a flag in %v", key, d)
				}
			}
		}
		const enable, disable = "enableConditionWithIdentifier:profileIdentifier:", "disableConditionWithIdentifier:"
		for _, want := range []any{true, nil} {
			v, err := ch.Call(ctx, enable, "ThermalCondition", "ThermalFair")
			var e *dtx.Error
			if v != want {
				t.Errorf("EnableCondition = %v, %v, want %v", v, err, want)
			}
			if want == nil {
				if !errors.As(err, &e) {
					t.Fatalf("%v is not a *dtx.Error", err)
				}
				const text = "A condition is already active."
				if got := e.Remote().Description(); got != text {
					t.Errorf("refused with %q, want %q", got, text)
				}
			}
		}
		for _, want := range []bool{true, false} {
			if v, err := ch.Call(ctx, disable, "ThermalCondition"); v != want || err != nil {
				t.Errorf("%v, %v", v, err)
			}
		}
		if _, err := ch.Call(ctx, enable, "ThermalCondition", "ThermalFair"); err != nil {
			t.Error(err)
		}
		ch.Conn().Close()
		synctest.Wait()
		if id, _ := r.phone.Conditions.Active(); id != "" {
			t.Errorf("%s outlives the connection", id)
		}
	})
}
