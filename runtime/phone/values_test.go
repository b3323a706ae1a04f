package phone

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// value returns a value that must exist.
func value(t testing.TB, p *Phone, domain, key string) any {
	t.Helper()
	v, ok := p.Value(domain, key)
	if !ok {
		t.Fatalf("Value(%q, %q): missing", domain, key)
	}
	return v
}

func eachProfile(t *testing.T, f func(*testing.T, *Phone)) {
	for _, name := range Profiles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, newPhone(t, Options{Profile: name}))
		})
	}
}

// TestDomainsEncode: whatever lockdown may be asked for must have a property
// list form, and survive it.
func TestDomainsEncode(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		for _, domain := range append(p.DomainNames(), "com.example.unknown") {
			d := p.Domain(domain)
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
	eachProfile(t, func(t *testing.T, p *Phone) {
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
			if got := plist.TypeName(value(t, p, "", key)); got != want {
				t.Errorf("%s is %s, want %s", key, got, want)
			}
		}
		nvram := value(t, p, "", "NonVolatileRAM").(plist.Dict)
		if got := plist.TypeName(nvram["boot-args"]); got != "string" {
			t.Errorf("boot-args is %s, want string", got)
		}
		if got := plist.TypeName(nvram["auto-boot"]); got != "data" {
			t.Errorf("auto-boot is %s, want data", got)
		}
		if n := len(value(t, p, "", "PkHash").([]byte)); n != 48 {
			t.Errorf("PkHash has %d bytes, want 48", n)
		}
	})
}

func TestVersionedKeys(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		if v := value(t, p, "", "HumanReadableProductVersionString"); v != p.ProductVersion() {
			t.Errorf("HumanReadableProductVersionString = %v", v)
		}
		for _, old := range []string{
			"MobileEquipmentIdentifier", "ProximitySensorCalibration",
			"SBLockdownEverRegisteredKey",
		} {
			if v, ok := p.Value("", old); ok {
				t.Errorf("%s = %v, but ended with iOS 15", old, v)
			}
		}
		if !p.DeveloperMode() {
			t.Error("developer mode is off")
		}
		if got, want := p.GestaltDeprecated(), p.VersionNumber() >= 1704; got != want {
			t.Errorf("GestaltDeprecated = %v, want %v", got, want)
		}
	})
}

func TestByKeyOnly(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		all, open := p.Domain(""), p.PublicDomain()
		for _, key := range []string{"DevicePublicKey", "ApNonce", "SEPNonce",
			"FirmwarePreflightInfo", "PreflightInfo", "ApParameters",
			"Image4Supported", "CarrierBundleInfo", "BasebandGoldCertId", "HasSEP",
			"EffectiveProductionStatusAp",
			"EffectiveSecurityModeAp", "FMiPAccountExists", "DeviceEnclosureColor", "RegionCode",
			"BasebandFirmwareManifestData", "ProductVersionExtra"} {
			if _, err := plist.Encode(value(t, p, "", key), plist.XML); err != nil {
				t.Errorf("%s: %v", key, err)
			}
			if _, ok := all[key]; ok {
				t.Errorf("%s is in the dictionary of all values", key)
			}
			if _, ok := open[key]; ok {
				t.Errorf("%s is in the public dictionary", key)
			}
		}
		pem := string(value(t, p, "", "DevicePublicKey").([]byte))
		if !strings.HasPrefix(pem, "-----BEGIN RSA PUBLIC KEY-----\n") ||
			!strings.HasSuffix(pem, "\n-----END RSA PUBLIC KEY-----\n") {
			t.Errorf("DevicePublicKey = %q", pem)
		}
		if !p.Access("", "DevicePublicKey").Public {
			t.Error("DevicePublicKey is not public")
		}
	})
}

