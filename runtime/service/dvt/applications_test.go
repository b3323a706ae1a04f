package dvt

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/phone/apps"
)

func TestApplications(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		if _, err := r.phone.Apps.Install(
			apps.Spec{BundleID: "org.example.tool", Name: "Tool", ShortVersion: "7.1"},
		); err != nil {
			t.Fatal(err)
		}
		list, err := r.Applications(t.Context(), nil)
		if err != nil {
			t.Fatalf("Applications: %v", err)
		}
		if len(list) != len(r.phone.Apps.List()) {
			t.Fatalf("%d applications, want %d", len(list), len(r.phone.Apps.List()))
		}
		for _, a := range list {
			model, _ := r.phone.Apps.Find(a.BundleID)
			if a.DisplayName == "" {
				t.Errorf("%s: DisplayName is empty", a.BundleID)
			}
			if a.BundlePath != model.Path() {
				t.Errorf("%s: BundlePath = %v, want %v", a.BundleID, a.BundlePath, model.Path())
			}
			if a.Executable == "" {
				t.Errorf("%s: Executable is empty", a.BundleID)
			}
			if a.Restricted != (a.Type == "System") {
				t.Errorf("%s: Restricted = %v, want %v", a.BundleID, a.Restricted,
					a.Type == "System")
			}
		}
		for _, c := range []struct {
			filter nskeyed.Dict
			want   int
		}{
			{nskeyed.Dict{{Key: "CFBundleIdentifier", Value: "org.example.tool"}}, 1},
			{nskeyed.Dict{
				{Key: "CFBundleIdentifier", Value: "org.example.tool"},
				{Key: "Type", Value: "System"},
			}, 0},
			{nskeyed.Dict{{Key: "Type", Value: "User"}}, 7},
			{nskeyed.Dict{{Key: "Type", Value: []any{"User"}}}, 0},
			{nskeyed.Dict{{Key: "None", Value: "User"}}, 0},
		} {
			list, err := r.Applications(t.Context(), c.filter)
			if err != nil {
				t.Errorf("Applications(%v): %v", c.filter, err)
			} else if len(list) != c.want {
				t.Errorf("Applications(%v): %d applications, want %d", c.filter, len(list), c.want)
			}
			if c.want != 1 || len(list) != 1 {
				continue
			}
			if list[0].Version != "7.1" {
				t.Errorf("Version = %q, want 7.1", list[0].Version)
			}
			if list[0].DisplayName != "Tool" {
				t.Errorf("DisplayName = %q, want Tool", list[0].DisplayName)
			}
		}
	})
}
