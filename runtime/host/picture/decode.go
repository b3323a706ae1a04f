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

// header holds facts from the header of a picture file.
type header struct {
	orientation int // EXIF orientation, 1 to 8
	cost        int // bytes that decoding allocates, including the result
}

var (
	pngMagic  = []byte("\x89PNG\r\n\x1a\n")
	jpegMagic = []byte("\xff\xd8\xff")
)

// FromBytes returns the picture of a PNG or JPEG file. b must not change afterwards. FromBytes
// decodes only the header; the pixels are decoded when they are needed. It applies the EXIF
// orientation of a JPEG file, so that width and height are those of the upright picture.
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

// pngCost returns how many bytes the decoder allocates for each pixel of a PNG file, without those
// of the result.
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

// jpegSegments reads the segments before the pixels. It returns the EXIF orientation, or 1 if there
// is none, and whether the file is progressive.
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

// exifOrientation returns the orientation of an EXIF segment, or 0 if it has none. The segment
// consists of "Exif", two zero bytes and a TIFF file. The TIFF file begins with the byte order, 42
// and the offset of a list of entries. An entry has 12 bytes: tag, type, count and value.
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

// convert converts m to NRGBA. The result may share memory with m.
func convert(ctx context.Context, m image.Image) (*image.NRGBA, error) {
	switch m := m.(type) {
	case *image.NRGBA:
		return m, nil
	case *image.RGBA:
		// The decoders return RGBA only for pictures without transparency, for which NRGBA has
		// the same bytes.
		return &image.NRGBA{Pix: m.Pix, Stride: m.Stride, Rect: m.Rect}, nil
	}
	r := m.Bounds()
	out := image.NewNRGBA(image.Rect(0, 0, r.Dx(), r.Dy()))
	return out, rows(ctx, r.Dx(), r.Dy(), func(y int) { convertRow(out, m, y) })
}

// convertRow converts one row of a picture whose bounds begin at 0, 0. It uses the upper 8 of 16
// bits.
func convertRow(out *image.NRGBA, m image.Image, y int) {
	to := row(out, out.Rect, y)
	switch m := m.(type) {
	case *image.YCbCr, *image.CMYK, *image.Gray:
		// Without transparency, RGBA and NRGBA have the same bytes.
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

// upper copies the upper bytes of 16-bit values.
func upper(to, from []byte) {
	for i := range to {
		to[i] = from[i*2]
	}
}

// orient rotates and mirrors a picture according to its EXIF orientation.
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
