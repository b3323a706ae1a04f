package housearrest

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// Device is the device side, which serves the containers of the apps of a phone.
type Device struct{ service.Env }

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// Serve answers one command. If the command succeeds, Serve then answers AFC requests
// until the client disconnects. tidevice sends its first AFC packet together with
// the command, so Serve must not read beyond the command.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	p := &link.PlistConn{Conn: c, Max: maxFrame}
	// A value of the wrong type is treated like a missing one.
	req, err := p.RecvDict(ctx)
	if err == io.EOF {
		return nil
	}
	var malformed *plist.Error
	if err != nil && !errors.As(err, &malformed) {
		return errs.New("serve", "", err)
	}
	command, _ := req.String("Command")
	id, _ := req.String("Identifier")
	a, code := d.vend(command, id)
	d.Log("housearrest").Debug("vend",
		"command", link.Clip(command), "app", link.Clip(id), "error", code)
	if code != "" {
		err = p.Send(ctx, response{Error: code})
	} else if err = p.Send(ctx, response{Status: complete}); err == nil {
		return a.Serve(ctx, c)
	}
	if err != nil {
		return errs.New("serve", id, err)
	}
	return nil
}

// vend returns the AFC device for the container, or the code of the refusal.
func (d *Device) vend(command, id string) (a *afc.Device, code service.Code) {
	switch {
	case command == "":
		return nil, missingCommand
	case command != vendContainer && command != vendDocuments:
		return nil, unknownCommand
	case id == "":
		return nil, missingIdentifier
	}
	app, ok := d.Phone.Apps.Find(id)
	if !ok {
		return nil, NoSuchApp
	}
	a = &afc.Device{FS: app.Container(), Model: d.Phone.Identity.ProductType, Logger: d.Logger}
	switch {
	case command == vendContainer && app.Developer():
		return a, ""
	case command == vendDocuments && app.FileSharing():
		a.Within = Documents
		return a, ""
	}
	return nil, NotAllowed
}
