package crashreportcopymobile

import (
	"context"
	"log/slog"
	"net"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// Device is the device side, which serves the crash reports of a phone.
type Device struct {
	Phone *phone.Phone
	// Logger receives each request at debug level; nil means no logging.
	Logger *slog.Logger
}

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler {
	return &Device{Phone: e.Phone, Logger: e.Logger}
}

// Serve answers AFC requests until the client disconnects.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	a := afc.Device{
		FS:     d.Phone.Crashes.Files,
		Model:  d.Phone.Identity.ProductType,
		Logger: d.Logger,
	}
	return a.Serve(ctx, c)
}
