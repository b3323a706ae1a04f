package phone

import (
	"math"
	"sync"
)

// Place is a position in degrees.
type Place struct{ Latitude, Longitude float64 }

// home is where a new phone is.
var home = Place{52.520008, 13.404954}

// placeState is the simulated position.
type placeState struct {
	mu  sync.Mutex
	at  Place
	gen uint64 // counts simulations; 0 while there is none
	cnt uint64
}

// Place returns where apps on the phone think they are, and whether somebody
// simulates it.
func (p *Phone) Place() (at Place, simulated bool) {
	p.place.mu.Lock()
	defer p.place.mu.Unlock()
	if p.place.gen == 0 {
		return home, false
	}
	return p.place.at, true
}

// SimulatePlace moves the phone. The simulation lasts until ClearPlace, or
// until release is called while no later one has taken its place. A position
// that is not on earth is ErrInvalid.
func (p *Phone) SimulatePlace(at Place) (release func(), err error) {
	if !(math.Abs(at.Latitude) <= 90 && math.Abs(at.Longitude) <= 180) { // NaN is neither
		return nil, fail("simulate place", "", ErrInvalid)
	}
	p.logf("locationd", "com.apple.locationd.Position", "Simulation",
		"simulated location is in effect")
	s := &p.place
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cnt++
	mine := s.cnt
	s.at, s.gen = at, mine
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.gen == mine {
			s.gen = 0
		}
	}, nil
}

// ClearPlace ends the simulation, whoever began it.
func (p *Phone) ClearPlace() {
	p.place.mu.Lock()
	defer p.place.mu.Unlock()
	p.place.gen = 0
}
