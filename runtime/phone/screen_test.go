package phone

import (
	"bytes"
	"errors"
	"image/png"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

func shot(t *testing.T, p *Phone) []byte {
	t.Helper()
	b, err := p.Screenshot()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestScreenshot(t *testing.T) {
	t.Parallel()
	for _, profile := range Profiles() {
		now := files.Epoch
		p, err := New(
			Options{Profile: profile, LogRate: -1, Clock: func() time.Time { return now }},
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
		if w, h := p.ScreenSize(); err != nil || img.Bounds().Dx() != w || img.Bounds().Dy() != h {
			t.Fatalf("%s: %v, %v", profile, img.Bounds(), err)
		}
		if profile != "ios17" {
			continue // but for the size all are alike
		}
		if !bytes.Equal(home, shot(t, p)) {
			t.Errorf("%s: two pictures of one screen differ", profile)
		}
		if _, err := p.Launch("com.example.shop"); err != nil {
			t.Fatal(err)
		}
		look("app")
		p.SetBattery(12, true)
		look("battery")
		now = now.Add(time.Minute)
		look("a minute later")
		if _, err := p.SimulatePlace(Place{1, 2}); err != nil {
			t.Fatal(err)
		}
		look("place")
		p.SetPasscode(true)
		p.Lock()
		look("locked")
		if err := p.ShowPicture(home); err != nil || !bytes.Equal(shot(t, p), home) {
			t.Errorf("%s: picture is not shown: %v", profile, err)
		}
		if err := p.ShowPicture([]byte("JPEG")); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: picture that is none: %v", profile, err)
		}
		if err := p.ShowPicture(nil); err != nil || bytes.Equal(shot(t, p), home) {
			t.Errorf("%s: picture stays: %v", profile, err)
		}
	}
}

func BenchmarkScreenshot(b *testing.B) {
	p, err := New(Options{LogRate: -1})
	if err != nil {
		b.Fatal(err)
	}
	var n int
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.SetBattery(i%100, true) // another picture each time
		s, err := p.Screenshot()
		if err != nil {
			b.Fatal(err)
		}
		n = len(s)
	}
	b.ReportMetric(float64(n), "bytes/picture")
}
