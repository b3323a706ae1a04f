package mobileimagemounter

import (
	"context"
	"fmt"
	"iter"
	"net"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service"
)

// Device is the device side for a virtual device. One Device serves any number of
// connections.
//
// It reports the mounted image but does not mount any. It refuses the image of a host
// as a real device refuses an image with an invalid signature. Phone.MountImage mounts
// the image of the virtual device.
type Device struct{ service.Env }

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// Serve answers commands until the peer disconnects or sends Hangup, or until ctx ends.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	conn := &link.PlistConn{Conn: c, Format: plist.XML, Max: MaxRequest}
	log := d.Log("mobileimagemounter")
	answer := func(req plist.Dict) (iter.Seq[plist.Dict], bool) {
		command, _ := req.String("Command")
		answer := d.answer(command, req)
		log.Debug("command", "command", link.Clip(command), "error", answer["Error"])
		return service.One(answer), command == cmdHangup
	}
	return service.ServeRequests(ctx, conn, &errs, answer)
}

func (d *Device) answer(command string, req plist.Dict) plist.Dict {
	p := d.Phone
	switch command {
	case cmdLookup:
		return lookup(p, req)
	case cmdCopyDevices:
		return plist.Dict{"EntryList": entries(p), "Status": complete}
	case cmdModeStatus:
		if p.Values.HasDeveloperMode() {
			return plist.Dict{"DeveloperModeStatus": p.Values.DeveloperMode()}
		}
	case cmdIdentifiers:
		if ids := p.Image.PersonalizationIdentifiers(); ids != nil {
			return plist.Dict{"PersonalizationIdentifiers": ids}
		}
	case cmdReceive, cmdMount:
		return refuseMount(p)
	case cmdUnmount:
		return refuseUnmount(p, req)
	case cmdHangup:
		return plist.Dict{"Goodbye": true}
	}
	return refuse(ErrUnknownCommand, "")
}

func refuse(code service.Code, detail string) plist.Dict {
	d := plist.Dict{"Error": string(code)}
	if detail != "" {
		d["DetailedError"] = detail
	}
	return d
}

// lookup returns an answer that always has all three keys, because go-ios fails if
// ImageSignature is absent.
func lookup(p *phone.Phone, req plist.Dict) plist.Dict {
	imageType, ok := req.String("ImageType")
	switch {
	case p.Screen.Locked():
		return refuse(ErrDeviceLocked, "")
	case !ok:
		return refuse(ErrMissingType, "")
	}
	signatures := []any{}
	if i, mounted := p.Image.Mounted(); mounted && i.Type == imageType {
		signatures = append(signatures, i.Signature)
	}
	return plist.Dict{
		"ImagePresent": len(signatures) > 0, "ImageSignature": signatures, "Status": complete,
	}
}

// entries returns the list of images. The list is empty, not nil, if no image is
// mounted.
func entries(p *phone.Phone) []any {
	m, ok := p.Image.Mounted()
	if !ok {
		return []any{}
	}
	i := Image{Type: m.Type, PersonalizedType: m.PersonalizedType, MountPath: m.MountPath,
		Mounted:   true,
		Signature: m.Signature, BackingImage: m.BackingImage}
	e := i.entry()
	e["DeviceNode"], e["FilesystemType"] = m.DeviceNode, m.Filesystem
	return []any{e}
}

// storageError returns the text of a MobileStorage error as devices print it.
func storageError(what, why string) string {
	return fmt.Sprintf(
		`Error Domain=com.apple.MobileStorage.ErrorDomain Code=-2 %q UserInfo={NSLocalizedDescription=%s}`,
		what, why,
	)
}

// refuseMount returns the refusal of an image. It is sent before the host sends the
// bytes of the image, because hosts wait for an answer first.
func refuseMount(p *phone.Phone) plist.Dict {
	i := p.Image.Accepted()
	kind := i.Type
	if i.PersonalizedType != "" {
		kind += "/" + i.PersonalizedType
	}
	failed := fmt.Sprintf("Failed to mount %s.", i.BackingImage)
	switch {
	case p.Screen.Locked():
		return refuse(ErrDeviceLocked, "")
	case p.Values.HasDeveloperMode() && !p.Values.DeveloperMode():
		return refuse(ErrImageMountFailed, storageError(failed, "Developer mode is not enabled."))
	case p.Image.IsMounted():
		return refuse(ErrImageMountFailed, storageError(failed,
			fmt.Sprintf("A disk image of type %s is already mounted at %s.", kind, i.MountPath)))
	}
	return refuse(ErrImageMountFailed,
		storageError(failed, "The virtual device takes no image from a host."))
}

func refuseUnmount(p *phone.Phone, req plist.Dict) plist.Dict {
	path, _ := req.String("MountPath")
	path = link.Clip(path)
	if p.Screen.Locked() {
		return refuse(ErrDeviceLocked, "")
	}
	why := fmt.Sprintf("There is no matching entry in the device map for %s.", path)
	if i, ok := p.Image.Mounted(); ok && i.MountPath == path {
		why = "The virtual device keeps its image."
	}
	return refuse(ErrInternal, storageError(fmt.Sprintf("Failed to unmount %s.", path), why))
}
