// Package picture decodes, changes, compares and encodes pictures. It knows nothing of Lua, except
// for the methods that tell the host the size and the bytes of a picture.
//
// A Picture is immutable: methods that change a picture return a new one. So several tasks can
// use a picture at the same time. The pixels are 8-bit sRGB with straight alpha. ICC colour
// profiles are ignored. The pixel at the top left is 0, 0.
//
// Functions that read all pixels take a context, and return its error soon after it has ended.
package picture

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"sync/atomic"

	lua "github.com/yuin/gopher-lua"
)

const (
	// MaxSide is the largest width and height. JPEG files have the same limit.
	MaxSide = 65535
	// pixelSize is the size of a decoded pixel in bytes.
	pixelSize = 4
	// stride is the number of pixels that are processed between two checks of the context.
	stride = 1 << 16
)

// Error is the error for a picture that cannot be decoded or used.
type Error struct {
	Code string // decode, too_large, argument or size_mismatch
	Text string
}

// Error returns "picture: " and the text.
func (e *Error) Error() string { return "picture: " + e.Text }

func failed(code, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// Picture is a picture. It is decoded when its pixels are first needed.
type Picture struct {
	width, height int
	format        string // the format of source, png or jpeg; "" if there is no source
	source        []byte // the file of the picture; nil if it was not made from a file
	header        header
	turn          chan struct{} // a semaphore: held by the goroutine that decodes
	pixels        atomic.Pointer[image.NRGBA]
}

// wrap returns a picture with the pixels of m, whose bounds begin at 0, 0.
func wrap(m *image.NRGBA) *Picture {
	p := &Picture{width: m.Rect.Dx(), height: m.Rect.Dy()}
	p.pixels.Store(m)
	return p
}

// Cost returns the number of bytes of a picture of the given size. It returns an error if the size
// is not possible.
func Cost(width, height int) (int, error) {
	if width < 1 || height < 1 || width > MaxSide || height > MaxSide {
		return 0, failed("argument", "a picture has from 1x1 to %dx%d pixels, not %dx%d",
			MaxSide, MaxSide, width, height)
	}
	return width * height * pixelSize, nil
}

// New returns a picture of one colour. The size must have been checked by Cost.
func New(ctx context.Context, width, height int, c color.NRGBA) (*Picture, error) {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	if c == (color.NRGBA{}) {
		return wrap(m), nil
	}
	return wrap(m), fill(ctx, m, m.Rect, c)
}

// Width returns the number of pixels of a row.
func (p *Picture) Width() int { return p.width }

// Height returns the number of rows.
func (p *Picture) Height() int { return p.height }

// Format returns "png" or "jpeg" for a picture that was decoded, else "".
func (p *Picture) Format() string { return p.format }

// String returns a text such as "1179x2556 png".
func (p *Picture) String() string {
	s := fmt.Sprintf("%dx%d", p.width, p.height)
	if p.format != "" {
		s += " " + p.format
	}
	return s
}

// Source returns the file that the picture was made from, or nil if there is none.
func (p *Picture) Source() []byte { return p.source }

// LuaBytes returns the file of the picture. With it scripts can use a picture wherever bytes are
// expected.
func (p *Picture) LuaBytes() ([]byte, bool) { return p.source, p.source != nil }

// LuaToGo returns the value that plist.encode and similar functions write for the picture: its
// file. A picture without a file cannot be converted.
func (p *Picture) LuaToGo() any {
	if p.source == nil {
		return p
	}
	return p.source
}

// Size returns the number of bytes that the picture holds.
func (p *Picture) Size(func(lua.LValue)) int {
	n := len(p.source)
	if m := p.pixels.Load(); m != nil {
		n += len(m.Pix)
	}
	return n
}

// Pending returns how many bytes Pixels will allocate. It is 0 after the picture is decoded.
func (p *Picture) Pending() int {
	if p.pixels.Load() != nil {
		return 0
	}
	return p.header.cost
}

// Pixels returns the pixels, which must not be changed. The first call decodes the picture.
func (p *Picture) Pixels(ctx context.Context) (*image.NRGBA, error) {
	if m := p.pixels.Load(); m != nil {
		return m, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if m := p.pixels.Load(); m != nil {
		return m, nil
	}
	m, err := p.decode(ctx)
	if err != nil {
		return nil, err
	}
	p.pixels.Store(m)
	return m, nil
}

// At returns a pixel. ok is false if the picture is not decoded yet.
func (p *Picture) At(x, y int) (c color.NRGBA, ok bool) {
	m := p.pixels.Load()
	if m == nil {
		return c, false
	}
	return m.NRGBAAt(x, y), true
}

// rows calls f for each row from 0 to height-1. It returns early if ctx ends.
func rows(ctx context.Context, width, height int, f func(y int)) error {
	every := max(stride/max(width, 1), 1)
	for y := range height {
		if y%every == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		f(y)
	}
	return nil
}

// row returns the bytes of the pixels of row y that lie in r.
func row(m *image.NRGBA, r image.Rectangle, y int) []byte {
	at := m.PixOffset(r.Min.X, y)
	return m.Pix[at : at+r.Dx()*pixelSize : at+r.Dx()*pixelSize]
}

// fill sets the pixels of r to a colour.
func fill(ctx context.Context, m *image.NRGBA, r image.Rectangle, c color.NRGBA) error {
	r = r.Intersect(m.Rect)
	if r.Empty() {
		return nil
	}
	first := row(m, r, r.Min.Y)
	for i := 0; i < len(first); i += pixelSize {
		first[i], first[i+1], first[i+2], first[i+3] = c.R, c.G, c.B, c.A
	}
	return rows(ctx, r.Dx(), r.Dy(), func(y int) { copy(row(m, r, r.Min.Y+y), first) })
}

// Equal reports whether two pictures have the same size and the same pixels.
func Equal(ctx context.Context, a, b *Picture) (bool, error) {
	if a == b {
		return true, nil
	}
	if a.width != b.width || a.height != b.height {
		return false, nil
	}
	am, err := a.Pixels(ctx)
	if err != nil {
		return false, err
	}
	bm, err := b.Pixels(ctx)
	if err != nil {
		return false, err
	}
	same := true
	err = rows(ctx, a.width, a.height, func(y int) {
		same = same && string(row(am, am.Rect, y)) == string(row(bm, bm.Rect, y))
	})
	return same, err
}
