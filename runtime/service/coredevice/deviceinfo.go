package coredevice

import (
	"context"
	"fmt"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/service"
)

// Features of the device info service.
const (
	featDeviceInfo  = "getdeviceinfo"
	featDisplayInfo = "getdisplayinfo"
	featGestalt     = "querymobilegestalt"
	featLockState   = "getlockstate"
)

// Keys of the device's and the displays' attributes.
const (
	keyName           = "name"
	keyOSVersion      = "osVersionNumber"
	keyOSBuild        = "osBuildUpdate"
	keyProductType    = "productType"
	keyMarketing      = "marketingName"
	keyUDID           = "udid"
	keyECID           = "ecid"
	keySerial         = "serialNumber"
	keyHardware       = "hardwareModel"
	keyCapacity       = "internalStorageCapacity"
	keyBootState      = "bootState"
	keyDeviceType     = "deviceType"
	keyDeveloperMode  = "developerModeStatus" // "enabled" or "disabled"
	keyCPU            = "cpuType"             // {name, type, subType}
	keyDisplays       = "displays"
	keyDisplayID      = "displayId"
	keyUniqueID       = "uniqueId"
	keyPrimary        = "primary"
	keyNativeSize     = "nativeSize" // [width, height]
	keyBounds         = "bounds"     // [[x, y], [width, height]]
	keyScale          = "pointScale"
	keyMode           = "currentMode" // {size: [width, height]}
	keySize           = "size"
	keyBacklight      = "backlightState" // "off", "activeOn"
	keyOrientation    = "orientation"
	keyHeld           = "currentDeviceOrientation"
	keyHeldNonFlat    = "currentDeviceNonFlatOrientation"
	keyFixed          = "currentDeviceOrientationLocked"
	keyPasscode       = "passcodeRequired"
	keyUnlocked       = "unlockedSinceBoot"
	keyKeys           = "keys"
	keyDisplayTurned  = "currentOrientation" // "rot0"
	keyDisplayUpright = "nativeOrientation"
)

// Info is a connection to the device info service of a device.
type Info struct{ *Conn }

// ConnectInfo opens the device info service on a device.
func ConnectInfo(ctx context.Context, o service.Opener) (*Info, error) {
	c, err := Connect(ctx, o, DeviceInfo)
	if err != nil {
		return nil, err
	}
	return &Info{c}, nil
}

// Attributes are the attributes of a device. An attribute that the device does not send
// is zero.
type Attributes struct {
	Name          string
	OSVersion     string // "17.5.1"
	Build         string // "21F90"
	ProductType   string // "iPhone15,2"
	MarketingName string // "iPhone 14 Pro"
	HardwareModel string // "D73AP"
	DeviceType    string // "iPhone"
	UDID          string
	SerialNumber  string
	ECID          uint64
	Capacity      uint64 // bytes
	CPU           string // "arm64e"
	BootState     string // "booted"
	DeveloperMode bool
	Raw           xpc.Dict
}

// Attributes returns the attributes of the device.
func (c *Info) Attributes(ctx context.Context) (*Attributes, error) {
	d, err := c.dict(ctx, featDeviceInfo, xpc.Dict{}, "")
	if err != nil {
		return nil, err
	}
	return parseAttributes(d), nil
}

func parseAttributes(d xpc.Dict) *Attributes {
	text := func(key string) string { s, _ := d.String(key); return s }
	a := &Attributes{Name: text(keyName), OSVersion: text(keyOSVersion), Build: text(keyOSBuild),
		ProductType:   text(keyProductType),
		MarketingName: text(keyMarketing), HardwareModel: text(keyHardware),
		DeviceType: text(keyDeviceType), UDID: text(keyUDID),
		SerialNumber: text(keySerial), BootState: text(keyBootState),
		DeveloperMode: text(keyDeveloperMode) == "enabled", Raw: d}
	a.ECID, _ = d.Uint(keyECID)
	a.Capacity, _ = d.Uint(keyCapacity)
	cpu, _ := d.Dict(keyCPU)
	a.CPU, _ = cpu.String("name")
	return a
}