func TestPublicDomain(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		want := strings.Fields(`BasebandCertId BasebandKeyHashInformation BasebandSerialNumber BasebandVersion BoardId BuildVersion
			CPUArchitecture ChipID DeviceClass DeviceColor DeviceName DieID HardwareModel HasSiDP HumanReadableProductVersionString
			PartitionType ProductName ProductType ProductVersion ProductionSOC ProtocolVersion SupportedDeviceFamilies
			TelephonyCapability UniqueChipID UniqueDeviceID WiFiAddress`)
		var got []string
		for k := range p.PublicDomain() {
			got = append(got, k)
			if !p.Access("", k).Public {
				t.Errorf("%s is in the public dictionary but not public", k)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("public keys\n%v, want\n%v", got, want)
		}
		if p.Access("", "SerialNumber").Public ||
			p.Access(domainAMFI, "DeveloperModeStatus").Public {
			t.Error("private values are public")
		}
		if err := p.SetValue("", "UntrustedHostBUID", "BUID-1"); err != nil {
			t.Fatal(err)
		}
		if p.PublicDomain()["UntrustedHostBUID"] != "BUID-1" {
			t.Error("UntrustedHostBUID is not public once set")
		}
	})
}

func TestAccess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		domain, key string
		want        Access
	}{
		{"", "DeviceName", Access{Public: true, Writable: true}},
		{"", "UntrustedHostBUID", Access{Public: true, Writable: true, WritableUnpaired: true}},
		{"", "SerialNumber", Access{}},
		{"", "ProductVersion", Access{Public: true}},
		{"", "TimeZone", Access{Writable: true}},
		{"", "Nope", Access{}},
		{domainWireless, "EnableWifiConnections", Access{Writable: true}},
		{"com.example.unknown", "Nope", Access{}},
	} {
		if got := newPhone(t, Options{}).Access(c.domain, c.key); got != c.want {
			t.Errorf("Access(%q, %q) = %+v, want %+v", c.domain, c.key, got, c.want)
		}
	}
	for profile, want := range map[string]bool{
		"ios16": true, "ios17.2": false, "ios17": false, "ios18": false, "ios26": false,
	} {
		if got := newPhone(t, Options{Profile: profile}).Access("",
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
	{"", "", "DeviceName", "Blue", "Blue", nil, NoteDeviceName},
	{"", "", "DeviceName", int64(3), nil, ErrType, ""},
	{"", "", "DeviceName", "", nil, ErrInvalid, ""},
	{"", "", "TimeZone", "Asia/Tokyo", "Asia/Tokyo", nil, NoteTimeZone},
	{"", "", "TimeZone", "Mars/Olympus", nil, ErrInvalid, ""},
	{"", "", "TimeZone", "Local", nil, ErrInvalid, ""},
	{"", "", "TimeZone", "../../etc/passwd", nil, ErrInvalid, ""},
	{"", "", "TimeZone", true, nil, ErrType, ""},
	{"", "", "Uses24HourClock", false, false, nil, ""},
	{"", "", "Uses24HourClock", int64(1), nil, ErrType, ""},
	{"", "", "UntrustedHostBUID", "X", "X", nil, ""},
	{"", "", "SerialNumber", "X", nil, ErrImmutable, ""},
	{"", "", "Nope", "X", nil, ErrImmutable, ""},
	{"", "com.example.unknown", "Nope", "X", nil, ErrImmutable, ""},
	{"", domainAMFI, "DeveloperModeStatus", false, nil, ErrImmutable, ""},
	{"", "", "TimeIntervalSince1970", 1e9, nil, ErrProhibited, ""},
	{"ios16", "", "TimeIntervalSince1970", "now", nil, ErrType, ""},
	{"ios16", "", "TimeIntervalSince1970", -1.0, nil, ErrInvalid, ""},
	{"", domainInternational, "Language", "de", "de", nil, NoteLanguage},
	{"", domainInternational, "Language", []any{}, nil, ErrType, ""},
	{"", domainInternational, "Locale", "de_DE", "de_DE", nil, ""},
	{"", domainWireless, "EnableWifiConnections", false, false, nil, ""},
	{"", domainWireless, "SupportsWifi", false, nil, ErrImmutable, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", true, int64(1), nil, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", uint64(1), int64(1), nil, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", int64(2), nil, ErrInvalid, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", "1", nil, ErrType, ""},
}

func TestSetValue(t *testing.T) {
	t.Parallel()
	for _, c := range writes {
		t.Run(fmt.Sprintf("%s %s %v", c.domain, c.key, c.in), func(t *testing.T) {
			t.Parallel()
			p := newPhone(t, Options{Profile: c.profile})
			o := p.ObserveNotifications()
			defer o.Close()
			o.Add(NoteDeviceName)
			o.Add(NoteTimeZone)
			o.Add(NoteLanguage)
			before, _ := p.Value(c.domain, c.key)
			err := p.SetValue(c.domain, c.key, c.in)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("SetValue = %v, want %v", err, c.err)
			}
			after, _ := p.Value(c.domain, c.key)
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
			if got := heard(o); !slices.Equal(got, want) {
				t.Errorf("observers heard %v, want %v", got, want)
			}
		})
	}
}

