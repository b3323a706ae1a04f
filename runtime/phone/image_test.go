package phone

import (
	"bytes"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

func TestImage(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		want := Image{
			Type: "Personalized", PersonalizedType: "DeveloperDiskImage",
			MountPath: "/System/Developer",
		}
		signature := 48
		if p.ProfileName() == "ios16" {
			want, signature = Image{Type: "Developer", MountPath: "/Developer"}, 128
		}
		got, ok := p.MountedImage()
		if !ok || got.Type != want.Type || got.PersonalizedType != want.PersonalizedType ||
			got.MountPath != want.MountPath || len(got.Signature) != signature {
			t.Errorf("MountedImage = %+v, %v, want %+v", got, ok, want)
		}
		if got.BackingImage == "" || got.DeviceNode == "" || got.Filesystem == "" {
			t.Errorf("MountedImage = %+v, want a file, a device and a file system", got)
		}
		p.UnmountImage()
		if got, ok := p.MountedImage(); ok || got.Type != "" || p.ImageMounted() {
			t.Errorf("MountedImage = %+v, %v after UnmountImage", got, ok)
		}
		if all := p.DeveloperImage(); !bytes.Equal(all.Signature, got.Signature) {
			t.Errorf("DeveloperImage has signature % x, want % x", all.Signature, got.Signature)
		}
	})
}

// TestImageOfAll: one personalized image is for all phones, a classic one for
// an iOS version.
func TestImageOfAll(t *testing.T) {
	t.Parallel()
	signature := func(profile string, serial int) string {
		return string(
			newPhone(t, Options{Profile: profile, Serial: serial}).DeveloperImage().Signature,
		)
	}
	if signature("ios17", 0) != signature("ios26", 1) ||
		signature("ios16", 0) != signature("ios16", 1) ||
		signature("ios16", 0) == signature("ios17", 0) {
		t.Error("signatures differ where one image is for all")
	}
}

func TestImageNotification(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{NoImage: true})
	o := p.ObserveNotifications()
	defer o.Close()
	o.Add(NoteImageMounted)
	for range 2 {
		p.MountImage()
	}
	p.UnmountImage()
	if got := heard(o); !slices.Equal(got, []string{NoteImageMounted}) {
		t.Errorf("observers heard %v", got)
	}
}

func TestImageAndBoot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options Options
		before  func(*Phone)
		want    bool
	}{
		{"kept", Options{}, func(*Phone) {}, true},
		{"taken away", Options{}, (*Phone).UnmountImage, false},
		{"none", Options{NoImage: true}, func(*Phone) {}, false},
		{"none, mounted by hand", Options{NoImage: true}, (*Phone).MountImage, false},
	} {
		p := newPhone(t, c.options)
		if p.ImageMounted() == c.options.NoImage {
			t.Errorf("%s: a new phone has it: %v", c.name, p.ImageMounted())
		}
		c.before(p)
		p.Boot()
		if got := p.ImageMounted(); got != c.want {
			t.Errorf("%s: mounted after Boot: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDeveloperServices(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		for _, c := range []struct{ image, mode bool }{
			{true, true}, {true, false}, {false, true}, {false, false},
		} {
			p.SetDeveloperMode(c.mode)
			if p.UnmountImage(); c.image {
				p.MountImage()
			}
			if got, want := p.DeveloperServices(), c.image && c.mode; got != want ||
				!p.HasDeveloperMode() {
				t.Errorf("%+v: DeveloperServices = %v, want %v", c, got, want)
			}
		}
		off := newPhone(t, Options{Profile: p.ProfileName(), NoDeveloperMode: true})
		if off.DeveloperMode() || off.DeveloperServices() || !off.ImageMounted() ||
			value(t, off, domainAMFI, "DeveloperModeStatus") != false {
			t.Error("NoDeveloperMode leaves developer mode on")
		}
	})
}

// TestPersonalizationIdentifiers has the keys and types of the protocol page.
func TestPersonalizationIdentifiers(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		d := p.PersonalizationIdentifiers()
		if p.ProfileName() == "ios16" {
			if d != nil {
				t.Errorf("identifiers %v before iOS 17", d)
			}
			return
		}
		for _, key := range []string{"BoardId", "ChipID", "UniqueChipID"} {
			if got, want := d[key], value(t, p, "", key); got != want {
				t.Errorf("%s = %v, want %v as lockdown says", key, got, want)
			}
		}
		if d["SecurityDomain"] != int64(1) || d["Ap,OSLongVersion"] != p.LongVersion() ||
			d["Ap,ProductType"] != p.ProductType() {
			t.Errorf("identifiers %v", d)
		}
	})
}

// TestProduction has the types of the protocol page of RSD.
func TestProduction(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		d := p.Production()
		if d["SecurityDomain"] != uint64(1) || d["SigningFuse"] != true ||
			d["Image4CryptoHashMethod"] != "sha2-384" || d["IsVirtualDevice"] != false {
			t.Errorf("Production = %v", d)
		}
		if d["RestoreLongVersion"] != p.LongVersion() || p.LongVersion() == "" {
			t.Errorf("RestoreLongVersion = %v, want %q", d["RestoreLongVersion"], p.LongVersion())
		}
		for key := range d {
			if _, ok := p.Value("", key); ok {
				t.Errorf("%s is a value of lockdown as well", key)
			}
		}
		d["SigningFuse"] = plist.Dict{}
		if p.Production()["SigningFuse"] != true {
			t.Error("a caller changed what the phone says")
		}
	})
}

func TestLongVersion(t *testing.T) {
	t.Parallel()
	for build, want := range map[string]string{
		"22A5297f": "22.1.297.5.6,0", // as a device with that beta says
		"21F90":    "21.6.90.0.0,0",
		"":         "", "F90": "", "21": "", "21F": "", "21Fx9": "",
	} {
		if got := longVersion(build); got != want {
			t.Errorf("longVersion(%q) = %q, want %q", build, got, want)
		}
	}
}

func TestVersionNumber(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]int{
		"ios16": 1607, "ios17.2": 1702, "ios17": 1705, "ios18": 1805, "ios26": 2601,
	} {
		if got := newPhone(t, Options{Profile: profile}).VersionNumber(); got != want {
			t.Errorf("%s: VersionNumber = %d, want %d", profile, got, want)
		}
	}
}
