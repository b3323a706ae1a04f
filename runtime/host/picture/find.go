package picture

import (
	"context"
	"image"
	"math"
	"math/rand/v2"
)

// MaxFind is the largest number of pixels of a picture that Find searches.
const MaxFind = 1 << 22

// ProbeSize is the memory that Find needs for each of these pixels, in bytes.
const ProbeSize = 16

// FindOptions configures Find.
type FindOptions struct {
	// Threshold is the largest distance, from 0 to 1, at which two colours count as equal.
	Threshold float64
	// Different is the fraction of the pixels, from 0 to 1, that may differ.
	Different float64
}

// Match is the place at which a picture was found in another one.
type Match struct {
	At    image.Point
	Score float64 // fraction of the pixels that differ
}

// probe is one pixel of the picture to find.
type probe struct {
	offset int // from the first pixel of a place, in bytes of the other picture
	color  [4]byte
}

// Find searches for sub in p. It returns the place at which the fewest pixels differ. If there are
// several, it returns the first one, row by row. It returns nil if too many pixels differ at every
// place. Transparent pixels of sub match any pixel.
//
// At each place, pixels are compared in a random order. The comparison ends if too many pixels
// differ. It also ends if so many of the first pixels differ that a match is very improbable.
// Usually only a few pixels are compared.
func (p *Picture) Find(ctx context.Context, sub *Picture, o FindOptions) (*Match, error) {
	m, err := p.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	s, err := sub.Pixels(ctx)
	if err != nil || sub.width > p.width || sub.height > p.height {
		return nil, err
	}
	if sub.width*sub.height > MaxFind {
		return nil, failed("too_large", "the picture to find has more than %d pixels", MaxFind)
	}
	probes, err := shuffled(ctx, s, m.Stride)
	if err != nil {
		return nil, err
	}
	if len(probes) == 0 {
		return nil, failed("argument", "the picture to find is transparent")
	}
	limit := maxDistance * o.Threshold * o.Threshold
	allowed := int(o.Different * float64(len(probes)))
	early := earlyLimits(o.Different)
	var found *Match
	work := 0
	for y := 0; y <= p.height-sub.height; y++ {
		for x := 0; x <= p.width-sub.width; x++ {
			if work >= stride {
				work = 0
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
			}
			n, compared := mismatches(m.Pix[y*m.Stride+x*pixelSize:], probes, early, allowed, limit)
			work += compared + 1
			if n > allowed {
				continue
			}
			found = &Match{image.Pt(x, y), float64(n) / float64(len(probes))}
			if n == 0 {
				return found, nil
			}
			allowed = n - 1
		}
	}
	return found, nil
}

// shuffled returns the pixels of s that are not transparent, in a pseudo-random order. The order is
// the same in every call.
func shuffled(ctx context.Context, s *image.NRGBA, lineSize int) ([]probe, error) {
	var out []probe
	err := rows(ctx, s.Rect.Dx(), s.Rect.Dy(), func(y int) {
		for line, x := row(s, s.Rect, y), 0; x*pixelSize < len(line); x++ {
			if c := [4]byte(line[x*pixelSize:]); c[3] != 0 {
				out = append(out, probe{y*lineSize + x*pixelSize, c})
			}
		}
	})
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, err
}

// earlyLimits returns the largest number of the first i+1 pixels that may differ, for each i. p
// is the fraction of all pixels that may differ. At such a place the probability of exceeding a
// limit by chance is below one in a million.
func earlyLimits(p float64) []int {
	out := make([]int, 256)
	for i := range out {
		n := float64(i + 1)
		out[i] = int(3 + p*n + 6*math.Sqrt(p*(1-p)*n))
	}
	return out
}

// mismatches counts the pixels that differ. If there are too many, it stops and returns a number
// larger than that of all pixels.
func mismatches(pix []byte, probes []probe, early []int, allowed int, limit float64) (
	n, compared int,
) {
	for i := range probes {
		p := &probes[i]
		at := pix[p.offset : p.offset+4 : p.offset+4]
		if [4]byte(at) == p.color || limit > 0 && math.Abs(distance(at, p.color[:])) <= limit {
			continue
		}
		n++
		if n > allowed || i < len(early) && n > early[i] {
			return len(probes) + 1, i + 1
		}
	}
	return n, len(probes)
}
