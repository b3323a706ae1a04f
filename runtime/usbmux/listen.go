package usbmux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// Listener receives the events of one connection. Only one goroutine may call Next at a
// time. Close may be called from another one.
type Listener struct {
	client *Client
	conn   net.Conn
	in     []byte // received bytes that are not a complete frame yet
	queue  []Event
	known  map[uint32]Entry
	bad    link.Skipped
}

const (
	// maxEvent bounds the body of an event. Real ones have less than 2 KiB.
	maxEvent = 8 << 10
	// maxKnown bounds the number of connected devices.
	maxKnown = 8192
)

// ErrTooMany is the cause of an error if a multiplexer reports more than maxKnown
// devices.
var ErrTooMany = link.Malformed("too many devices")

// Malformed returns the number of events that were ignored because they could not be
// decoded, or because there were too many devices.
func (l *Listener) Malformed() uint64 { return l.bad.Count() }

// decode decodes an event. It ignores an event that cannot be decoded, so that one
// malformed device does not hide the others.
func (l *Listener) decode(f frame) (Event, bool) {
	ev, known, err := decodeEvent(f)
	switch {
	case err == nil && len(f.body) > maxEvent:
		err = fmt.Errorf("event of %d bytes", len(f.body))
	case err == nil && !known:
		l.client.log.Debug("unknown event passed over", "message", f.message)
		return Event{}, false
	}
	if err != nil {
		l.bad.Add(l.client.log, "malformed event passed over", "err", err)
		return Event{}, false
	}
	return ev, true
}

// Listen asks for events. The connected devices are reported first, as Attached.
func (c *Client) Listen(ctx context.Context) (*Listener, error) {
	conn, err := c.open(ctx, "Listen", nil)
	if err != nil {
		return nil, &Error{Op: "listen", Err: err}
	}
	l := &Listener{client: c, conn: conn, known: map[uint32]Entry{}}
	r, err := l.start(ctx)
	if err != nil || r != OK {
		conn.Close()
		return nil, &Error{Op: "listen", Code: r, Err: err}
	}
	return l, nil
}

// start waits for the Result. A daemon with several threads may send an event before
// it.
func (l *Listener) start(ctx context.Context) (Result, error) {
	for {
		f, err := l.frame(ctx)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		r, _, ok, err := decodeResult(f)
		if ok {
			if err := checkTag(f); err != nil {
				return 0, err
			}
			return r, nil
		}
		ev, known, evErr := decodeEvent(f)
		if !known {
			return 0, errors.Join(err, evErr, errReply("a result"))
		}
		if len(l.queue) >= l.client.known || len(f.body) > maxEvent {
			return 0, ErrTooMany
		}
		l.queue = append(l.queue, ev)
	}
}

// Next waits for the next event. A call that is ended by its context loses no bytes;
// the next call continues. If the multiplexer has closed the connection, the error
// matches io.EOF.
func (l *Listener) Next(ctx context.Context) (Event, error) {
	for {
		if len(l.queue) > 0 {
			ev := l.queue[0]
			l.queue = l.queue[1:]
			if ev, ok := l.remember(ev); ok {
				return ev, nil
			}
			continue
		}
		f, err := l.frame(ctx)
		if err != nil {
			return Event{}, &Error{Op: "listen", Err: err}
		}
		ev, ok := l.decode(f)
		if ok {
			ev, ok = l.remember(ev)
		}
		if ok {
			return ev, nil
		}
	}
}

// remember adds the description of the device to an event that has only an id. It
// returns false if there are too many devices, or if the device was never attached.
func (l *Listener) remember(ev Event) (Event, bool) {
	id := ev.Entry.DeviceID
	if ev.Kind == Attached {
		if _, ok := l.known[id]; !ok && len(l.known) >= l.client.known {
			l.bad.Add(l.client.log, "device passed over", "err", ErrTooMany)
			return Event{}, false
		}
		l.known[id] = ev.Entry
		return ev, true
	}
	e, ok := l.known[id]
	if !ok {
		l.client.log.Debug("event of an unknown device passed over", "kind", ev.Kind, "device", id)
		return Event{}, false
	}
	ev.Entry = e
	if ev.Kind == Detached {
		delete(l.known, id)
	}
	return ev, true
}

