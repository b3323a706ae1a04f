package dtsimulatelocation

import (
	"context"
	"io"
	"net"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/location"
	"github.com/imdlua/imdlua/runtime/service"
)

// Device is the device side, which simulates the location of a phone.
type Device struct{ service.Env }

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// Serve carries out the requests of a connection until the peer disconnects or ctx ends.
// It ignores coordinates that are out of range, because the protocol has no answers.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	for {
		release := link.GuardRead(ctx, c)
		r, err := Read(c)
		err = release(err)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return errs.New("serve", "", err)
		}
		if r.Clear {
			d.Phone.Location.Clear()
			continue
		}
		// The simulation outlives the connection, so nothing releases it.
		_, err = d.Phone.Location.Simulate(
			location.Place{Latitude: r.Latitude, Longitude: r.Longitude},
		)
		if err != nil {
			d.Log("dtsimulatelocation").Debug("not simulated", "err", err)
		}
	}
}
