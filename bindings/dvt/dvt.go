// Package dvt gives scripts the functions of Instruments: screenshots, the launch and
// the end of apps, a simulated location, bad conditions, and samples of the load. The
// device needs a mounted developer disk image.
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

// instruments is the session with Instruments' server that all calls of a device share.
// It stays open between calls, because the device ends a simulated location or condition
// with the session.
type instruments = link.Lazy[*dvt.Session]

// sessionOf returns the session of d.
func sessionOf(d *device.Device) *instruments {
	return device.Part(d, "dvt", func() *instruments {
		i := link.NewLazy(func(ctx context.Context) (*dvt.Session, error) {
			return dvt.Connect(ctx, d, dvt.Options{})
		})
		d.CloseWith(i)
		return i
	})
}

// use is a function that needs the session.
type use func(context.Context, *dvt.Session) error

// onSession returns a function that calls f with the session of d.
func onSession(d *device.Device, f use) func(context.Context) error {
	return func(ctx context.Context) error {
		s, err := sessionOf(d).Get(ctx)
		if err != nil {
			return err
		}
		return f(ctx, s)
	}
}

// with runs f with the session of d and the deadline of t.
func with(c *api.Call, d *device.Device, t device.Timeout, f use) error {
	return d.Do(c, t, onSession(d, f))
}

// explain explains the errors of pictures and of Instruments.
func explain(err error) (code, hint string) {
	var bad *picture.Error
	if errors.As(err, &bad) {
		return bad.Code, ""
	}
	return refusal(err)
}

// refusal explains the errors of Instruments that scripts may want to distinguish.
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