// frame returns the next frame. Bytes that arrive before ctx ends are kept in l.in.
func (l *Listener) frame(ctx context.Context) (frame, error) {
	release := link.GuardRead(ctx, l.conn)
	f, err := l.receive()
	return f, release(err)
}

func (l *Listener) receive() (frame, error) {
	for {
		f, rest, ok, err := cutFrame(l.in, maxReply)
		if err != nil {
			return frame{}, err
		}
		if ok {
			l.in = rest
			if len(f.body) > max(maxEvent, len(rest)) {
				l.in = slices.Clone(rest) // clone, so that the rest does not hold its memory
			}
			f.body = slices.Clone(f.body)
			return f, nil
		}
		l.in = slices.Grow(l.in, 4<<10)
		n, err := l.conn.Read(l.in[len(l.in):cap(l.in)])
		l.in = l.in[:len(l.in)+n]
		if n == 0 && err != nil {
			if err == io.EOF && len(l.in) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return frame{}, err
		}
	}
}

// Close closes the connection and ends a call of Next.
func (l *Listener) Close() error {
	if err := l.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return &Error{Op: "close", Err: err}
	}
	return nil
}

// reconnectDelay is the pause before a Watcher connects again. It is the same as
// libusbmuxd's.
const reconnectDelay = time.Second

// Watcher reports events while it is open, including after restarts of the multiplexer.
// It has no goroutine of its own: Next does the work.
type Watcher struct {
	client *Client
	closed context.Context
	cancel context.CancelFunc

	mu       sync.Mutex // held by a call of Next
	listener *Listener
	pending  []Event
	failed   bool  // whether the last attempt failed, which delays the next one
	last     error // error of that attempt
}

// Watch returns a Watcher. It connects in the first call of Next.
func (c *Client) Watch() *Watcher {
	ctx, cancel := context.WithCancel(context.Background())
	return &Watcher{client: c, closed: ctx, cancel: cancel}
}

// Next waits for the next event. When the multiplexer closes the connection, every
// known device is reported as Detached, and Next tries to connect each second. Only ctx
// and Close end it.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(w.closed, func() { cancel(net.ErrClosed) })()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if w.closed.Err() != nil {
			return Event{}, &Error{Op: "watch", Subject: w.client.address, Err: net.ErrClosed}
		}
		if len(w.pending) > 0 {
			ev := w.pending[0]
			w.pending = w.pending[1:]
			return ev, nil
		}
		if ev, ok := w.step(ctx); ok {
			return ev, nil
		}
		if ctx.Err() != nil {
			err := context.Cause(ctx)
			if w.last != nil {
				err = fmt.Errorf("%w (%w)", err, w.last)
			}
			return Event{}, &Error{Op: "watch", Subject: w.client.address, Err: err}
		}
	}
}

// step connects if there is no connection, and waits for one event.
func (w *Watcher) step(ctx context.Context) (Event, bool) {
	if w.listener == nil {
		if w.failed && link.Sleep(ctx, reconnectDelay) != nil {
			return Event{}, false
		}
		l, err := w.client.Listen(ctx)
		if err != nil {
			w.fail(ctx, err)
			return Event{}, false
		}
		w.listener, w.failed, w.last = l, false, nil
	}
	ev, err := w.listener.Next(ctx)
	if err == nil {
		return ev, true
	}
	if ctx.Err() == nil {
		w.drop()
		w.fail(ctx, err)
	}
	return Event{}, false
}

func (w *Watcher) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	w.failed, w.last = true, err
	w.client.log.WarnContext(ctx, "multiplexer lost", "error", err)
}

// drop closes the listener and queues a Detached event for each device that it knew.
func (w *Watcher) drop() {
	known := w.listener.known
	w.listener.Close()
	w.listener = nil
	for _, id := range slices.Sorted(maps.Keys(known)) {
		w.pending = append(w.pending, Event{Detached, known[id]})
	}
}

// Close closes the Watcher and ends a call of Next.
func (w *Watcher) Close() error {
	w.cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener == nil {
		return nil
	}
	l := w.listener
	w.listener = nil
	return l.Close()
}
