package coredevice

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

func deviceInfo(_ context.Context, s *session, _ *input) (any, error) {
	p := s.phone
	known := p.Diagnostics.Gestalt(nil)
	disk, _ := known.Dict("DiskUsage")
	hardware := p.Usage.Hardware()
	mode := "disabled"
	if p.Values.DeveloperMode() {
		mode = "enabled"
	}
	d := xpc.Dict{
		{Key: keyBootState, Value: "booted"}, // a device that answers has booted
		{Key: keyCPU, Value: xpc.Dict{
			{Key: "name", Value: known["CPUArchitecture"]},
			{Key: "subType", Value: int64(hardware.CPUSubtype)},
			{Key: "type", Value: int64(hardware.CPUType)},
		}},
		{Key: keyDeveloperMode, Value: mode},
	}
	for key, v := range map[string]any{
		keyName: p.Values.Name(), keyOSVersion: p.Identity.Version, keyOSBuild: p.Identity.Build,
		keyProductType: p.Identity.ProductType,
		keyMarketing:   known["MarketingNameString"], keyHardware: known["HWModelStr"],
		keyDeviceType: known["DeviceClass"],
		keyUDID:       p.Identity.UDID, keySerial: known["SerialNumber"],
		keyECID:     unsigned(known["UniqueChipID"]),
		keyCapacity: unsigned(disk["TotalDiskCapacity"]),
	} {
		d.Set(key, v)
	}
	slices.SortFunc(d, func(a, b xpc.Pair) int { return strings.Compare(a.Key, b.Key) })
	return d, nil
}

func unsigned(v any) uint64 {
	n, _ := plist.Int(v)
	return uint64(n)
}

func size(width, height int) []any { return []any{float64(width), float64(height)} }

func displayInfo(_ context.Context, s *session, _ *input) (any, error) {
	list := []any{}
	for _, x := range s.phone.Screen.Displays() {
		list = append(list, xpc.Dict{
			{Key: keyDisplayID, Value: int64(x.ID)},
			{Key: keyName, Value: x.Name},
			{Key: keyUniqueID, Value: x.UniqueID},
			{Key: keyPrimary, Value: x.Primary},
			{Key: keyNativeSize, Value: size(x.Width, x.Height)},
			{Key: keyBounds, Value: []any{size(0, 0), size(x.Width, x.Height)}},
			{Key: keyScale, Value: x.Scale},
			{Key: keyMode, Value: xpc.Dict{{Key: keySize, Value: size(x.Width, x.Height)}}},
			{Key: keyDisplayTurned, Value: "rot0"}, // relative to the panel, never rotated here
			{Key: keyDisplayUpright, Value: "rot0"},
			{Key: "type", Value: xpc.Dict{{Key: "integrated", Value: xpc.Dict{}}}},
		})
	}
	backlight := "off"
	if s.phone.Screen.On() {
		backlight = "activeOn"
	}
	held, fixed := s.phone.Screen.Orientation()
	return xpc.Dict{
		{Key: keyBacklight, Value: backlight},
		{Key: keyDisplays, Value: list},
		{Key: keyOrientation, Value: xpc.Dict{
			{Key: keyHeldNonFlat, Value: held}, {Key: keyHeld, Value: held},
			{Key: keyFixed, Value: fixed},
		}},
	}, nil
}

// gestalt returns MobileGestalt values. It refuses the request on versions of iOS that no
// longer give these values to hosts.
func gestalt(_ context.Context, s *session, in *input) (any, error) {
	if in.absent(keyKeys) {
		in.missing(keyKeys)
	}
	keys := in.texts(keyKeys)
	if err := in.err(); err != nil {
		return nil, err
	}
	if s.phone.Identity.GestaltGone {
		return nil, refuse(DomainAction, actionGated,
			"Querying MobileGestalt is not permitted on this device.")
	}
	if len(keys) == 0 {
		return xpc.Dict{}, nil
	}
	return encodePlist(s.phone.Diagnostics.Gestalt(keys))
}

// encodePlist converts a value of a property list to an XPC value.
func encodePlist(v any) (any, error) {
	switch t := v.(type) {
	case plist.Dict:
		d := xpc.Dict{}
		for _, key := range slices.Sorted(maps.Keys(t)) {
			e, err := encodePlist(t[key])
			if err != nil {
				return nil, err
			}
			d = append(d, xpc.Pair{Key: key, Value: e})
		}
		return d, nil
	case []any:
		list := make([]any, len(t))
		for i := range t {
			var err error
			list[i], err = encodePlist(t[i])
			if err != nil {
				return nil, err
			}
		}
		return list, nil
	case bool, string, []byte, int64, uint64, float64, time.Time:
		return t, nil
	}
	return nil, fmt.Errorf("%T has no XPC form", v)
}

func lockState(_ context.Context, s *session, _ *input) (any, error) {
	return xpc.Dict{
		{Key: keyPasscode, Value: s.phone.Screen.Locked()},
		{Key: keyUnlocked, Value: s.phone.Screen.UnlockedSinceBoot()},
	}, nil
}
