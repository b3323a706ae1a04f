package afc

import (
	"context"
	"errors"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// watch ends a transfer that waits for the device while no data moves. It is stored in
// the context of the transfer. All calls that are made with this context restart its
// clock.
type watch struct {
	c      *Client
	limit  time.Duration
	cancel context.CancelCauseFunc
	timer  *time.Timer

	// The following fields are guarded by Client.mu.
	newest  uint64 // last packet that the transfer sent
	waiting int    // number of calls that wait for the device
	queued  int    // number of these calls that have not sent their packet yet
	last    time.Time
	sure    time.Time // last arrival of bytes whose packet was known
}

type watchKey struct{}

func watchOf(ctx context.Context) *watch {
	w, _ := ctx.Value(watchKey{}).(*watch)
	return w
}

// Watch bounds the other calls of a transfer by t.Idle. They must use the returned
// context. The caller must call the returned function when the calls have ended.
func (c *Client) Watch(ctx context.Context, t Transfer) (context.Context, func()) {
	return c.watched(ctx, t.withDefaults().Idle)
}

// watched returns a context for a transfer. If no data moves for the time limit, the
// context ends with a link.SilentError. The caller must call the returned function at
// the end of the transfer.
func (c *Client) watched(ctx context.Context, limit time.Duration) (context.Context, func()) {
	if limit < 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{c: c, limit: limit, cancel: cancel, last: time.Now()}
	c.mu.Lock()
	c.watches[w] = struct{}{}
	w.timer = time.AfterFunc(limit, w.check)
	c.mu.Unlock()
	stop := func() {
		c.mu.Lock()
		delete(c.watches, w)
		w.timer.Stop()
		c.mu.Unlock()
		cancel(nil)
	}
	return context.WithValue(ctx, watchKey{}, w), stop
}

// check ends the transfer if no byte has moved for the limit. Otherwise it schedules
// the next check. The connection ends together with the transfer: the device answers in
// order, so later calls would wait for the missing answer.
func (w *watch) check() {
	if !w.expired() {
		return
	}
	silent := &link.SilentError{For: w.limit}
	w.cancel(silent) // first, so that the calls of the transfer return this error
	w.c.end(silent)
}

func (w *watch) expired() bool {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if _, ok := w.c.watches[w]; !ok {
		return false
	}
	left := w.limit
	if w.waiting > 0 {
		left -= time.Since(w.last)
	}
	if left > 0 {
		w.timer.Reset(left)
	}
	return left <= 0
}

// ownSilence returns the error of a call that failed because the connection ended.
// Calls of the transfer that ended it get its SilentError. All other calls get err.
func (c *Client) ownSilence(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), link.ErrSilent) {
		return link.Expired(ctx, c.conn)
	}
	return err
}

// waitFor records that a call of the transfer waits, until the returned function is
// called. The clock does not run while the transfer does something other than waiting
// for the device, such as writing to a local file.
func (c *Client) waitFor(w *watch, queued bool) func() {
	if w == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.waiting == 0 {
		w.last = time.Now()
		w.sure = w.last
	}
	w.waiting++
	if queued {
		w.queued++
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		w.waiting--
		if queued {
			w.queued--
		}
	}
}

// moved records that bytes of a packet were read or written. The device answers in
// order, so bytes of a packet before that of the transfer are progress. Bytes of a
// later packet are not: the device would be ignoring the transfer. Packet 0 stands for
// a header that is not complete. It counts as progress until it turns out to belong to
// another packet.
func (c *Client) moved(packet uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watches {
		switch {
		case packet == 0:
			w.last = time.Now()
		case packet <= w.newest || w.queued > 0:
			w.last = time.Now()
			w.sure = w.last
		default:
			w.last = w.sure
		}
	}
}

// meter reads from the connection and records that bytes were read.
type meter struct{ c *Client }

func (m meter) Read(p []byte) (int, error) {
	n, err := m.c.conn.Read(p)
	if n > 0 {
		m.c.moved(m.c.reading)
	}
	return n, err
}
