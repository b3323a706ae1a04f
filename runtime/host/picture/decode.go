package picture

import (
	"bytes"
	"context"
	"encoding/binary"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"

	"github.com/imdlua/imdlua/runtime/host/localfile"
)

// header is what the beginning of a file says about the picture.
type header struct {
	orientation int // of EXIF, 1 to 8
	cost        int // bytes that decoding needs, the result included
}

var (
	pngMagic  = []byte("\x89PNG\r\n\x1a\n")
	jpegMagic = []byte("\xff\xd8\xff")
)

// FromBytes makes a picture of a PNG or JPEG file, which must not change afterwards. It looks at
// the header only: the pixels are decoded when they are needed. The EXIF orientation of a JPEG
// file is applied, so that width and height are those that people see.
func FromBytes(b []byte) (*Picture, error) {
	var config image.Config
	var err error
	p := &Picture{source: b, turn: make(chan struct{}, 1), header: header{orientation: 1}}
	transient := 0
	switch {
	case bytes.HasPrefix(b, pngMagic):
		p.format = "png"
		config, err = png.DecodeConfig(bytes.NewReader(b))
		transient = pngCost(config.ColorModel, b)
	case bytes.HasPrefix(b, jpegMagic):
		p.format = "jpeg"
		config, err = jpeg.DecodeConfig(bytes.NewReader(b))
		var progressive bool
		p.header.orientation, progressive = jpegSegments(b)
		transient = 4
		if progressive {
			transient += 12 // the coefficients of three components
		}
	default:
		return nil, failed("decode", "neither a PNG nor a JPEG file")
	}
	if err != nil {
		return nil, failed("decode", "%v", err)
	}
	p.width, p.height = config.Width, config.Height
	cost, err := Cost(p.width, p.height)
	if err != nil {
		return nil, failed("too_large", "%dx%d pixels; a side has at most %d",
			p.width, p.height, MaxSide)
	}
	p.header.cost = cost + p.width*p.height*transient
	if p.header.orientation > 1 {
		p.header.cost += cost
	}
	if p.header.orientation >= 5 {
		p.width, p.height = p.height, p.width
	}
	return p, nil
}

// pngCost is how many bytes a pixel takes while a PNG file is decoded, without those of the
// result.
func pngCost(model color.Model, b []byte) int {
	n := 0
	switch model {
	case color.RGBAModel, color.NRGBAModel: // decoded in place
	case color.RGBA64Model, color.NRGBA64Model:
		n = 8
	case color.Gray16Model:
		n = 2
	default:
		n = 1
	}
	const interlaced = 28 // the place of the byte in the file
	if len(b) > interlaced && b[interlaced] != 0 {
		n += max(n, pixelSize) // the passes are decoded one by one
	}
	return n
}

// jpegSegments walks over the segments before the pixels. It returns the EXIF orientation, 1 if
// there is none, and whether the file is progressive.
func jpegSegments(b []byte) (orientation int, progressive bool) {
	const (
		sof2 = 0xc2
		sos  = 0xda
		app1 = 0xe1
	)
	orientation = 1
	for at := 2; at+4 <= len(b) && b[at] == 0xff; {
		marker := b[at+1]
		if marker == 0xff { // fill byte
			at++
			continue
		}
		size := int(binary.BigEndian.Uint16(b[at+2:]))
		if size < 2 || at+2+size > len(b) || marker == sos {
			break
		}
		body := b[at+4 : at+2+size]
		switch marker {
		case sof2:
			progressive = true
		case app1:
			if o := exifOrientation(body); o > 0 {
				orientation = o
			}
		}
		at += 2 + size
	}
	return orientation, progressive
}