// Display describes a screen.
type Display struct {
	ID       int64
	Name     string
	UniqueID string
	Primary  bool
	// Width and Height are the size of the panel in pixels. ModeWidth and ModeHeight
	// are the size of the current mode.
	Width, Height         float64
	ModeWidth, ModeHeight float64
	Scale                 float64 // pixels per point
	Raw                   xpc.Dict
}

// Displays describes the screens and the orientation of a device.
type Displays struct {
	List []Display
	// Backlight is "off", "activeOn" or another state that the device sent.
	Backlight string
	// Orientation is "portrait", "landscapeLeft" or a similar name. Fixed says that the
	// user has locked the orientation.
	Orientation string
	Fixed       bool
	Raw         xpc.Dict
}

// Displays returns the screens of the device.
func (c *Info) Displays(ctx context.Context) (*Displays, error) {
	d, err := c.dict(ctx, featDisplayInfo, xpc.Dict{}, "")
	if err != nil {
		return nil, err
	}
	return parseDisplays(ctx, d)
}

func parseDisplays(ctx context.Context, d xpc.Dict) (*Displays, error) {
	v, _ := d.Get(keyDisplays)
	list, err := parseList(ctx, featDisplayInfo, v, parseDisplay)
	if err != nil {
		return nil, err
	}
	out := &Displays{List: list, Raw: d}
	out.Backlight, _ = d.String(keyBacklight)
	held, _ := d.Dict(keyOrientation)
	out.Orientation, _ = held.String(keyHeld)
	out.Fixed, _ = held.Bool(keyFixed)
	return out, nil
}

func parseDisplay(d xpc.Dict) (Display, error) {
	s := Display{Raw: d}
	s.ID, _ = d.Int(keyDisplayID)
	s.Name, _ = d.String(keyName)
	s.UniqueID, _ = d.String(keyUniqueID)
	s.Primary, _ = d.Bool(keyPrimary)
	s.Scale, _ = d.Real(keyScale)
	s.Width, s.Height = sizeOf(d, keyNativeSize)
	mode, _ := d.Dict(keyMode)
	s.ModeWidth, s.ModeHeight = sizeOf(mode, keySize)
	return s, nil
}

// sizeOf decodes a pair of numbers.
func sizeOf(d xpc.Dict, key string) (width, height float64) {
	pair, _ := d.Array(key)
	if len(pair) != 2 {
		return 0, 0
	}
	numbers := xpc.Dict{{Key: "w", Value: pair[0]}, {Key: "h", Value: pair[1]}}
	width, _ = numbers.Real("w")
	height, _ = numbers.Real("h")
	return width, height
}

// Gestalt returns values of MobileGestalt. Devices usually refuse the request; the
// error then matches fs.ErrPermission.
func (c *Info) Gestalt(ctx context.Context, keys ...string) (xpc.Dict, error) {
	list := make([]any, len(keys))
	for i, k := range keys {
		list[i] = k
	}
	return c.dict(ctx, featGestalt, xpc.Dict{{Key: keyKeys, Value: list}}, "")
}

// LockState says whether the device is locked.
type LockState struct {
	// PasscodeRequired says that the user has to enter the passcode.
	PasscodeRequired  bool
	UnlockedSinceBoot bool
	Raw               xpc.Dict
}

// LockState returns whether the device is locked. Some versions of iOS do not support
// the request; the error then matches errors.ErrUnsupported.
func (c *Info) LockState(ctx context.Context) (*LockState, error) {
	d, err := c.dict(ctx, featLockState, xpc.Dict{}, "")
	if err != nil {
		return nil, err
	}
	s := &LockState{Raw: d}
	var ok bool
	s.PasscodeRequired, ok = d.Bool(keyPasscode)
	if !ok {
		return nil, failed(featLockState, "", fmt.Errorf("%w: no %s", ErrProtocol, keyPasscode))
	}
	s.UnlockedSinceBoot, _ = d.Bool(keyUnlocked)
	return s, nil
}
