package values_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/values"
)

// TestDomainsEncode: whatever lockdown may be asked for must have a property
// list form, and survive it.
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
				if err != nil || len(back) != len(d) {
					t.Errorf("%q: decode: %d of %d keys, %v", domain, len(back), len(d), err)
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

// TestTypes holds the types that clients decode into.
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
		if !strings.HasPrefix(pem, "-----BEGIN RSA PUBLIC KEY-----\n") ||
			!strings.HasSuffix(pem, "\n-----END RSA PUBLIC KEY-----\n") {
			t.Errorf("DevicePublicKey = %q", pem)
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
		if p.Values.Access("", "SerialNumber").Public ||
			p.Values.Access(values.DomainAMFI, "DeveloperModeStatus").Public {
			t.Error("private values are public")
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
	} {
		if got := phonetest.New(t, phone.Options{Profile: profile}).Values.Access("",
			"TimeIntervalSince1970").Writable; got != want {
			t.Errorf("%s: clock writable %v, want %v", profile, got, want)
		}
	}
}

const domainAccess = "com.apple.Accessibility"

// writes is what SetValue does with values; a kept value is want.
var writes = []struct {
	profile, domain, key string
	in, want             any
	err                  error
	note                 string
}{
	{"", "", "DeviceName", "Blue", "Blue", nil, notifications.DeviceName},
	{"", "", "DeviceName", int64(3), nil, values.ErrType, ""},
	{"", "", "DeviceName", "", nil, files.ErrInvalid, ""},
	{"", "", "TimeZone", "Asia/Tokyo", "Asia/Tokyo", nil, notifications.TimeZone},
	{"", "", "TimeZone", "Mars/Olympus", nil, files.ErrInvalid, ""},
	{"", "", "TimeZone", "Local", nil, files.ErrInvalid, ""},
	{"", "", "TimeZone", "../../etc/passwd", nil, files.ErrInvalid, ""},
	{"", "", "TimeZone", true, nil, values.ErrType, ""},
	{"", "", "Uses24HourClock", false, false, nil, ""},
	{"", "", "Uses24HourClock", int64(1), nil, values.ErrType, ""},
	{"", "", "UntrustedHostBUID", "X", "X", nil, ""},
	{"", "", "SerialNumber", "X", nil, values.ErrImmutable, ""},
	{"", "", "Nope", "X", nil, values.ErrImmutable, ""},
	{"", "com.example.unknown", "Nope", "X", nil, values.ErrImmutable, ""},
	{"", values.DomainAMFI, "DeveloperModeStatus", false, nil, values.ErrImmutable, ""},
	{"", "", "TimeIntervalSince1970", 1e9, nil, values.ErrProhibited, ""},
	{"ios16", "", "TimeIntervalSince1970", "now", nil, values.ErrType, ""},
	{"ios16", "", "TimeIntervalSince1970", -1.0, nil, files.ErrInvalid, ""},
	{"", values.DomainInternational, "Language", "de", "de", nil, notifications.Language},
	{"", values.DomainInternational, "Language", []any{}, nil, values.ErrType, ""},
	{"", values.DomainInternational, "Locale", "de_DE", "de_DE", nil, ""},
	{"", values.DomainWireless, "EnableWifiConnections", false, false, nil, ""},
	{"", values.DomainWireless, "SupportsWifi", false, nil, values.ErrImmutable, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", true, int64(1), nil, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", uint64(1), int64(1), nil, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", int64(2), nil, files.ErrInvalid, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", "1", nil, values.ErrType, ""},
}

func TestSetValue(t *testing.T) {
	t.Parallel()
	for _, c := range writes {
		t.Run(fmt.Sprintf("%s %s %v", c.domain, c.key, c.in), func(t *testing.T) {
			t.Parallel()
			p := phonetest.New(t, phone.Options{Profile: c.profile})
			o := p.Notifications.Observe()
			defer o.Close()
			o.Add(notifications.DeviceName)
			o.Add(notifications.TimeZone)
			o.Add(notifications.Language)
			before, _ := p.Values.Get(c.domain, c.key)
			err := p.Values.Set(c.domain, c.key, c.in)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("SetValue = %v, want %v", err, c.err)
			}
			after, _ := p.Values.Get(c.domain, c.key)
			if err != nil && c.key != "TimeIntervalSince1970" && !reflect.DeepEqual(before, after) {
				t.Errorf("a refused write changed %v to %v", before, after)
			}
			if err == nil && after != c.want {
				t.Errorf("value %v, want %v", after, c.want)
			}
			var want []string
			if c.note != "" {
				want = []string{c.note}
			}
			if got := phonetest.Heard(o); !slices.Equal(got, want) {
				t.Errorf("observers heard %v, want %v", got, want)
			}
		})
	}
}

func TestLanguageRestartsHomeScreen(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	before, _ := p.Processes.Named("SpringBoard")
	if err := p.Values.Set(values.DomainInternational, "Language", "ja"); err != nil {
		t.Fatal(err)
	}
	if after, ok := p.Processes.Named("SpringBoard"); !ok || after.PID == before.PID {
		t.Errorf("SpringBoard %d after %d", after.PID, before.PID)
	}
}

