// Package location is where apps on the phone think that they are.
package location

import (
	"io/fs"
	"math"
	"sync"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/log"
)

// Place is a position in degrees.
type Place struct{ Latitude, Longitude float64 }

// home is where a new phone is.
var home = Place{52.520008, 13.404954}

// Location is the position of the phone. All methods may be called concurrently.
type Location struct {
	log *log.Log

	mu    sync.Mutex
	at    Place
	gen   uint64 // the simulation that is in effect, 0 if none is
	count uint64 // simulations so far
}

// New returns the location of a new phone.
func New(l *log.Log) *Location { return &Location{log: l} }

// Place returns where apps on the phone think they are, and whether somebody
// simulates it.
func (l *Location) Place() (at Place, simulated bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gen == 0 {
		return home, false
	}
	return l.at, true
}

// Simulate moves the phone. The simulation lasts until Clear, or until release is
// called while no later one has taken its place. A position that is not on earth is
// fs.ErrInvalid.
func (l *Location) Simulate(at Place) (release func(), err error) {
	if !(math.Abs(at.Latitude) <= 90 && math.Abs(at.Longitude) <= 180) { // NaN is neither
		return nil, failure.Wrap("simulate place", "", fs.ErrInvalid)
	}
	l.log.Writef("locationd", "com.apple.locationd.Position", "Simulation",
		"simulated location is in effect")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	mine := l.count
	l.at, l.gen = at, mine
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.gen == mine {
			l.gen = 0
		}
	}, nil
}

// Clear ends the simulation, whoever began it.
func (l *Location) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gen = 0
}
