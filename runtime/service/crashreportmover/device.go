package crashreportmover

import (
	"context"
	"net"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service"
)

// Device is the device's side, over the crash reports of a phone.
type Device struct {
	Phone *phone.Phone
}

// NewDevice returns the device side of a phone.
func NewDevice(e service.Env) service.Handler {
	return &Device{Phone: e.Phone}
}

// Serve says that the reports are in place. The model files a report in the
// moment of the crash, so what is left to do is to have the tree made that the
// copy service will show, which happens at the first look into it.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	if _, err := d.Phone.Crashes.Files.ReadDir("/"); err != nil {
		return errs.New("serve", "", err)
	}
	release := link.GuardWrite(ctx, c)
	_, err := c.Write([]byte(ping))
	if err = release(err); err != nil {
		return errs.New("serve", "", err)
	}
	return nil
}
