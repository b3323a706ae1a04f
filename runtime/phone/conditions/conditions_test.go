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
		if active := c.ID == "SlowNetworkCondition"; (c.Active == "SlowNetwork3GGood") != active ||
			len(c.Profiles) < 4 {
			t.Errorf("condition %+v", c)
		}
	}
	if p.Conditions.Disable("ThermalCondition") || !p.Conditions.Disable("") ||
		p.Conditions.Disable("") {
		t.Error("disabled what was not active, or not what was")
	}
	if _, err := p.Conditions.Enable("ThermalCondition", "ThermalFair"); err != nil {
		t.Fatal(err)
	}
	release() // is not for this one
	if id, profile := p.Conditions.Active(); id != "ThermalCondition" || profile != "ThermalFair" {
		t.Errorf("active: %s %s", id, profile)
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
