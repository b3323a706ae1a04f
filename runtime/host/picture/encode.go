package picture

import (
	"bytes"
	"context"
	"image"
	"image/jpeg"
	"image/png"
	"io"
)

// DefaultQuality is the default quality of JPEG files.
const DefaultQuality = 90

// Encode returns the picture as a file. format is png or jpeg. quality, from 1 to 100, is the
// quality of a JPEG file; 0 means DefaultQuality. If quality is 0 and the picture was decoded
// from a file of this format, Encode returns that file, so that saving a picture again loses
// nothing. JPEG has no transparency, so the picture is drawn on white.
func (p *Picture) Encode(ctx context.Context, format string, quality int) ([]byte, error) {
	if format == p.format && quality == 0 {
		return p.source, nil
	}
	m, err := p.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if format == "png" {
		err = encodePNG(ctx, &b, m)
	} else {
		if quality == 0 {
			quality = DefaultQuality
		}
		err = encodeJPEG(ctx, &b, m, quality)
	}
	if err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func encodePNG(ctx context.Context, w io.Writer, m *image.NRGBA) error {
	return png.Encode(&writer{ctx, w}, m)
}

func encodeJPEG(ctx context.Context, w io.Writer, m *image.NRGBA, quality int) error {
	flat, err := flatten(ctx, m)
	if err != nil {
		return err
	}
	return jpeg.Encode(&writer{ctx, w}, flat, &jpeg.Options{Quality: quality})
}

// flatten draws a picture on a white background.
func flatten(ctx context.Context, m *image.NRGBA) (*image.RGBA, error) {
	opaque := true
	err := rows(ctx, m.Rect.Dx(), m.Rect.Dy(), func(y int) {
		for i, line := pixelSize-1, row(m, m.Rect, y); opaque && i < len(line); i += pixelSize {
			opaque = line[i] == 0xff
		}
	})
	if err != nil {
		return nil, err
	}
	if opaque {
		return &image.RGBA{Pix: m.Pix, Stride: m.Stride, Rect: m.Rect}, nil
	}
	out := image.NewRGBA(m.Rect)
	err = rows(ctx, m.Rect.Dx(), m.Rect.Dy(), func(y int) {
		from, to := row(m, m.Rect, y), out.Pix[y*out.Stride:]
		for i := 0; i < len(from); i += pixelSize {
			a := int(from[i+3])
			for k := range 3 {
				to[i+k] = byte((int(from[i+k])*a + 0xff*(0xff-a) + 127) / 0xff)
			}
			to[i+3] = 0xff
		}
	})
	return out, err
}

// writer is a writer that fails after ctx has ended.
type writer struct {
	ctx context.Context
	w   io.Writer
}

func (w *writer) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}
