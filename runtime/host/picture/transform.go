package picture

import (
	"context"
	"image"
	"image/color"
	"math"
)

// Crop returns a part of the picture. It returns an error if r does not lie in the picture.
func (p *Picture) Crop(ctx context.Context, r image.Rectangle) (*Picture, error) {
	if err := p.Contains(r); err != nil {
		return nil, err
	}
	m, err := p.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	out := image.NewNRGBA(image.Rect(0, 0, r.Dx(), r.Dy()))
	err = rows(ctx, r.Dx(), r.Dy(), func(y int) {
		copy(row(out, out.Rect, y), row(m, r, r.Min.Y+y))
	})
	return wrap(out), err
}

// Contains returns an error if r is empty or does not lie in the picture.
func (p *Picture) Contains(r image.Rectangle) error {
	if r.Empty() || !r.In(image.Rect(0, 0, p.width, p.height)) {
		return failed("argument", "x=%d y=%d width=%d height=%d is not inside of %dx%d pixels",
			r.Min.X, r.Min.Y, r.Dx(), r.Dy(), p.width, p.height)
	}
	return nil
}

// Rotate rotates the picture clockwise by a number of quarter turns.
func (p *Picture) Rotate(ctx context.Context, quarters int) (*Picture, error) {
	return p.turned(ctx, quarters&3, false)
}

// Flip swaps left and right, or, if vertical is set, top and bottom.
func (p *Picture) Flip(ctx context.Context, vertical bool) (*Picture, error) {
	if vertical {
		return p.turned(ctx, 2, true)
	}
	return p.turned(ctx, 0, true)
}

func (p *Picture) turned(ctx context.Context, quarters int, mirror bool) (*Picture, error) {
	m, err := p.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	out, err := turn(ctx, m, quarters, mirror)
	if err != nil {
		return nil, err
	}
	return wrap(out), nil
}

// turn swaps left and right if mirror is set, and then rotates clockwise by 0 to 3 quarter turns.
func turn(ctx context.Context, m *image.NRGBA, quarters int, mirror bool) (*image.NRGBA, error) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	if quarters%2 == 1 {
		out = image.NewNRGBA(image.Rect(0, 0, h, w))
	}
	// The pixel x, y goes to the offset start + x*dx + y*dy.
	var start, dx, dy int
	switch s := out.Stride; quarters {
	case 0:
		start, dx, dy = 0, pixelSize, s
	case 1:
		start, dx, dy = (h-1)*pixelSize, s, -pixelSize
	case 2:
		start, dx, dy = (h-1)*s+(w-1)*pixelSize, -pixelSize, -s
	case 3:
		start, dx, dy = (w-1)*s, -s, pixelSize
	}
	if mirror {
		start, dx = start+(w-1)*dx, -dx
	}
	err := rows(ctx, w, h, func(y int) {
		at := start + y*dy
		for line := row(m, m.Rect, y); len(line) > 0; line = line[pixelSize:] {
			copy(out.Pix[at:at+pixelSize], line[:pixelSize])
			at += dx
		}
	})
	return out, err
}

// Grayscale returns the picture without colours.
func (p *Picture) Grayscale(ctx context.Context) (*Picture, error) {
	m, err := p.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	out := image.NewNRGBA(m.Rect)
	err = rows(ctx, p.width, p.height, func(y int) {
		from, to := row(m, m.Rect, y), row(out, out.Rect, y)
		for i := 0; i < len(from); i += pixelSize {
			v := luma(from[i:])
			to[i], to[i+1], to[i+2], to[i+3] = v, v, v, from[i+3]
		}
	})
	return wrap(out), err
}

// luma returns the brightness of a pixel as JPEG defines it.
func luma(p []byte) byte {
	return byte((19595*uint32(p[0]) + 38470*uint32(p[1]) + 7471*uint32(p[2]) + 1<<15) >> 16)
}

