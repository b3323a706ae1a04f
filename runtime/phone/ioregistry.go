package phone

import (
	"encoding/binary"
	"slices"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/files"
)

// ioEntry is an entry of the IORegistry. An entry may hang in several
// planes; each plane has its own tree.
type ioEntry struct {
	name, class string
	supers      []string // classes that class derives from, as far as hosts ask for them
	props       func(*Phone) plist.Dict
	children    []*ioEntry
}

// The planes of the IORegistry.
const (
	planeService    = "IOService"
	planeDeviceTree = "IODeviceTree"
	planePower      = "IOPower"
)

// IORegistry looks an entry up by its name, its class or one that this is
// derived from, or both, in a plane; "" is the plane IOService. Without name
// and class it returns the whole tree of the plane, each entry with its
// properties, IORegistryEntryName, IOObjectClass and
// IORegistryEntryChildren. An unknown plane has no entries.
func (p *Phone) IORegistry(plane, name, class string) (plist.Dict, bool) {
	if plane == "" {
		plane = planeService
	}
	root := ioPlanes[plane]
	if root == nil {
		return nil, false
	}
	if name == "" && class == "" {
		id := int64(ioFirstID)
		return root.tree(p, &id), true
	}
	e := root.find(name, class)
	if e == nil {
		return nil, false
	}
	return e.properties(p), true
}

// ioFirstID is the registry identifier of the first entry.
const ioFirstID = 0x100000100

func (e *ioEntry) properties(p *Phone) plist.Dict {
	if e.props == nil {
		return plist.Dict{"IOClass": e.class}
	}
	d := e.props(p)
	d["IOClass"] = e.class
	return d
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

func (e *ioEntry) tree(p *Phone, id *int64) plist.Dict {
	d := e.properties(p)
	d["IORegistryEntryName"], d["name"] = e.name, e.name
	d["IOObjectClass"], d["IORegistryEntryID"] = e.class, *id
	*id++
	if len(e.children) > 0 {
		list := make([]any, len(e.children))
		for i, c := range e.children {
			list[i] = c.tree(p, id)
		}
		d["IORegistryEntryChildren"] = list
	}
	return d
}

var (
	ioBattery = &ioEntry{
		name: "AppleSmartBattery", class: "AppleSmartBattery", supers: []string{"IOPMPowerSource"},
		props: (*Phone).batteryProperties,
	}
	ioWiFi = &ioEntry{name: "AppleBCMWLANSkywalkInterface", class: "AppleBCMWLANSkywalkInterface",
		supers: []string{"IO80211Interface", "IO80211SkywalkInterface", "IONetworkInterface"},
		props:  (*Phone).wifiProperties}
	ioWiFiOld = &ioEntry{
		name: "en0", class: "IO80211Interface", supers: []string{"IOEthernetInterface"},
		props: (*Phone).wifiProperties,
	}
	ioDisplay = &ioEntry{
		name: "AppleCLCD2", class: "AppleCLCD2", supers: []string{"IOMobileFramebuffer"},
		props: (*Phone).displayProperties,
	}
	ioStorage = &ioEntry{
		name: "AppleANS3NVMeController", class: "AppleANS3NVMeController",
		supers: []string{"IONVMeController"}, props: (*Phone).storageProperties,
	}
	ioUSB = &ioEntry{
		name: "AppleT8110USBXDCI", class: "AppleUSBXDCI", props: (*Phone).usbProperties,
	}
	ioGPU = &ioEntry{
		name: "AGXAcceleratorG14", class: "AGXAccelerator", supers: []string{"IOAccelerator"},
	}
)

// ioPlanes holds the root of each plane.
var ioPlanes = map[string]*ioEntry{
	planeService: {name: "Root", class: "IORegistryEntry", props: (*Phone).rootProperties,
		children: []*ioEntry{
			{name: "Platform", class: "IOPlatformExpertDevice", props: (*Phone).platformProperties,
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
				}},
		}},
	planeDeviceTree: {name: "Root", class: "IORegistryEntry", props: (*Phone).rootProperties,
		children: []*ioEntry{
			{name: "device-tree", class: "IOPlatformExpertDevice",
				props: (*Phone).platformProperties, children: []*ioEntry{
					{name: "chosen", class: "IOService", props: (*Phone).chosenProperties},
					{name: "cpus", class: "IOPlatformDevice", children: []*ioEntry{
						{name: "cpu0", class: "AppleARMCPU", supers: []string{"IOCPU"}},
						{name: "cpu1", class: "AppleARMCPU", supers: []string{"IOCPU"}}}},
					{name: "arm-io", class: "AppleARMIODevice", children: []*ioEntry{
						{name: "disp0", class: "AppleARMIODevice"},
						{name: "wlan", class: "IOPCIDevice"},
						{name: "charger", class: "AppleARMIODevice"}}},
				}},
		}},
	planePower: {name: "Root", class: "IORegistryEntry", props: (*Phone).rootProperties,
		children: []*ioEntry{
			{name: "IOPowerConnection", class: "IOPowerConnection", children: []*ioEntry{
				{
					name: "IOPMrootDomain", class: "IOPMrootDomain",
					children: []*ioEntry{ioDisplay, ioWiFi, ioBattery},
				}}},
		}},
}

