// Package mobileimagemounter queries the developer disk image of a device
// (com.apple.mobile.mobile_image_mounter, all versions).
//
// Commands and answers alternate. A connection serves any number of them:
//
//	-> {Command:"QueryDeveloperModeStatus"}                        iOS 16 and later
//	<- {DeveloperModeStatus:true}
//	-> {Command:"LookupImage", ImageType:"Personalized"}
//	<- {ImagePresent:true, ImageSignature:[<48 bytes>], Status:"Complete"}
//	-> {Command:"CopyDevices"}
//	<- {EntryList:[{DiskImageType:"Personalized", MountPath:"/System/Developer", IsMounted:true, ..}], Status:"Complete"}
//	-> {Command:"QueryPersonalizationIdentifiers"}                 iOS 17 and later
//	<- {PersonalizationIdentifiers:{BoardId:12, ChipID:33056, ..}}
//	-> {Command:"Hangup"}
//	<- {Goodbye:true}
//
// A refusal is {Error:"ImageMountFailed", DetailedError:"..."} without a Status. Up to
// iOS 16 the image has the type Developer and is mounted at /Developer. Since iOS 17 it
// has the type Personalized and is mounted at /System/Developer.
package mobileimagemounter

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the image mounter. It does not need a mounted image, and it starts on a
// locked device.
var Service = service.Name{
	Lockdown: "com.apple.mobile.mobile_image_mounter",
	Remote:   "com.apple.mobile.mobile_image_mounter.shim.remote",
	Checkin:  true,
}

const (
	// MaxRequest bounds the size of a request. The bytes of an image are not part of a
	// request.
	MaxRequest = 1 << 20
	// MaxAnswer bounds the size of an answer.
	MaxAnswer = 4 << 20
	// MaxImages bounds the number of images that a device may list.
	MaxImages = 1024
)

// Types of developer disk images.
const (
	// TypeDeveloper is the type of images that Apple signs for one iOS version, up to
	// iOS 16.
	TypeDeveloper = "Developer"
	// TypePersonalized is the type of images that need a ticket for the device on which
	// they are mounted, since iOS 17.
	TypePersonalized = "Personalized"
	// TypeCryptex is the type that the newest versions report instead of
	// TypePersonalized.
	TypeCryptex = "Cryptex"
)

// Commands.
const (
	cmdLookup      = "LookupImage"
	cmdCopyDevices = "CopyDevices"
	cmdModeStatus  = "QueryDeveloperModeStatus"
	cmdIdentifiers = "QueryPersonalizationIdentifiers"
	cmdReceive     = "ReceiveBytes"
	cmdMount       = "MountImage"
	cmdUnmount     = "UnmountImage"
	cmdHangup      = "Hangup"
)

// complete is the Status of a successful answer. Some successful answers have no
// Status.
const complete = "Complete"

// Codes that devices send.
const (
	// ErrDeviceLocked means that the device has to be unlocked first.
	ErrDeviceLocked service.Code = "DeviceLocked"
	// ErrImageMountFailed means that the image cannot be mounted. The detail names the
	// reason: Developer Mode is off, an image is already mounted, the signature is
	// wrong.
	ErrImageMountFailed service.Code = "ImageMountFailed"
	// ErrInternal is the answer to a request to unmount an image that is not mounted.
	ErrInternal service.Code = "InternalError"
	// ErrUnknownCommand means that the version of iOS does not have the command.
	ErrUnknownCommand service.Code = "UnknownCommand"
	// ErrMissingType means that the command lacks the type of the image.
	ErrMissingType service.Code = "MissingImageType"
)

var errs = service.Errors{
	Service: "mobileimagemounter",
	Codes:   map[service.Code]error{ErrUnknownCommand: errors.ErrUnsupported},
}

// ErrProtocol is the cause if an answer does not have the expected form.
var ErrProtocol = link.Malformed("unexpected answer")

// Lookup reports whether an image of one type is mounted.
type Lookup struct {
	// Present is false also if the device does not send ImagePresent, as the newest
	// versions may do. Images reports the image there.
	Present bool
	// Signatures are the signatures of the mounted images. For a personalized image it
	// is the digest of the image.
	Signatures [][]byte
}

