package picture

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/color/palette"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func load(t testing.TB, b []byte) *Picture {
	t.Helper()
	p, err := FromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pixels(t testing.TB, p *Picture) *image.NRGBA {
	t.Helper()
	m, err := p.Pixels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// drawing returns a picture of w*h different pixels.
func drawing(w, h int) *Picture {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{byte(x*16 + y), byte(y * 31), byte(x * y * 7), 255})
		}
	}
	return wrap(m)
}

// letters describes p by letters for the pixels of drawing(3, 2), which are abc in the first row
// and def in the second.
func letters(t *testing.T, p *Picture) string {
	t.Helper()
	original, m := pixels(t, drawing(3, 2)), pixels(t, p)
	out := ""
	for y := range p.Height() {
		for x := range p.Width() {
			letter := "?"
			for i := range 6 {
				if original.NRGBAAt(i%3, i/3) == m.NRGBAAt(x, y) {
					letter = string(rune('a' + i))
				}
			}
			out += letter
		}
		out += "|"
	}
	return out
}

// TestFormats compares decoded pixels with the results of the standard library.
func TestFormats(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{}
	for _, name := range []string{
		"video-001.cmyk.jpeg", "video-001.jpeg", "video-001.progressive.jpeg", "video-001.png",
		"gray-gradient.png", "gray-gradient.interlaced.png", "basn4a16.png", "basn3p08-trns.png",
		"basn0g16.png", "basn6a16.png",
	} {
		files[name] = read(t, name)
	}
	r := image.Rect(0, 0, 16, 9)
	for name, m := range map[string]interface {
		image.Image
		Set(x, y int, c color.Color)
	}{
		"gray": image.NewGray(r), "gray16": image.NewGray16(r),
		"paletted": image.NewPaletted(r, palette.Plan9),
		"nrgba":    image.NewNRGBA(r), "nrgba64": image.NewNRGBA64(r), "rgba64": image.NewRGBA64(r),
	} {
		for i := range r.Dx() * r.Dy() {
			m.Set(i%16, i/16, color.NRGBA64{uint16(i * 455), uint16(i * 77), uint16(i * i), 65535})
		}
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		files[name] = b.Bytes()
	}
	for name, b := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, _, err := image.Decode(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			p := load(t, b)
			if got := image.Rect(0, 0, p.Width(), p.Height()); got != want.Bounds() {
				t.Fatalf("the picture has the bounds %v, want %v", got, want.Bounds())
			}
			got := pixels(t, p)
			for y := range p.Height() {
				for x := range p.Width() {
					w := color.NRGBAModel.Convert(want.At(x, y)).(color.NRGBA)
					if g := got.NRGBAAt(x, y); !near(g, w) {
						t.Fatalf("pixel %d, %d is %v, want %v", x, y, g, w)
					}
				}
			}
		})
	}
}

// near reports whether two colours are equal up to the rounding of 16 bits and of alpha.
func near(a, b color.NRGBA) bool {
	if a.A == 0 && b.A == 0 {
		return true
	}
	close := func(x, y byte) bool { return max(x, y)-min(x, y) <= 1 }
	return close(a.R, b.R) && close(a.G, b.G) && close(a.B, b.B) && close(a.A, b.A)
}

// TestSameContent compares files of different formats with the same content.
func TestSameContent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b  string
		limit float64
	}{
		{"gray-gradient.png", "gray-gradient.interlaced.png", 0},
		{"video-001.cmyk.jpeg", "video-001.cmyk.png", 0.15},
		{"video-001.progressive.jpeg", "video-001.jpeg", 0.05},
	} {
		d, err := Compare(t.Context(), load(t, read(t, tc.a)), load(t, read(t, tc.b)),
			DiffOptions{Threshold: tc.limit})
		if err != nil {
			t.Fatal(err)
		}
		if d.Count > 0 {
			t.Errorf("%s and %s differ in %d pixels", tc.a, tc.b, d.Count)
		}
	}
}

