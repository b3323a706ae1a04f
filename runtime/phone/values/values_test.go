package values_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/values"
)

// TestDomainsEncode checks that every domain can be encoded as a property list and
// decoded again.
func TestDomainsEncode(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		for _, domain := range append(p.Values.DomainNames(), "com.example.unknown") {
			d := p.Values.Domain(domain)
			for _, form := range []plist.Format{plist.XML, plist.Binary} {
				b, err := plist.Encode(d, form)
				if err != nil {
					t.Errorf("%q: encode: %v", domain, err)
					continue
				}
				back, err := plist.DecodeDict(b)
				if err != nil {
					t.Errorf("%q: decode: %v", domain, err)
				} else if len(back) != len(d) {
					t.Errorf("%q: decode: %d keys, want %d", domain, len(back), len(d))
				}
				for k, v := range d {
					if plist.TypeName(v) != plist.TypeName(back[k]) {
						t.Errorf("%q %s: %s became %s", domain, k, plist.TypeName(v),
							plist.TypeName(back[k]))
					}
				}
			}
		}
	})
}

// TestTypes checks the types of the values that clients decode.
func TestTypes(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		for key, want := range map[string]string{
			"TimeIntervalSince1970": "real", "TimeZoneOffsetFromUTC": "real", "DieID": "integer",
			"DeviceColor":  "string",
			"UniqueChipID": "integer", "BasebandSerialNumber": "data", "ChipID": "integer",
			"NonVolatileRAM":          "dictionary",
			"SupportedDeviceFamilies": "array", "CarrierBundleInfoArray": "array",
			"HasSiDP":                    "boolean",
			"BasebandKeyHashInformation": "dictionary", "FirmwareVersion": "string",
			"ProtocolVersion":            "string",
			"kCTPostponementInfoPRLName": "integer", "PkHash": "data",
		} {
			if got := plist.TypeName(phonetest.Value(t, p, "", key)); got != want {
				t.Errorf("%s is %s, want %s", key, got, want)
			}
		}
		nvram := phonetest.Value(t, p, "", "NonVolatileRAM").(plist.Dict)
		if got := plist.TypeName(nvram["boot-args"]); got != "string" {
			t.Errorf("boot-args is %s, want string", got)
		}
		if got := plist.TypeName(nvram["auto-boot"]); got != "data" {
			t.Errorf("auto-boot is %s, want data", got)
		}
		if n := len(phonetest.Value(t, p, "", "PkHash").([]byte)); n != 48 {
			t.Errorf("PkHash has %d bytes, want 48", n)
		}
	})
}

func TestVersionedKeys(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		v := phonetest.Value(t, p, "", "HumanReadableProductVersionString")
		if v != p.Identity.Version {
			t.Errorf("HumanReadableProductVersionString = %v", v)
		}
		for _, old := range []string{
			"MobileEquipmentIdentifier", "ProximitySensorCalibration",
			"SBLockdownEverRegisteredKey",
		} {
			if v, ok := p.Values.Get("", old); ok {
				t.Errorf("%s = %v, but ended with iOS 15", old, v)
			}
		}
		if !p.Values.DeveloperMode() {
			t.Error("developer mode is off")
		}
		if got, want := p.Identity.GestaltGone, p.Identity.VersionNumber() >= 1704; got != want {
			t.Errorf("GestaltDeprecated = %v, want %v", got, want)
		}
	})
}

func TestByKeyOnly(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		all, open := p.Values.Domain(""), p.Values.PublicDomain()
		for _, key := range []string{"DevicePublicKey", "ApNonce", "SEPNonce",
			"FirmwarePreflightInfo", "PreflightInfo", "ApParameters",
			"Image4Supported", "CarrierBundleInfo", "BasebandGoldCertId", "HasSEP",
			"EffectiveProductionStatusAp",
			"EffectiveSecurityModeAp", "FMiPAccountExists", "DeviceEnclosureColor", "RegionCode",
			"BasebandFirmwareManifestData", "ProductVersionExtra"} {
			if _, err := plist.Encode(phonetest.Value(t, p, "", key), plist.XML); err != nil {
				t.Errorf("%s: %v", key, err)
			}
			if _, ok := all[key]; ok {
				t.Errorf("%s is in the dictionary of all values", key)
			}
			if _, ok := open[key]; ok {
				t.Errorf("%s is in the public dictionary", key)
			}
		}
		pem := string(phonetest.Value(t, p, "", "DevicePublicKey").([]byte))
		if !strings.HasPrefix(pem, "-----BEGIN RSA PUBLIC KEY-----\n") {
			t.Errorf("DevicePublicKey = %q, want the header of a PEM block", pem)
		}
		if !strings.HasSuffix(pem, "\n-----END RSA PUBLIC KEY-----\n") {
			t.Errorf("DevicePublicKey = %q, want the end of a PEM block", pem)
		}
		if !p.Values.Access("", "DevicePublicKey").Public {
			t.Error("DevicePublicKey is not public")
		}
	})
}

