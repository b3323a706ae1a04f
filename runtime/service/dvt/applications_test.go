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
		if err != nil || len(list) != len(r.phone.Apps.List()) {
			t.Fatalf("%d applications, %v", len(list), err)
		}
		for _, a := range list {
			model, _ := r.phone.Apps.Find(a.BundleID)
			if a.DisplayName == "" || a.BundlePath != model.Path() || a.Executable == "" ||
				a.Restricted != (a.Type == "System") {
				t.Errorf("%+v", a)
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
			if len(list) != c.want || err != nil {
				t.Errorf("%v: %d applications, %v, want %d", c.filter, len(list), err, c.want)
			}
			if c.want == 1 && (list[0].Version != "7.1" || list[0].DisplayName != "Tool") {
				t.Errorf("%+v", list[0])
			}
		}
	})
}
