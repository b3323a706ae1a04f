package screen

import (
	"image"
	"image/color"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// Contents is what an unlocked screen shows.
type Contents struct {
	Clock   string
	Battery string
	Title   string   // of the app in front, "" for the home screen
	Lines   []string // below the title
	Icons   []string // of the home screen
}

// view holds everything that a picture of the screen depends on.
type view struct {
	locked bool
	Contents
}

// Colours of the palette: shades of the wallpaper, then the icons', then black
// and white.
const (
	shades = 96
	hues   = 64
	black  = shades + hues
	white  = black + 1
)

var screenPalette = sync.OnceValue(func() color.Palette {
	pal := make(color.Palette, 0, white+1)
	for i := range shades {
		pal = append(pal, color.RGBA{uint8(20 + i), uint8(40 + i*3/2), uint8(110 + i*3/2), 255})
	}
	for i := range hues {
		h := files.Mix(uint64(i) + 77)
		pal = append(pal,
			color.RGBA{uint8(60 + h%160), uint8(60 + h>>8%160), uint8(60 + h>>16%160), 255})
	}
	return append(pal, color.RGBA{A: 255}, color.RGBA{255, 255, 255, 255})
})

// canvas draws on a picture.
type canvas struct{ *image.Paletted }

func (v view) draw(width, height int) image.Image {
	c := canvas{image.NewPaletted(image.Rect(0, 0, width, height), screenPalette())}
	if v.locked {
		c.fill(c.Rect, black)
		c.text(v.Clock, width/2, height/5, width/24)
		c.text("LOCKED", width/2, height*4/5, width/60)
		return c
	}
	unit := width / 100
	switch {
	case v.Title != "":
		c.fill(c.Rect, shades+uint8(identity.Hash(v.Title)%hues))
		c.text(v.Title, width/2, height/4, unit*2)
	default:
		for y := range height {
			c.fill(image.Rect(0, y, width, y+1), uint8(y*shades/height))
		}
		c.icons(v.Icons)
	}
	for i, line := range v.Lines {
		c.text(line, width/2, height/2+i*unit*9, unit)
	}
	c.text(v.Clock, width/6, unit*5, unit)
	c.text(v.Battery, width*5/6, unit*5, unit)
	return c
}

func (c canvas) icons(names []string) {
	const columns = 4
	cell := c.Rect.Dx() / columns
	for i, name := range names {
		x, y := i%columns*cell+cell/5, cell*2/3+i/columns*cell*5/4
		c.fill(image.Rect(x, y, x+cell*3/5, y+cell*3/5), shades+uint8(identity.Hash(name)%hues))
		c.text(name[:min(1, len(name))], x+cell*3/10, y+cell/6, cell/20)
		c.text(name, x+cell*3/10, y+cell*2/3, max(cell/100, 1))
	}
}

func (c canvas) fill(r image.Rectangle, index uint8) {
	r = r.Intersect(c.Rect)
	if r.Empty() {
		return
	}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := c.Pix[c.PixOffset(r.Min.X, y) : c.PixOffset(r.Max.X-1, y)+1]
		for i := range row {
			row[i] = index
		}
	}
}

// text writes a line that is centred at x. dot is the size of a dot in pixels.
func (c canvas) text(s string, x, y, dot int) {
	s = strings.ToUpper(s)
	x -= len(s) * 4 * dot / 2
	for i := range len(s) {
		bits, ok := glyphs[s[i]]
		if !ok {
			bits = 0o77777
		}
		for k := range 15 {
			if bits>>(14-k)&1 == 1 {
				px, py := x+(i*4+k%3)*dot, y+k/3*dot
				c.fill(image.Rect(px, py, px+dot, py+dot), white)
			}
		}
	}
}

// glyphs are characters of three by five dots. Each octal digit is a row.
var glyphs = map[byte]uint16{
	' ': 0, '!': 0o22202, '%': 0o51245, '\'': 0o22000, '(': 0o12221, ')': 0o42224, '+': 0o02720,
	',': 0o00024, '-': 0o00700,
	'.': 0o00002, '/': 0o11244, ':': 0o02020, '?': 0o71202, '_': 0o00007,
	'0': 0o75557, '1': 0o26227, '2': 0o71747, '3': 0o71317, '4': 0o55711, '5': 0o74717,
	'6': 0o74757, '7': 0o71122,
	'8': 0o75757, '9': 0o75717,
	'A': 0o25755, 'B': 0o65656, 'C': 0o34443, 'D': 0o65556, 'E': 0o74647, 'F': 0o74644,
	'G': 0o34553, 'H': 0o55755,
	'I': 0o72227, 'J': 0o11152, 'K': 0o55655, 'L': 0o44447, 'M': 0o57755, 'N': 0o65555,
	'O': 0o25552, 'P': 0o65644,
	'Q': 0o25563, 'R': 0o65655, 'S': 0o34216, 'T': 0o72222, 'U': 0o55557, 'V': 0o55552,
	'W': 0o55775, 'X': 0o55255,
	'Y': 0o55222, 'Z': 0o71247,
}