// exif returns a JPEG segment with an EXIF orientation, made by the TIFF specification.
func exif(order string, orientation byte) []byte {
	tiff := "MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00" +
		string(orientation) + "\x00\x00\x00\x00\x00\x00"
	if order == "II" {
		tiff = "II\x2a\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00" +
			string(orientation) + "\x00\x00\x00\x00\x00\x00\x00"
	}
	body := "Exif\x00\x00" + tiff
	return append([]byte{0xff, 0xe1, 0, byte(len(body) + 2)}, body...)
}

// TestOrientation decodes a picture with a dark corner in every EXIF orientation.
func TestOrientation(t *testing.T) {
	t.Parallel()
	// The picture is white, with a black block of 8x8 pixels at its top left.
	m := image.NewGray(image.Rect(0, 0, 32, 16))
	for i := range m.Pix {
		m.Pix[i] = 255
		if i%32 < 8 && i/32 < 8 {
			m.Pix[i] = 0
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	for orientation, want := range map[byte]image.Rectangle{ // the place of the block
		0: image.Rect(0, 0, 8, 8), 1: image.Rect(0, 0, 8, 8), 2: image.Rect(24, 0, 32, 8),
		3: image.Rect(24, 8, 32, 16), 4: image.Rect(0, 8, 8, 16), 5: image.Rect(0, 0, 8, 8),
		6: image.Rect(8, 0, 16, 8), 7: image.Rect(8, 24, 16, 32), 8: image.Rect(0, 24, 8, 32),
		9: image.Rect(0, 0, 8, 8),
	} {
		for _, order := range []string{"MM", "II"} {
			file := append(
				append([]byte{0xff, 0xd8}, exif(order, orientation)...),
				b.Bytes()[2:]...)
			p := load(t, file)
			w, h := 32, 16
			if orientation >= 5 && orientation <= 8 {
				w, h = 16, 32
			}
			got := pixels(t, p)
			if p.Width() != w {
				t.Fatalf("orientation %d: the width is %d, want %d", orientation, p.Width(), w)
			}
			if p.Height() != h {
				t.Fatalf("orientation %d: the height is %d, want %d", orientation, p.Height(), h)
			}
			if r := image.Rect(0, 0, w, h); got.Rect != r {
				t.Fatalf("orientation %d: the pixels have the bounds %v, want %v", orientation,
					got.Rect, r)
			}
			for y := range h {
				for x := range w {
					dark := got.NRGBAAt(x, y).R < 128
					if dark != image.Pt(x, y).In(want) {
						t.Fatalf(
							"%s orientation %d: pixel %d, %d is dark: %t, want the block at %v",
							order,
							orientation,
							x,
							y,
							dark,
							want,
						)
					}
				}
			}
		}
	}
}

// pngHeader returns a PNG file that ends after its header.
func pngHeader(w, h uint32) []byte {
	ihdr := []byte{
		'I', 'H', 'D', 'R', byte(w >> 24), byte(w >> 16), byte(w >> 8), byte(w),
		byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h), 8, 6, 0, 0, 0,
	}
	sum := crc32.ChecksumIEEE(ihdr)
	b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), ihdr...)
	return append(b, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
}

func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file []byte
		code string
	}{
		"empty":       {nil, "decode"},
		"GIF":         {[]byte("GIF89a"), "decode"},
		"PNG magic":   {pngMagic, "decode"},
		"JPEG magic":  {[]byte("\xff\xd8\xff\xe0\x00"), "decode"},
		"bomb":        {pngHeader(100000, 100000), "too_large"},
		"no pixels":   {pngHeader(10, 10), "decode"},
		"no width":    {pngHeader(0, 10), "decode"},
		"cut off":     {read(t, "video-001.png")[:20000], "decode"},
		"cut off JPG": {read(t, "video-001.jpeg")[:9000], "decode"},
	} {
		p, err := FromBytes(tc.file)
		if err == nil {
			_, err = p.Pixels(t.Context())
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v, want an *Error", name, err)
			continue
		}
		if e.Code != tc.code {
			t.Errorf("%s: code %s (%v), want %s", name, e.Code, err, tc.code)
		}
	}
}

