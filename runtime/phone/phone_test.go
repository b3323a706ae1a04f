package phone

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// newPhone makes a silent phone for a test.
func newPhone(t testing.TB, o Options) *Phone {
	t.Helper()
	if o.LogRate == 0 {
		o.LogRate = -1
	}
	p, err := New(o)
	if err != nil {
		t.Fatalf("New(%+v): %v", o, err)
	}
	return p
}

func TestNewDefaults(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	if p.ProfileName() != "ios17" || p.ProductVersion() != "17.5.1" ||
		p.ProductType() != "iPhone15,2" || p.Name() != "Virtual iPhone" {
		t.Errorf("default phone is %s %s %s %q", p.ProfileName(), p.ProductVersion(),
			p.ProductType(), p.Name())
	}
	if q := newPhone(t, Options{Name: "Ada's phone"}); q.Name() != "Ada's phone" {
		t.Errorf("Name = %q", q.Name())
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"unknown profile": {Profile: "ios3"},
		"negative serial": {Serial: -1},
	} {
		if p, err := New(o); err == nil || p != nil {
			t.Errorf("%s: New = %v, %v, want an error alone", name, p, err)
		}
	}
}

func luhnValid(s string) bool { return luhn(s[:len(s)-1]) == s }

// TestIdentity checks the form of all identifiers and that no two phones
// share one.
func TestIdentity(t *testing.T) {
	t.Parallel()
	forms := map[string]*regexp.Regexp{
		"UniqueDeviceID": regexp.MustCompile(
			`^0000[0-9A-F]{4}-[0-9A-F]{16}$`,
		),
		"SerialNumber":              regexp.MustCompile(`^[0-9A-Z]{10}$`),
		"MLBSerialNumber":           regexp.MustCompile(`^[0-9A-Z]{17}$`),
		"WirelessBoardSerialNumber": regexp.MustCompile(`^[0-9A-Z]{17}$`),
		"WiFiAddress": regexp.MustCompile(
			`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`,
		),
		"BluetoothAddress": regexp.MustCompile(
			`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`,
		),
		"EthernetAddress": regexp.MustCompile(
			`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`,
		),
		"InternationalMobileEquipmentIdentity":  regexp.MustCompile(`^35\d{13}$`),
		"InternationalMobileEquipmentIdentity2": regexp.MustCompile(`^35\d{13}$`),
		"IntegratedCircuitCardIdentity":         regexp.MustCompile(`^89\d{17,18}$`),
		"InternationalMobileSubscriberIdentity": regexp.MustCompile(`^310260\d{9}$`),
	}
	luhns := []string{
		"InternationalMobileEquipmentIdentity", "InternationalMobileEquipmentIdentity2",
		"IntegratedCircuitCardIdentity",
	}
	seen := map[string]int{}
	for _, profile := range Profiles() {
		for n := range 200 {
			p := newPhone(t, Options{Profile: profile, Serial: n})
			d := p.Domain("")
			for key, form := range forms {
				v, _ := d.String(key)
				if !form.MatchString(v) {
					t.Fatalf("%s %d: %s = %q, want %v", profile, n, key, v, form)
				}
				seen[v]++
			}
			for _, key := range luhns {
				if v, _ := d.String(key); !luhnValid(v) {
					t.Errorf("%s %d: %s = %s, wrong check digit", profile, n, key, v)
				}
			}
		}
	}
	for v, n := range seen {
		if n > 1 {
			t.Errorf("%s belongs to %d phones", v, n)
		}
	}
}

func TestIdentityIsConsistent(t *testing.T) {
	t.Parallel()
	for _, profile := range Profiles() {
		p := newPhone(t, Options{Profile: profile, Serial: 3})
		d := p.Domain("")
		ecid, _ := d.Uint("UniqueChipID")
		chip, _ := d.Uint("ChipID")
		hex := strings.ToUpper(p.UDID())
		want := strings.ToUpper(strings.Join([]string{pad(chip, 8), pad(ecid, 16)}, "-"))
		if hex != want || d["UniqueDeviceID"] != p.UDID() {
			t.Errorf("%s: UDID %s, chip and ECID say %s", profile, p.UDID(), want)
		}
		if ecid >= 1<<53 {
			t.Errorf("%s: ECID %d is not exact as a double", profile, ecid)
		}
		if d["DieID"] != d["UniqueChipID"] || d["CertID"] != d["BasebandCertId"] {
			t.Errorf("%s: DieID %v, CertID %v", profile, d["DieID"], d["CertID"])
		}
		imsi, _ := d.String("InternationalMobileSubscriberIdentity")
		if imsi != d["MobileSubscriberCountryCode"].(string)+
			d["MobileSubscriberNetworkCode"].(string)+imsi[6:] {
			t.Errorf("%s: IMSI %s does not begin with its country and network", profile, imsi)
		}
		if q := newPhone(t, Options{Profile: profile, Serial: 3}); q.UDID() != p.UDID() {
			t.Errorf("%s: the same serial made %s and %s", profile, p.UDID(), q.UDID())
		}
	}
}

