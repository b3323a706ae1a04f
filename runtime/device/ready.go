package device

import (
	"context"
	"time"
)

// readyPause is how long Ready lets a device be between two questions when
// nothing tells that it has come back.
const readyPause = 500 * time.Millisecond

// Ready waits until the device can be reached and answers: at once when it
// does, else until it has been plugged in again, has booted or its tunnel is
// up again. ctx bounds the waiting; DefaultTimeout when it has no deadline.
func (d *Device) Ready(ctx context.Context) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	w := d.finder.Watch()
	defer w.Close()
	for {
		if err := d.Refresh(ctx); err == nil {
			return nil
		} else if ctx.Err() != nil {
			return d.fail("wait", "", err)
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
