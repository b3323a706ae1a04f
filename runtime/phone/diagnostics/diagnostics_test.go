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
		if !ok {
			t.Fatal("All is not answered")
		}
		if len(all) != 4 {
			t.Fatalf("All has %d parts, want 4", len(all))
		}
		for _, kind := range []string{"WiFi", "GasGauge", "HDMI", "NAND"} {
			d, ok := p.Diagnostics.Answer(kind)
			if part, _ := all.Dict(kind); !ok {
				t.Errorf("%s is not answered", kind)
			} else if d["Status"] != "Success" {
				t.Errorf("%s: Status = %v, want Success", kind, d["Status"])
			} else if part["Status"] != "Success" {
				t.Errorf("%s in All: Status = %v, want Success", kind, part["Status"])
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
	if len(got) != 3 {
		t.Errorf("Gestalt has %d keys, want 3", len(got))
	}
	if got["UniqueDeviceID"] != p.Identity.UDID {
		t.Errorf("got[UniqueDeviceID] = %v, want %v", got["UniqueDeviceID"], p.Identity.UDID)
	}
	if got["DeviceName"] != "Green" {
		t.Errorf("got[DeviceName] = %q, want %q", got["DeviceName"], "Green")
	}
	if got["telephony"] != true {
		t.Errorf("got[telephony] = %v, want true", got["telephony"])
	}
	all := p.Diagnostics.Gestalt(nil)
	if _, err := plist.Encode(all, plist.Binary); err != nil {
		t.Errorf("Encode: %v", err)
	} else if len(all) < 60 {
		t.Errorf("%d keys, want at least 60", len(all))
	}
	// Values that lockdown also reports must be the same.
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
		if _, has := d[c.key]; !ok {
			t.Errorf("IORegistry(%q, %q, %q) finds nothing", c.plane, c.name, c.class)
		} else if !has {
			t.Errorf("IORegistry(%q, %q, %q) = %v, want %s in it", c.plane, c.name, c.class, d,
				c.key)
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

// TestIORegistryTrees checks that each plane is one tree without duplicate identifiers.
func TestIORegistryTrees(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		for _, plane := range []string{"", "IOService", "IODeviceTree", "IOPower"} {
			d, ok := p.Diagnostics.IORegistry(plane, "", "")
			if !ok {
				t.Fatalf("%q has no tree", plane)
			}
			if d["IORegistryEntryName"] != "Root" {
				t.Fatalf("%q: IORegistryEntryName = %v, want Root", plane, d["IORegistryEntryName"])
			}
			if _, err := plist.Encode(d, plist.XML); err != nil {
				t.Errorf("%q: %v", plane, err)
			}
			ids := map[any]bool{}
			if n := countEntries(d, ids); n < 6 {
				t.Errorf("%q: %d entries, want at least 6", plane, n)
			} else if len(ids) != n {
				t.Errorf("%q: %d identifiers, want %d", plane, len(ids), n)
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