func pad(v uint64, n int) string {
	const digits = "0123456789abcdef"
	b := make([]byte, n)
	for i := n - 1; i >= 0; i-- {
		b[i] = digits[v&15]
		v >>= 4
	}
	return string(b)
}

func TestBoot(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	before, nonce := p.BootID(), value(t, p, "", "ApNonce")
	board, _ := p.ProcessNamed("SpringBoard")
	o := p.ObserveNotifications()
	defer o.Close()
	o.Add(NoteStartup)
	p.Boot()
	if p.BootID() == before || value(t, p, "", "BootSessionID") != p.BootID() {
		t.Errorf("BootID %s after %s, BootSessionID %v", p.BootID(), before,
			value(t, p, "", "BootSessionID"))
	}
	if string(nonce.([]byte)) == string(value(t, p, "", "ApNonce").([]byte)) {
		t.Error("ApNonce survived a restart")
	}
	if again, _ := p.ProcessNamed("SpringBoard"); again.PID == board.PID {
		t.Errorf("SpringBoard is %d as before the restart", again.PID)
	}
	if name, err := o.Next(t.Context()); name != NoteStartup || err != nil {
		t.Errorf("Next = %q, %v", name, err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	p.Lock()
	if p.Locked() || value(t, p, "", "PasswordProtected") != false {
		t.Error("locked without a passcode")
	}
	p.SetPasscode(true)
	if !p.Locked() || !p.HasPasscode() || value(t, p, "", "PasswordProtected") != true {
		t.Error("not locked in spite of the passcode")
	}
	p.Unlock()
	if p.Locked() || !p.UnlockedSinceBoot() {
		t.Errorf("Locked %v, UnlockedSinceBoot %v after Unlock", p.Locked(), p.UnlockedSinceBoot())
	}
	p.Boot()
	if !p.Locked() || p.UnlockedSinceBoot() {
		t.Errorf("Locked %v, UnlockedSinceBoot %v after Boot", p.Locked(), p.UnlockedSinceBoot())
	}
}

func TestPower(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	id := p.BootID()
	p.Power(Restart)
	if p.BootID() == id {
		t.Error("a restart without a machine did not boot")
	}
	var got []string
	p.OnPower(nil)
	p.OnPower(func(a PowerAction) { got = append(got, "one "+a.String()) })
	p.OnPower(func(a PowerAction) { got = append(got, "two "+a.String()) })
	id = p.BootID()
	p.SetPasscode(true)
	p.Power(Restart)
	p.Power(Shutdown)
	if p.Locked() {
		t.Error("locked before Sleep")
	}
	p.Power(Sleep)
	if !p.Locked() {
		t.Error("not locked by Sleep")
	}
	want := "one restart,two restart,one shutdown,two shutdown,one sleep,two sleep"
	if s := strings.Join(got, ","); s != want || p.BootID() != id {
		t.Errorf("calls %s, want %s; booted by itself: %v", s, want, p.BootID() != id)
	}
	if s := PowerAction(9).String(); s != "PowerAction(9)" {
		t.Errorf("String = %s", s)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC)
	p := newPhone(t, Options{Clock: func() time.Time { return at }})
	if !p.Now().Equal(at) {
		t.Errorf("Now = %v, want %v", p.Now(), at)
	}
	if v := value(t, p, "", "TimeZoneOffsetFromUTC"); v != 7200.0 {
		t.Errorf("offset in July = %v, want 7200 as real", v)
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		if _, err := New(Options{Serial: i}); err != nil {
			b.Fatal(err)
		}
	}
}
