package afc

import (
	"context"
	"errors"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// watch ends a transfer that waits for the device while nothing moves. It
// belongs to the context of the transfer, and all calls that are made with
// that context restart its clock.
type watch struct {
	c      *Client
	limit  time.Duration
	cancel context.CancelCauseFunc
	timer  *time.Timer

	// The rest is guarded by Client.mu.
	newest  uint64 // packet that the transfer sent last
	waiting int    // calls that wait for the device
	queued  int    // of these, calls that have not sent their packet yet
	last    time.Time
	sure    time.Time // when bytes came of which it is known whose they are
}

type watchKey struct{}

func watchOf(ctx context.Context) *watch {
	w, _ := ctx.Value(watchKey{}).(*watch)
	return w
}

// Watch bounds other calls of a transfer by t.Idle, if they are made with the
// context that it returns. The function must be called at their end.
func (c *Client) Watch(ctx context.Context, t Transfer) (context.Context, func()) {
	return c.watched(ctx, t.withDefaults().Idle)
}

// watched returns a context for a transfer that ends with a link.SilentError
// when nothing moves for the time of limit. The function that it returns must
// be called at the end of the transfer.
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

// check ends the transfer, or looks again when the time since the last byte would be
// over. The connection ends with the transfer: the device answers in order, so a later
// call would wait for what did not come.
func (w *watch) check() {
	if !w.expired() {
		return
	}
	silent := &link.SilentError{For: w.limit}
	w.cancel(silent) // first, so that the transfer is told of its own silence
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

// ownSilence returns the error of a call that met the end of the connection: a call of
// the transfer that ended it is told of the silence, err is for all others.
func (c *Client) ownSilence(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), link.ErrSilent) {
		return link.Expired(ctx, c.conn)
	}
	return err
}

// waitFor says that a call of the transfer waits, until the function that it
// returns is called. The clock stands still while the transfer is busy with
// something else than the device, such as a local file.
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

// moved says that bytes of a packet were read or written. The device answers in
// order, so bytes of a packet before one's own are progress. Bytes of later
// packets are none: the device would be ignoring the transfer. Packet 0 is a
// header that is not complete. It counts until it turns out to be another's.
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

// meter is the reading side of the connection; it counts as movement what comes.
type meter struct{ c *Client }

func (m meter) Read(p []byte) (int, error) {
	n, err := m.c.conn.Read(p)
	if n > 0 {
		m.c.moved(m.c.reading)
	}
	return n, err
}
