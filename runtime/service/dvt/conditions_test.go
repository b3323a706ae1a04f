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
		if err != nil {
			t.Fatalf("Conditions: %v", err)
		}
		if len(list) != len(r.phone.Conditions.List()) {
			t.Fatalf("%d conditions, want %d", len(list), len(r.phone.Conditions.List()))
		}
		c := list[0]
		if c.ID != "SlowNetworkCondition" {
			t.Errorf("ID = %q, want SlowNetworkCondition", c.ID)
		}
		if c.Name != "Network Link" {
			t.Errorf("Name = %q, want Network Link", c.Name)
		}
		if !c.Active {
			t.Errorf("%s is not active", c.ID)
		}
		if c.ActiveProfile != "SlowNetwork100PctLoss" {
			t.Errorf("ActiveProfile = %q, want SlowNetwork100PctLoss", c.ActiveProfile)
		}
		profile := ConditionProfile{
			"SlowNetwork100PctLoss", "100% packet loss", "Nothing arrives.",
		}
		if c.Profiles[0] != profile {
			t.Errorf("Profiles[0] = %+v, want %+v", c.Profiles[0], profile)
		}
		if list[1].Active {
			t.Error("the second condition is active")
		}
		if list[1].ActiveProfile != "" {
			t.Errorf("the second condition has the active profile %q", list[1].ActiveProfile)
		}
		if !list[1].Sorted {
			t.Error("the profiles of the second condition are not sorted")
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

// TestForeignConditions checks the types of the values that clients other than this
// package read.
func TestForeignConditions(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		ch := r.host(ChannelConditions, dtx.Options{Silent: true})
		v, err := ch.Call(ctx, "availableConditionInducers")
		list, _ := v.([]any)
		if err != nil {
			t.Fatalf("availableConditionInducers: %v", err)
		}
		if len(list) == 0 {
			t.Fatalf("availableConditionInducers = %v, want a list", v)
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
			if v, err := ch.Call(ctx, disable, "ThermalCondition"); err != nil {
				t.Errorf("disable: %v", err)
			} else if v != want {
				t.Errorf("disable = %v, want %v", v, want)
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
