package picture

import (
	"context"
	"errors"
	"image"
	"image/color"
	"reflect"
	"testing"
)

// TestPixelmatch compares pictures from the tests of pixelmatch. The expected counts are those of
// its releases 5 and 6, which use the same distance of colours.
func TestPixelmatch(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"1": 143, "3": 212} {
		a, b := load(t, read(t, name+"a.png")), load(t, read(t, name+"b.png"))
		d, err := Compare(t.Context(), a, b, DiffOptions{Threshold: 0.05})
		if err != nil {
			t.Fatal(err)
		}
		if d.Count != want {
			t.Errorf("%s: %d pixels differ, want %d", name, d.Count, want)
		}
		all, err := Compare(t.Context(), a, b, DiffOptions{Threshold: 0.05, Antialias: true})
		if err != nil {
			t.Fatal(err)
		}
		if all.Count <= want {
			t.Errorf("%s: with smoothed edges %d pixels differ, want more than %d", name,
				all.Count, want)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a, err := New(ctx, 10, 10, color.NRGBA{255, 255, 255, 255})
	if err != nil {
		t.Fatal(err)
	}
	draw := func(c color.NRGBA, r ...image.Rectangle) *Picture {
		p, err := a.Rect(ctx, r, c, 0)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	black := color.NRGBA{A: 255}
	spots := draw(black, image.Rect(1, 2, 3, 4), image.Rect(7, 8, 8, 9))
	mask, err := New(ctx, 10, 10, color.NRGBA{})
	if err != nil {
		t.Fatal(err)
	}
	mask, err = mask.Rect(ctx, []image.Rectangle{image.Rect(0, 0, 5, 5)}, black, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		b               *Picture
		o               DiffOptions
		count, compared int
		box             image.Rectangle
	}{
		"same":  {a, DiffOptions{}, 0, 100, image.Rectangle{}},
		"spots": {spots, DiffOptions{Threshold: 0.1}, 5, 100, image.Rect(1, 2, 8, 9)},
		"ignored part": {
			spots, DiffOptions{Ignore: []image.Rectangle{image.Rect(6, 6, 99, 99)}},
			4, 84, image.Rect(1, 2, 3, 4),
		},
		"mask": {spots, DiffOptions{Mask: mask}, 1, 75, image.Rect(7, 8, 8, 9)},
		"close colour": {
			draw(color.NRGBA{250, 250, 250, 255}, a.bounds()), DiffOptions{Threshold: 0.1},
			0, 100, image.Rectangle{},
		},
		"close colour, strictly": {
			draw(color.NRGBA{250, 250, 250, 255}, a.bounds()), DiffOptions{}, 100, 100, a.bounds(),
		},
		"transparent is white": {
			draw(color.NRGBA{}, a.bounds()), DiffOptions{}, 0, 100, image.Rectangle{},
		},
	} {
		d, err := Compare(ctx, a, tc.b, tc.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d.Count != tc.count {
			t.Errorf("%s: %d pixels differ, want %d", name, d.Count, tc.count)
		}
		if d.Compared != tc.compared {
			t.Errorf("%s: %d pixels were compared, want %d", name, d.Compared, tc.compared)
		}
		if d.Box != tc.box {
			t.Errorf("%s: the box is %v, want %v", name, d.Box, tc.box)
		}
		red := 0
		for y := range 10 {
			for x := range 10 {
				if c, _ := d.Picture.At(x, y); c == colorDiff {
					red++
				}
			}
		}
		if red != tc.count {
			t.Errorf("%s: %d pixels are red, want %d", name, red, tc.count)
		}
	}
}

func (p *Picture) bounds() image.Rectangle { return image.Rect(0, 0, p.width, p.height) }

func TestCompareErrors(t *testing.T) {
	t.Parallel()
	p := drawing(4, 3)
	for name, tc := range map[string]struct {
		other *Picture
		o     DiffOptions
		code  string
	}{
		"size":      {drawing(3, 4), DiffOptions{}, "size_mismatch"},
		"mask size": {p, DiffOptions{Mask: drawing(3, 4)}, "size_mismatch"},
		"all masked": {
			p, DiffOptions{Ignore: []image.Rectangle{image.Rect(0, 0, 9, 9)}}, "argument",
		},
	} {
		_, err := Compare(t.Context(), p, tc.other, tc.o)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v, want an *Error", name, err)
			continue
		}
		if e.Code != tc.code {
			t.Errorf("%s: code %s, want %s", name, e.Code, tc.code)
		}
	}
}

// TestHashes compares the hashes of a picture with those of a smaller copy, which must be similar,
// and of its mirror image, which must differ.
func TestHashes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := load(t, read(t, "video-001.jpeg"))
	small, err := p.Resize(ctx, p.Width()/2, p.Height()/2)
	if err != nil {
		t.Fatal(err)
	}
	file, err := small.Encode(ctx, "jpeg", 40)
	if err != nil {
		t.Fatal(err)
	}
	flipped, err := p.Flip(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, hash := range map[string]func(*Picture) (uint64, error){
		"dhash": func(p *Picture) (uint64, error) { return p.GradientHash(ctx) },
		"phash": func(p *Picture) (uint64, error) { return p.FrequencyHash(ctx) },
	} {
		distance := func(other *Picture) int {
			a, err := hash(p)
			if err != nil {
				t.Fatal(err)
			}
			b, err := hash(other)
			if err != nil {
				t.Fatal(err)
			}
			n, err := HashDistance(HashText(a), HashText(b))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if d := distance(load(t, file)); d > 6 {
			t.Errorf("%s: the distance of a smaller copy is %d", name, d)
		}
		if d := distance(flipped); d < 16 {
			t.Errorf("%s: the distance of the mirror image is %d", name, d)
		}
	}
	for _, bad := range []string{"", "123", "zzzzzzzzzzzzzzzz", "00000000000000000"} {
		if _, err := HashDistance("0000000000000000", bad); err == nil {
			t.Errorf("HashDistance(%q) = nil, want an error", bad)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := load(t, read(t, "1a.png"))
	crop := func(r image.Rectangle) *Picture {
		c, err := p.Crop(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	at := image.Rect(200, 100, 240, 140)
	hidden, err := p.Rect(ctx, []image.Rectangle{at}, color.NRGBA{1, 2, 3, 255}, 0)
	if err != nil {
		t.Fatal(err)
	}
	part := crop(at)
	spoiled, err := part.Rect(ctx, []image.Rectangle{image.Rect(3, 3, 6, 6)},
		color.NRGBA{255, 0, 255, 255}, 0)
	if err != nil {
		t.Fatal(err)
	}
	holes, err := part.Rect(ctx, []image.Rectangle{image.Rect(3, 3, 30, 30)}, color.NRGBA{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		in, sub *Picture
		o       FindOptions
		want    *Match
	}{
		"there":          {p, part, FindOptions{}, &Match{at.Min, 0}},
		"last place":     {p, crop(image.Rect(500, 250, 512, 256)), FindOptions{}, nil},
		"not there":      {hidden, part, FindOptions{Threshold: 0.1}, nil},
		"spoiled":        {p, spoiled, FindOptions{}, nil},
		"some differ":    {p, spoiled, FindOptions{Different: 0.01}, &Match{at.Min, 9. / 1600}},
		"holes":          {p, holes, FindOptions{}, &Match{at.Min, 0}},
		"larger":         {part, p, FindOptions{}, nil},
		"the whole":      {p, p, FindOptions{}, &Match{}},
		"spoiled hidden": {hidden, spoiled, FindOptions{Different: 0.01}, nil},
	} {
		got, err := tc.in.Find(ctx, tc.sub, tc.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "last place" { // the part may be at several places
			if got == nil {
				t.Errorf("%s: Find() finds no match", name)
			} else if got.Score != 0 {
				t.Errorf("%s: Find() = %v, want the score 0", name, got)
			}
			continue
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: Find() = %v, want %v", name, got, tc.want)
		}
	}
	clear, err := New(ctx, 2, 2, color.NRGBA{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Find(ctx, clear, FindOptions{}); err == nil {
		t.Error("a transparent picture was found")
	}
}

var phoneSize = image.Rect(0, 0, 1179, 2556)

// phone returns a picture of the size of a phone's screen.
func phone(b *testing.B) *Picture {
	b.Helper()
	p := load(b, read(b, "1a.png"))
	big, err := p.Resize(context.Background(), phoneSize.Dx(), phoneSize.Dy())
	if err != nil {
		b.Fatal(err)
	}
	return big
}

// BenchmarkDiff compares two pictures that are equal, and two that differ in a tenth of their
// pixels. The naive loop does the latter with the standard library.
func BenchmarkDiff(b *testing.B) {
	p := phone(b)
	q, err := p.Rect(context.Background(),
		[]image.Rectangle{image.Rect(0, 0, 1179, 255)}, color.NRGBA{200, 0, 0, 255}, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("same", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Compare(context.Background(), p, p,
				DiffOptions{Threshold: 0.1}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tenth", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Compare(context.Background(), p, q,
				DiffOptions{Threshold: 0.1}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("naive loop", func(b *testing.B) {
		b.ReportAllocs()
		var x, y image.Image = p.pixels.Load(), q.pixels.Load()
		for b.Loop() {
			n := 0
			for row := range phoneSize.Dy() {
				for col := range phoneSize.Dx() {
					if x.At(col, row) != y.At(col, row) {
						n++
					}
				}
			}
			if n == 0 {
				b.Fatal("they are the same")
			}
		}
	})
}
