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
		if !ok || got.Type != want.Type || got.PersonalizedType != want.PersonalizedType ||
			got.MountPath != want.MountPath || len(got.Signature) != signature {
			t.Errorf("Mounted = %+v, %v, want %+v", got, ok, want)
		}
		if got.BackingImage == "" || got.DeviceNode == "" || got.Filesystem == "" {
			t.Errorf("Mounted = %+v, want a file, a device and a file system", got)
		}
		p.Image.Unmount()
		if got, ok := p.Image.Mounted(); ok || got.Type != "" || p.Image.IsMounted() {
			t.Errorf("Mounted = %+v, %v after Unmount", got, ok)
		}
		if all := p.Image.Accepted(); !bytes.Equal(all.Signature, got.Signature) {
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
			phonetest.New(
				t,
				phone.Options{Profile: profile, Serial: serial},
			).Image.Accepted().Signature,
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

// TestPersonalizationIdentifiers has the keys and types of the protocol page.
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
		if d["SecurityDomain"] != int64(1) || d["Ap,OSLongVersion"] != p.Identity.LongVersion() ||
			d["Ap,ProductType"] != p.Identity.ProductType {
			t.Errorf("identifiers %v", d)
		}
	})
}
