package crashreportmover

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// FuzzFlush sends arbitrary data instead of a ping.
func FuzzFlush(f *testing.F) {
	f.Add([]byte(ping))
	f.Add([]byte("pong\x00"))
	f.Add([]byte(ping + ping))
	f.Fuzz(func(t *testing.T, b []byte) {
		here, there := link.Pipe()
		go fuzztest.Say(there, b)
		c := New(here)
		defer c.Close()
		err := c.Flush(fuzztest.Context(t))
		fuzztest.Typed[*service.Error](t, "Flush", err)
		if good := len(b) >= len(ping) && string(b[:len(ping)]) == ping; good != (err == nil) {
			t.Errorf("Flush after %q: %v", b, err)
		}
	})
}

// FuzzDevice sends arbitrary data to a device side that does not read.
func FuzzDevice(f *testing.F) { suite.FuzzDevice(f, "", "x") }