// exifOrientation returns the orientation of an EXIF segment, 0 if it has none. The segment is
// "Exif", two zeros, and a TIFF file: byte order, 42, offset of the first list of entries of 12
// bytes (tag, type, count, value).
func exifOrientation(b []byte) int {
	const (
		tagOrientation = 0x0112
		typeShort      = 3
	)
	tiff, ok := bytes.CutPrefix(b, []byte("Exif\x00\x00"))
	if !ok || len(tiff) < 8 {
		return 0
	}
	var order binary.ByteOrder = binary.BigEndian
	if tiff[0] == 'I' {
		order = binary.LittleEndian
	}
	list := int64(order.Uint32(tiff[4:]))
	if list+2 > int64(len(tiff)) {
		return 0
	}
	n := int(order.Uint16(tiff[list:]))
	for entry := tiff[list+2:]; n > 0 && len(entry) >= 12; n, entry = n-1, entry[12:] {
		if order.Uint16(entry) != tagOrientation || order.Uint16(entry[2:]) != typeShort {
			continue
		}
		if o := int(order.Uint16(entry[8:])); o >= 1 && o <= 8 {
			return o
		}
	}
	return 0
}

// decode returns the pixels of the source.
func (p *Picture) decode(ctx context.Context) (*image.NRGBA, error) {
	r := localfile.Reader(ctx, bytes.NewReader(p.source))
	var m image.Image
	var err error
	if p.format == "png" {
		m, err = png.Decode(r)
	} else {
		m, err = jpeg.Decode(r)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, failed("decode", "%v", err)
	}
	pixels, err := convert(ctx, m)
	if err != nil {
		return nil, err
	}
	return orient(ctx, pixels, p.header.orientation)
}

// convert returns the pixels of m, which it may use as they are.
func convert(ctx context.Context, m image.Image) (*image.NRGBA, error) {
	switch m := m.(type) {
	case *image.NRGBA:
		return m, nil
	case *image.RGBA:
		// The decoders make one for pictures without transparency only. The bytes are the same
		// then.
		return &image.NRGBA{Pix: m.Pix, Stride: m.Stride, Rect: m.Rect}, nil
	}
	r := m.Bounds()
	out := image.NewNRGBA(image.Rect(0, 0, r.Dx(), r.Dy()))
	return out, rows(ctx, r.Dx(), r.Dy(), func(y int) { convertRow(out, m, y) })
}

// convertRow converts one row of a picture whose bounds begin at 0, 0. Of 16 bits the upper 8 are
// taken.
func convertRow(out *image.NRGBA, m image.Image, y int) {
	to := row(out, out.Rect, y)
	switch m := m.(type) {
	case *image.YCbCr, *image.CMYK, *image.Gray:
		// They have no transparency, so that RGBA and NRGBA are the same.
		opaque := &image.RGBA{Pix: out.Pix, Stride: out.Stride, Rect: out.Rect}
		line := image.Rect(0, y, out.Rect.Dx(), y+1)
		draw.Draw(opaque, line, m, line.Min, draw.Src)
	case *image.Gray16:
		from := m.Pix[m.PixOffset(0, y):]
		for x := 0; x*pixelSize < len(to); x++ {
			v := from[x*2]
			copy(to[x*pixelSize:], []byte{v, v, v, 0xff})
		}
	case *image.RGBA64:
		upper(to, m.Pix[m.PixOffset(0, y):])
	case *image.NRGBA64:
		upper(to, m.Pix[m.PixOffset(0, y):])
	default:
		for x := 0; x*pixelSize < len(to); x++ {
			c := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
			copy(to[x*pixelSize:], []byte{c.R, c.G, c.B, c.A})
		}
	}
}

// upper takes the upper bytes of 16-bit values.
func upper(to, from []byte) {
	for i := range to {
		to[i] = from[i*2]
	}
}

// orient turns a picture as its EXIF orientation says.
func orient(ctx context.Context, m *image.NRGBA, orientation int) (*image.NRGBA, error) {
	switch orientation {
	case 2:
		return turn(ctx, m, 0, true)
	case 3:
		return turn(ctx, m, 2, false)
	case 4:
		return turn(ctx, m, 2, true)
	case 5:
		return turn(ctx, m, 3, true)
	case 6:
		return turn(ctx, m, 1, false)
	case 7:
		return turn(ctx, m, 1, true)
	case 8:
		return turn(ctx, m, 3, false)
	}
	return m, nil
}