func TestSetClock(t *testing.T) {
	t.Parallel()
	base := time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, v := range []any{1.7e9, int64(1_700_000_000), uint64(1_700_000_000)} {
		p := phonetest.New(
			t,
			phone.Options{Profile: "ios16", Clock: func() time.Time { return base }},
		)
		up := p.Clock.MachTime()
		if err := p.Values.Set("", "TimeIntervalSince1970", v); err != nil {
			t.Fatalf("set %v: %v", v, err)
		}
		if got := phonetest.Value(t, p, "", "TimeIntervalSince1970"); got != 1.7e9 {
			t.Errorf("set %T: clock %v", v, got)
		}
		if now := p.Clock.MachTime(); now != up {
			t.Errorf("setting the clock changed the time since boot from %d to %d", up, now)
		}
	}
}

func TestTimeZoneOffset(t *testing.T) {
	t.Parallel()
	p := phonetest.New(
		t,
		phone.Options{
			Clock: func() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) },
		},
	)
	for zone, want := range map[string]float64{
		"Europe/Berlin": 3600, "Asia/Kolkata": 19800, "America/New_York": -18000,
	} {
		if err := p.Values.Set("", "TimeZone", zone); err != nil {
			t.Fatal(err)
		}
		if got := phonetest.Value(t, p, "", "TimeZoneOffsetFromUTC"); got != want {
			t.Errorf("%s: offset %v, want %v", zone, got, want)
		}
	}
}

func TestRemoveValue(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	if err := p.Values.Set("", "UntrustedHostBUID", "X"); err != nil {
		t.Fatal(err)
	}
	if err := p.Values.Remove("", "UntrustedHostBUID"); err != nil {
		t.Fatal(err)
	}
	if v, ok := p.Values.Get("", "UntrustedHostBUID"); ok {
		t.Errorf("removed value is %v", v)
	}
	if err := p.Values.Remove("", "SerialNumber"); !errors.Is(err, values.ErrImmutable) {
		t.Errorf("RemoveValue(SerialNumber) = %v, want ErrImmutable", err)
	}
	var e *failure.Error
	if err := p.Values.Remove("",
		"TimeIntervalSince1970"); !errors.Is(err, values.ErrProhibited) || !errors.As(err, &e) ||
		e.Error() != `phone: remove value "TimeIntervalSince1970": setting is prohibited` {
		t.Errorf("RemoveValue(TimeIntervalSince1970) = %v, want ErrProhibited", err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	p.Values.SetDeveloperMode(false)
	if p.Values.DeveloperMode() ||
		phonetest.Value(t, p, values.DomainAMFI, "DeveloperModeStatus") != false {
		t.Error("developer mode is still on")
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

// TestDomainIsACopy: what a reader does to a dictionary stays with the reader.
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
		if d["BatteryCurrentCapacity"] != c.want || d["BatteryIsCharging"] != c.filling ||
			d["FullyCharged"] != c.full || d["ExternalConnected"] != c.charger {
			t.Errorf("SetBattery(%d, %v): %v", c.percent, c.charger, d)
		}
		e, ok := p.Diagnostics.IORegistry("", "", "IOPMPowerSource")
		if !ok || e["CurrentCapacity"] != c.want || e["IsCharging"] != c.filling ||
			e["AtWarnLevel"] != c.lower || e["ExternalConnected"] != c.charger {
			t.Errorf("SetBattery(%d, %v): registry %v", c.percent, c.charger, e)
		}
		amps, _ := e.Int("InstantAmperage")
		if c.filling != (amps > 0) || !c.charger && amps >= 0 {
			t.Errorf("SetBattery(%d, %v): %d mA", c.percent, c.charger, amps)
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
	if int64(avail) != free() ||
		int64(total) !=
			phonetest.Value(t, p, "com.apple.disk_usage", "TotalDataCapacity").(int64) ||
		block != 4096 {
		t.Errorf("Usage = %d, %d, %d", total, avail, block)
	}
	if err := p.Media.Remove("Downloads/x"); err != nil || free() != before {
		t.Errorf("after removal %d free, want %d (%v)", free(), before, err)
	}
	if err := p.Media.Remove("DCIM/101APPLE/IMG_1001.MOV"); err != nil ||
		free() != before+40<<20 {
		t.Errorf("removing the film gave %d bytes (%v)", free()-before, err)
	}
}

func TestBonjourName(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]string{
		"ios16": "", "ios17.2": "-supportsRP", "ios17": "-supportsRP-19", "ios18": "-supportsRP-24",
		"ios26": "-supportsRP-24",
	} {
		p := phonetest.New(t, phone.Options{Profile: profile})
		full := phonetest.Value(t, p, values.DomainWireless, "BonjourFullServiceName").(string)
		wifi := phonetest.Value(t, p, "", "WiFiAddress").(string)
		name := strings.TrimSuffix(full, "._apple-mobdev2._tcp.local.")
		address, ok := strings.CutSuffix(name, want)
		mac, ip, _ := strings.Cut(address, "@")
		if !ok || mac != wifi || !strings.HasPrefix(ip, "fe80::") || strings.Contains(ip, "-") ||
			phonetest.Value(t, p, values.DomainWireless, "InstanceName") != name {
			t.Errorf("%s: name %s for %s, want it to end in %q", profile, full, wifi, want)
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
