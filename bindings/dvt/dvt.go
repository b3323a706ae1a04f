// Package dvt gives scripts what Instruments can do with a device: pictures of
// the screen, starting and ending apps, a simulated place, bad conditions and
// samples of the load. The device needs a mounted developer disk image.
package dvt

import (
	"context"
	"errors"
	"io/fs"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/picture"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// instruments is the one session of a device. It stays open between calls,
// because the device forgets place and condition with it.
type instruments = link.Lazy[*dvt.Session]

func of(d *device.Device) *instruments {
	return device.Part(d, "dvt", func() *instruments {
		i := link.NewLazy(func(ctx context.Context) (*dvt.Session, error) {
			return dvt.Connect(ctx, d, dvt.Options{})
		})
		d.CloseWith(i)
		return i
	})
}

// use is a function that uses the session.
type use func(context.Context, *dvt.Session) error

// onSession returns f with the session of d.
func onSession(d *device.Device, f use) func(context.Context) error {
	return func(ctx context.Context) error {
		s, err := of(d).Get(ctx)
		if err != nil {
			return err
		}
		return f(ctx, s)
	}
}

// with runs f with the session under the option's deadline.
func with(c *api.Call, d *device.Device, t device.Timeout, f use) error {
	return d.Do(c, t, onSession(d, f))
}

// code names the refusals that scripts may want to tell apart.
func code(err error) string {
	var bad *picture.Error
	if errors.As(err, &bad) {
		return bad.Code
	}
	var e *dvt.Error
	if !errors.As(err, &e) {
		return ""
	}
	for _, c := range []struct {
		err  error
		code string
	}{
		{fs.ErrNotExist, "not_found"},
		{fs.ErrPermission, "permission_denied"},
		{fs.ErrInvalid, "invalid"},
		{dvt.ErrLocked, "locked"},
		{dvt.ErrConditionActive, "condition_active"},
		{dvt.ErrTooManyChannels, "too_many_channels"},
		{dtx.ErrChannelClosed, "channel_closed"},
		{errors.ErrUnsupported, "unsupported"},
	} {
		if errors.Is(e, c.err) {
			return c.code
		}
	}
	return ""
}
