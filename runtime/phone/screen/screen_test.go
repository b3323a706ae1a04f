package screen_test

import (
	"bytes"
	"errors"
	"image/png"
	"slices"
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
	if w, h := phonetest.New(t, phone.Options{}).Screen.Size(); w != 1179 {
		t.Errorf("width %d, want 1179", w)
	} else if h != 2556 {
		t.Errorf("height %d, want 2556", h)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	p.Screen.Lock()
	if p.Screen.Locked() {
		t.Error("Locked = true without a passcode")
	}
	if phonetest.Value(t, p, "", "PasswordProtected") != false {
		t.Error("PasswordProtected is not false without a passcode")
	}
	p.Screen.SetPasscode(true)
	if !p.Screen.Locked() {
		t.Error("Locked = false with a passcode")
	}
	if !p.Screen.HasPasscode() {
		t.Error("HasPasscode = false with a passcode")
	}
	if phonetest.Value(t, p, "", "PasswordProtected") != true {
		t.Error("PasswordProtected is not true with a passcode")
	}
	p.Screen.Unlock()
	if p.Screen.Locked() {
		t.Error("Locked = true after Unlock")
	}
	if !p.Screen.UnlockedSinceBoot() {
		t.Error("UnlockedSinceBoot = false after Unlock")
	}
	p.Boot()
	if !p.Screen.Locked() {
		t.Error("Locked = false after Boot")
	}
	if p.Screen.UnlockedSinceBoot() {
		t.Error("UnlockedSinceBoot = true after Boot")
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
		config, err := png.DecodeConfig(bytes.NewReader(home))
		if w, h := p.Screen.Size(); err != nil {
			t.Fatalf("%s: %v", profile, err)
		} else if config.Width != w {
			t.Fatalf("%s: width %d, want %d", profile, config.Width, w)
		} else if config.Height != h {
			t.Fatalf("%s: height %d, want %d", profile, config.Height, h)
		}
		if profile != "ios17" {
			continue // the other profiles differ only in the size
		}
		if _, err := png.Decode(bytes.NewReader(home)); err != nil {
			t.Fatal(err)
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
		if err := p.Screen.Show(home); err != nil {
			t.Errorf("%s: Show: %v", profile, err)
		} else if !bytes.Equal(shot(t, p), home) {
			t.Errorf("%s: the picture is not shown", profile)
		}
		if err := p.Screen.Show([]byte("JPEG")); !errors.Is(err, files.ErrInvalid) {
			t.Errorf("%s: picture that is none: %v", profile, err)
		}
		if err := p.Screen.Show(nil); err != nil {
			t.Errorf("%s: Show: %v", profile, err)
		} else if bytes.Equal(shot(t, p), home) {
			t.Errorf("%s: the picture is still shown", profile)
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
		p.Power.SetBattery(i%100, true) // makes each picture differ from the one before
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
	want := []screen.Display{{
		ID: 1, Name: "LCD", UniqueID: "1", Primary: true, Width: width, Height: height, Scale: 3,
	}}
	if d := p.Screen.Displays(); !slices.Equal(d, want) {
		t.Errorf("displays %+v, want %+v", d, want)
	}
	if o, fixed := p.Screen.Orientation(); o != "portrait" {
		t.Errorf("orientation %q, want portrait", o)
	} else if fixed {
		t.Error("the orientation is fixed")
	}
	if !p.Screen.On() {
		t.Error("the screen is off")
	}
	p.Screen.Lock()
	if p.Screen.On() {
		t.Error("the screen of a locked phone is on")
	}
}
