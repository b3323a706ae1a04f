package dvt

import (
	"context"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
)

const (
	selConditions = "availableConditionInducers"
	selEnable     = "enableConditionWithIdentifier:profileIdentifier:"
	selDisable    = "disableConditionWithIdentifier:"
	selDisableAny = "disableActiveCondition"
)

// Condition is a bad condition that a device can simulate, such as a slow network or
// heat.
type Condition struct {
	ID, Name      string
	Profiles      []ConditionProfile
	Active        bool
	ActiveProfile string // identifier of the active level; "" if the condition is not active
	Sorted        bool   // the levels are in order of strength
	Destructive   bool   // recovery may take a restart
	Internal      bool
}

// ConditionProfile is a level of a condition.
type ConditionProfile struct{ ID, Name, Description string }

// Conditions lists the conditions that the device can simulate.
func (s *Session) Conditions(ctx context.Context) ([]Condition, error) {
	q := question{op: "list conditions", identifier: ChannelConditions, selector: selConditions}
	return askList(ctx, s, q, func(d nskeyed.Dict) (Condition, error) {
		return parseCondition(ctx, d)
	})
}

func parseCondition(ctx context.Context, d nskeyed.Dict) (Condition, error) {
	var c Condition
	c.ID, _ = d.String("identifier")
	c.Name, _ = d.String("name")
	c.Active, _ = d.Bool("isActive")
	c.ActiveProfile, _ = d.String("activeProfile")
	c.Sorted, _ = d.Bool("profilesSorted")
	c.Destructive, _ = d.Bool("isDestructive")
	c.Internal, _ = d.Bool("isInternal")
	profiles, _ := d.Array("profiles")
	if c.ID == "" {
		return Condition{}, unexpected("list conditions", "", d)
	}
	var err error
	c.Profiles, err = decodeList(ctx, "list conditions", c.ID, profiles, parseConditionProfile)
	if err != nil {
		return Condition{}, err
	}
	return c, nil
}

func parseConditionProfile(d nskeyed.Dict) (ConditionProfile, error) {
	var p ConditionProfile
	p.ID, _ = d.String("identifier")
	p.Name, _ = d.String("name")
	p.Description, _ = d.String("description")
	return p, nil
}

// EnableCondition starts to simulate a condition. Only one condition can be active at a
// time; a second one is refused with ErrConditionActive. Some conditions take minutes
// to start, so ctx should have a generous deadline. The condition ends with the
// session.
func (s *Session) EnableCondition(ctx context.Context, id, profile string) error {
	_, err := s.call(ctx, "enable condition", id+" "+profile, ChannelConditions, selEnable, id,
		profile)
	return err
}

// DisableCondition ends the active condition. It does nothing if none is active.
func (s *Session) DisableCondition(ctx context.Context) error {
	_, err := s.call(ctx, "disable condition", "", ChannelConditions, selDisableAny)
	return err
}
