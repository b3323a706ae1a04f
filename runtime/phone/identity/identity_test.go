package identity_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

// luhnValid reports whether the last digit is the check digit of ISO/IEC 7812-1.
func luhnValid(s string) bool {
	sum := 0
	for i, r := range s {
		d := int(r - '0')
		if (len(s)-i)%2 == 0 {
			d = d*2/10 + d*2%10
		}
		sum += d
	}
	return sum%10 == 0
}

// TestIdentity checks the form of all identifiers, and that two phones never share one.
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
	for _, profile := range identity.Profiles() {
		for n := range 200 {
			p := phonetest.New(t, phone.Options{Profile: profile, Serial: n})
			d := p.Values.Domain("")
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
	for _, profile := range identity.Profiles() {
		p := phonetest.New(t, phone.Options{Profile: profile, Serial: 3})
		d := p.Values.Domain("")
		ecid, _ := d.Uint("UniqueChipID")
		chip, _ := d.Uint("ChipID")
		hex := strings.ToUpper(p.Identity.UDID)
		want := strings.ToUpper(strings.Join([]string{pad(chip, 8), pad(ecid, 16)}, "-"))
		if hex != want {
			t.Errorf("%s: UDID %s, want %s from the chip and the ECID", profile, p.Identity.UDID,
				want)
		}
		if d["UniqueDeviceID"] != p.Identity.UDID {
			t.Errorf("%s: UniqueDeviceID = %v, want %v", profile, d["UniqueDeviceID"],
				p.Identity.UDID)
		}
		if ecid >= 1<<53 {
			t.Errorf("%s: ECID %d is not exact as a double", profile, ecid)
		}
		if d["DieID"] != d["UniqueChipID"] {
			t.Errorf("%s: DieID = %v, want the UniqueChipID %v", profile, d["DieID"],
				d["UniqueChipID"])
		}
		if d["CertID"] != d["BasebandCertId"] {
			t.Errorf("%s: CertID = %v, want the BasebandCertId %v", profile, d["CertID"],
				d["BasebandCertId"])
		}
		imsi, _ := d.String("InternationalMobileSubscriberIdentity")
		if imsi != d["MobileSubscriberCountryCode"].(string)+
			d["MobileSubscriberNetworkCode"].(string)+imsi[6:] {
			t.Errorf("%s: IMSI %s does not begin with its country and network", profile, imsi)
		}
		q := phonetest.New(t, phone.Options{Profile: profile, Serial: 3})
		if first, second := p.Identity.UDID, q.Identity.UDID; first != second {
			t.Errorf("%s: the same serial made %s and %s", profile, first, second)
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
