package screen_test

import (
	"bytes"
	"errors"
	"image/png"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/location"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/screen"
)

func TestScreenSize(t *testing.T) {
	t.Parallel()
	if w, h := phonetest.New(t, phone.Options{}).Screen.Size(); w != 1179 || h != 2556 {
		t.Errorf("ScreenSize = %d, %d", w, h)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	p.Screen.Lock()
	if p.Screen.Locked() || phonetest.Value(t, p, "", "PasswordProtected") != false {
		t.Error("locked without a passcode")
	}
	p.Screen.SetPasscode(true)
	if !p.Screen.Locked() || !p.Screen.HasPasscode() ||
		phonetest.Value(t, p, "", "PasswordProtected") != true {
		t.Error("not locked in spite of the passcode")
	}
	p.Screen.Unlock()
	if p.Screen.Locked() || !p.Screen.UnlockedSinceBoot() {
		t.Errorf("Locked %v, UnlockedSinceBoot %v after Unlock", p.Screen.Locked(),
			p.Screen.UnlockedSinceBoot())
	}
	p.Boot()
	if !p.Screen.Locked() || p.Screen.UnlockedSinceBoot() {
		t.Errorf("Locked %v, UnlockedSinceBoot %v after Boot", p.Screen.Locked(),
			p.Screen.UnlockedSinceBoot())
	}
}

func shot(t *testing.T, p *phone.Phone) []byte {
	t.Helper()
	b, err := p.Screen.Screenshot()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestScreenshot(t *testing.T) {
	t.Parallel()
	for _, profile := range identity.Profiles() {
		now := files.Epoch
		p, err := phone.New(
			phone.Options{Profile: profile, LogRate: -1, Clock: func() time.Time { return now }},
		)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		look := func(what string) []byte {
			b := shot(t, p)
			if other := seen[string(b)]; other != "" {
				t.Errorf("%s: %q looks like %q", profile, what, other)
			}
			seen[string(b)] = what
			return b
		}
		home := look("home")
		img, err := png.Decode(bytes.NewReader(home))
		if w, h := p.Screen.Size(); err != nil || img.Bounds().Dx() != w || img.Bounds().Dy() != h {
			t.Fatalf("%s: %v, %v", profile, img.Bounds(), err)
		}
		if profile != "ios17" {
			continue // but for the size all are alike
		}
		if !bytes.Equal(home, shot(t, p)) {
			t.Errorf("%s: two pictures of one screen differ", profile)
		}
		if _, err := p.Processes.Launch("com.example.shop"); err != nil {
			t.Fatal(err)
		}
		look("app")
		p.Power.SetBattery(12, true)
		look("battery")
		now = now.Add(time.Minute)
		look("a minute later")
		if _, err := p.Location.Simulate(location.Place{Latitude: 1, Longitude: 2}); err != nil {
			t.Fatal(err)
		}
		look("place")
		p.Screen.SetPasscode(true)
		p.Screen.Lock()
		look("locked")
		if err := p.Screen.Show(home); err != nil || !bytes.Equal(shot(t, p), home) {
			t.Errorf("%s: picture is not shown: %v", profile, err)
		}
		if err := p.Screen.Show([]byte("JPEG")); !errors.Is(err, files.ErrInvalid) {
			t.Errorf("%s: picture that is none: %v", profile, err)
		}
		if err := p.Screen.Show(nil); err != nil || bytes.Equal(shot(t, p), home) {
			t.Errorf("%s: picture stays: %v", profile, err)
		}
	}
}

func BenchmarkScreenshot(b *testing.B) {
	p, err := phone.New(phone.Options{LogRate: -1})
	if err != nil {
		b.Fatal(err)
	}
	var n int
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Power.SetBattery(i%100, true) // another picture each time
		s, err := p.Screen.Screenshot()
		if err != nil {
			b.Fatal(err)
		}
		n = len(s)
	}
	b.ReportMetric(float64(n), "bytes/picture")
}

func TestDisplays(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	width, height := p.Screen.Size()
	if d := p.Screen.Displays(); len(d) != 1 || d[0] != (screen.Display{
		ID: 1, Name: "LCD", UniqueID: "1", Primary: true, Width: width, Height: height, Scale: 3,
	}) {
		t.Errorf("displays %+v", d)
	}
	if o, fixed := p.Screen.Orientation(); o != "portrait" || fixed {
		t.Errorf("orientation %q, %v", o, fixed)
	}
	if !p.Screen.On() {
		t.Error("the screen is off")
	}
	p.Screen.Lock()
	if p.Screen.On() {
		t.Error("the screen of a locked phone is on")
	}
}
