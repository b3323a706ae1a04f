package device

import (
	"context"
	"io"
	"time"

	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service"
)

// With runs f with a client of its own, which connect opens, until the deadline of the
// option. Its error names the device.
func With[C io.Closer](
	c *api.Call, d *Device, t Timeout,
	connect func(context.Context, service.Opener) (C, error), f func(context.Context, C) error,
) error {
	return d.Do(c, t, func(ctx context.Context) error {
		client, err := connect(ctx, d)
		if err != nil {
			return err
		}
		defer client.Close()
		return f(ctx, client)
	})
}

// Live says where the values of a stream come from, and what becomes of the stream when
// its connection is lost.
type Live struct {
	Options stream.Options
	// Open opens the source: at first, and again after a lost connection.
	Open func(context.Context) (*stream.Opening, error)
	// Limit and Gap are as in stream.Resume.
	Limit time.Duration
	Gap   func(time.Duration) any
}

// OpenStream opens a stream of values from the device until the deadline of the option.
func OpenStream(c *api.Call, d *Device, t Timeout, l Live) (api.Opened[*stream.Stream], error) {
	return Open(c, d, t, func(ctx context.Context) (*stream.Stream, error) {
		first, err := l.Open(ctx)
		if err != nil {
			return nil, err
		}
		again := func(ctx context.Context) (*stream.Opening, error) {
			o, err := l.Open(ctx)
			if err != nil {
				return nil, d.Ended(err)
			}
			return o, nil
		}
		r := stream.Resume{Open: again, Ready: d.Ready, Limit: l.Limit, Gap: l.Gap}
		return stream.NewResuming(first, r, l.Options), nil
	})
}

// Each returns a source of what next returns, as value gives it to scripts.
func Each[T any](
	d *Device, next func(context.Context) (T, error), value func(T) any,
) stream.Source {
	return func(ctx context.Context, push func(...any)) error {
		for {
			v, err := next(ctx)
			if err != nil {
				return d.Ended(err)
			}
			push(value(v))
		}
	}
}
