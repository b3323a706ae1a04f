package syslogrelay

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// FuzzStream reads an arbitrary log. All data that was sent comes out as entries, and
// the log ends when the device disconnects.
func FuzzStream(f *testing.F) {
	f.Add(
		[]byte(
			"Jan  2 15:04:05 iPhone SpringBoard(CoreFoundation)[123] <Notice>: hello\n\x00x\n\x00",
		),
	)
	f.Add([]byte("\x00\x00\n\x00\n\x00\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(servicetest.Peer(t, b))
		defer c.Close()
		total := 0
		for {
			e, err := c.Next(fuzztest.Context(t))
			if err != nil {
				fuzztest.Typed[*service.Error](t, "Next", err)
				if !errors.Is(err, io.EOF) {
					t.Errorf("the log ended with %v", err)
				}
				break
			}
			total += len(e.Raw)
			if total > len(b) {
				t.Fatalf("%d bytes of entries in %d", total, len(b))
			}
		}
		if _, err := c.Next(context.Background()); err == nil {
			t.Error("an entry after the end")
		}
	})
}

// FuzzDevice sends arbitrary data to a device side that only writes.
func FuzzDevice(f *testing.F) { suite.FuzzDevice(f, "", "\x00") }
