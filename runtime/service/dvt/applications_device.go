package dvt

import (
	"context"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone/apps"
)

func applications(s *session, _ *dtx.Channel) dtx.Handler {
	return dtx.Methods{
		selListApps: func(_ context.Context, args dtx.Args) (any, error) {
			filter, ok := args.Dict(0)
			if !ok && args.At(0) != nil {
				return nil, badArguments(selListApps)
			}
			out := []any{}
			for _, a := range s.phone.Apps.List() {
				if d := applicationDict(a); matches(d, filter) {
					out = append(out, d)
				}
			}
			return out, nil
		},
	}
}

func matches(d, filter nskeyed.Dict) bool {
	for _, want := range filter {
		switch want.Value.(type) {
		case string, bool, int64:
		default:
			return false // no entry has a value of this type
		}
		if got, ok := d.Get(want.Key); !ok || got != want.Value {
			return false
		}
	}
	return true
}

func applicationDict(a *apps.App) nskeyed.Dict {
	attributes := a.Attributes()
	text := func(key string) string { v, _ := attributes.String(key); return v }
	kind, restricted := apps.User, int64(0)
	if a.Type() != apps.User {
		kind, restricted = apps.System, 1
	}
	return nskeyed.Dict{
		{Key: "BundlePath", Value: a.Path()},
		{Key: "CFBundleIdentifier", Value: a.BundleID()},
		{Key: "DisplayName", Value: text("CFBundleDisplayName")},
		{Key: "ExecutableName", Value: text("CFBundleExecutable")},
		{Key: "Placeholder", Value: false},
		{Key: "Restricted", Value: restricted},
		{Key: "Type", Value: kind},
		{Key: "Version", Value: text("CFBundleShortVersionString")},
	}
}
