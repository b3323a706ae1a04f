package diagnostics_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestDiagnostics(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		all, ok := p.Diagnostics.Answer("All")
		if !ok || len(all) != 4 {
			t.Fatalf("All = %v, %v", all, ok)
		}
		for _, kind := range []string{"WiFi", "GasGauge", "HDMI", "NAND"} {
			d, ok := p.Diagnostics.Answer(kind)
			if part, _ := all.Dict(kind); !ok || d["Status"] != "Success" ||
				part["Status"] != "Success" {
				t.Errorf("%s = %v, %v", kind, d, ok)
			}
			if _, err := plist.Encode(d, plist.Binary); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		gauge, _ := p.Diagnostics.Answer("GasGauge")
		for _, key := range []string{"CycleCount", "DesignCapacity", "FullChargeCapacity"} {
			if n, ok := gauge.Int(key); !ok || n <= 0 {
				t.Errorf("GasGauge %s = %v", key, gauge[key])
			}
		}
		if d, ok := p.Diagnostics.Answer("Nope"); ok || d != nil {
			t.Errorf("Nope = %v, %v", d, ok)
		}
	})
}

func TestGestalt(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{Name: "Green"})
	got := p.Diagnostics.Gestalt([]string{"UniqueDeviceID", "DeviceName", "telephony",
		"no-such-key"})
	if len(got) != 3 || got["UniqueDeviceID"] != p.Identity.UDID || got["DeviceName"] != "Green" ||
		got["telephony"] != true {
		t.Errorf("Gestalt = %v", got)
	}
	all := p.Diagnostics.Gestalt(nil)
	if _, err := plist.Encode(all, plist.Binary); err != nil || len(all) < 60 {
		t.Errorf("%d keys, %v", len(all), err)
	}
	// What lockdown says as well must be the same.
	for _, key := range []string{"SerialNumber", "ProductType", "ProductVersion", "BuildVersion",
		"BluetoothAddress", "ChipID", "UniqueChipID",
		"ModelNumber", "RegionInfo", "HardwarePlatform", "InternationalMobileEquipmentIdentity",
		"FirmwareVersion", "MLBSerialNumber"} {
		if all[key] != phonetest.Value(t, p, "", key) {
			t.Errorf("%s: gestalt %v, lockdown %v", key, all[key], phonetest.Value(t, p, "", key))
		}
	}
}

func TestIORegistry(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	for _, c := range []struct{ plane, name, class, key string }{
		{"", "", "IOPMPowerSource", "CurrentCapacity"},
		{"IOService", "AppleSmartBattery", "", "CycleCount"},
		{"", "AppleSmartBattery", "IOPMPowerSource", "Voltage"},
		{"IOPower", "AppleSmartBattery", "", "Temperature"},
		{"", "AppleBCMWLANSkywalkInterface", "", "IOMACAddress"},
		{"", "", "IO80211Interface", "IO80211SSID"},
		{"IODeviceTree", "device-tree", "", "model"},
		{"", "", "IOPlatformExpertDevice", "IOPlatformSerialNumber"},
	} {
		d, ok := p.Diagnostics.IORegistry(c.plane, c.name, c.class)
		if _, has := d[c.key]; !ok || !has {
			t.Errorf("IORegistry(%q, %q, %q) = %v, %v, want %s in it", c.plane, c.name, c.class, d,
				ok, c.key)
		}
	}
	for _, c := range [][3]string{{"IONope", "", ""}, {"", "Nope", ""}, {"", "", "Nope"},
		{"", "AppleSmartBattery", "IO80211Interface"},
		{"IODeviceTree", "AppleSmartBattery", ""}} {
		if d, ok := p.Diagnostics.IORegistry(c[0], c[1], c[2]); ok || d != nil {
			t.Errorf("IORegistry(%q) = %v, %v, want nothing", c, d, ok)
		}
	}
}

// TestIORegistryTrees: each plane is one tree with identifiers of its own.
func TestIORegistryTrees(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		for _, plane := range []string{"", "IOService", "IODeviceTree", "IOPower"} {
			d, ok := p.Diagnostics.IORegistry(plane, "", "")
			if !ok || d["IORegistryEntryName"] != "Root" {
				t.Fatalf("%q: %v", plane, ok)
			}
			if _, err := plist.Encode(d, plist.XML); err != nil {
				t.Errorf("%q: %v", plane, err)
			}
			ids := map[any]bool{}
			if n := countEntries(d, ids); n < 6 || len(ids) != n {
				t.Errorf("%q: %d entries, %d identifiers", plane, n, len(ids))
			}
		}
	})
}

func countEntries(d plist.Dict, ids map[any]bool) int {
	n := 1
	ids[d["IORegistryEntryID"]] = true
	list, _ := d.Array("IORegistryEntryChildren")
	for _, c := range list {
		n += countEntries(c.(plist.Dict), ids)
	}
	return n
}
