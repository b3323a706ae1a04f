package location_test

import (
	"errors"
	"math"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/location"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestPlace(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	start, simulated := p.Location.Place()
	if simulated {
		t.Error("a new phone simulates a location")
	}
	if start == (location.Place{}) {
		t.Errorf("a new phone is at %v", start)
	}
	first, err := p.Location.Simulate(location.Place{Latitude: -33.5, Longitude: 151.25})
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Location.Simulate(location.Place{Latitude: 90, Longitude: -180})
	if err != nil {
		t.Fatal(err)
	}
	first()
	if at, simulated := p.Location.Place(); at != (location.Place{Latitude: 90, Longitude: -180}) {
		t.Errorf("at %v, want 90, -180", at)
	} else if !simulated {
		t.Error("simulated = false")
	}
	second()
	if at, simulated := p.Location.Place(); at != start {
		t.Errorf("at %v, want %v", at, start)
	} else if simulated {
		t.Error("simulated = true")
	}
	if _, err := p.Location.Simulate(location.Place{Latitude: 1, Longitude: 2}); err != nil {
		t.Fatal(err)
	}
	p.Location.Clear()
	if _, simulated := p.Location.Place(); simulated {
		t.Error("still simulated")
	}
	if _, err := p.Location.Simulate(location.Place{Latitude: 1, Longitude: 2}); err != nil {
		t.Fatal(err)
	}
	p.Boot()
	if _, simulated := p.Location.Place(); simulated {
		t.Error("the simulation outlives a boot")
	}
	for _, at := range []location.Place{{91, 0}, {0, 180.5}, {math.NaN(), 0}, {0, math.Inf(1)}} {
		if _, err := p.Location.Simulate(at); !errors.Is(err, files.ErrInvalid) {
			t.Errorf("%v: %v", at, err)
		}
	}
}