// Image is a disk image that a device has.
type Image struct {
	// TypeDeveloper, TypePersonalized or TypeCryptex for developer images
	Type             string
	PersonalizedType string // "DeveloperDiskImage" for a personalized developer image
	MountPath        string
	Mounted          bool
	Signature        []byte
	BackingImage     string // file that the image was mounted from
	Raw              plist.Dict
}

// Developer reports whether the image is a developer image and is mounted.
func (i *Image) Developer() bool {
	return i.Mounted &&
		(i.Type == TypeDeveloper || i.Type == TypePersonalized || i.Type == TypeCryptex)
}

// refusal returns the error of an answer that refuses a command, or nil for other
// answers.
func refusal(op, subject string, d plist.Dict) error {
	code, refused := d.String("Error")
	if !refused {
		return nil
	}
	text, _ := d.String("DetailedError")
	if text != "" {
		text = strconv.Quote(link.Clip(text))
	}
	return errs.Refused(op, subject, service.Code(link.Clip(code)), text)
}

// decodeLookup decodes the answer to LookupImage. Old versions send a single signature
// instead of a list and do not send ImagePresent.
func decodeLookup(ctx context.Context, d plist.Dict) (*Lookup, error) {
	l := &Lookup{}
	switch v := d["ImageSignature"].(type) {
	case []byte:
		l.Signatures = [][]byte{v}
	case []any:
		if len(v) > MaxImages {
			return nil, fmt.Errorf("%w: %d signatures", ErrProtocol, len(v))
		}
		signatures, err := link.DecodeList(ctx, v, decodeSignature)
		if err != nil {
			return nil, err
		}
		if len(signatures) > 0 {
			l.Signatures = signatures
		}
	case nil:
	default:
		return nil, fmt.Errorf("%w: ImageSignature is %s", ErrProtocol, plist.TypeName(v))
	}
	present, given := d.Bool("ImagePresent")
	if status, _ := d.String("Status"); !given && l.Signatures == nil && status != complete {
		return nil, fmt.Errorf("%w: neither ImagePresent nor ImageSignature", ErrProtocol)
	}
	l.Present = present || !given && len(l.Signatures) > 0
	return l, nil
}

// decodeImages decodes the answer to CopyDevices. It leaves out entries that cannot be
// decoded, see link.PassOver.
func decodeImages(ctx context.Context, d plist.Dict) ([]Image, error) {
	list, ok := d.Array("EntryList")
	if !ok {
		return nil, fmt.Errorf("%w: no EntryList", ErrProtocol)
	}
	if len(list) > MaxImages {
		return nil, fmt.Errorf("%w: %d images", ErrProtocol, len(list))
	}
	return link.DecodeList(ctx, list, decodeImage)
}

func decodeSignature(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("%w: a signature is %s", ErrProtocol, plist.TypeName(v))
	}
	return b, nil
}

func decodeImage(v any) (Image, error) {
	e, ok := v.(plist.Dict)
	if !ok {
		return Image{}, fmt.Errorf("%w: an image is %s", ErrProtocol, plist.TypeName(v))
	}
	text := func(key string) string { s, _ := e.String(key); return s }
	i := Image{Type: text("DiskImageType"), PersonalizedType: text("PersonalizedImageType"),
		MountPath:    text("MountPath"),
		BackingImage: text("BackingImage"), Raw: e}
	mounted, given := e.Bool("IsMounted")
	i.Mounted = mounted || !given && i.MountPath != ""
	i.Signature, _ = e.Data("ImageSignature")
	return i, nil
}

// entry encodes an image as an entry of the answer to CopyDevices.
func (i *Image) entry() plist.Dict {
	d := plist.Dict{"DeviceType": "DiskImage", "DiskImageType": i.Type, "IsMounted": i.Mounted}
	for key, v := range map[string]string{
		"PersonalizedImageType": i.PersonalizedType, "MountPath": i.MountPath,
		"BackingImage": i.BackingImage,
	} {
		if v != "" {
			d[key] = v
		}
	}
	if i.Signature != nil {
		d["ImageSignature"] = i.Signature
	}
	return d
}
