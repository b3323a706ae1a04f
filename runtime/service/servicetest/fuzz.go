package servicetest

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
)

// message returns what is sent for an input of a fuzz target.
func (s Suite[C]) message(b []byte) []byte {
	if s.Framed {
		return link.AppendFrame(nil, b)
	}
	return b
}

// FuzzClient has a device send anything in answer to each call. The call ends, with a typed
// error or without one, and takes memory in proportion to what was sent.
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

// FuzzDevice has a client send anything to the device side and leave. The device side ends,
// with a typed error or without one, and takes memory in proportion to what was sent.
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
