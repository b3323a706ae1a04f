// Package developer tells scripts whether a device is ready for development, that is,
// whether Developer Mode is on and which developer disk images are mounted. Both come
// from the service com.apple.mobile.mobile_image_mounter.
package developer

import (
	"context"
	"errors"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/mobileimagemounter"
)

// Image is the record of a mounted developer disk image.
type Image struct {
	Type             string     `lua:"type" doc:"Developer (iOS 16), Personalized or Cryptex"`
	PersonalizedType string     `lua:"personalized_type" doc:"DeveloperDiskImage, if personalized"`
	Path             string     `lua:"path" doc:"mount point: /Developer or /System/Developer"`
	Signature        []byte     `lua:"signature" doc:"signature, or SHA-384 digest if personalized"`
	Attributes       plist.Dict `lua:"attributes" doc:"everything that the device told"`
}

type mounter = mobileimagemounter.Client

// with runs f with a new connection to the service.
func with(
	c *api.Call, d *device.Device, t device.Timeout, f func(context.Context, *mounter) error,
) error {
	return device.With(c, d, t, mobileimagemounter.Connect, f)
}

func mode(c *api.Call, d *device.Device, t device.Timeout) (on bool, err error) {
	err = with(c, d, t, func(ctx context.Context, client *mounter) error {
		on, err = client.DeveloperMode(ctx)
		return err
	})
	if errors.Is(err, errors.ErrUnsupported) {
		return true, nil // iOS before 16 has no Developer Mode
	}
	return on, err
}

func images(c *api.Call, d *device.Device, t device.Timeout) ([]*Image, error) {
	var found []mobileimagemounter.Image
	err := with(c, d, t, func(ctx context.Context, client *mounter) (err error) {
		found, err = client.Images(ctx)
		if errors.Is(err, errors.ErrUnsupported) {
			found, err = lookUp(ctx, client)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := []*Image{}
	for _, i := range found {
		if i.Developer() {
			out = append(out, &Image{
				Type: i.Type, PersonalizedType: i.PersonalizedType, Path: i.MountPath,
				Signature: i.Signature, Attributes: i.Raw,
			})
		}
	}
	return out, nil
}

// lookUp returns the developer disk image of a device whose iOS cannot list images. It
// asks for no personalized image, because these versions of iOS have none.
func lookUp(ctx context.Context, client *mounter) ([]mobileimagemounter.Image, error) {
	l, err := client.Lookup(ctx, mobileimagemounter.TypeDeveloper)
	if err != nil || !l.Present {
		return nil, err
	}
	i := mobileimagemounter.Image{
		Type: mobileimagemounter.TypeDeveloper, MountPath: "/Developer", Mounted: true,
		Raw: plist.Dict{},
	}
	if len(l.Signatures) > 0 {
		i.Signature = l.Signatures[0]
	}
	return []mobileimagemounter.Image{i}, nil
}

// identifiers returns a plist.Dict or nil.
func identifiers(c *api.Call, d *device.Device, t device.Timeout) (ids any, err error) {
	err = with(c, d, t, func(ctx context.Context, client *mounter) (err error) {
		ids, err = client.PersonalizationIdentifiers(ctx)
		return err
	})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	return ids, err
}

// Family returns the methods developer_mode, ddi and image_identifiers of Device.
func Family() device.Family {
	opts := api.ParamDoc("opts", "timeout")
	raises := api.Raises("timeout", "not_paired", "disconnected", "DeviceLocked")
	return device.Family{
		Records: []*api.Record{
			api.NewRecord[Image]("DeveloperImage", "A developer disk image that is mounted on a "+
				"device."),
		},
		Methods: []*api.Func{
			api.Method("developer_mode", "Says whether Developer Mode is on, which developer "+
				"services need since iOS 16. Before that there was no such mode and this is true.",
				"opts?", mode,
				opts,
				raises,
				api.Returns("boolean on"),
				api.Perm("read"),
				api.SeeAlso("Device:ddi"),
				api.Example(`local dev = device()
if not dev:developer_mode() then print("Settings > Privacy & Security > Developer Mode") end`)),
			api.Method("ddi", "Lists the developer disk images that are mounted: without one "+
				"there are no developer services. The list is empty when there is none.",
				"opts?", images,
				opts,
				raises,
				api.Returns("DeveloperImage[] images"),
				api.Perm("read"),
				api.SeeAlso("Device:developer_mode"),
				api.Example(`local dev = device()
for _, image in ipairs(dev:ddi()) do print(image.type, image.path) end`)),
			api.Method("image_identifiers", "Returns the identifiers of the device that Apple "+
				"signs a developer disk image for: BoardId, ChipID, UniqueChipID and others. "+
				"Returns nil before iOS 17, whose images are the same for all devices.",
				"opts?", identifiers,
				opts,
				raises,
				api.Returns("table? identifiers"),
				api.Perm("read"),
				api.SeeAlso("Device:ddi"),
				api.Example(`local dev = device()
local ids = dev:image_identifiers()
if ids then print(ids.ChipID, ids.BoardId) end`)),
		},
	}
}
