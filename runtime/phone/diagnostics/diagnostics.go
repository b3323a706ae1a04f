// Package diagnostics has the values that describe the hardware of the phone: groups of
// values, MobileGestalt and the IORegistry.
package diagnostics

import (
	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/power"
)

// Options of Diagnostics. The functions return values of other subjects.
type Options struct {
	Identity *identity.Identity
	Clock    *clock.Clock

	Name                func() string
	Locked, HasPasscode func() bool
	Battery             func() power.Battery
	Free                func() uint64 // bytes of the data volume
}

// Diagnostics answers diagnostics requests. All methods may be called concurrently.
type Diagnostics struct {
	o  Options
	id *identity.Identity
}

// New returns the diagnostics of a phone.
func New(o Options) *Diagnostics { return &Diagnostics{o: o, id: o.Identity} }

// health is the present capacity of the battery in percent of its design capacity.
const health = 94

// Answer answers a diagnostics request. It returns the values of the group "WiFi",
// "GasGauge", "HDMI" or "NAND", or all groups by their names for "All". Each group
// has a Status of its own.
func (d *Diagnostics) Answer(kind string) (plist.Dict, bool) {
	parts := plist.Dict{
		"WiFi":     plist.Dict{"Active": "true", "Status": "Success"},
		"HDMI":     plist.Dict{"Connection": "None", "Status": "Success"},
		"GasGauge": d.gasGauge(),
		"NAND":     d.nand(),
	}
	if kind == "All" {
		return parts, true
	}
	return parts.Dict(kind)
}

func (d *Diagnostics) gasGauge() plist.Dict {
	return plist.Dict{"CycleCount": int64(d.o.Battery().Cycles), "DesignCapacity": d.id.Design,
		"FullChargeCapacity": d.id.Design * health / 100, "Status": "Success"}
}

func (d *Diagnostics) nand() plist.Dict {
	return plist.Dict{
		"Status": "Success", "DeviceCapacity": int64(d.id.Capacity + d.id.SystemSize),
		"BlockSize": int64(files.BlockSize), "HealthRemaining": int64(97),
	}
}

// Gestalt answers MobileGestalt keys; unknown ones are left out. Without
// keys it answers all it knows. From iOS 17.4 on a phone gives hosts no
// answer at all, see Profile.GestaltGone; the answers are the phone's own all
// the same.
func (d *Diagnostics) Gestalt(keys []string) plist.Dict {
	known := d.gestalt()
	for _, key := range capabilities {
		known[key] = true
	}
	if d.id.Telephony() {
		for _, key := range phoneCapabilities {
			known[key] = true
		}
	}
	if len(keys) == 0 {
		return known
	}
	out := plist.Dict{}
	for _, key := range keys {
		if v, ok := known[key]; ok {
			out[key] = v
		}
	}
	return out
}

// capabilities are the values of UIRequiredDeviceCapabilities that the devices of all
// profiles have.
var capabilities = []string{
	"accelerometer", "arkit", "arm64", "armv7", "auto-focus-camera", "bluetooth-le", "camera-flash",
	"front-facing-camera", "gamekit", "gps", "gyroscope", "healthkit",
	"iphone-ipad-minimum-performance-a12",
	"location-services", "magnetometer", "metal", "microphone", "opengles-1", "opengles-2",
	"opengles-3",
	"peer-peer", "still-camera", "video-camera", "wifi",
}

// phoneCapabilities are those of iPhones alone.
var phoneCapabilities = []string{"nfc", "sms", "telephony"}

// classNumbers are the values of DeviceClassNumber, and idioms those of ArtworkDeviceIdiom.
var (
	classNumbers = map[identity.Class]int64{identity.IPhone: 1, identity.IPad: 3}
	idioms       = map[identity.Class]string{identity.IPhone: "phone", identity.IPad: "pad"}
)

// gestalt returns the answers of MobileGestalt, except the capabilities.
func (d *Diagnostics) gestalt() plist.Dict {
	id, battery := d.id, d.o.Battery()
	return plist.Dict{
		"ActiveWirelessTechnology":             "WiFi",
		"ArtworkTraits":                        d.artwork(),
		"BasebandStatus":                       "BBInfoAvailable",
		"BatteryCurrentCapacity":               int64(battery.Percent),
		"BatteryIsCharging":                    battery.Filling(),
		"BatteryIsFullyCharged":                battery.Percent == 100,
		"BluetoothAddress":                     id.Bluetooth,
		"BoardId":                              id.BoardID,
		"BuildVersion":                         id.Build,
		"CPUArchitecture":                      id.Architecture(),
		"ChipID":                               int64(id.ChipID),
		"DeviceClass":                          string(id.DeviceClass()),
		"DeviceClassNumber":                    classNumbers[id.DeviceClass()],
		"DeviceColor":                          id.Color,
		"DeviceEnclosureColor":                 id.Enclosure,
		"DeviceName":                           d.o.Name(),
		"DeviceSupportsFaceTime":               true,
		"DieId":                                int64(id.ECID),
		"DiskUsage":                            d.disk(),
		"EthernetMacAddress":                   id.Ethernet,
		"FirmwareVersion":                      id.IBoot,
		"HWModelStr":                           id.Hardware,
		"HardwarePlatform":                     id.Platform,
		"HasBaseband":                          true,
		"HasBattery":                           true,
		"InternationalMobileEquipmentIdentity": id.IMEI,
		"IsSimulator":                          false,
		"MLBSerialNumber":                      id.MLB,
		"MarketingNameString":                  id.Marketing,
		"ModelNumber":                          id.ModelNumber,
		"PasswordConfigured":                   d.o.HasPasscode(),
		"PasswordProtected":                    d.o.Locked(),
		"PhysicalRamSize":                      id.RAM,
		"ProductName":                          "iPhone OS",
		"ProductType":                          id.ProductType,
		"ProductVersion":                       id.Version,
		"RegionCode":                           "LL",
		"RegionInfo":                           "LL/A",
		"ReleaseType":                          "User",
		"SerialNumber":                         id.Serial,
		"SupportedDeviceFamilies":              id.Families(),
		"UniqueChipID":                         int64(id.ECID),
		"UniqueDeviceID":                       id.UDID,
		"UserAssignedDeviceName":               d.o.Name(),
		"WifiAddress":                          id.WiFi,
		"main-screen-class":                    int64(14),
		"main-screen-height":                   id.Height,
		"main-screen-scale":                    id.ScreenScale(),
		"main-screen-width":                    id.Width,
		"supports-force-touch":                 false,
	}
}

func (d *Diagnostics) artwork() plist.Dict {
	return plist.Dict{
		"ArtworkDeviceIdiom":              idioms[d.id.DeviceClass()],
		"ArtworkDeviceProductDescription": d.id.Marketing,
		"ArtworkDeviceScaleFactor":        d.id.ScreenScale(),
		"ArtworkDeviceSubType":            d.id.Height,
	}
}

func (d *Diagnostics) disk() plist.Dict {
	return plist.Dict{"TotalDataAvailable": int64(d.o.Free()),
		"TotalDataCapacity":   int64(d.id.Capacity),
		"TotalDiskCapacity":   int64(d.id.Capacity + d.id.SystemSize),
		"TotalSystemCapacity": int64(d.id.SystemSize), "TotalSystemAvailable": int64(0)}
}