func (p *Phone) rootProperties() plist.Dict {
	return plist.Dict{
		"IOKitBuildVersion": p.kernelVersion(), "OS Build Version": p.prof.build,
		"OSKernelCPUType": int64(0x100000C),
	}
}

func (p *Phone) platformProperties() plist.Dict {
	return plist.Dict{
		"IOPlatformSerialNumber": p.id.serial,
		"IOPlatformUUID":         uuidText(uuidOf("platform", p.id.udid)),
		"clock-frequency":        []byte{0, 0x36, 0x6E, 1}, "model": cString(p.prof.productType),
		"model-number": cString(
			p.prof.modelNumber,
		), "region-info": cString("LL/A"), "serial-number": cString(p.id.serial),
		"target-type": cString(p.prof.hardware),
		"compatible":  cString(p.prof.hardware + "\x00" + p.prof.productType + "\x00AppleARM"),
		"device_type": cString("bootrom"),
	}
}

// cString is text as the device tree keeps it.
func cString(s string) []byte { return append([]byte(s), 0) }

func (p *Phone) chosenProperties() plist.Dict {
	return plist.Dict{
		"board-id":         binary.LittleEndian.AppendUint32(nil, uint32(p.prof.boardID)),
		"chip-id":          binary.LittleEndian.AppendUint32(nil, p.prof.chipID),
		"unique-chip-id":   binary.LittleEndian.AppendUint64(nil, p.id.ecid),
		"firmware-version": cString(p.prof.iBoot),
		"boot-nonce":       bytesOf(8, "boot", p.id.udid, p.BootID()),
	}
}

// batteryProperties are those of the fuel gauge: mAh, mV, mA, 0.01 C.
func (p *Phone) batteryProperties() plist.Dict {
	b := p.batteryState()
	full := p.prof.design * health / 100
	raw := full * int64(b.percent) / 100
	amperage := int64(-213)
	switch {
	case b.filling():
		amperage = 1480
	case b.charging:
		amperage = 0
	}
	voltage := 3600 + 7*int64(b.percent)
	d := plist.Dict{
		"AbsoluteCapacity": raw, "Amperage": amperage, "AppleRawBatteryVoltage": voltage,
		"AppleRawCurrentCapacity":   raw,
		"AppleRawExternalConnected": b.charging, "AppleRawMaxCapacity": full,
		"AtCriticalLevel": b.percent <= 3,
		"AtWarnLevel":     b.percent <= 20, "BatteryInstalled": true, "BootVoltage": int64(4012),
		"CurrentCapacity": int64(b.percent), "CycleCount": int64(b.cycles),
		"DesignCapacity":        p.prof.design,
		"ExternalChargeCapable": b.charging, "ExternalConnected": b.charging,
		"FullyCharged":    b.percent == 100,
		"InstantAmperage": amperage, "IsCharging": b.filling(), "Location": int64(0),
		"MaxCapacity":           int64(100),
		"NominalChargeCapacity": full, "Serial": p.id.batterySerial(),
		"Temperature": int64(2890 + b.percent),
		"UpdateTime":  p.Now().Unix(), "Voltage": voltage,
		"BatteryData": plist.Dict{"BatterySerialNumber": p.id.batterySerial(),
			"CycleCount":     int64(b.cycles),
			"DesignCapacity": p.prof.design, "MaximumCapacityPercent": int64(health),
			"Voltage": voltage},
	}
	if b.charging {
		d["AdapterDetails"] = plist.Dict{"AdapterVoltage": int64(9000), "Current": int64(2220),
			"Description": "usb host",
			"FamilyCode":  int64(-536854528), "Watts": int64(20)}
	}
	return d
}

func (id *identity) batterySerial() string {
	return "F8Y" + encode(files.Mix(id.seed^0xBA77), serialAlphabet, 14)
}

func (p *Phone) wifiProperties() plist.Dict {
	mac := binary.BigEndian.AppendUint64(nil, p.id.mac)[2:]
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

func (p *Phone) displayProperties() plist.Dict {
	return plist.Dict{
		"DisplayHeight": p.prof.height, "DisplayWidth": p.prof.width,
		"IOMFBBrightnessLevel": int64(38_400),
	}
}

func (p *Phone) storageProperties() plist.Dict {
	return plist.Dict{
		"Capacity": int64(p.prof.capacity + p.prof.systemSize), "Model Number": "APPLE SSD AP0128",
		"Serial Number": p.id.mlb,
	}
}

func (p *Phone) usbProperties() plist.Dict {
	return plist.Dict{
		"USB Product Name": "iPhone", "USB Serial Number": p.id.udid[:8] + p.id.udid[9:],
		"idProduct": int64(0x12A8), "idVendor": int64(0x05AC),
	}
}
