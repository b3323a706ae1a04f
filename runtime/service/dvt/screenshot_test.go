package dvt

import (
	"bytes"
	"image"
	"image/png"
	"math/rand/v2"
	"testing"
)

func TestScreenshot(t *testing.T) {
	bubble(t, "ios18", func(t *testing.T, r *rig) {
		home, err := r.Screenshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if img, err := png.Decode(bytes.NewReader(home)); err != nil {
			t.Errorf("Decode: %v", err)
		} else if img.Bounds() != image.Rect(0, 0, 1206, 2622) {
			t.Errorf("bounds %v, want 1206 by 2622", img.Bounds())
		}
		if _, err := r.Launch(t.Context(), "com.example.shop", LaunchOptions{}); err != nil {
			t.Fatal(err)
		}
		if app, err := r.Screenshot(t.Context()); err != nil {
			t.Errorf("Screenshot: %v", err)
		} else if bytes.Equal(app, home) {
			t.Error("an app does not change the picture")
		}
	})
}

// noisy returns an image of about three megabytes, the size of a screen full of photos.
func noisy(t testing.TB) []byte {
	img := image.NewGray(image.Rect(0, 0, 1179, 2556))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range img.Pix {
		img.Pix[i] = byte(random.Uint32())
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func BenchmarkScreenshot3MB(b *testing.B) {
	r := newRig(b, "")
	picture := noisy(b)
	if err := r.phone.Screen.Show(picture); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(picture)))
	b.ReportAllocs()
	for b.Loop() {
		if got, err := r.Screenshot(b.Context()); err != nil {
			b.Fatalf("Screenshot: %v", err)
		} else if len(got) != len(picture) {
			b.Fatalf("%d bytes, want %d", len(got), len(picture))
		}
	}
}
