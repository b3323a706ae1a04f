package picture

import (
	"context"
	"encoding/binary"
	"image"
	"image/color"
	"math"
)

// DiffOptions configures Compare.
type DiffOptions struct {
	// Threshold is the largest distance, from 0 to 1, at which two colours count as equal.
	Threshold float64
	// Antialias includes pixels that differ only by the smoothing of an edge.
	Antialias bool
	// Ignore lists parts that are not compared.
	Ignore []image.Rectangle
	// Mask is a picture of the same size. Pixels that are not transparent in it are not
	// compared. It may be nil.
	Mask *Picture
}

// Diff describes the differences of two pictures.
type Diff struct {
	Count    int             // number of pixels that differ
	Compared int             // number of pixels that were compared
	Box      image.Rectangle // the smallest rectangle around the pixels that differ
	// Picture shows the first picture faded, with the pixels that differ in red. Pixels that
	// differ only by smoothing are yellow, and pixels that were not compared are gray.
	Picture *Picture
}

// maxDistance is the square of the largest distance of two colours.
const maxDistance = 35215

var (
	colorDiff   = color.NRGBA{255, 0, 0, 255}
	colorSmooth = color.NRGBA{255, 220, 0, 255}
	colorMasked = color.NRGBA{200, 200, 200, 255}
)

// comparison is the state of one call of Compare.
type comparison struct {
	a, b, out *image.NRGBA
	limit     float64
	o         DiffOptions
	mask      *image.NRGBA
	result    *Diff
}

// Compare compares two pictures of the same size pixel by pixel. The distance of two colours is
// defined in Kotsarenko and Ramos, "Measuring perceived color difference using YIQ NTSC
// transmission color space in mobile applications" (2010). Smoothed edges are found with the
// method of Vyšniauskas, "Anti-aliased Pixel and Intensity Slope Detector" (2009). Pixelmatch and
// Playwright use the same methods.
func Compare(ctx context.Context, a, b *Picture, o DiffOptions) (*Diff, error) {
	if a.width != b.width || a.height != b.height {
		return nil, failed("size_mismatch", "the pictures have different sizes: %dx%d and %dx%d",
			a.width, a.height, b.width, b.height)
	}
	c := &comparison{o: o, limit: maxDistance * o.Threshold * o.Threshold, result: &Diff{}}
	var err error
	for _, m := range []struct {
		from *Picture
		to   **image.NRGBA
	}{{a, &c.a}, {b, &c.b}, {o.Mask, &c.mask}} {
		if m.from == nil {
			continue
		}
		if m.from.width != a.width || m.from.height != a.height {
			return nil, failed("size_mismatch", "the mask has %dx%d pixels, the pictures %dx%d",
				m.from.width, m.from.height, a.width, a.height)
		}
		*m.to, err = m.from.Pixels(ctx)
		if err != nil {
			return nil, err
		}
	}
	c.out = image.NewNRGBA(c.a.Rect)
	if err := rows(ctx, a.width, a.height, c.row); err != nil {
		return nil, err
	}
	if c.result.Compared == 0 {
		return nil, failed("argument", "the mask covers the whole picture")
	}
	c.result.Picture = wrap(c.out)
	return c.result, nil
}

// row compares row y.
func (c *comparison) row(y int) {
	a, b, out := row(c.a, c.a.Rect, y), row(c.b, c.b.Rect, y), row(c.out, c.out.Rect, y)
	anyMask := c.mask != nil || len(c.o.Ignore) > 0
	for i := 0; i+3 < len(a); i += pixelSize {
		x := i / pixelSize
		p, q, to := a[i:i+4:i+4], b[i:i+4:i+4], out[i:i+4:i+4]
		if anyMask && c.masked(x, y) {
			set(to, colorMasked)
			continue
		}
		c.result.Compared++
		if [4]byte(p) == [4]byte(q) || math.Abs(distance(p, q)) <= c.limit {
			v := uint32(faded(p))
			binary.LittleEndian.PutUint32(to, v|v<<8|v<<16|0xff<<24)
			continue
		}
		if !c.o.Antialias && (smoothed(c.a, c.b, x, y) || smoothed(c.b, c.a, x, y)) {
			set(to, colorSmooth)
			continue
		}
		set(to, colorDiff)
		c.result.Count++
		c.result.Box = c.result.Box.Union(image.Rect(x, y, x+1, y+1))
	}
}

