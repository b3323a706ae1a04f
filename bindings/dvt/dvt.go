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

// explain knows the errors of pictures and of Instruments.
func explain(err error) (code, hint string) {
	var bad *picture.Error
	if errors.As(err, &bad) {
		return bad.Code, ""
	}
	return refusal(err)
}

// refusal knows the refusals that scripts may want to tell apart.
var refusal = device.Only[*dvt.Error](device.Reasons(
	device.Reason{Err: fs.ErrNotExist, Code: "not_found"},
	device.Reason{Err: fs.ErrPermission, Code: "permission_denied"},
	device.Reason{Err: fs.ErrInvalid, Code: "invalid"},
	device.Reason{Err: dvt.ErrLocked, Code: "locked"},
	device.Reason{Err: dvt.ErrConditionActive, Code: "condition_active"},
	device.Reason{Err: dvt.ErrTooManyChannels, Code: "too_many_channels"},
	device.Reason{Err: dtx.ErrChannelClosed, Code: "channel_closed"},
	device.Reason{Err: errors.ErrUnsupported, Code: "unsupported"},
))
