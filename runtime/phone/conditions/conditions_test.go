package conditions_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/conditions"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestConditions(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	release, err := p.Conditions.Enable("SlowNetworkCondition", "SlowNetwork3GGood")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Conditions.Enable("ThermalCondition", "ThermalFair"); !errors.Is(err,
		conditions.ErrActive) {
		t.Errorf("a second condition: %v", err)
	}
	for _, c := range p.Conditions.List() {
		if active := c.ID == "SlowNetworkCondition"; (c.Active == "SlowNetwork3GGood") != active {
			t.Errorf("%s has the active profile %q", c.ID, c.Active)
		} else if len(c.Profiles) < 4 {
			t.Errorf("%s has %d profiles, want at least 4", c.ID, len(c.Profiles))
		}
	}
	if p.Conditions.Disable("ThermalCondition") {
		t.Error("Disable of a condition that is not active = true")
	}
	if !p.Conditions.Disable("") {
		t.Error("Disable of the active condition = false")
	}
	if p.Conditions.Disable("") {
		t.Error("second Disable = true")
	}
	if _, err := p.Conditions.Enable("ThermalCondition", "ThermalFair"); err != nil {
		t.Fatal(err)
	}
	release() // belongs to the first condition, so it does not end the second
	if id, profile := p.Conditions.Active(); id != "ThermalCondition" {
		t.Errorf("active condition %q, want ThermalCondition", id)
	} else if profile != "ThermalFair" {
		t.Errorf("active profile %q, want ThermalFair", profile)
	}
	p.Boot()
	if id, _ := p.Conditions.Active(); id != "" {
		t.Errorf("%s outlives a boot", id)
	}
	for _, c := range [][2]string{
		{"None", "ThermalFair"}, {"ThermalCondition", "SlowNetwork3GGood"},
	} {
		if _, err := p.Conditions.Enable(c[0], c[1]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v", c, err)
		}
	}
}