func TestPublicDomain(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		want := strings.Fields(
			`BasebandCertId BasebandKeyHashInformation BasebandSerialNumber BasebandVersion
			BoardId BuildVersion CPUArchitecture ChipID DeviceClass DeviceColor DeviceName
			DieID HardwareModel HasSiDP HumanReadableProductVersionString PartitionType
			ProductName ProductType ProductVersion ProductionSOC ProtocolVersion
			SupportedDeviceFamilies TelephonyCapability UniqueChipID UniqueDeviceID
			WiFiAddress`,
		)
		var got []string
		for k := range p.Values.PublicDomain() {
			got = append(got, k)
			if !p.Values.Access("", k).Public {
				t.Errorf("%s is in the public dictionary but not public", k)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("public keys\n%v, want\n%v", got, want)
		}
		if p.Values.Access("", "SerialNumber").Public {
			t.Error("SerialNumber is public")
		}
		if p.Values.Access(values.DomainAMFI, "DeveloperModeStatus").Public {
			t.Error("DeveloperModeStatus is public")
		}
		if err := p.Values.Set("", "UntrustedHostBUID", "BUID-1"); err != nil {
			t.Fatal(err)
		}
		if p.Values.PublicDomain()["UntrustedHostBUID"] != "BUID-1" {
			t.Error("UntrustedHostBUID is not public once set")
		}
	})
}

func TestAccess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		domain, key string
		want        values.Access
	}{
		{"", "DeviceName", values.Access{Public: true, Writable: true}},
		{
			"", "UntrustedHostBUID",
			values.Access{Public: true, Writable: true, WritableUnpaired: true},
		},
		{"", "SerialNumber", values.Access{}},
		{"", "ProductVersion", values.Access{Public: true}},
		{"", "TimeZone", values.Access{Writable: true}},
		{"", "Nope", values.Access{}},
		{values.DomainWireless, "EnableWifiConnections", values.Access{Writable: true}},
		{"com.example.unknown", "Nope", values.Access{}},
	} {
		if got := phonetest.New(t, phone.Options{}).Values.Access(c.domain, c.key); got != c.want {
			t.Errorf("Access(%q, %q) = %+v, want %+v", c.domain, c.key, got, c.want)
		}
	}
	for profile, want := range map[string]bool{
		"ios16": true, "ios17.2": false, "ios17": false, "ios18": false, "ios26": false,
		"ios27": false,
	} {
		if got := phonetest.New(t, phone.Options{Profile: profile}).Values.Access("",
			"TimeIntervalSince1970").Writable; got != want {
			t.Errorf("%s: clock writable %v, want %v", profile, got, want)
		}
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	p.Values.SetDeveloperMode(false)
	if p.Values.DeveloperMode() {
		t.Error("DeveloperMode = true")
	}
	if phonetest.Value(t, p, values.DomainAMFI, "DeveloperModeStatus") != false {
		t.Error("DeveloperModeStatus is not false")
	}
	o := p.Notifications.Observe()
	defer o.Close()
	o.Add(notifications.Activation)
	p.Values.Store("", "ActivationState", "Unactivated")
	if got := phonetest.Heard(o); !slices.Equal(got, []string{notifications.Activation}) {
		t.Errorf("observers heard %v", got)
	}
	state := phonetest.Value(t, p, "com.apple.mobile.lockdown_cache", "ActivationState")
	if state != "Unactivated" {
		t.Errorf("lockdown_cache says %v", state)
	}
	list := []any{"a"}
	p.Values.Store("com.example", "List", list)
	list[0] = "changed"
	want := plist.Dict{"List": []any{"a"}}
	if got := p.Values.Domain("com.example"); !reflect.DeepEqual(got, want) {
		t.Errorf("new domain is %v", got)
	}
	p.Values.Store("com.example", "List", nil)
	if v, ok := p.Values.Get("com.example", "List"); ok {
		t.Errorf("stored nil, value is %v", v)
	}
}

// TestDomainIsACopy checks that changes to a returned dictionary do not change the phone.
func TestDomainIsACopy(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		for _, name := range p.Values.DomainNames() {
			want := p.Values.Domain(name)
			phonetest.Scribble(p.Values.Domain(name))
			got := p.Values.Domain(name)
			delete(want, "TimeIntervalSince1970")
			delete(got, "TimeIntervalSince1970")
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q changed through a copy", name)
			}
		}
	})
}

