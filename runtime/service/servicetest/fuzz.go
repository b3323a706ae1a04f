package servicetest

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
)

// message returns the bytes to send for an input of a fuzz target.
func (s Suite[C]) message(b []byte) []byte {
	if s.Framed {
		return link.AppendFrame(nil, b)
	}
	return b
}

// FuzzClient answers each call of the client with arbitrary bytes. It checks that the
// call ends, that its error, if any, is of the type of the package, and that the memory
// it takes is in proportion to the bytes that were sent.
func (s Suite[C]) FuzzClient(f *testing.F, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sent := s.message(b)
		fuzztest.Bounded(t, len(sent)*len(s.Calls), func() {
			for name, call := range s.Calls {
				s.Typed(t, name, s.Answer(t, string(sent), call))
			}
		})
	})
}

// FuzzDevice sends arbitrary bytes to the device side and disconnects. It checks that
// Serve returns, that its error, if any, is of the type of the package, and that the
// memory it takes is in proportion to the bytes that were sent.
func (s Suite[C]) FuzzDevice(f *testing.F, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	device := s.Device(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		sent := s.message(b)
		fuzztest.Bounded(t, len(sent), func() {
			s.Typed(t, "Serve", fuzztest.Device(t, s.Name.String(), link.Pipe, sent, device.Serve))
		})
	})
}
