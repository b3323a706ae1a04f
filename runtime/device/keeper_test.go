package device

import (
	"slices"
	"testing"
)

// TestForget ends the effect of Cancel for devices that have left.
func TestForget(t *testing.T) {
	t.Parallel()
	k := &Keeper{cancelled: map[string][]Route{"here": nil, "gone": nil}}
	k.forget([]Info{{UDID: "here"}, {UDID: "other"}})
	var left []string
	for udid := range k.cancelled {
		left = append(left, udid)
	}
	if want := []string{"here"}; !slices.Equal(left, want) {
		t.Errorf("cancelled are %q, want %q", left, want)
	}
}
