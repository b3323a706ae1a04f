package phone

import (
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// Value returns one value.
func (p *Phone) Value(domain, key string) (any, bool) {
	if domain == "" && key == "DevicePublicKey" {
		return p.PublicKeyPEM(), true
	}
	v, ok := p.Domain(domain)[key]
	return v, ok
}

// Domain returns a domain.
func (p *Phone) Domain(domain string) plist.Dict {
	if domain != "" {
		return plist.Dict{}
	}
	return plist.Dict{"DeviceName": p.Name(), "ProductVersion": p.prof.version, "ProductType": p.prof.productType,
		"UniqueDeviceID": p.id.udid, "WiFiAddress": p.id.wifi, "DeviceClass": "iPhone", "BuildVersion": p.prof.build,
		"UniqueChipID": p.id.ecid, "SerialNumber": p.id.serial}
}

// PublicDomain is what an unpaired host gets.
func (p *Phone) PublicDomain() plist.Dict { return p.Domain("") }

// Access says who may do what.
func (p *Phone) Access(domain, key string) Access {
	return Access{Public: domain == "", Writable: key == "DeviceName"}
}

// SetValue sets a value.
func (p *Phone) SetValue(domain, key string, v any) error {
	s, ok := v.(string)
	if domain != "" || key != "DeviceName" {
		return fail("set value", key, ErrImmutable)
	}
	if !ok {
		return fail("set value", key, ErrType)
	}
	p.mu.Lock()
	p.name = s
	p.mu.Unlock()
	p.Post(NoteDeviceName)
	return nil
}

// RemoveValue removes a value.
func (p *Phone) RemoveValue(domain, key string) error { return fail("remove value", key, ErrImmutable) }

// Media is the tree that AFC serves.
func (p *Phone) Media() *FS { return p.media }

// CrashReports is the tree of the crash reports.
func (p *Phone) CrashReports() *FS { return p.crash }

func buildMedia(f *FS)              {}
func (p *Phone) buildCrashes(f *FS) {}

// Diagnostics answers diagnostics_relay.
func (p *Phone) Diagnostics(kind string) (plist.Dict, bool) { return nil, false }

// Gestalt answers MobileGestalt keys.
func (p *Phone) Gestalt(keys []string) plist.Dict { return plist.Dict{} }

// GestaltDeprecated reports iOS 17.4 and later.
func (p *Phone) GestaltDeprecated() bool { return p.prof.version >= "17.4" }

// IORegistry looks up a registry entry.
func (p *Phone) IORegistry(plane, name, class string) (plist.Dict, bool) { return nil, false }

type profile struct {
	name, deviceName, version, build, productType, tac, tac2 string
	chipID, macBank                                          uint32
	salt                                                     uint64
	capacity                                                 uint64
	used                                                     int64
}

var profiles = []*profile{
	{name: "ios16", deviceName: "Virtual iPhone", version: "16.7.2", build: "20H115", productType: "iPhone14,5", chipID: 0x8110, macBank: 0x5c5284, tac: "35000000", tac2: "35000001", salt: 16, capacity: 128e9, used: 50e9},
	{name: "ios17", deviceName: "Virtual iPhone", version: "17.5.1", build: "21F90", productType: "iPhone15,2", chipID: 0x8120, macBank: 0x5c5284, tac: "35000000", tac2: "35000001", salt: 17, capacity: 128e9, used: 50e9},
	{name: "ios18", deviceName: "Virtual iPhone", version: "18.5", build: "22F76", productType: "iPhone17,1", chipID: 0x8140, macBank: 0x5c5284, tac: "35000000", tac2: "35000001", salt: 18, capacity: 256e9, used: 50e9},
}

func profileNamed(name string) *profile {
	for _, p := range profiles {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Profiles lists the profile names.
func Profiles() []string {
	var out []string
	for _, p := range profiles {
		out = append(out, p.name)
	}
	return out
}

func (h *logHub) seedHistory() { h.seeded = true }

func (h *logHub) lines(n int, from time.Time, span time.Duration) []*LogEntry {
	return nil
}
