// Package dvt gives scripts what Instruments can do with a device: pictures of
// the screen, starting and ending apps, a simulated place, bad conditions and
// samples of the load. The device needs a mounted developer disk image.
package dvt

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// instruments is the one session of a device. It is opened when first needed
// and again when it has ended; all tasks share it. It stays open between calls,
// because the device forgets place and condition with it.
type instruments struct {
	dev *device.Device

	mu      sync.Mutex
	session *dvt.Session
	turn    chan struct{} // held while connecting
}

func of(d *device.Device) *instruments {
	return device.Part(d, "dvt", func() *instruments {
		i := &instruments{dev: d, turn: make(chan struct{}, 1)}
		i.turn <- struct{}{}
		d.CloseWith(i)
		return i
	})
}

// current returns the session if it is alive.
func (i *instruments) current() *dvt.Session {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.session == nil {
		return nil
	}
	select {
	case <-i.session.Done():
		i.session.Close() // why it ended does not matter any more
		i.session = nil
	default:
	}
	return i.session
}

func (i *instruments) connect(ctx context.Context) (*dvt.Session, error) {
	if s := i.current(); s != nil {
		return s, nil
	}
	select {
	case <-i.turn:
		defer func() { i.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s := i.current(); s != nil {
		return s, nil
	}
	s, err := dvt.Connect(ctx, i.dev, dvt.Options{})
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	i.session = s
	i.mu.Unlock()
	return s, nil
}

// Close ends the session; the next call opens another.
func (i *instruments) Close() error {
	i.mu.Lock()
	s := i.session
	i.session = nil
	i.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.Close()
}

// with runs f with the session under the option's deadline.
func with(c *api.Call, d *device.Device, t device.Timeout, f func(context.Context, *dvt.Session) error) error {
	return d.Do(c, t, func(ctx context.Context) error {
		s, err := of(d).connect(ctx)
		if err != nil {
			return err
		}
		return f(ctx, s)
	})
}

// code names the refusals that scripts may want to tell apart.
func code(err error) string {
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