// heard takes what is queued for an observer, without waiting.
func heard(o *Observer) []string {
	buf := make([]string, observerQueue)
	n, _ := o.q.take(buf)
	return buf[:n]
}

func TestLanguageRestartsHomeScreen(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	before, _ := p.ProcessNamed("SpringBoard")
	if err := p.SetValue(domainInternational, "Language", "ja"); err != nil {
		t.Fatal(err)
	}
	if after, ok := p.ProcessNamed("SpringBoard"); !ok || after.PID == before.PID {
		t.Errorf("SpringBoard %d after %d", after.PID, before.PID)
	}
}

func TestSetClock(t *testing.T) {
	t.Parallel()
	base := time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, v := range []any{1.7e9, int64(1_700_000_000), uint64(1_700_000_000)} {
		p := newPhone(t, Options{Profile: "ios16", Clock: func() time.Time { return base }})
		up := p.machTime(p.Now())
		if err := p.SetValue("", "TimeIntervalSince1970", v); err != nil {
			t.Fatalf("set %v: %v", v, err)
		}
		if got := value(t, p, "", "TimeIntervalSince1970"); got != 1.7e9 {
			t.Errorf("set %T: clock %v", v, got)
		}
		if now := p.machTime(p.Now()); now != up {
			t.Errorf("setting the clock changed the time since boot from %d to %d", up, now)
		}
	}
}

func TestTimeZoneOffset(t *testing.T) {
	t.Parallel()
	p := newPhone(t,
		Options{Clock: func() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) }})
	for zone, want := range map[string]float64{
		"Europe/Berlin": 3600, "Asia/Kolkata": 19800, "America/New_York": -18000,
	} {
		if err := p.SetValue("", "TimeZone", zone); err != nil {
			t.Fatal(err)
		}
		if got := value(t, p, "", "TimeZoneOffsetFromUTC"); got != want {
			t.Errorf("%s: offset %v, want %v", zone, got, want)
		}
	}
}

func TestRemoveValue(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	if err := p.SetValue("", "UntrustedHostBUID", "X"); err != nil {
		t.Fatal(err)
	}
	if err := p.RemoveValue("", "UntrustedHostBUID"); err != nil {
		t.Fatal(err)
	}
	if v, ok := p.Value("", "UntrustedHostBUID"); ok {
		t.Errorf("removed value is %v", v)
	}
	if err := p.RemoveValue("", "SerialNumber"); !errors.Is(err, ErrImmutable) {
		t.Errorf("RemoveValue(SerialNumber) = %v, want ErrImmutable", err)
	}
	var e *Error
	if err := p.RemoveValue("",
		"TimeIntervalSince1970"); !errors.Is(err, ErrProhibited) || !errors.As(err, &e) ||
		e.Error() != `phone: remove value "TimeIntervalSince1970": setting is prohibited` {
		t.Errorf("RemoveValue(TimeIntervalSince1970) = %v, want ErrProhibited", err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	p.SetDeveloperMode(false)
	if p.DeveloperMode() || value(t, p, domainAMFI, "DeveloperModeStatus") != false {
		t.Error("developer mode is still on")
	}
	o := p.ObserveNotifications()
	defer o.Close()
	o.Add(NoteActivation)
	p.Store("", "ActivationState", "Unactivated")
	if got := heard(o); !slices.Equal(got, []string{NoteActivation}) {
		t.Errorf("observers heard %v", got)
	}
	if v := value(t, p, "com.apple.mobile.lockdown_cache", "ActivationState"); v != "Unactivated" {
		t.Errorf("lockdown_cache says %v", v)
	}
	list := []any{"a"}
	p.Store("com.example", "List", list)
	list[0] = "changed"
	if got := p.Domain("com.example"); !reflect.DeepEqual(got, plist.Dict{"List": []any{"a"}}) {
		t.Errorf("new domain is %v", got)
	}
	p.Store("com.example", "List", nil)
	if v, ok := p.Value("com.example", "List"); ok {
		t.Errorf("stored nil, value is %v", v)
	}
}

// TestDomainIsACopy: what a reader does to a dictionary stays with the reader.
func TestDomainIsACopy(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		for _, name := range p.DomainNames() {
			want := p.Domain(name)
			scribble(p.Domain(name))
			got := p.Domain(name)
			delete(want, "TimeIntervalSince1970")
			delete(got, "TimeIntervalSince1970")
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q changed through a copy", name)
			}
		}
	})
}