// TestCost compares the cost that is computed from a header with the memory that decoding
// allocates.
func TestCost(t *testing.T) {
	for _, name := range []string{
		"video-001.cmyk.jpeg", "video-001.jpeg", "video-001.progressive.jpeg", "video-001.png",
		"basn4a16.png", "1a.png",
	} {
		b := read(t, name)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := load(t, b).Pixels(t.Context()); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		const fixed = 128 << 10 // tables and buffers
		promised := load(t, b).Pending()
		if got := int(after.TotalAlloc - before.TotalAlloc); got > promised+fixed {
			t.Errorf("%s: decoding takes %d bytes, promised were %d", name, got, promised)
		}
	}
}

func TestTransforms(t *testing.T) {
	t.Parallel()
	p, ctx := drawing(3, 2), t.Context()
	for name, tc := range map[string]struct {
		f    func() (*Picture, error)
		want string
	}{
		"none":       {func() (*Picture, error) { return p.Rotate(ctx, 0) }, "abc|def|"},
		"rotate":     {func() (*Picture, error) { return p.Rotate(ctx, 1) }, "da|eb|fc|"},
		"half":       {func() (*Picture, error) { return p.Rotate(ctx, 2) }, "fed|cba|"},
		"left":       {func() (*Picture, error) { return p.Rotate(ctx, -1) }, "cf|be|ad|"},
		"horizontal": {func() (*Picture, error) { return p.Flip(ctx, false) }, "cba|fed|"},
		"vertical":   {func() (*Picture, error) { return p.Flip(ctx, true) }, "def|abc|"},
		"crop": {func() (*Picture, error) { return p.Crop(ctx, image.Rect(1, 0, 3, 2)) },
			"bc|ef|"},
		"same size": {func() (*Picture, error) { return p.Resize(ctx, 3, 2) }, "abc|def|"},
		"rect": {func() (*Picture, error) {
			return p.Rect(ctx, []image.Rectangle{image.Rect(1, -5, 9, 1)}, color.NRGBA{A: 9}, 0)
		}, "a??|def|"},
		"line": {func() (*Picture, error) {
			return p.Rect(ctx, []image.Rectangle{image.Rect(0, 0, 3, 9)}, color.NRGBA{A: 9}, 1)
		}, "???|?e?|"},
	} {
		got, err := tc.f()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s := letters(t, got); s != tc.want {
			t.Errorf("%s: the pixels are %s, want %s", name, s, tc.want)
		}
	}
	if s := letters(t, p); s != "abc|def|" {
		t.Errorf("the picture itself has changed: %s", s)
	}
	for _, r := range []image.Rectangle{
		image.Rect(0, 0, 4, 1), image.Rect(-1, 0, 1, 1), {}, image.Rect(3, 0, 4, 1),
	} {
		if _, err := p.Crop(ctx, r); err == nil {
			t.Errorf("Crop(%v) = nil, want an error", r)
		}
	}
}

