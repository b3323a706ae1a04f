package tunnel

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
)

// FuzzDevice lets a host send any bytes in place of its handshake, and after it.
func FuzzDevice(f *testing.F) {
	f.Add([]byte(goldenRequest))
	f.Add(blank(60))
	f.Add(synPacket(0x02, []byte{2, 4, 62, 68}))
	d := &Device{RSDPort: 1, Open: func(uint16) (func(context.Context, net.Conn), error) {
		return func(_ context.Context, c net.Conn) { _, _ = io.Copy(io.Discard, c) }, nil
	}}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Typed[*Error](t, "Serve", fuzztest.Device(t, "handshake", link.Pipe, b, d.Serve))
		behind := append([]byte(goldenRequest), b...)
		fuzztest.Typed[*Error](
			t,
			"Serve",
			fuzztest.Device(t, "packets", link.Pipe, behind, d.Serve),
		)
	})
}

// FuzzTunnel lets a device answer anything to the request for a tunnel.
func FuzzTunnel(f *testing.F) {
	f.Add([]byte(goldenResponse))
	f.Add(append([]byte(goldenResponse), blank(60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		here, there := link.Pipe()
		go fuzztest.Say(there, b)
		tun, err := Open(fuzztest.Context(t), here, Options{})
		if fuzztest.Typed[*Error](t, "Open", err); err == nil {
			tun.Close()
		}
	})
}
