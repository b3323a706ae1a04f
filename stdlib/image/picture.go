package image

import (
	"context"
	"image"
	"math"
	"path/filepath"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/picture"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// example begins the examples of methods.
const example = `local p = require("imd.image").new(4, 2, "red")
`

const areaDoc = "x, y, width and height in pixels; x and y are 0 if they are not given"

func pictureClass() *api.Class {
	c := api.NewClass[*picture.Picture]("Picture", "A picture of pixels, such as "+
		"dev:screenshot() returns. Two pictures are equal if all their pixels are. A picture "+
		"can be used where bytes are expected, which are then those of its file.")
	c.String = func(p *picture.Picture) string { return "Picture<" + p.String() + ">" }
	c.Fields = []*api.Field{
		api.Property("width", "columns", (*picture.Picture).Width),
		api.Property("height", "rows", (*picture.Picture).Height),
		api.Property("format", "png or jpeg if it was read from a file, nil otherwise",
			func(p *picture.Picture) *string {
				if f := p.Format(); f != "" {
					return &f
				}
				return nil
			}),
		api.Property("size", "width and height, as a PictureRect at 0, 0",
			func(p *picture.Picture) *Rect {
				return boxOf(image.Rect(0, 0, p.Width(), p.Height()))
			}),
	}
	c.Meta = map[string]lua.LGFunction{"__eq": equal, "__len": length, "__concat": concat}
	c.Methods = slices.Concat(changes(), looks(), files(), dataMethods())
	return c
}

func changes() []*api.Func {
	returns := api.Returns("Picture picture")
	return []*api.Func{
		api.Method("crop", "Returns a part of the picture.",
			"area:table|PictureRect", crop,
			api.ParamDoc("area", areaDoc), returns,
			api.Example(example+`return p:crop{ x = 1, width = 2, height = 2 }.width -- => 2`)),
		api.Method("resize", "Returns the picture in another size. If only one side is given, the "+
			"proportions are kept.",
			"opts", resize, returns,
			api.Example(example+`return p:resize{ width = 8 }.height -- => 4`)),
		api.Method("rotate", "Returns the picture turned clockwise.",
			"degrees", rotate,
			api.ParamDoc("degrees", "a multiple of 90"), returns,
			api.Example(example+`return p:rotate(90).width -- => 2`)),
		api.Method("flip", "Returns the picture with left and right exchanged, or top and bottom.",
			"direction?", flip,
			api.ParamDoc("direction", "horizontal, the default, or vertical"), returns,
			api.Example(example+`return p:flip("vertical") == p -- => true`)),
		api.Method("grayscale", "Returns the picture without colours.",
			"", grayscale, returns,
			api.Example(example+`return p:grayscale():pixel(0, 0) -- => 76, 76, 76, 255`)),
		api.Method("rect", "Returns the picture with one or more rectangles drawn on it, filled "+
			"or as lines. Parts outside of the picture are not drawn.",
			"area:table|PictureRect color:string|table opts?", rect,
			api.ParamDoc("area", areaDoc+"; or a list of such"),
			api.ParamDoc("color", "as in image.new"), returns,
			api.Example(example+`local q = p:rect({ width = 1, height = 1 }, "black")
return q:pixel(0, 0) -- => 0, 0, 0, 255`)),
	}
}

// made returns the picture that f makes from p. bytes is the size of the new picture.
func made(
	c *api.Call, p *picture.Picture, bytes int,
	f func(ctx context.Context) (*picture.Picture, error),
) (out *picture.Picture, err error) {
	err = run(c, p.Pending()+bytes, func(ctx context.Context) (err error) {
		out, err = f(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// area returns how many bytes the pixels of p take.
func area(p *picture.Picture) int {
	n, _ := picture.Cost(p.Width(), p.Height()) // no error: the size of p was checked already
	return n
}

func crop(c *api.Call, p *picture.Picture, v lua.LValue) (*picture.Picture, error) {
	r, err := rectOf(c, 1, v)
	if err != nil {
		return nil, err
	}
	if err := p.Contains(r); err != nil {
		return nil, raised(err)
	}
	size, err := picture.Cost(r.Dx(), r.Dy())
	if err != nil {
		return nil, raised(err)
	}
	return made(c, p, size, func(ctx context.Context) (*picture.Picture, error) {
		return p.Crop(ctx, r)
	})
}

type resizeOptions struct {
	Width  int `lua:"width" doc:"columns; computed from height if it is not given"`
	Height int `lua:"height" doc:"rows; computed from width if it is not given"`
}

func resize(c *api.Call, p *picture.Picture, o resizeOptions) (*picture.Picture, error) {
	w, h := o.Width, o.Height
	switch {
	case w == 0 && h == 0:
		return nil, c.ArgError(1, "width or height is missing")
	case w == 0:
		w = follow(h, p.Width(), p.Height())
	case h == 0:
		h = follow(w, p.Height(), p.Width())
	}
	size, err := picture.Cost(w, h)
	if err != nil {
		return nil, raised(err)
	}
	return made(c, p, size, func(ctx context.Context) (*picture.Picture, error) {
		return p.Resize(ctx, w, h)
	})
}

// follow returns the length of a side that keeps the proportions if the other one gets length n.
func follow(n, side, other int) int {
	return int(max(math.Round(float64(n)*float64(side)/float64(other)), 1))
}

func rotate(c *api.Call, p *picture.Picture, degrees int) (*picture.Picture, error) {
	if degrees%90 != 0 {
		return nil, c.ArgError(1, "%d is not a multiple of 90", degrees)
	}
	return made(c, p, area(p), func(ctx context.Context) (*picture.Picture, error) {
		return p.Rotate(ctx, degrees/90)
	})
}

func flip(c *api.Call, p *picture.Picture, direction *string) (*picture.Picture, error) {
	vertical := direction != nil && *direction == "vertical"
	if direction != nil && !vertical && *direction != "horizontal" {
		return nil, c.ArgError(1, "%q is not horizontal or vertical", *direction)
	}
	return made(c, p, area(p), func(ctx context.Context) (*picture.Picture, error) {
		return p.Flip(ctx, vertical)
	})
}

func grayscale(c *api.Call, p *picture.Picture) (*picture.Picture, error) {
	return made(c, p, area(p), p.Grayscale)
}

type drawOptions struct {
	Line int `lua:"line" doc:"thickness of the lines; filled if it is not given"`
}

func rect(
	c *api.Call, p *picture.Picture, v, paint lua.LValue, o drawOptions,
) (*picture.Picture, error) {
	list, err := rectsOf(c, 1, v)
	if err != nil {
		return nil, err
	}
	col, err := colorOf(c, 2, paint)
	if err != nil {
		return nil, err
	}
	if o.Line < 0 || o.Line > picture.MaxSide {
		return nil, c.ArgError(3, "option \"line\": must be 0 to %d", picture.MaxSide)
	}
	return made(c, p, area(p), func(ctx context.Context) (*picture.Picture, error) {
		return p.Rect(ctx, list, col, o.Line)
	})
}

// load decodes the pixels of a picture unless they are decoded already.
func load(c *api.Call, p *picture.Picture) error {
	if p.Pending() == 0 {
		return nil
	}
	return run(c, p.Pending(), func(ctx context.Context) error {
		_, err := p.Pixels(ctx)
		return err
	})
}

func pixel(c *api.Call, p *picture.Picture, x, y int) (r, g, b, a int, err error) {
	if x < 0 || y < 0 || x >= p.Width() || y >= p.Height() {
		return 0, 0, 0, 0, c.ArgError(1, "there is no pixel %d, %d: the last one is %d, %d",
			x, y, p.Width()-1, p.Height()-1)
	}
	if err := load(c, p); err != nil {
		return 0, 0, 0, 0, err
	}
	v, _ := p.At(x, y)
	return int(v.R), int(v.G), int(v.B), int(v.A), nil
}

type encodeOptions struct {
	Quality *int `lua:"quality" doc:"of a JPEG file, from 1 to 100" default:"90"`
}

// quality returns 0 if none was given. n is the number of the options argument.
func (o encodeOptions) quality(c *api.Call, n int, format string) (int, error) {
	switch {
	case o.Quality == nil:
		return 0, nil
	case format != "jpeg":
		return 0, c.ArgError(n, "option \"quality\": PNG files have no quality")
	case *o.Quality < 1 || *o.Quality > 100:
		return 0, c.ArgError(n, "option \"quality\": must be 1 to 100")
	}
	return *o.Quality, nil
}

func files() []*api.Func {
	return []*api.Func{
		api.Method("save", "Writes the picture to a file. The extension decides the format: "+
			".png, .jpg or .jpeg. Without an extension it is the format of the picture. A picture "+
			"that was read from a file of that format is written unchanged, unless a quality is "+
			"given.",
			"path opts?", save,
			fs.PathParam("path", "the file", host.AccessWrite),
			api.Perm("file-write"),
			api.Raises("not_found", "access_denied"),
			api.Example(`local file = fs.temp_file(".jpg")
require("imd.image").new(4, 2, "red"):save(file, { quality = 80 })
return require("imd.image").open(file).format -- => "jpeg"`)),
		api.Method("encode", "Returns the picture as the bytes of a file.",
			"format? opts?", encode,
			api.ParamDoc("format", "png or jpeg; if it is not given, that of the picture, or else png"),
			api.Returns("Data file"),
			api.Example(example+`return p:encode("png"):string():sub(2, 4) -- => "PNG"`)),
	}
}

// formats maps extensions to formats. The format "" is that of the picture.
var formats = map[string]string{"": "", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}

func save(c *api.Call, p *picture.Picture, path string, o encodeOptions) error {
	ext := filepath.Ext(path)
	format, ok := formats[strings.ToLower(ext)]
	if !ok {
		return c.ArgError(1, "the name must end with .png, .jpg or .jpeg, not with %q", ext)
	}
	b, err := encoded(c, p, format, o)
	if err != nil {
		return err
	}
	return fs.WriteFile(c, "image", path, b)
}

func encode(c *api.Call, p *picture.Picture, format *string, o encodeOptions) ([]byte, error) {
	name := ""
	if format != nil {
		name = strings.ToLower(*format)
		if name == "jpg" {
			name = "jpeg"
		}
		if name != "png" && name != "jpeg" {
			return nil, c.ArgError(1, "%q is not png or jpeg", *format)
		}
	}
	return encoded(c, p, name, o)
}

// encoded returns the file of a picture. An empty format means that of the picture.
func encoded(c *api.Call, p *picture.Picture, format string, o encodeOptions) ([]byte, error) {
	if format == "" {
		format = p.Format()
	}
	if format == "" {
		format = "png"
	}
	quality, err := o.quality(c, 2, format)
	if err != nil {
		return nil, err
	}
	return file(c, p, format, quality)
}

// file encodes a picture without the interpreter lock.
func file(c *api.Call, p *picture.Picture, format string, quality int) (b []byte, err error) {
	if format == p.Format() && quality == 0 {
		return p.Source(), nil
	}
	err = run(c, p.Pending()+area(p), func(ctx context.Context) (err error) {
		b, err = p.Encode(ctx, format, quality)
		return err
	})
	return b, err
}