// Rect returns the picture with rectangles of one colour drawn on it. Parts of them may lie outside
// of the picture. line is the thickness of their edges; 0 fills the rectangles.
func (p *Picture) Rect(
	ctx context.Context, list []image.Rectangle, c color.NRGBA, line int,
) (*Picture, error) {
	m, err := p.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	out := image.NewNRGBA(m.Rect)
	err = rows(ctx, p.width, p.height, func(y int) {
		copy(row(out, out.Rect, y), row(m, m.Rect, y))
	})
	for _, r := range list {
		parts := []image.Rectangle{r}
		if inner := r.Inset(line); line > 0 && !inner.Empty() {
			parts = []image.Rectangle{
				image.Rect(r.Min.X, r.Min.Y, r.Max.X, inner.Min.Y),
				image.Rect(r.Min.X, inner.Max.Y, r.Max.X, r.Max.Y),
				image.Rect(r.Min.X, inner.Min.Y, inner.Min.X, inner.Max.Y),
				image.Rect(inner.Max.X, inner.Min.Y, r.Max.X, inner.Max.Y),
			}
		}
		for _, part := range parts {
			if err == nil {
				err = fill(ctx, out, part, c)
			}
		}
	}
	return wrap(out), err
}

// Resize returns the picture in another size, which must have been checked by Cost. Each new pixel
// is the average of the pixels that it covers, weighted by their distance (a triangle filter).
func (p *Picture) Resize(ctx context.Context, width, height int) (*Picture, error) {
	m, err := p.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	across, down := weights(p.width, width), weights(p.height, height)
	sums := make([]float32, p.width*pixelSize) // of a row, with colours multiplied by alpha
	for y := range height {
		if err := sumRows(ctx, sums, m, down[y]); err != nil {
			return nil, err
		}
		to := row(out, out.Rect, y)
		for x, t := range across {
			var r, g, b, a float32
			for i, w := range t.weights {
				s := sums[(t.first+i)*pixelSize:]
				r, g, b, a = r+w*s[0], g+w*s[1], b+w*s[2], a+w*s[3]
			}
			if a > 0 {
				to[x*4], to[x*4+1], to[x*4+2] = clamp(r/a), clamp(g/a), clamp(b/a)
			}
			to[x*4+3] = clamp(a)
		}
	}
	return wrap(out), nil
}

func clamp(v float32) byte { return byte(min(max(v+0.5, 0), 255)) }

// sumRows stores the weighted sum of the rows of a tap.
func sumRows(ctx context.Context, sums []float32, m *image.NRGBA, t tap) error {
	clear(sums)
	return rows(ctx, m.Rect.Dx(), len(t.weights), func(i int) {
		w := t.weights[i]
		line := row(m, m.Rect, t.first+i)
		for x := 0; x+3 < len(line); x += pixelSize {
			a := w * float32(line[x+3])
			s := sums[x : x+4 : x+4]
			s[0] += a * float32(line[x])
			s[1] += a * float32(line[x+1])
			s[2] += a * float32(line[x+2])
			s[3] += a
		}
	})
}

// tap holds the weights of the old rows or columns for a new one.
type tap struct {
	first   int
	weights []float32 // their sum is 1
}

// weights returns the taps for resizing from a number of rows or columns to another one.
func weights(from, to int) []tap {
	scale := float64(from) / float64(to)
	reach := max(scale, 1)
	out := make([]tap, to)
	for i := range out {
		center := (float64(i)+0.5)*scale - 0.5
		first := max(int(math.Ceil(center-reach)), 0)
		last := min(int(math.Floor(center+reach)), from-1)
		t, sum := tap{first: first}, 0.0
		for k := first; k <= last; k++ {
			w := max(1-math.Abs(float64(k)-center)/reach, 0)
			t.weights = append(t.weights, float32(w))
			sum += w
		}
		for k := range t.weights {
			t.weights[k] /= float32(sum)
		}
		out[i] = t
	}
	return out
}