// masked reports whether a pixel is not compared.
func (c *comparison) masked(x, y int) bool {
	if c.mask != nil && c.mask.Pix[y*c.mask.Stride+x*pixelSize+3] != 0 {
		return true
	}
	for _, r := range c.o.Ignore {
		if x >= r.Min.X && x < r.Max.X && y >= r.Min.Y && y < r.Max.Y {
			return true
		}
	}
	return false
}

func set(p []byte, c color.NRGBA) { p[0], p[1], p[2], p[3] = c.R, c.G, c.B, c.A }

// faded returns the brightness of a pixel that is covered with white of 90 % opacity.
func faded(p []byte) byte {
	dark := (255 - int(luma(p))) * int(p[3]) / 255 // on a white background
	return byte(255 - dark/10)
}

// blended returns the colour of a pixel on a white background.
func blended(p []byte) (r, g, b float64) {
	r, g, b = float64(p[0]), float64(p[1]), float64(p[2])
	if p[3] == 255 {
		return r, g, b
	}
	a := float64(p[3]) / 255
	return 255 + (r-255)*a, 255 + (g-255)*a, 255 + (b-255)*a
}

// distance returns the square of the distance of two colours, with a negative sign if the first is
// brighter.
func distance(p, q []byte) float64 {
	r1, g1, b1 := blended(p)
	r2, g2, b2 := blended(q)
	r, g, b := r1-r2, g1-g2, b1-b2
	y := r*0.29889531 + g*0.58662247 + b*0.11448223
	i := r*0.59597799 - g*0.27417610 - b*0.32180189
	k := r*0.21147017 - g*0.52261711 + b*0.31114694
	d := 0.5053*y*y + 0.299*i*i + 0.1957*k*k
	if y > 0 {
		return -d
	}
	return d
}

// brightness returns the brightness of the first colour minus that of the second.
func brightness(p, q []byte) float64 {
	r1, g1, b1 := blended(p)
	r2, g2, b2 := blended(q)
	return (r1-r2)*0.29889531 + (g1-g2)*0.58662247 + (b1-b2)*0.11448223
}

// smoothed reports whether a pixel of m belongs to a smoothed edge. This is so if at most two of
// its neighbours have its brightness, if there are darker and brighter neighbours, and if the
// darkest or the brightest one lies in an even area of both pictures.
func smoothed(m, other *image.NRGBA, x, y int) bool {
	same := 0
	if atEdge(m, x, y) {
		same = 1
	}
	var low, high float64
	var darkest, brightest image.Point
	center := pixel(m, x, y)
	for at := range neighbours(m, x, y) {
		d := brightness(center, pixel(m, at.X, at.Y))
		switch {
		case d == 0:
			same++
			if same > 2 {
				return false
			}
		case d < low:
			low, darkest = d, at
		case d > high:
			high, brightest = d, at
		}
	}
	if low == 0 || high == 0 {
		return false
	}
	return even(m, darkest) && even(other, darkest) || even(m, brightest) && even(other, brightest)
}

// even reports whether more than two neighbours of a pixel have its colour.
func even(m *image.NRGBA, at image.Point) bool {
	same := 0
	if atEdge(m, at.X, at.Y) {
		same = 1
	}
	center := [4]byte(pixel(m, at.X, at.Y))
	for n := range neighbours(m, at.X, at.Y) {
		if [4]byte(pixel(m, n.X, n.Y)) == center {
			same++
		}
		if same > 2 {
			return true
		}
	}
	return false
}

func pixel(m *image.NRGBA, x, y int) []byte {
	at := y*m.Stride + x*pixelSize
	return m.Pix[at : at+4 : at+4]
}

func atEdge(m *image.NRGBA, x, y int) bool {
	return x == 0 || y == 0 || x == m.Rect.Dx()-1 || y == m.Rect.Dy()-1
}

// neighbours returns an iterator over the up to eight pixels around a pixel.
func neighbours(m *image.NRGBA, x, y int) func(yield func(image.Point) bool) {
	return func(yield func(image.Point) bool) {
		for nx := max(x-1, 0); nx <= min(x+1, m.Rect.Dx()-1); nx++ {
			for ny := max(y-1, 0); ny <= min(y+1, m.Rect.Dy()-1); ny++ {
				if (nx != x || ny != y) && !yield(image.Point{X: nx, Y: ny}) {
					return
				}
			}
		}
	}
}
