package diagnostics

import (
	"encoding/binary"
	"slices"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// ioEntry is an entry of the IORegistry. Each plane has a tree of its own, and an
// entry may be part of several planes.
type ioEntry struct {
	name, class string
	supers      []string // classes that class derives from; only those that hosts ask for
	props       func(*Diagnostics) plist.Dict
	children    []*ioEntry
}

// The planes of the IORegistry.
const (
	planeService    = "IOService"
	planeDeviceTree = "IODeviceTree"
	planePower      = "IOPower"
)

// IORegistry looks up an entry of a plane by its name, by its class or a class that
// this derives from, or by both. The plane "" means IOService. Without name and class
// it returns the whole tree of the plane, in which each entry has its properties,
// IORegistryEntryName, IOObjectClass and IORegistryEntryChildren. An unknown plane
// has no entries.
func (d *Diagnostics) IORegistry(plane, name, class string) (plist.Dict, bool) {
	if plane == "" {
		plane = planeService
	}
	root := ioPlanes[plane]
	if root == nil {
		return nil, false
	}
	if name == "" && class == "" {
		id := int64(ioFirstID)
		return root.tree(d, &id), true
	}
	e := root.find(name, class)
	if e == nil {
		return nil, false
	}
	return e.properties(d), true
}

// ioFirstID is the registry identifier of the first entry.
const ioFirstID = 0x100000100

func (e *ioEntry) properties(d *Diagnostics) plist.Dict {
	if e.props == nil {
		return plist.Dict{"IOClass": e.class}
	}
	out := e.props(d)
	out["IOClass"] = e.class
	return out
}

func (e *ioEntry) find(name, class string) *ioEntry {
	if (name == "" || name == e.name) &&
		(class == "" || class == e.class || slices.Contains(e.supers, class)) {
		return e
	}
	for _, c := range e.children {
		if found := c.find(name, class); found != nil {
			return found
		}
	}
	return nil
}

func (e *ioEntry) tree(d *Diagnostics, id *int64) plist.Dict {
	out := e.properties(d)
	out["IORegistryEntryName"], out["name"] = e.name, e.name
	out["IOObjectClass"], out["IORegistryEntryID"] = e.class, *id
	*id++
	if len(e.children) > 0 {
		list := make([]any, len(e.children))
		for i, c := range e.children {
			list[i] = c.tree(d, id)
		}
		out["IORegistryEntryChildren"] = list
	}
	return out
}

var (
	ioBattery = &ioEntry{
		name: "AppleSmartBattery", class: "AppleSmartBattery", supers: []string{"IOPMPowerSource"},
		props: (*Diagnostics).batteryProperties,
	}
	ioWiFi = &ioEntry{name: "AppleBCMWLANSkywalkInterface", class: "AppleBCMWLANSkywalkInterface",
		supers: []string{"IO80211Interface", "IO80211SkywalkInterface", "IONetworkInterface"},
		props:  (*Diagnostics).wifiProperties}
	ioWiFiOld = &ioEntry{
		name: "en0", class: "IO80211Interface", supers: []string{"IOEthernetInterface"},
		props: (*Diagnostics).wifiProperties,
	}
	ioDisplay = &ioEntry{
		name: "AppleCLCD2", class: "AppleCLCD2", supers: []string{"IOMobileFramebuffer"},
		props: (*Diagnostics).displayProperties,
	}
	ioStorage = &ioEntry{
		name: "AppleANS3NVMeController", class: "AppleANS3NVMeController",
		supers: []string{"IONVMeController"}, props: (*Diagnostics).storageProperties,
	}
	ioUSB = &ioEntry{
		name: "AppleT8110USBXDCI", class: "AppleUSBXDCI", props: (*Diagnostics).usbProperties,
	}
	ioGPU = &ioEntry{
		name: "AGXAcceleratorG14", class: "AGXAccelerator", supers: []string{"IOAccelerator"},
	}
)

// ioPlanes holds the root of each plane.
var ioPlanes = map[string]*ioEntry{
	planeService: {name: "Root", class: "IORegistryEntry", props: (*Diagnostics).rootProperties,
		children: []*ioEntry{
			{
				name:  "Platform",
				class: "IOPlatformExpertDevice",
				props: (*Diagnostics).platformProperties,
				children: []*ioEntry{
					{name: "AppleARMPE", class: "AppleARMPE", supers: []string{
						"IOPlatformExpert",
					}, children: []*ioEntry{
						{name: "arm-io", class: "AppleARMIODevice", children: []*ioEntry{
							{name: "charger", class: "AppleARMIODevice", children: []*ioEntry{
								{
									name:     "AppleSmartBatteryManager",
									class:    "AppleSmartBatteryManager",
									children: []*ioEntry{ioBattery},
								}}},
							{name: "wlan", class: "IOPCIDevice", children: []*ioEntry{
								{
									name: "AppleBCMWLANCore", class: "AppleBCMWLANCore",
									supers:   []string{"IO80211Controller"},
									children: []*ioEntry{ioWiFi, ioWiFiOld},
								}}},
							{
								name: "disp0", class: "AppleARMIODevice",
								children: []*ioEntry{ioDisplay},
							},
							{
								name: "ans", class: "AppleARMIODevice",
								children: []*ioEntry{ioStorage},
							},
							{
								name: "usb-drd", class: "AppleARMIODevice",
								children: []*ioEntry{ioUSB},
							},
							{name: "sgx", class: "AppleARMIODevice", children: []*ioEntry{ioGPU}},
						}},
					}},
					{name: "IOPMrootDomain", class: "IOPMrootDomain"},
					{name: "IOResources", class: "IOResources"},
				},
			},
		}},
	planeDeviceTree: {name: "Root", class: "IORegistryEntry", props: (*Diagnostics).rootProperties,
		children: []*ioEntry{
			{name: "device-tree", class: "IOPlatformExpertDevice",
				props: (*Diagnostics).platformProperties, children: []*ioEntry{
					{name: "chosen", class: "IOService", props: (*Diagnostics).chosenProperties},
					{name: "cpus", class: "IOPlatformDevice", children: []*ioEntry{
						{name: "cpu0", class: "AppleARMCPU", supers: []string{"IOCPU"}},
						{name: "cpu1", class: "AppleARMCPU", supers: []string{"IOCPU"}}}},
					{name: "arm-io", class: "AppleARMIODevice", children: []*ioEntry{
						{name: "disp0", class: "AppleARMIODevice"},
						{name: "wlan", class: "IOPCIDevice"},
						{name: "charger", class: "AppleARMIODevice"}}},
				}},
		}},
	planePower: {name: "Root", class: "IORegistryEntry", props: (*Diagnostics).rootProperties,
		children: []*ioEntry{
			{name: "IOPowerConnection", class: "IOPowerConnection", children: []*ioEntry{
				{
					name: "IOPMrootDomain", class: "IOPMrootDomain",
					children: []*ioEntry{ioDisplay, ioWiFi, ioBattery},
				}}},
		}},
}

func (d *Diagnostics) rootProperties() plist.Dict {
	return plist.Dict{
		"IOKitBuildVersion": d.id.KernelVersion(), "OS Build Version": d.id.Build,
		"OSKernelCPUType": int64(0x100000C),
	}
}

func (d *Diagnostics) platformProperties() plist.Dict {
	return plist.Dict{
		"IOPlatformSerialNumber": d.id.Serial,
		"IOPlatformUUID":         identity.UUIDText(identity.UUID("platform", d.id.UDID)),
		"clock-frequency":        []byte{0, 0x36, 0x6E, 1}, "model": cString(d.id.ProductType),
		"model-number": cString(
			d.id.ModelNumber,
		), "region-info": cString("LL/A"), "serial-number": cString(d.id.Serial),
		"target-type": cString(d.id.Hardware),
		"compatible":  cString(d.id.Hardware + "\x00" + d.id.ProductType + "\x00AppleARM"),
		"device_type": cString("bootrom"),
	}
}

// cString returns text with a zero byte at its end, as the device tree keeps it.
func cString(s string) []byte { return append([]byte(s), 0) }

func (d *Diagnostics) chosenProperties() plist.Dict {
	return plist.Dict{
		"board-id":         binary.LittleEndian.AppendUint32(nil, uint32(d.id.BoardID)),
		"chip-id":          binary.LittleEndian.AppendUint32(nil, d.id.ChipID),
		"unique-chip-id":   binary.LittleEndian.AppendUint64(nil, d.id.ECID),
		"firmware-version": cString(d.id.IBoot),
		"boot-nonce":       identity.Bytes(8, "boot", d.id.UDID, d.o.Clock.BootID()),
	}
}

// batteryProperties returns the properties of the fuel gauge, in mAh, mV, mA and
// 0.01 degrees Celsius.
func (d *Diagnostics) batteryProperties() plist.Dict {
	b := d.o.Battery()
	full := d.id.Design * health / 100
	raw := full * int64(b.Percent) / 100
	amperage := int64(-213)
	switch {
	case b.Filling():
		amperage = 1480
	case b.Charging:
		amperage = 0
	}
	voltage := 3600 + 7*int64(b.Percent)
	out := plist.Dict{
		"AbsoluteCapacity": raw, "Amperage": amperage, "AppleRawBatteryVoltage": voltage,
		"AppleRawCurrentCapacity":   raw,
		"AppleRawExternalConnected": b.Charging, "AppleRawMaxCapacity": full,
		"AtCriticalLevel": b.Percent <= 3,
		"AtWarnLevel":     b.Percent <= 20, "BatteryInstalled": true, "BootVoltage": int64(4012),
		"CurrentCapacity": int64(b.Percent), "CycleCount": int64(b.Cycles),
		"DesignCapacity":        d.id.Design,
		"ExternalChargeCapable": b.Charging, "ExternalConnected": b.Charging,
		"FullyCharged":    b.Percent == 100,
		"InstantAmperage": amperage, "IsCharging": b.Filling(), "Location": int64(0),
		"MaxCapacity":           int64(100),
		"NominalChargeCapacity": full, "Serial": batterySerial(d.id),
		"Temperature": int64(2890 + b.Percent),
		"UpdateTime":  d.o.Clock.Now().Unix(), "Voltage": voltage,
		"BatteryData": plist.Dict{"BatterySerialNumber": batterySerial(d.id),
			"CycleCount":     int64(b.Cycles),
			"DesignCapacity": d.id.Design, "MaximumCapacityPercent": int64(health),
			"Voltage": voltage},
	}
	if b.Charging {
		out["AdapterDetails"] = plist.Dict{"AdapterVoltage": int64(9000), "Current": int64(2220),
			"Description": "usb host",
			"FamilyCode":  int64(-536854528), "Watts": int64(20)}
	}
	return out
}

func batterySerial(id *identity.Identity) string {
	return "F8Y" + identity.SerialText(files.Mix(id.Seed^0xBA77), 14)
}

func (d *Diagnostics) wifiProperties() plist.Dict {
	mac := binary.BigEndian.AppendUint64(nil, d.id.MAC)[2:]
	return plist.Dict{
		"BSD Name": "en0", "IO80211BSSID": []byte{0x3C, 0x37, 0x86, 0x10, 0x20, 0x30},
		"IO80211Band":    "5GHz",
		"IO80211Channel": int64(44), "IO80211ChannelBandwidth": int64(
			80,
		), "IO80211CountryCode": "DE",
		"IO80211SSID": "Virtual Network", "IOInterfaceName": "en0", "IOInterfaceNamePrefix": "en",
		"IOInterfaceUnit": int64(0), "IOMACAddress": mac, "IOLinkStatus": int64(3),
		"RSSI": int64(-52),
	}
}

func (d *Diagnostics) displayProperties() plist.Dict {
	return plist.Dict{
		"DisplayHeight": d.id.Height, "DisplayWidth": d.id.Width,
		"IOMFBBrightnessLevel": int64(38_400),
	}
}

func (d *Diagnostics) storageProperties() plist.Dict {
	return plist.Dict{
		"Capacity": int64(d.id.Capacity + d.id.SystemSize), "Model Number": "APPLE SSD AP0128",
		"Serial Number": d.id.MLB,
	}
}

func (d *Diagnostics) usbProperties() plist.Dict {
	return plist.Dict{
		"USB Product Name":  string(d.id.DeviceClass()),
		"USB Serial Number": d.id.UDID[:8] + d.id.UDID[9:],
		"idProduct":         int64(d.id.USBProduct()), "idVendor": int64(0x05AC),
	}
}
