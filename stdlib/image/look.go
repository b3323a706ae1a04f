package image

import (
	"context"
	"fmt"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/picture"
	"github.com/imdlua/imdlua/stdlib/fs"
)

func looks() []*api.Func {
	return []*api.Func{
		api.Method("pixel", "Returns red, green, blue and alpha of a pixel, each from 0 to 255.",
			"x y", pixel,
			api.ParamDoc("x", "column; the first one is 0"),
			api.ParamDoc("y", "row; the first one is 0"),
			api.Returns("integer red", "integer green", "integer blue", "integer alpha"),
			api.Example(example+`return p:pixel(3, 1) -- => 255, 0, 0, 255`)),
		api.Method(
			"diff",
			"Compares the picture with another one of the same size. Colours are "+
				"compared as people perceive them, and edges that differ only in their antialiasing "+
				"do not count, as in Playwright and pixelmatch.",
			"other:Picture|string opts?",
			diff,
			api.ParamDoc("other", "a picture, or the path of a file"),
			api.Checks(host.AccessRead),
			api.Raises("size_mismatch", "not_found", "decode"),
			api.Returns("PictureDiff diff"),
			api.Example(
				example+`local diff = p:diff(p:rect({ x = 1, width = 2, height = 1 }, "blue"))
return diff.count, diff.score, diff.box.x -- => 2, 0.25, 1`,
			),
		),
		api.Method("hash", "Returns a hash of 64 bits as 16 hexadecimal digits. Pictures that "+
			"look alike have similar hashes, see image.distance.",
			"kind?", hash,
			api.ParamDoc("kind", "dhash, the default, or phash, which is slower and tolerates "+
				"more changes"),
			api.Returns("string hash"),
			api.Example(example+`return p:hash() == p:resize{ width = 40 }:hash() -- => true`)),
		api.Method("find", "Searches another picture in this one. Returns where it is, or nil. If "+
			"there are several places, it returns the one that differs least. Transparent pixels "+
			"of the other picture match everything.",
			"other:Picture|string opts?", find,
			api.ParamDoc("other", "a picture, or the path of a file; at most 4 million pixels"),
			api.Checks(host.AccessRead),
			api.Raises("too_large", "not_found", "decode"),
			api.Returns("PictureMatch? match"),
			api.Example(`local image = require("imd.image")
local button = image.new(3, 2, "blue")
local screen = image.new(20, 10):rect({ x = 5, y = 6, width = 3, height = 2 }, "blue")
return screen:find(button).x -- => 5`)),
	}
}

// pictureOf returns a picture that is argument n, or opens the file whose path it is.
func pictureOf(c *api.Call, n int, v lua.LValue) (*picture.Picture, error) {
	if p, ok := api.To[*picture.Picture](v); ok {
		return p, nil
	}
	path, ok := v.(lua.LString)
	if !ok {
		return nil, c.ArgError(n, "Picture or path expected, got %s", v.Type())
	}
	if err := c.Allow(host.AccessRead, string(path)); err != nil {
		return nil, err
	}
	return open(c, string(path))
}

// colorThreshold is the option for the difference of two colours that counts as equal, as in
// Playwright.
type colorThreshold struct {
	Threshold float64 `lua:"threshold" doc:"largest difference of equal colours, 0 to 1" default:"0.1"`
}

func (o colorThreshold) check(c *api.Call) error {
	if !(o.Threshold >= 0 && o.Threshold <= 1) {
		return c.ArgError(2, "option \"threshold\": must be 0 to 1")
	}
	return nil
}

type diffOptions struct {
	colorThreshold
	Antialias bool       `lua:"antialias" doc:"count edges that differ only in their antialiasing"`
	Mask      lua.LValue `lua:"mask" doc:"parts to leave out, or a picture that is opaque there"`
}

