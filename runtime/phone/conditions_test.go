package phone

import (
	"errors"
	"io/fs"
	"math"
	"testing"
)

func TestConditions(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	release, err := p.EnableCondition("SlowNetworkCondition", "SlowNetwork3GGood")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.EnableCondition("ThermalCondition", "ThermalFair"); !errors.Is(err,
		ErrConditionActive) {
		t.Errorf("a second condition: %v", err)
	}
	for _, c := range p.Conditions() {
		if active := c.ID == "SlowNetworkCondition"; (c.Active == "SlowNetwork3GGood") != active ||
			len(c.Profiles) < 4 {
			t.Errorf("condition %+v", c)
		}
	}
	if p.DisableCondition("ThermalCondition") || !p.DisableCondition("") || p.DisableCondition("") {
		t.Error("disabled what was not active, or not what was")
	}
	if _, err := p.EnableCondition("ThermalCondition", "ThermalFair"); err != nil {
		t.Fatal(err)
	}
	release() // is not for this one
	if id, profile := p.ActiveCondition(); id != "ThermalCondition" || profile != "ThermalFair" {
		t.Errorf("active: %s %s", id, profile)
	}
	p.Boot()
	if id, _ := p.ActiveCondition(); id != "" {
		t.Errorf("%s outlives a boot", id)
	}
	for _, c := range [][2]string{
		{"None", "ThermalFair"}, {"ThermalCondition", "SlowNetwork3GGood"},
	} {
		if _, err := p.EnableCondition(c[0], c[1]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	start, simulated := p.Place()
	if simulated || start == (Place{}) {
		t.Errorf("a new phone is at %v, %v", start, simulated)
	}
	first, err := p.SimulatePlace(Place{-33.5, 151.25})
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.SimulatePlace(Place{90, -180})
	if err != nil {
		t.Fatal(err)
	}
	first()
	if at, simulated := p.Place(); at != (Place{90, -180}) || !simulated {
		t.Errorf("at %v, %v", at, simulated)
	}
	second()
	if at, simulated := p.Place(); at != start || simulated {
		t.Errorf("at %v, %v", at, simulated)
	}
	if _, err := p.SimulatePlace(Place{1, 2}); err != nil {
		t.Fatal(err)
	}
	p.ClearPlace()
	if _, simulated := p.Place(); simulated {
		t.Error("still simulated")
	}
	if _, err := p.SimulatePlace(Place{1, 2}); err != nil {
		t.Fatal(err)
	}
	p.Boot()
	if _, simulated := p.Place(); simulated {
		t.Error("the simulation outlives a boot")
	}
	for _, at := range []Place{{91, 0}, {0, 180.5}, {math.NaN(), 0}, {0, math.Inf(1)}} {
		if _, err := p.SimulatePlace(at); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", at, err)
		}
	}
}
