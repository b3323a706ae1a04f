package picture

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"
)

// BenchmarkFiles decodes and encodes a picture of the size of a phone's screen, with this package
// and with the standard library alone.
func BenchmarkFiles(b *testing.B) {
	ctx := context.Background()
	p := phone(b)
	asPNG, err := p.Encode(ctx, "png", 0)
	if err != nil {
		b.Fatal(err)
	}
	asJPEG, err := p.Encode(ctx, "jpeg", 0)
	if err != nil {
		b.Fatal(err)
	}
	decode := func(file []byte) func() error {
		return func() error {
			p, err := FromBytes(file)
			if err == nil {
				_, err = p.Pixels(ctx)
			}
			return err
		}
	}
	m := p.pixels.Load()
	for _, tc := range []struct {
		name string
		f    func() error
	}{
		{"decode png", decode(asPNG)},
		{"decode png, standard library", func() error {
			_, err := png.Decode(bytes.NewReader(asPNG))
			return err
		}},
		{"decode jpeg", decode(asJPEG)},
		{"decode jpeg, standard library", func() error {
			_, err := jpeg.Decode(bytes.NewReader(asJPEG))
			return err
		}},
		{"encode png", func() error { _, err := p.Encode(ctx, "png", 0); return err }},
		{"encode png, standard library", func() error {
			var out bytes.Buffer
			return png.Encode(&out, m)
		}},
		{"encode jpeg", func() error { _, err := p.Encode(ctx, "jpeg", 0); return err }},
		{"encode jpeg, standard library", func() error {
			var out bytes.Buffer
			return jpeg.Encode(&out, m, &jpeg.Options{Quality: DefaultQuality})
		}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := tc.f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFind searches for a part of a picture, and for one that is not in it.
func BenchmarkFind(b *testing.B) {
	ctx := context.Background()
	p := phone(b)
	part, err := p.Crop(ctx, image.Rect(700, 2000, 800, 2080))
	if err != nil {
		b.Fatal(err)
	}
	missing, err := part.Rect(ctx, []image.Rectangle{image.Rect(0, 0, 50, 80)},
		color.NRGBA{0, 200, 0, 255}, 0)
	if err != nil {
		b.Fatal(err)
	}
	for name, sub := range map[string]*Picture{"there": part, "missing": missing} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := p.Find(ctx, sub, FindOptions{Threshold: 0.1, Different: 0.02})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
