// Package mobileimagemounter asks a device about its developer disk image
// (com.apple.mobile.mobile_image_mounter, all versions).
//
// Commands and answers alternate, as many as one likes on a connection:
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
// A refusal is {Error:"ImageMountFailed", DetailedError:"..."} without a Status.
// Up to iOS 16 the image is of type Developer and lies at /Developer, since
// then it is Personalized and lies at /System/Developer.
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

// Service is the image mounter. It needs no image and starts on a locked
// device.
var Service = service.Name{
	Lockdown: "com.apple.mobile.mobile_image_mounter",
	Remote:   "com.apple.mobile.mobile_image_mounter.shim.remote",
	Checkin:  true,
}

const (
	// MaxRequest bounds a request; the bytes of an image are not part of one.
	MaxRequest = 1 << 20
	// MaxAnswer bounds an answer.
	MaxAnswer = 4 << 20
	// MaxImages is how many images a device may list.
	MaxImages = 1024
)

// Types of developer disk images.
const (
	// TypeDeveloper is signed by Apple for one iOS version, up to 16.
	TypeDeveloper = "Developer"
	// TypePersonalized needs a ticket for the device it is mounted on, since
	// iOS 17.
	TypePersonalized = "Personalized"
	// TypeCryptex is what the newest versions make of it.
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

// complete is the Status of every success that has one.
const complete = "Complete"

// The codes that devices send.
const (
	// ErrDeviceLocked asks for the device to be unlocked.
	ErrDeviceLocked service.Code = "DeviceLocked"
	// ErrImageMountFailed has its reason in the detail: no developer mode, an
	// image that is mounted already, a wrong signature.
	ErrImageMountFailed service.Code = "ImageMountFailed"
	// ErrInternal is sent for the unmounting of what is not mounted.
	ErrInternal service.Code = "InternalError"
	// ErrUnknownCommand is sent by versions that do not have the command.
	ErrUnknownCommand service.Code = "UnknownCommand"
	// ErrMissingType is a command without the type of the image.
	ErrMissingType service.Code = "MissingImageType"
)

var errs = service.Errors{
	Service: "mobileimagemounter",
	Codes:   map[service.Code]error{ErrUnknownCommand: errors.ErrUnsupported},
}

// ErrProtocol is the cause when an answer does not have the expected form.
var ErrProtocol = link.Malformed("unexpected answer")

// Lookup reports whether an image of one type is mounted.
type Lookup struct {
	// Present is false as well when the newest versions do not tell; Images
	// does.
	Present bool
	// Signatures are those of the mounted images; the digest of a personalized
	// one.
	Signatures [][]byte
}

// Image is a disk image that a device has.
type Image struct {
	// TypeDeveloper, TypePersonalized, TypeCryptex; others are not developer images
	Type             string
	PersonalizedType string // "DeveloperDiskImage" of a personalized one
	MountPath        string
	Mounted          bool
	Signature        []byte
	BackingImage     string // file it was mounted from
	Raw              plist.Dict
}

// Developer reports whether the image is a developer image that is mounted.
func (i *Image) Developer() bool {
	return i.Mounted &&
		(i.Type == TypeDeveloper || i.Type == TypePersonalized || i.Type == TypeCryptex)
}

// refusal returns the error of an answer that refuses, nil for any other.
func refusal(d plist.Dict, op, subject string) error {
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

// decodeLookup reads the answer to LookupImage. Old versions send one signature
// where others send a list, and leave ImagePresent out.
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

// decodeImages reads the answer to CopyDevices. Entries that cannot be decoded are
// left out, see link.PassOver.
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

// entry is the other way round.
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