func TestBattery(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	for _, c := range []struct {
		percent              int
		charger              bool
		want                 int64
		filling, full, lower bool
	}{
		{42, true, 42, true, false, false}, {100, true, 100, false, true, false},
		{15, false, 15, false, false, true},
		{-4, false, 0, false, false, true}, {170, false, 100, false, true, false},
	} {
		p.Power.SetBattery(c.percent, c.charger)
		d := p.Values.Domain("com.apple.mobile.battery")
		for key, want := range map[string]any{
			"BatteryCurrentCapacity": c.want, "BatteryIsCharging": c.filling,
			"FullyCharged": c.full, "ExternalConnected": c.charger,
		} {
			if d[key] != want {
				t.Errorf("SetBattery(%d, %v): %s = %v, want %v", c.percent, c.charger, key, d[key],
					want)
			}
		}
		e, ok := p.Diagnostics.IORegistry("", "", "IOPMPowerSource")
		if !ok {
			t.Fatal("the registry has no IOPMPowerSource")
		}
		for key, want := range map[string]any{
			"CurrentCapacity": c.want, "IsCharging": c.filling, "AtWarnLevel": c.lower,
			"ExternalConnected": c.charger,
		} {
			if e[key] != want {
				t.Errorf("SetBattery(%d, %v): registry: %s = %v, want %v", c.percent, c.charger,
					key, e[key], want)
			}
		}
		amps, _ := e.Int("InstantAmperage")
		if c.filling != (amps > 0) {
			t.Errorf("SetBattery(%d, %v): %d mA, charging: %v", c.percent, c.charger, amps,
				c.filling)
		}
		if !c.charger && amps >= 0 {
			t.Errorf("SetBattery(%d, %v): %d mA without a charger", c.percent, c.charger, amps)
		}
	}
}

func TestDiskUsage(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	free := func() int64 {
		return phonetest.Value(t, p, "com.apple.disk_usage",
			"TotalDataAvailable").(int64)
	}
	before := free()
	if _, err := p.Media.ReadDir("DCIM/100APPLE"); err != nil {
		t.Fatal(err)
	}
	if free() != before {
		t.Error("looking at the media changed the free space")
	}
	if err := p.Media.WriteFile("Downloads/x", make([]byte, 10_000)); err != nil {
		t.Fatal(err)
	}
	if got := before - free(); got != 12_288 {
		t.Errorf("10000 bytes take %d, want 12288", got)
	}
	total, avail, block := p.Media.Usage()
	if int64(avail) != free() {
		t.Errorf("%d bytes are available, want %d", avail, free())
	}
	if int64(total) != phonetest.Value(t, p, "com.apple.disk_usage", "TotalDataCapacity").(int64) {
		t.Errorf("Usage has a total of %d bytes, lockdown another", total)
	}
	if block != 4096 {
		t.Errorf("block size %d, want 4096", block)
	}
	if err := p.Media.Remove("Downloads/x"); err != nil {
		t.Errorf("Remove: %v", err)
	} else if free() != before {
		t.Errorf("%d bytes are free after Remove, want %d", free(), before)
	}
	if err := p.Media.Remove("DCIM/101APPLE/IMG_1001.MOV"); err != nil {
		t.Errorf("Remove of the film: %v", err)
	} else if free() != before+40<<20 {
		t.Errorf("Remove of the film frees %d bytes, want %d", free()-before, 40<<20)
	}
}

func TestBonjourName(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]string{
		"ios16": "", "ios17.2": "-supportsRP", "ios17": "-supportsRP-19", "ios18": "-supportsRP-24",
		"ios26": "-supportsRP-24", "ios27": "-supportsRP-26",
	} {
		p := phonetest.New(t, phone.Options{Profile: profile})
		full := phonetest.Value(t, p, values.DomainWireless, "BonjourFullServiceName").(string)
		wifi := phonetest.Value(t, p, "", "WiFiAddress").(string)
		name := strings.TrimSuffix(full, "._apple-mobdev2._tcp.local.")
		address, ok := strings.CutSuffix(name, want)
		mac, ip, _ := strings.Cut(address, "@")
		if !ok {
			t.Errorf("%s: name %s does not end in %q", profile, full, want)
		}
		if mac != wifi {
			t.Errorf("%s: name %s has the address %s, want %s", profile, full, mac, wifi)
		}
		if !strings.HasPrefix(ip, "fe80::") {
			t.Errorf("%s: name %s has the address %s, want a link-local one", profile, full, ip)
		}
		if strings.Contains(ip, "-") {
			t.Errorf("%s: name %s has a hyphen in the address %s", profile, full, ip)
		}
		if phonetest.Value(t, p, values.DomainWireless, "InstanceName") != name {
			t.Errorf("%s: name %s: InstanceName is not %s", profile, full, name)
		}
	}
}

func BenchmarkDomain(b *testing.B) {
	p := phonetest.New(b, phone.Options{})
	b.ReportAllocs()
	for b.Loop() {
		p.Values.Domain("")
	}
}
