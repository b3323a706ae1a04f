package dvt

import (
	"context"
	"errors"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone/conditions"
)

func conditionInducer(s *session, _ *dtx.Channel) dtx.Handler {
	return dtx.Methods{
		selConditions: func(context.Context, dtx.Args) (any, error) {
			list := []any{}
			for _, c := range s.phone.Conditions.List() {
				list = append(list, conditionDict(c))
			}
			return list, nil
		},
		selEnable: func(_ context.Context, args dtx.Args) (any, error) {
			id, ok1 := args.String(0)
			profile, ok2 := args.String(1)
			if !ok1 || !ok2 {
				return nil, badArguments(selEnable)
			}
			release, err := s.phone.Conditions.Enable(id, profile)
			switch {
			case errors.Is(err, conditions.ErrActive):
				return nil, dtx.Refuse(dtx.Domain, 1, textConditionActive)
			case err != nil:
				return nil, refused(err, codeENOENT)
			}
			s.hold("condition", release)
			return true, nil
		},
		selDisableAny: func(context.Context, dtx.Args) (any, error) {
			s.phone.Conditions.Disable("")
			return true, nil
		},
		selDisable: func(_ context.Context, args dtx.Args) (any, error) {
			id, ok := args.String(0)
			if !ok {
				return nil, badArguments(selDisable)
			}
			return s.phone.Conditions.Disable(id), nil
		},
	}
}

// conditionDict returns the entry of a condition with all keys. go-ios panics if a key is
// missing or has another type.
func conditionDict(c conditions.Condition) nskeyed.Dict {
	profiles := []any{}
	for _, p := range c.Profiles {
		profiles = append(profiles, nskeyed.Dict{
			{Key: "description", Value: p.Description}, {Key: "identifier", Value: p.ID},
			{Key: "name", Value: p.Name}})
	}
	return nskeyed.Dict{
		{Key: "activeProfile", Value: c.Active},
		{Key: "identifier", Value: c.ID},
		{Key: "isActive", Value: c.Active != ""},
		{Key: "isDestructive", Value: c.Destructive},
		{Key: "isInternal", Value: false},
		{Key: "name", Value: c.Name},
		{Key: "profiles", Value: profiles},
		{Key: "profilesSorted", Value: c.Sorted},
	}
}
