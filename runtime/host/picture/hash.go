package picture

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
)

// GradientHash returns the dHash of the picture, a hash of 64 bits that is similar for pictures
// that look alike. The picture is shrunk to 9x8 gray pixels, and each bit says whether a pixel is
// darker than its right neighbour.
func (p *Picture) GradientHash(ctx context.Context) (uint64, error) {
	gray, err := p.shrunk(ctx, 9, 8)
	if err != nil {
		return 0, err
	}
	var hash uint64
	for y := range 8 {
		for x := range 8 {
			hash <<= 1
			if gray[y*9+x] < gray[y*9+x+1] {
				hash |= 1
			}
		}
	}
	return hash, nil
}

// FrequencyHash returns the pHash of the picture, a hash of 64 bits that is similar for pictures
// that look alike. The picture is shrunk to 32x32 gray pixels, and each bit says whether one of
// the 8x8 lowest frequencies of its cosine transform is above their median.
func (p *Picture) FrequencyHash(ctx context.Context) (uint64, error) {
	const side, low = 32, 8
	gray, err := p.shrunk(ctx, side, side)
	if err != nil {
		return 0, err
	}
	wave := func(k, x int) float64 {
		return math.Cos(math.Pi * float64(k) * (2*float64(x) + 1) / (2 * side))
	}
	var lines [side][low]float64 // the transform of each row
	for y := range side {
		for k := range low {
			for x := range side {
				lines[y][k] += gray[y*side+x] * wave(k, x)
			}
		}
	}
	var values [low * low]float64
	for j := range low {
		for k := range low {
			for y := range side {
				values[j*low+k] += lines[y][k] * wave(j, y)
			}
		}
	}
	sorted := slices.Sorted(slices.Values(values[1:])) // values[0] is the average brightness
	median := sorted[len(sorted)/2]
	var hash uint64
	for _, v := range values {
		hash <<= 1
		if v > median {
			hash |= 1
		}
	}
	return hash, nil
}

// shrunk returns the brightness of the pixels of a small copy.
func (p *Picture) shrunk(ctx context.Context, width, height int) ([]float64, error) {
	small, err := p.Resize(ctx, width, height)
	if err != nil {
		return nil, err
	}
	m, err := small.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]float64, width*height)
	for i := range out {
		r, g, b := blended(m.Pix[i*pixelSize : i*pixelSize+4])
		out[i] = 0.299*r + 0.587*g + 0.114*b
	}
	return out, nil
}

// HashText returns a hash as 16 hexadecimal digits.
func HashText(hash uint64) string { return fmt.Sprintf("%016x", hash) }

// HashDistance returns how many bits of two hashes differ, from 0 to 64.
func HashDistance(a, b string) (int, error) {
	x, err := parseHash(a)
	if err != nil {
		return 0, err
	}
	y, err := parseHash(b)
	return bits.OnesCount64(x ^ y), err
}

func parseHash(s string) (uint64, error) {
	h, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 {
		return 0, failed("argument", "a hash is 16 hexadecimal digits, not %q", s)
	}
	return h, nil
}
