package dvt

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// call calls a method of a channel. It accepts any channel and any selector, even if
// this program does not know them. with runs a function with the session.
func call(with func(use) error, channel, selector string, args []any) (any, error) {
	var v any
	err := with(func(ctx context.Context, s *dvt.Session) (err error) {
		v, err = s.Call(ctx, identifier(channel), selector, archived(args)...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return plain(v), nil
}

// callOnDevice is dev:dvt_call.
func callOnDevice(
	c *api.Call, d *device.Device, channel, selector string, args ...any,
) (any, error) {
	run := func(f use) error { return with(c, d, device.Timeout{}, f) }
	return call(run, channel, selector, args)
}

// archived returns a script's values as arguments of a method. nil stays nil.
func archived(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		if a != nil {
			out[i] = foundation(a)
		}
	}
	return out
}

// foundation converts a script's value to one that can be archived.
func foundation(v any) any {
	switch v := v.(type) {
	case nil:
		return nskeyed.Null{}
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = foundation(e)
		}
		return out
	case map[string]any:
		out := make(nskeyed.Dict, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out = append(out, nskeyed.Pair{Key: key, Value: foundation(v[key])})
		}
		return out
	}
	return v
}

// plain converts an unarchived value to one that scripts can hold. An object becomes a
// dictionary of its fields, with the name of its class under the key $class.
func plain(v any) any {
	switch v := v.(type) {
	case nskeyed.Null:
		return nil
	case []any:
		return list(v)
	case nskeyed.Set:
		return list(v)
	case nskeyed.OrderedSet:
		return list(v)
	case nskeyed.Top:
		return list(v)
	case nskeyed.Dict:
		return dict(v)
	case nskeyed.Mutable:
		return plain(v.Content)
	case nskeyed.Date:
		return v.Time()
	case nskeyed.Point:
		return map[string]any{"x": v.X, "y": v.Y}
	case nskeyed.Size:
		return map[string]any{"width": v.Width, "height": v.Height}
	case nskeyed.Rect:
		return map[string]any{"x": v.X, "y": v.Y, "width": v.Width, "height": v.Height}
	case nskeyed.Range:
		return map[string]any{"location": v.Location, "length": v.Length}
	case *nskeyed.NSError:
		return map[string]any{
			"$class": "NSError", "domain": v.Domain, "code": v.Code, "info": dict(v.UserInfo),
		}
	case *nskeyed.Object:
		return object(v)
	case nskeyed.Archiver:
		if o, err := v.ArchiveObject(); err == nil {
			return object(o)
		}
		return fmt.Sprint(v)
	case nil, bool, string, []byte, int64, uint64, float64:
		return v
	}
	return fmt.Sprint(v) // UUIDs, network addresses and the like
}

func list(v []any) []any {
	out := make([]any, len(v))
	for i, e := range v {
		out[i] = plain(e)
	}
	return out
}

func dict(d nskeyed.Dict) map[string]any {
	out := make(map[string]any, len(d))
	for _, p := range d {
		out[fmt.Sprint(plain(p.Key))] = plain(p.Value)
	}
	return out
}

func object(o *nskeyed.Object) map[string]any {
	out := make(map[string]any, len(o.Fields)+1)
	for _, f := range o.Fields {
		out[f.Key] = plain(f.Value)
	}
	if len(o.Classes) > 0 {
		out["$class"] = o.Classes[0]
	}
	return out
}
