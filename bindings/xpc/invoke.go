package xpc

import (
	"context"
	"errors"
	"io/fs"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
)

// invoker invokes features of a CoreDevice service.
type invoker interface {
	Invoke(ctx context.Context, feature string, input any) (any, error)
	Done() <-chan struct{}
	Close() error
}

func connectFeatures(ctx context.Context, o service.Opener, n service.Name) (invoker, error) {
	c, err := coredevice.Connect(ctx, o, n)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func invoke(c *api.Call, x *Connection, feature string, v any, t device.Timeout) (any, error) {
	input, err := encode(v)
	if err != nil {
		return nil, c.ArgError(2, "%v", err)
	}
	if v == nil {
		input = nil // no input, and not the value null
	}
	var out any
	err = x.do(c, t, func(ctx context.Context) error {
		i, err := x.features(ctx)
		if err == nil {
			out, err = i.Invoke(ctx, feature, input)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return decode(out), nil
}

// features returns the connection for features, opened when first needed and
// again when it has ended.
func (x *Connection) features(ctx context.Context) (invoker, error) {
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	x.mu.Lock()
	i := x.invoker
	x.mu.Unlock()
	if i != nil {
		select {
		case <-i.Done():
			i.Close() // why it ended does not matter any more
		default:
			return i, nil
		}
	}
	i, err := x.feature(ctx)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case <-x.conn.Done(): // closed meanwhile
		i.Close()
		return nil, x.conn.Err()
	default:
	}
	x.invoker = i
	return i, nil
}

// featureCode names the refusals of CoreDevice services.
func featureCode(err error) string {
	var e *coredevice.Error
	if !errors.As(err, &e) {
		return ""
	}
	for _, c := range []struct {
		err  error
		code string
	}{{fs.ErrNotExist, "not_found"}, {fs.ErrPermission, "permission_denied"}, {fs.ErrInvalid, "invalid"}, {coredevice.ErrLocked, "locked"}, {errors.ErrUnsupported, "unsupported"}} {
		if errors.Is(e, c.err) {
			return c.code
		}
	}
	return ""
}
