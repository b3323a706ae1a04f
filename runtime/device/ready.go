package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// readyPause is the pause of Ready between two requests if no event reports that the
// device is back.
const readyPause = 500 * time.Millisecond

// Ready waits until the device can be reached and answers. If it does not answer at
// once, Ready waits until it is plugged in, has booted, or has a tunnel again. ctx
// bounds the wait; DefaultTimeout bounds it if ctx has no deadline.
func (d *Device) Ready(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	w := d.finder.Watch(WatchOptions{UDID: d.UDID()})
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
		_, _ = w.Next(pause) // after an event or a pause the device is asked again
		stop()
	}
}

// Back waits until the device answers lockdown again after a restart, and renews its
// description. A muxer reports the restart. On other routes the end of the tunnel shows
// it. If there is no tunnel either, Back waits until the device answers, which it may
// do while it is still shutting down.
func (d *Device) Back(ctx context.Context) error {
	ctx, cancel := d.living(ctx)
	defer cancel()
	before, ok := d.Info().lockdown()
	if !ok || before.mux == nil {
		return d.fail("wait for restart", "", d.backInTunnel(ctx))
	}
	known := d.Info().Routes
	w := d.finder.Watch(WatchOptions{UDID: d.UDID()})
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return d.fail("wait for restart", "", err)
		}
		came := e.Kind == Attached && e.Info.ready()
		if came && !slices.ContainsFunc(known, e.Route.same) {
			d.mu.Lock()
			d.info = e.Info
			d.mu.Unlock()
			return nil
		}
	}
}

// backInTunnel waits for a tunnel to the device after another boot.
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
