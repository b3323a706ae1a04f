package device

import (
	"context"
	"io"
	"time"

	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service"
)

// With opens a client with connect, runs f with it and closes it, with the deadline of t.
// An error gets the device's identifier.
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

// Live describes the source of a stream of values from a device, and how the stream goes
// on when its connection is lost.
type Live struct {
	Options stream.Options
	// Open opens the source. It is called when the stream is opened, and again after each
	// lost connection.
	Open func(context.Context) (*stream.Opening, error)
	// Limit and Gap are as in stream.Resume.
	Limit time.Duration
	Gap   func(time.Duration) any
}

// OpenStream opens a stream of values from the device. t bounds the opening, not the life of
// the stream.
func OpenStream(c *api.Call, d *Device, t Timeout, l Live) (api.Opened[*stream.Stream], error) {
	return Open(c, d, t, func(ctx context.Context) (*stream.Stream, error) {
		first, err := l.Open(ctx)
		if err != nil {
			return nil, err
		}
		reopen := func(ctx context.Context) (*stream.Opening, error) {
			o, err := l.Open(ctx)
			if err != nil {
				return nil, d.Ended(err)
			}
			return o, nil
		}
		r := stream.Resume{Open: reopen, Ready: d.Ready, Limit: l.Limit, Gap: l.Gap}
		return stream.NewResuming(first, r, l.Options), nil
	})
}

// Each returns a source that calls next repeatedly and pushes each result, converted by
// value. An error of next ends the source.
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