// TestResize checks that resizing keeps the average, and that the colour of transparent pixels
// has no effect.
func TestResize(t *testing.T) {
	t.Parallel()
	m := image.NewNRGBA(image.Rect(0, 0, 4, 4))
	for i := range 16 {
		c := color.NRGBA{200, 100, 50, 255}
		if i%2 == 1 {
			c = color.NRGBA{0, 255, 0, 0} // transparent green
		}
		m.SetNRGBA(i%4, i/4, c)
	}
	for _, size := range [][2]int{{1, 1}, {2, 2}, {8, 2}, {1, 8}} {
		p, err := wrap(m).Resize(t.Context(), size[0], size[1])
		if err != nil {
			t.Fatal(err)
		}
		out, alpha := pixels(t, p), 0
		for i := range size[0] * size[1] {
			c := out.NRGBAAt(i%size[0], i/size[0])
			alpha += int(c.A)
			if c.A > 0 && (c.R != 200 || c.G != 100 || c.B != 50) {
				t.Errorf("%v: pixel %d is %v", size, i, c)
			}
		}
		if average := alpha / (size[0] * size[1]); average < 120 || average > 136 {
			t.Errorf("%v: the average alpha is %d, want about 128", size, average)
		}
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	b := read(t, "video-001.jpeg")
	p := load(t, b)
	again, err := p.Encode(t.Context(), "jpeg", 0)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, b) {
		t.Error("Encode without a quality has not returned the original file")
	}
	asPNG, err := p.Encode(t.Context(), "png", 0)
	if err != nil {
		t.Fatal(err)
	}
	same, err := Equal(t.Context(), p, load(t, asPNG))
	if err != nil {
		t.Fatal(err)
	}
	if !same {
		t.Error("encoding as PNG has changed the pixels")
	}
	small, err := p.Encode(t.Context(), "jpeg", 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(small) >= len(b)/2 {
		t.Errorf("quality 10 takes %d bytes of %d", len(small), len(b))
	}
	clear, err := New(t.Context(), 8, 8, color.NRGBA{A: 0, R: 255})
	if err != nil {
		t.Fatal(err)
	}
	white, err := clear.Encode(t.Context(), "jpeg", 100)
	if err != nil {
		t.Fatal(err)
	}
	if c := pixels(t, load(t, white)).NRGBAAt(4, 4); !near(c, color.NRGBA{255, 255, 255, 255}) {
		t.Errorf("a transparent pixel is %v in a JPEG file, want white", c)
	}
}

// TestCancelled calls all functions with a context that has ended.
func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p, err := New(t.Context(), 2000, 2000, color.NRGBA{1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := p.Crop(t.Context(), image.Rect(0, 0, 9, 9))
	if err != nil {
		t.Fatal(err)
	}
	black, err := New(t.Context(), 9, 9, color.NRGBA{A: 255})
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"new": func() error {
			_, err := New(ctx, 9, 9, color.NRGBA{A: 1})
			return err
		},
		"png": func() error { _, err := load(t, read(t, "1a.png")).Pixels(ctx); return err },
		"jpeg": func() error {
			_, err := load(t, read(t, "video-001.jpeg")).Pixels(ctx)
			return err
		},
		"crop":   func() error { _, err := p.Crop(ctx, image.Rect(0, 0, 9, 9)); return err },
		"rotate": func() error { _, err := p.Rotate(ctx, 1); return err },
		"gray":   func() error { _, err := p.Grayscale(ctx); return err },
		"resize": func() error { _, err := p.Resize(ctx, 50, 50); return err },
		"rect":   func() error { _, err := p.Rect(ctx, nil, color.NRGBA{}, 0); return err },
		"to png": func() error { _, err := p.Encode(ctx, "png", 0); return err },
		"to jpg": func() error { _, err := p.Encode(ctx, "jpeg", 0); return err },
		"diff":   func() error { _, err := Compare(ctx, p, p, DiffOptions{}); return err },
		"equal": func() error {
			q, err := p.Flip(t.Context(), true)
			if err != nil {
				return err
			}
			_, err = Equal(ctx, p, q)
			return err
		},
		"hash": func() error { _, err := p.GradientHash(ctx); return err },
		"find": func() error { _, err := p.Find(ctx, black, FindOptions{}); return err },
		"find at once": func() error {
			_, err := p.Find(ctx, sub, FindOptions{})
			return err
		},
	} {
		if err := f(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want %v", name, err, context.Canceled)
		}
	}
}

// FuzzFromBytes decodes arbitrary bytes. It skips pictures that need much memory.
func FuzzFromBytes(f *testing.F) {
	for _, name := range []string{"video-001.jpeg", "video-001.progressive.jpeg", "basn4a16.png"} {
		f.Add(read(f, name))
	}
	f.Add(exif("II", 6))
	f.Fuzz(func(t *testing.T, b []byte) {
		exifOrientation(b)
		p, err := FromBytes(b)
		if err != nil || p.Pending() > 1<<20 {
			return
		}
		m, err := p.Pixels(t.Context())
		if err != nil {
			return
		}
		if want := image.Rect(0, 0, p.Width(), p.Height()); m.Rect != want {
			t.Errorf("the pixels have the bounds %v, want %v", m.Rect, want)
		}
	})
}