func scribble(v any) {
	switch v := v.(type) {
	case plist.Dict:
		for k, e := range v {
			scribble(e)
			v[k] = "scribble"
		}
	case []any:
		for i, e := range v {
			scribble(e)
			v[i] = "scribble"
		}
	case []byte:
		for i := range v {
			v[i] ^= 0xFF
		}
	}
}

func TestBattery(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
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
		p.SetBattery(c.percent, c.charger)
		d := p.Domain("com.apple.mobile.battery")
		if d["BatteryCurrentCapacity"] != c.want || d["BatteryIsCharging"] != c.filling ||
			d["FullyCharged"] != c.full || d["ExternalConnected"] != c.charger {
			t.Errorf("SetBattery(%d, %v): %v", c.percent, c.charger, d)
		}
		e, ok := p.IORegistry("", "", "IOPMPowerSource")
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
	p := newPhone(t, Options{})
	free := func() int64 {
		return value(t, p, "com.apple.disk_usage",
			"TotalDataAvailable").(int64)
	}
	before := free()
	if _, err := p.Media().ReadDir("DCIM/100APPLE"); err != nil {
		t.Fatal(err)
	}
	if free() != before {
		t.Error("looking at the media changed the free space")
	}
	if err := p.Media().WriteFile("Downloads/x", make([]byte, 10_000)); err != nil {
		t.Fatal(err)
	}
	if got := before - free(); got != 12_288 {
		t.Errorf("10000 bytes take %d, want 12288", got)
	}
	total, avail, block := p.Media().Usage()
	if int64(avail) != free() ||
		int64(total) != value(t, p, "com.apple.disk_usage", "TotalDataCapacity").(int64) ||
		block != 4096 {
		t.Errorf("Usage = %d, %d, %d", total, avail, block)
	}
	if err := p.Media().Remove("Downloads/x"); err != nil || free() != before {
		t.Errorf("after removal %d free, want %d (%v)", free(), before, err)
	}
	if err := p.Media().Remove("DCIM/101APPLE/IMG_1001.MOV"); err != nil ||
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
		p := newPhone(t, Options{Profile: profile})
		full := value(t, p, domainWireless, "BonjourFullServiceName").(string)
		wifi := value(t, p, "", "WiFiAddress").(string)
		name := strings.TrimSuffix(full, "._apple-mobdev2._tcp.local.")
		address, ok := strings.CutSuffix(name, want)
		mac, ip, _ := strings.Cut(address, "@")
		if !ok || mac != wifi || !strings.HasPrefix(ip, "fe80::") || strings.Contains(ip, "-") ||
			value(t, p, domainWireless, "InstanceName") != name {
			t.Errorf("%s: name %s for %s, want it to end in %q", profile, full, wifi, want)
		}
	}
}

func BenchmarkDomain(b *testing.B) {
	p := newPhone(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		p.Domain("")
	}
}
