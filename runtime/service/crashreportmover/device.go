package crashreportmover

import (
	"context"
	"net"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Device is the device side, which serves the crash reports of a phone.
type Device struct{ service.Env }

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// Serve reports that all reports are in place. The phone files a report when the crash
// happens, so there is nothing to move. Serve only makes the phone build the file tree
// that crashreportcopymobile shows, which happens on first access.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	if _, err := d.Phone.Crashes.Files.ReadDir("/"); err != nil {
		return errs.New("serve", "", err)
	}
	release := link.GuardWrite(ctx, c)
	_, err := c.Write([]byte(ping))
	err = release(err)
	if err != nil {
		return errs.New("serve", "", err)
	}
	return nil
}
