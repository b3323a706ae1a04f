package crashreportcopymobile

import (
	"context"
	"net"

	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// Device is the device side, which serves the crash reports of a phone.
type Device struct{ service.Env }

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// Serve answers AFC requests until the client disconnects.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	a := afc.Device{
		FS:     d.Phone.Crashes.Files,
		Model:  d.Phone.Identity.ProductType,
		Logger: d.Logger,
	}
	return a.Serve(ctx, c)
}
