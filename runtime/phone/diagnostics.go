package phone

import (
	"slices"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/files"
)

// health is the capacity that is left of the battery's design, in percent.
const health = 94

// Diagnostics answers a diagnostics request: the values of the group "WiFi",
// "GasGauge", "HDMI" or "NAND", or for "All" all groups by their names. Each
// group has its own Status, as on the wire.
func (p *Phone) Diagnostics(kind string) (plist.Dict, bool) {
	parts := plist.Dict{
		"WiFi":     plist.Dict{"Active": "true", "Status": "Success"},
		"HDMI":     plist.Dict{"Connection": "None", "Status": "Success"},
		"GasGauge": p.gasGauge(),
		"NAND":     p.nand(),
	}
	if kind == "All" {
		return parts, true
	}
	return parts.Dict(kind)
}

func (p *Phone) gasGauge() plist.Dict {
	return plist.Dict{"CycleCount": int64(p.batteryState().cycles), "DesignCapacity": p.prof.design,
		"FullChargeCapacity": p.prof.design * health / 100, "Status": "Success"}
}

func (p *Phone) nand() plist.Dict {
	return plist.Dict{
		"Status": "Success", "DeviceCapacity": int64(p.prof.capacity + p.prof.systemSize),
		"BlockSize": int64(files.BlockSize), "HealthRemaining": int64(97),
	}
}

// Gestalt answers MobileGestalt keys; unknown ones are left out. Without
// keys it answers all it knows. From iOS 17.4 on a phone gives hosts no
// answer at all, see GestaltDeprecated; the answers are the phone's own all
// the same.
func (p *Phone) Gestalt(keys []string) plist.Dict {
	out := plist.Dict{}
	if len(keys) == 0 {
		for key, get := range gestaltKeys {
			out[key] = get(p)
		}
		for _, key := range capabilities {
			out[key] = true
		}
		return out
	}
	for _, key := range keys {
		if get, ok := gestaltKeys[key]; ok {
			out[key] = get(p)
		} else if slices.Contains(capabilities, key) {
			out[key] = true
		}
	}
	return out
}

// capabilities are what apps may name in UIRequiredDeviceCapabilities; all
// phones of the profiles have them all.
var capabilities = []string{
	"accelerometer", "arkit", "arm64", "armv7", "auto-focus-camera", "bluetooth-le", "camera-flash",
	"front-facing-camera", "gamekit", "gps", "gyroscope", "healthkit",
	"iphone-ipad-minimum-performance-a12",
	"location-services", "magnetometer", "metal", "microphone", "nfc", "opengles-1", "opengles-2",
	"opengles-3",
	"peer-peer", "sms", "still-camera", "telephony", "video-camera", "wifi",
}

// GestaltDeprecated reports that the phone answers every MobileGestalt
// request with MobileGestaltDeprecated.
func (p *Phone) GestaltDeprecated() bool { return p.prof.gestaltGone }

// gestaltKeys is what MobileGestalt knows.
var gestaltKeys = map[string]func(*Phone) any{
	"ActiveWirelessTechnology": is("WiFi"),
	"ArtworkTraits":            artwork,
	"BasebandStatus":           is("BBInfoAvailable"),
	"BatteryCurrentCapacity": own(
		func(p *Phone) int64 { return int64(p.batteryState().percent) },
	),
	"BatteryIsCharging": own(
		func(p *Phone) bool { return p.batteryState().filling() },
	),
	"BatteryIsFullyCharged": own(
		func(p *Phone) bool { return p.batteryState().percent == 100 },
	),
	"BluetoothAddress": own(func(p *Phone) string { return p.id.bluetooth }),
	"BoardId":          own(func(p *Phone) int64 { return p.prof.boardID }),
	"BuildVersion":     own(func(p *Phone) string { return p.prof.build }),
	"CPUArchitecture":  is("arm64e"),
	"ChipID": own(
		func(p *Phone) int64 { return int64(p.prof.chipID) },
	),
	"DeviceClass":                          is("iPhone"),
	"DeviceClassNumber":                    is(int64(1)),
	"DeviceColor":                          own(func(p *Phone) string { return p.prof.color }),
	"DeviceEnclosureColor":                 own(func(p *Phone) string { return p.prof.enclosure }),
	"DeviceName":                           own((*Phone).Name),
	"DeviceSupportsFaceTime":               is(true),
	"DieId":                                own(func(p *Phone) int64 { return int64(p.id.ecid) }),
	"DiskUsage":                            gestaltDisk,
	"EthernetMacAddress":                   own(func(p *Phone) string { return p.id.ethernet }),
	"FirmwareVersion":                      own(func(p *Phone) string { return p.prof.iBoot }),
	"HWModelStr":                           own(func(p *Phone) string { return p.prof.hardware }),
	"HardwarePlatform":                     own(func(p *Phone) string { return p.prof.platform }),
	"HasBaseband":                          is(true),
	"HasBattery":                           is(true),
	"InternationalMobileEquipmentIdentity": own(func(p *Phone) string { return p.id.imei }),
	"IsSimulator":                          is(false),
	"MLBSerialNumber":                      own(func(p *Phone) string { return p.id.mlb }),
	"MarketingNameString":                  own(func(p *Phone) string { return p.prof.marketing }),
	"ModelNumber": own(
		func(p *Phone) string { return p.prof.modelNumber },
	),
	"PasswordConfigured":      own((*Phone).HasPasscode),
	"PasswordProtected":       own((*Phone).Locked),
	"PhysicalRamSize":         own(func(p *Phone) int64 { return p.prof.ram }),
	"ProductName":             is("iPhone OS"),
	"ProductType":             own((*Phone).ProductType),
	"ProductVersion":          own((*Phone).ProductVersion),
	"RegionCode":              is("LL"),
	"RegionInfo":              is("LL/A"),
	"ReleaseType":             is("User"),
	"SerialNumber":            own(func(p *Phone) string { return p.id.serial }),
	"SupportedDeviceFamilies": func(*Phone) any { return []any{int64(1)} },
	"UniqueChipID":            own(func(p *Phone) int64 { return int64(p.id.ecid) }),
	"UniqueDeviceID":          own((*Phone).UDID),
	"UserAssignedDeviceName":  own((*Phone).Name),
	"WifiAddress":             own(func(p *Phone) string { return p.id.wifi }),
	"main-screen-class":       is(int64(14)),
	"main-screen-height":      own(func(p *Phone) int64 { return p.prof.height }),
	"main-screen-scale":       is(3.0),
	"main-screen-width":       own(func(p *Phone) int64 { return p.prof.width }),
	"supports-force-touch":    is(false),
}

func artwork(p *Phone) any {
	return plist.Dict{"ArtworkDeviceIdiom": "phone",
		"ArtworkDeviceProductDescription": p.prof.marketing,
		"ArtworkDeviceScaleFactor":        3.0, "ArtworkDeviceSubType": p.prof.height}
}

func gestaltDisk(p *Phone) any {
	return plist.Dict{"TotalDataAvailable": int64(p.vol.Free()),
		"TotalDataCapacity":   int64(p.prof.capacity),
		"TotalDiskCapacity":   int64(p.prof.capacity + p.prof.systemSize),
		"TotalSystemCapacity": int64(p.prof.systemSize), "TotalSystemAvailable": int64(0)}
}

// ScreenSize is the size of the screen in pixels.
func (p *Phone) ScreenSize() (width, height int) { return int(p.prof.width), int(p.prof.height) }
