// Package image is the script module imd.image: pictures for tests. A picture never changes;
// functions that change one return a new picture. The pixel at the top left is 0, 0.
//
//	local image = require("imd.image")
//	local diff = dev:screenshot():diff("home.png", { mask = { status_bar } })
//	diff:expect_below(0.01, { save = "home-diff.png" })
package image

import (
	"context"
	"errors"
	"runtime/debug"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/picture"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name: "image",
		Doc: "Pictures: open, change, compare and save PNG and JPEG files. A picture never " +
			"changes; functions that change one return a new picture. The pixel at the top left " +
			"is 0, 0. Pixels have 8 bits of red, green, blue and alpha each; ICC profiles are " +
			"ignored.",
		Perm:    "none",
		Classes: []*api.Class{pictureClass(), diffClass()},
		Records: []*api.Record{
			api.NewRecord[Rect]("PictureRect", "A part of a picture, in pixels."),
			api.NewRecord[Match]("PictureMatch", "Where a picture was found in another."),
		},
		Funcs: makers(),
		Examples: []string{`local image = require("imd.image")
local before = image.new(100, 50, "white")
local after = before:rect({ x = 10, y = 20, width = 5, height = 5 }, "red")
print(before:diff(after).count) -- => 25`},
	}
}

// Rect is a part of a picture.
type Rect struct {
	X      int `lua:"x" doc:"column of its left side; the first one is 0"`
	Y      int `lua:"y" doc:"row of its upper side; the first one is 0"`
	Width  int `lua:"width" doc:"columns"`
	Height int `lua:"height" doc:"rows"`
}

// Match is a place at which a picture was found.
type Match struct {
	Rect
	Score float64 `lua:"score" doc:"share of the pixels that differ; 0 means an equal picture"`
}

func makers() []*api.Func {
	return []*api.Func{
		api.Function("open", "Reads a PNG or JPEG file. A photo is turned as its EXIF orientation "+
			"says.",
			"path", open,
			fs.PathParam("path", "the file", host.AccessRead),
			api.Perm("file-read"),
			api.Raises("not_found", "decode", "too_large", "memory"),
			api.Returns("Picture picture"),
			api.Example(`local image = require("imd.image")
local file = fs.temp_file(".png")
image.new(3, 2, "red"):save(file)
return image.open(file).width -- => 3`)),
		api.Function("decode", "Makes a picture of the bytes of a PNG or JPEG file.",
			"data", decode,
			api.ParamDoc("data", "string or Data"),
			api.Raises("decode", "too_large", "memory"),
			api.Returns("Picture picture"),
			api.Example(`local image = require("imd.image")
local png = image.new(3, 2, "red"):encode("png")
return image.decode(png):pixel(0, 0) -- => 255, 0, 0, 255`)),
		api.Function("new", "Makes a picture of one colour.",
			"width height color?:string|table", newPicture,
			api.ParamDoc("width", "columns"),
			api.ParamDoc("height", "rows"),
			api.ParamDoc("color", "name, #rrggbb, #rrggbbaa or {r, g, b, a}; transparent if "+
				"it is not given"),
			api.Raises("memory"),
			api.Returns("Picture picture"),
			api.Example(`local p = require("imd.image").new(3, 2, "#ff8000")
return p:pixel(2, 1) -- => 255, 128, 0, 255`)),
		api.Function("distance", "Returns how many of the 64 bits of two hashes differ. Pictures "+
			"that look alike usually have a distance of 10 or less.",
			"hash other", func(_ *api.Call, a, b string) (int, error) {
				n, err := picture.HashDistance(a, b)
				return n, raised(err)
			},
			api.ParamDoc("hash", "from picture:hash()"),
			api.ParamDoc("other", "another of the same kind"),
			api.Example(`local image = require("imd.image")
return image.distance("00000000000000ff", "0000000000000000") -- => 8`)),
	}
}

// raised returns the error that a script gets for an error of package picture.
func raised(err error) error {
	var e *picture.Error
	if errors.As(err, &e) {
		return host.Errorf(e.Code, "image: %s", e.Text)
	}
	return err
}

// run runs f, which needs the given number of bytes, without the interpreter lock. It sets no
// deadline; that of the task applies.
func run(c *api.Call, bytes int, f func(ctx context.Context) error) error {
	hold(c.L, bytes)
	err := c.Timeout(api.NoTimeout).TryBlock(func(ctx context.Context) error {
		return promptly(ctx, f)
	})
	return raised(err)
}

// promptly runs f and returns at once when ctx ends. Single steps of f, such as the allocation of a
// large picture, cannot be interrupted. Therefore f runs on a goroutine of its own, which ends at
// its next step after the end of ctx. The result of f is dropped in this case.
func promptly(ctx context.Context, f func(ctx context.Context) error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- host.Errorf("internal", "image: %v\n%s", r, debug.Stack())
			}
		}()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// held is a value on the Lua stack that represents memory of a function which no Lua value holds
// yet. With it, the memory guard counts that memory even while other tasks run.
type held int

// Size returns the number of bytes.
func (h held) Size(func(lua.LValue)) int { return int(h) }

// hold raises an error of code "memory" if the given number of bytes would exceed the limit. The
// memory guard counts them until the function of the script API returns.
func hold(L *lua.LState, bytes int) {
	if bytes == 0 {
		return
	}
	host.Reserve(L, bytes)
	L.Push(&lua.LUserData{Value: held(bytes), Metatable: lua.LNil})
}

func open(c *api.Call, path string) (*picture.Picture, error) {
	b, err := fs.ReadFile(c, "image", path)
	if err != nil {
		return nil, err
	}
	p, err := decoded(c, b)
	if e := (*host.Error)(nil); errors.As(err, &e) && e.Code == "decode" {
		e.Message += ": " + path
	}
	return p, err
}

func decode(c *api.Call, b []byte) (*picture.Picture, error) { return decoded(c, b) }

// decoded makes a picture and decodes its pixels at once, so that it returns an error if the file
// is broken.
func decoded(c *api.Call, b []byte) (*picture.Picture, error) {
	p, err := picture.FromBytes(b)
	if err != nil {
		return nil, raised(err)
	}
	err = run(c, len(b)+p.Pending(), func(ctx context.Context) error {
		_, err := p.Pixels(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func newPicture(c *api.Call, width, height int, v lua.LValue) (p *picture.Picture, err error) {
	paint, err := colorOf(c, 3, v)
	if err != nil {
		return nil, err
	}
	size, err := picture.Cost(width, height)
	if err != nil {
		return nil, raised(err)
	}
	err = run(c, size, func(ctx context.Context) (err error) {
		p, err = picture.New(ctx, width, height, paint)
		return err
	})
	return p, err
}