func diff(c *api.Call, p *picture.Picture, v lua.LValue, o diffOptions) (*Diff, error) {
	if err := o.check(c); err != nil {
		return nil, err
	}
	other, err := pictureOf(c, 1, v)
	if err != nil {
		return nil, err
	}
	options := picture.DiffOptions{Threshold: o.Threshold, Antialias: o.Antialias}
	bytes := p.Pending() + other.Pending() + area(p)
	if mask, ok := api.To[*picture.Picture](o.Mask); ok {
		options.Mask = mask
		bytes += mask.Pending()
	} else if o.Mask != nil && o.Mask != lua.LNil {
		options.Ignore, err = rectsOf(c, 2, o.Mask)
		if err != nil {
			return nil, err
		}
	}
	var d *picture.Diff
	err = run(c, bytes, func(ctx context.Context) (err error) {
		d, err = picture.Compare(ctx, p, other, options)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Diff{d}, nil
}

func hash(c *api.Call, p *picture.Picture, kind *string) (string, error) {
	f := p.GradientHash
	switch {
	case kind == nil || *kind == "dhash":
	case *kind == "phash":
		f = p.FrequencyHash
	default:
		return "", c.ArgError(1, "%q is not dhash or phash", *kind)
	}
	var h uint64
	err := run(c, p.Pending(), func(ctx context.Context) (err error) {
		h, err = f(ctx)
		return err
	})
	return picture.HashText(h), err
}

type findOptions struct {
	colorThreshold
	Different float64 `lua:"different" doc:"share of the pixels that may differ" default:"0.02"`
}

func find(c *api.Call, p *picture.Picture, v lua.LValue, o findOptions) (*Match, error) {
	if err := o.check(c); err != nil {
		return nil, err
	}
	if !(o.Different >= 0 && o.Different < 1) {
		return nil, c.ArgError(2, "option \"different\": must be 0 or more, and less than 1")
	}
	sub, err := pictureOf(c, 1, v)
	if err != nil {
		return nil, err
	}
	var m *picture.Match
	probes := min(area(sub)/4, picture.MaxFind) * picture.ProbeSize
	err = run(c, p.Pending()+sub.Pending()+probes, func(ctx context.Context) (err error) {
		m, err = p.Find(ctx, sub, picture.FindOptions{
			Threshold: o.Threshold, Different: o.Different,
		})
		return err
	})
	if err != nil || m == nil {
		return nil, err
	}
	return &Match{Rect{m.At.X, m.At.Y, sub.Width(), sub.Height()}, m.Score}, nil
}

// Diff is the difference of two pictures.
type Diff struct{ d *picture.Diff }

// Size returns the bytes of the picture.
func (d *Diff) Size(visit func(lua.LValue)) int { return d.d.Picture.Size(visit) }

func (d *Diff) score() float64 { return float64(d.d.Count) / float64(d.d.Compared) }

func diffClass() *api.Class {
	c := api.NewClass[*Diff]("PictureDiff", "The difference of two pictures. Made by `picture:diff`.")
	c.Var = "diff"
	c.String = func(d *Diff) string {
		return fmt.Sprintf("PictureDiff<%d of %d pixels differ>", d.d.Count, d.d.Compared)
	}
	c.Fields = []*api.Field{
		api.Property("score", "share of the compared pixels that differ, 0 to 1", (*Diff).score),
		api.Property("count", "pixels that differ", func(d *Diff) int { return d.d.Count }),
		api.Property("compared", "pixels that were compared",
			func(d *Diff) int { return d.d.Compared }),
		api.Property("box", "PictureRect around all pixels that differ, nil if none does",
			func(d *Diff) *Rect { return boxOf(d.d.Box) }),
		api.Property("picture", "Picture: the first one faded, with red where they differ, yellow "+
			"where only the antialiasing of an edge differs, and gray where they were not compared",
			func(d *Diff) *picture.Picture { return d.d.Picture }),
	}
	c.Methods = []*api.Func{
		api.Method("expect_below", "Raises an error with code assertion unless the score is below "+
			"a limit. Returns the diff.",
			"limit opts?", expectBelow,
			api.ParamDoc("limit", "the score must be less than this; 0.01 is one pixel of a hundred"),
			api.Raises("assertion"),
			api.Returns("PictureDiff diff"),
			api.Example(example+`p:diff(p):expect_below(0.01)`)),
	}
	return c
}

type expectOptions struct {
	Save string `lua:"save" kind:"path" access:"write" doc:"file for diff.picture if it fails"`
}

func expectBelow(c *api.Call, d *Diff, limit float64, o expectOptions) (*Diff, error) {
	if !(limit >= 0) {
		return nil, c.ArgError(1, "must be 0 or more")
	}
	if d.score() < limit || d.d.Count == 0 {
		return d, nil
	}
	if o.Save != "" {
		b, err := file(c, d.d.Picture, "png", 0)
		if err != nil {
			return nil, err
		}
		if err := fs.WriteFile(c, "image", o.Save, b); err != nil {
			return nil, err
		}
	}
	box := boxOf(d.d.Box)
	e := host.Errorf("assertion", "%.3g%% of the pixels differ (%d of %d, between x=%d y=%d and "+
		"x=%d y=%d), want less than %.3g%%", d.score()*100, d.d.Count, d.d.Compared, box.X, box.Y,
		box.X+box.Width-1, box.Y+box.Height-1, limit*100)
	e.Details = map[string]any{"score": d.score(), "count": d.d.Count}
	if o.Save != "" {
		e.Hint = "the difference is in " + o.Save
	}
	return nil, e
}
