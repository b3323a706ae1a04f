package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/imdlua/imdlua/runtime/usbmux"
)

// readyPause is how long Ready lets a device be between two questions when
// nothing tells that it has come back.
const readyPause = 500 * time.Millisecond

// Ready waits until the device can be reached and answers: at once when it
// does, else until it has been plugged in again, has booted or its tunnel is
// up again. ctx bounds the waiting; DefaultTimeout when it has no deadline.
func (d *Device) Ready(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	w := d.finder.Watch()
	defer w.Close()
	for {
		if err := d.Refresh(ctx); err == nil {
			return nil
		} else if ctx.Err() != nil {
			if cause := context.Cause(ctx); !errors.Is(err, cause) {
				err = fmt.Errorf("%w (%w)", cause, err)
			}
			return &Error{UDID: d.UDID(), Op: "wait", Err: err}
		}
		pause, stop := context.WithTimeout(ctx, readyPause)
		for {
			e, err := w.Next(pause)
			if err != nil || e.Info.UDID == d.UDID() {
				break
			}
		}
		stop()
	}
}

// Back waits until the device has come back after a restart and answers
// lockdown, and renews its description. On routes without a muxer, which tells of
// it, a restart shows by the tunnel; without one it waits until the device
// answers, which it may still do when it is about to restart.
func (d *Device) Back(ctx context.Context) error {
	ctx, cancel := d.living(ctx)
	defer cancel()
	before, ok := d.Info().lockdown()
	if !ok || before.mux == nil {
		return d.fail("wait for restart", "", d.backInTunnel(ctx))
	}
	w := d.finder.Watch()
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return d.fail("wait for restart", "", err)
		}
		came := e.Kind == usbmux.Attached && e.Info.UDID == d.UDID() && e.Info.ready()
		if came && e.Info.Routes[0].DeviceID != before.DeviceID {
			d.mu.Lock()
			d.info = e.Info
			d.mu.Unlock()
			return nil
		}
	}
}

// backInTunnel waits for a tunnel to another boot of the device.
func (d *Device) backInTunnel(ctx context.Context) error {
	d.mu.Lock()
	t := d.tunnels.current
	d.mu.Unlock()
	if t == nil {
		return d.Ready(ctx)
	}
	for boot := t.boot(); ; {
		select {
		case <-t.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := d.Ready(ctx); err != nil {
			return err
		}
		now, err := d.tunnel(ctx)
		switch {
		case err != nil:
			pause, stop := context.WithTimeout(ctx, readyPause)
			<-pause.Done()
			stop()
		case now.boot() != boot:
			return nil
		default:
			t = now
		}
	}
}
