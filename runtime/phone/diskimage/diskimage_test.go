package diskimage_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/diskimage"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestImage(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		want := diskimage.Image{
			Type: "Personalized", PersonalizedType: "DeveloperDiskImage",
			MountPath: "/System/Developer",
		}
		signature := 48
		if p.Identity.Profile.Name == "ios16" {
			want, signature = diskimage.Image{Type: "Developer", MountPath: "/Developer"}, 128
		}
		got, ok := p.Image.Mounted()
		if !ok {
			t.Error("no image is mounted")
		}
		if got.Type != want.Type {
			t.Errorf("Mounted: Type = %v, want %v", got.Type, want.Type)
		}
		if got.PersonalizedType != want.PersonalizedType {
			t.Errorf("Mounted: PersonalizedType = %v, want %v", got.PersonalizedType,
				want.PersonalizedType)
		}
		if got.MountPath != want.MountPath {
			t.Errorf("Mounted: MountPath = %v, want %v", got.MountPath, want.MountPath)
		}
		if len(got.Signature) != signature {
			t.Errorf("Mounted: Signature of %d bytes, want %d", len(got.Signature), signature)
		}
		if got.BackingImage == "" {
			t.Error("Mounted: BackingImage is empty")
		}
		if got.DeviceNode == "" {
			t.Error("Mounted: DeviceNode is empty")
		}
		if got.Filesystem == "" {
			t.Error("Mounted: Filesystem is empty")
		}
		p.Image.Unmount()
		if got, ok := p.Image.Mounted(); ok {
			t.Errorf("an image is mounted after Unmount: %+v", got)
		} else if got.Type != "" {
			t.Errorf("Mounted after Unmount: Type = %q, want none", got.Type)
		} else if p.Image.IsMounted() {
			t.Error("IsMounted after Unmount = true")
		}
		if all := p.Image.Accepted(); !bytes.Equal(all.Signature, got.Signature) {
			t.Errorf("DeveloperImage has signature % x, want % x", all.Signature, got.Signature)
		}
	})
}

// TestImageOfAll checks that all phones accept the same personalized image, and that a
// classic image belongs to an iOS version.
func TestImageOfAll(t *testing.T) {
	t.Parallel()
	signature := func(profile string, serial int) string {
		return string(
			phonetest.New(
				t,
				phone.Options{Profile: profile, Serial: serial},
			).Image.Accepted().Signature,
		)
	}
	if signature("ios17", 0) != signature("ios26", 1) {
		t.Error("ios17 and ios26 have different signatures")
	}
	if signature("ios16", 0) != signature("ios16", 1) {
		t.Error("two phones with ios16 have different signatures")
	}
	if signature("ios16", 0) == signature("ios17", 0) {
		t.Error("ios16 and ios17 have the same signature")
	}
}

func TestImageNotification(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{NoImage: true})
	o := p.Notifications.Observe()
	defer o.Close()
	o.Add(notifications.ImageMounted)
	for range 2 {
		p.Image.Mount()
	}
	p.Image.Unmount()
	if got := phonetest.Heard(o); !slices.Equal(got, []string{notifications.ImageMounted}) {
		t.Errorf("observers heard %v", got)
	}
}

func TestImageAndBoot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options phone.Options
		before  func(*phone.Phone)
		want    bool
	}{
		{"kept", phone.Options{}, func(*phone.Phone) {}, true},
		{"taken away", phone.Options{}, func(p *phone.Phone) { p.Image.Unmount() }, false},
		{"none", phone.Options{NoImage: true}, func(*phone.Phone) {}, false},
		{"none, mounted by hand", phone.Options{NoImage: true},
			func(p *phone.Phone) { p.Image.Mount() }, false},
	} {
		p := phonetest.New(t, c.options)
		if p.Image.IsMounted() == c.options.NoImage {
			t.Errorf("%s: a new phone has it: %v", c.name, p.Image.IsMounted())
		}
		c.before(p)
		p.Boot()
		if got := p.Image.IsMounted(); got != c.want {
			t.Errorf("%s: mounted after Boot: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestPersonalizationIdentifiers checks the keys and types that the protocol page names.
func TestPersonalizationIdentifiers(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		d := p.Image.PersonalizationIdentifiers()
		if p.Identity.Profile.Name == "ios16" {
			if d != nil {
				t.Errorf("identifiers %v before iOS 17", d)
			}
			return
		}
		for _, key := range []string{"BoardId", "ChipID", "UniqueChipID"} {
			if got, want := d[key], phonetest.Value(t, p, "", key); got != want {
				t.Errorf("%s = %v, want %v as lockdown says", key, got, want)
			}
		}
		if d["SecurityDomain"] != int64(1) {
			t.Errorf("d[SecurityDomain] = %v, want %v", d["SecurityDomain"], int64(1))
		}
		if d["Ap,OSLongVersion"] != p.Identity.LongVersion() {
			t.Errorf("d[Ap,OSLongVersion] = %v, want %v", d["Ap,OSLongVersion"],
				p.Identity.LongVersion())
		}
		if d["Ap,ProductType"] != p.Identity.ProductType {
			t.Errorf("d[Ap,ProductType] = %v, want %v", d["Ap,ProductType"], p.Identity.ProductType)
		}
	})
}
