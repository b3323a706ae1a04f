package image

import (
	"encoding/hex"
	"image"
	"image/color"
	"maps"
	"math"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

var named = map[string]color.NRGBA{
	"transparent": {},
	"black":       {0, 0, 0, 255}, "white": {255, 255, 255, 255}, "gray": {128, 128, 128, 255},
	"red": {255, 0, 0, 255}, "green": {0, 128, 0, 255}, "blue": {0, 0, 255, 255},
	"yellow": {255, 255, 0, 255}, "cyan": {0, 255, 255, 255}, "magenta": {255, 0, 255, 255},
	"orange": {255, 165, 0, 255}, "purple": {128, 0, 128, 255},
}

// colorOf reads a colour, which is argument n of the call. nil is transparent.
func colorOf(c *api.Call, n int, v lua.LValue) (color.NRGBA, error) {
	switch v := v.(type) {
	case *lua.LNilType:
		return color.NRGBA{}, nil
	case lua.LString:
		if known, ok := named[string(v)]; ok {
			return known, nil
		}
		if digits, ok := strings.CutPrefix(string(v), "#"); ok {
			if parsed, ok := parseColor(digits); ok {
				return parsed, nil
			}
		}
		names := slices.Sorted(maps.Keys(named))
		return color.NRGBA{}, c.ArgError(n, "%q is not a colour: #rrggbb, #rrggbbaa, or one of %s",
			string(v), strings.Join(names, ", "))
	case *lua.LTable:
		return colorTable(c, n, v)
	}
	return color.NRGBA{}, c.ArgError(n, "colour expected, got %s", v.Type())
}

// parseColor reads rgb, rrggbb and rrggbbaa.
func parseColor(s string) (color.NRGBA, bool) {
	if len(s) == 3 {
		s = string([]byte{s[0], s[0], s[1], s[1], s[2], s[2]})
	}
	b, err := hex.DecodeString(s)
	switch {
	case err != nil:
	case len(b) == 3:
		return color.NRGBA{b[0], b[1], b[2], 255}, true
	case len(b) == 4:
		return color.NRGBA{b[0], b[1], b[2], b[3]}, true
	}
	return color.NRGBA{}, false
}

// colorTable reads {r, g, b} and {r, g, b, a}.
func colorTable(c *api.Call, n int, t *lua.LTable) (color.NRGBA, error) {
	values := [4]byte{3: 255}
	size := t.Len()
	for i := range values {
		v, ok := t.RawGetInt(i + 1).(lua.LNumber)
		if i >= 3 && i >= size {
			continue
		}
		f := float64(v)
		if !ok || f != math.Trunc(f) || f < 0 || f > 255 || size > 4 {
			return color.NRGBA{}, c.ArgError(n, "a colour is {r, g, b} or {r, g, b, a}, "+
				"each from 0 to 255")
		}
		values[i] = byte(f)
	}
	return color.NRGBA{values[0], values[1], values[2], values[3]}, nil
}

// rectOptions is a rectangle that a script gives as a table.
type rectOptions struct {
	X      int `lua:"x" doc:"left side"`
	Y      int `lua:"y" doc:"upper side"`
	Width  int `lua:"width" doc:"columns" required:"true"`
	Height int `lua:"height" doc:"rows" required:"true"`
}

// maxCoordinate bounds coordinates, so that sums of two do not overflow.
const maxCoordinate = 1 << 30

// rectOf reads a table, or a record such as diff.box, which is argument n of the call. Its sides
// are positive.
func rectOf(c *api.Call, n int, v lua.LValue) (image.Rectangle, error) {
	var o rectOptions
	switch x := goValue(v).(type) {
	case *Rect:
		o = rectOptions(*x)
	case *Match:
		o = rectOptions(x.Rect)
	default:
		if err := c.Index().Options(c.L, v, &o); err != nil {
			return image.Rectangle{}, c.ArgError(n, "%s", err)
		}
	}
	for _, k := range []int{o.X, o.Y, o.Width, o.Height} {
		if k < -maxCoordinate || k > maxCoordinate {
			return image.Rectangle{}, c.ArgError(n, "%d is out of range", k)
		}
	}
	if o.Width < 1 || o.Height < 1 {
		return image.Rectangle{}, c.ArgError(n, "width and height must be 1 or more")
	}
	return image.Rect(o.X, o.Y, o.X+o.Width, o.Y+o.Height), nil
}

// goValue returns the value of userdata, and nil for any other value.
func goValue(v lua.LValue) any {
	if ud, ok := v.(*lua.LUserData); ok {
		return ud.Value
	}
	return nil
}

// maxRects is the largest number of rectangles in one call.
const maxRects = 1000

// rectsOf reads a list of rectangles, or one.
func rectsOf(c *api.Call, n int, v lua.LValue) ([]image.Rectangle, error) {
	t, ok := v.(*lua.LTable)
	if !ok || t.Len() == 0 && t.RawGetString("width") != lua.LNil {
		r, err := rectOf(c, n, v)
		return []image.Rectangle{r}, err
	}
	if t.Len() > maxRects {
		return nil, c.ArgError(n, "more than %d parts", maxRects)
	}
	out := make([]image.Rectangle, t.Len())
	for i := range out {
		r, err := rectOf(c, n, t.RawGetInt(i+1))
		if err != nil {
			return nil, err
		}
		out[i] = r
	}
	return out, nil
}

// boxOf returns a rectangle for scripts, nil if it is empty.
func boxOf(r image.Rectangle) *Rect {
	if r.Empty() {
		return nil
	}
	return &Rect{r.Min.X, r.Min.Y, r.Dx(), r.Dy()}
}

// asData calls a method of Data on the file of a picture.
func asData(L *lua.LState, name string, b []byte) int {
	args := []lua.LValue{host.Of(L).Data(b)}
	for i := 2; i <= L.GetTop(); i++ {
		args = append(args, L.Get(i))
	}
	out := host.Call(L, L.GetField(args[0], name), lua.MultRet, args...)
	for _, v := range out {
		L.Push(v)
	}
	return len(out)
}
