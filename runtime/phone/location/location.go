// Package location has the location that the phone reports to apps.
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

// home is the location of a new phone.
var home = Place{52.520008, 13.404954}

// Location is the location of a phone. All methods may be called concurrently.
type Location struct {
	log *log.Log

	mu    sync.Mutex
	at    Place
	gen   uint64 // number of the simulation in effect, or 0
	count uint64 // number of simulations so far
}

// New returns the location of a new phone.
func New(l *log.Log) *Location { return &Location{log: l} }

// Place returns the location that the phone reports to apps, and whether it is
// simulated.
func (l *Location) Place() (at Place, simulated bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gen == 0 {
		return home, false
	}
	return l.at, true
}

// Simulate overrides the reported location until Clear or release is called. release does
// nothing if a later simulation has replaced this one. The error is fs.ErrInvalid if the
// coordinates are out of range.
func (l *Location) Simulate(at Place) (release func(), err error) {
	if !(math.Abs(at.Latitude) <= 90 && math.Abs(at.Longitude) <= 180) { // also true for NaN
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
