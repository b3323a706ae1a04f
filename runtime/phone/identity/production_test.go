package identity_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

// TestProduction checks the types that the protocol page of RSD names.
func TestProduction(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		d := p.Identity.Production()
		if d["SecurityDomain"] != uint64(1) {
			t.Errorf("d[SecurityDomain] = %v, want %v", d["SecurityDomain"], uint64(1))
		}
		if d["SigningFuse"] != true {
			t.Errorf("d[SigningFuse] = %v, want true", d["SigningFuse"])
		}
		if d["Image4CryptoHashMethod"] != "sha2-384" {
			t.Errorf("d[Image4CryptoHashMethod] = %q, want %q", d["Image4CryptoHashMethod"],
				"sha2-384")
		}
		if d["IsVirtualDevice"] != false {
			t.Errorf("d[IsVirtualDevice] = %v, want false", d["IsVirtualDevice"])
		}
		if d["RestoreLongVersion"] != p.Identity.LongVersion() {
			t.Errorf("d[RestoreLongVersion] = %v, want %v", d["RestoreLongVersion"],
				p.Identity.LongVersion())
		}
		if p.Identity.LongVersion() == "" {
			t.Error("p.Identity.LongVersion() is empty")
		}
		for key := range d {
			if _, ok := p.Values.Get("", key); ok {
				t.Errorf("%s is a value of lockdown as well", key)
			}
		}
		d["SigningFuse"] = plist.Dict{}
		if p.Identity.Production()["SigningFuse"] != true {
			t.Error("a caller changed what the phone says")
		}
	})
}

func TestLongVersion(t *testing.T) {
	t.Parallel()
	for build, want := range map[string]string{
		"22A5297f": "22.1.297.5.6,0", // from a device with that beta
		"21F90":    "21.6.90.0.0,0",
		"":         "", "F90": "", "21": "", "21F": "", "21Fx9": "",
	} {
		id := identity.Identity{Profile: &identity.Profile{Build: build}}
		if got := id.LongVersion(); got != want {
			t.Errorf("LongVersion of %q = %q, want %q", build, got, want)
		}
	}
}

func TestVersionNumber(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]int{
		"ios16": 1607, "ios17.2": 1702, "ios17": 1705, "ios18": 1805, "ios26": 2601,
		"ios27": 2702,
	} {
		p := phonetest.New(t, phone.Options{Profile: profile})
		if got := p.Identity.VersionNumber(); got != want {
			t.Errorf("%s: VersionNumber = %d, want %d", profile, got, want)
		}
	}
}
