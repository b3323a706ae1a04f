package xpc

import (
	"context"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
)

func invoke(c *api.Call, x *Connection, feature string, v any, t device.Timeout) (any, error) {
	input, err := encode(v)
	if err != nil {
		return nil, c.ArgError(2, "%v", err)
	}
	if v == nil {
		input = nil // encode made it null, but here nil means that there is no input
	}
	var out any
	err = x.do(c, t, func(ctx context.Context) error {
		i, err := x.features.Get(ctx)
		if err != nil {
			return err
		}
		out, err = i.Invoke(ctx, feature, input)
		return err
	})
	if err != nil {
		return nil, err
	}
	return decode(out), nil
}
