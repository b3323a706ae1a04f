package device

import (
	"context"
	"net"
	"slices"
	"sync"
)

// EventKind is what an Event reports.
type EventKind string

// The kinds of events.
const (
	Attached  EventKind = "attached"  // a route to a device has appeared
	Described EventKind = "described" // the device has been asked for its description
	Detached  EventKind = "detached"  // a route to a device has disappeared
	Paired    EventKind = "paired"    // a muxer has stored a pair record of the device
)

// Event reports that a device came, went or was paired. Each route is reported on its
// own: a device that is plugged in and reached over Wi-Fi is attached twice.
type Event struct {
	Kind EventKind
	// Info describes the device. Its Routes are those on which the device can be
	// reached now. After Detached they are those that are left of the routes that were
	// reported.
	Info Info
	// Route is the route that came, went or was used for the pairing.
	Route Route
	// Described reports whether the device has been asked for its description on this
	// route. If it did not answer, Info.Err is the reason.
	Described bool
}

// WatchOptions says what a Watcher reports. With the zero value it reports all devices
// of the muxers.
type WatchOptions struct {
	// AtOnce reports Attached before the device has been asked for its description, and
	// Described afterwards. Without it, Attached comes after the description, which
	// takes up to five seconds if the device does not answer. In both cases no device
	// delays the events of another.
	AtOnce bool
	// UDID restricts the events to one device.
	UDID string
	// Network adds the devices on the network, which is searched every ten seconds. If
	// Options.Direct is set, its lists are read instead, whether Network is set or not,
	// unless the events are restricted to one device.
	Network bool
}

// Watcher reports which devices come and go at all muxers of a Finder, beginning with
// those that are present. It uses muxers again after they have restarted.
//
// A Watcher does not keep a history. What came and went again since the last call of
// Next is not reported, and a device that was unplugged and plugged in several times in
// between is reported as Detached and Attached once. The memory of a Watcher that is
// not read is therefore bounded by the number of devices.
type Watcher struct {
	finder  *Finder
	hub     *hub
	atOnce  bool
	udid    string
	network bool

	more   chan struct{} // has a token if there may be changes
	closed chan struct{}
	once   sync.Once

	// The rest is guarded by hub.mu.
	told    map[*attachment]*told
	changed []*attachment // in the order in which they changed
}

// told is what a Watcher has reported of an attachment.
type told struct {
	attached, described bool
	pairings            int
	queued              bool // whether the attachment is in Watcher.changed
}

// Watch returns a Watcher, which must be closed.
func (f *Finder) Watch(o WatchOptions) *Watcher {
	w := &Watcher{
		finder: f, atOnce: o.AtOnce, udid: o.UDID, network: o.Network,
		more: make(chan struct{}, 1), closed: make(chan struct{}), told: map[*attachment]*told{},
	}
	f.addWatcher(w)
	return w
}

// sees reports whether the Watcher reports an attachment.
func (w *Watcher) sees(a *attachment) bool {
	if w.udid != "" && a.udid != w.udid || !w.finder.uses(a.route.Kind) {
		return false
	}
	return w.network || !a.route.network()
}

// note queues an attachment that has changed. The caller holds hub.mu.
func (w *Watcher) note(a *attachment) {
	if !w.sees(a) {
		return
	}
	t := w.told[a]
	if t == nil && a.gone {
		return
	}
	if t == nil {
		t = &told{pairings: a.pairings}
		w.told[a] = t
		w.hub.ask(a)
	}
	if a.gone && !t.attached {
		delete(w.told, a)
		w.changed = slices.DeleteFunc(w.changed, func(o *attachment) bool { return o == a })
		return
	}
	if w.due(a, t) != "" && !t.queued {
		t.queued = true
		w.changed = append(w.changed, a)
		w.wake()
	}
}

// due returns the next event that is to be reported of an attachment, or "".
func (w *Watcher) due(a *attachment, t *told) EventKind {
	switch {
	case a.gone:
		return Detached
	case !t.attached && (a.described || w.atOnce):
		return Attached
	case !t.attached:
		return ""
	case a.described && !t.described:
		return Described
	case a.pairings != t.pairings:
		return Paired
	}
	return ""
}

func (w *Watcher) wake() {
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// take returns the next event, if there is one.
func (w *Watcher) take() (Event, bool) {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(w.changed) == 0 {
		return Event{}, false
	}
	a := w.changed[0]
	w.changed = slices.Delete(w.changed, 0, 1)
	t := w.told[a]
	kind := w.due(a, t)
	switch kind {
	case Attached:
		t.attached, t.described = true, a.described
	case Described:
		t.described = true
	case Paired:
		t.pairings = a.pairings
	case Detached:
		delete(w.told, a)
	}
	t.queued = kind != Detached && w.due(a, t) != ""
	if t.queued {
		w.changed = append(w.changed, a)
	}
	if len(w.changed) > 0 {
		w.wake()
	}
	return h.event(w, kind, a), true
}

// Skip makes Next report only what changes from now on.
func (w *Watcher) Skip() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	for a, t := range w.told {
		if a.gone {
			delete(w.told, a)
			continue
		}
		// A Watcher without atOnce does not report Described.
		*t = told{attached: true, described: a.described || !w.atOnce, pairings: a.pairings}
	}
	w.changed = nil
}

// Next returns the next event. After Close the error matches net.ErrClosed.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	for {
		if ctx.Err() != nil {
			return Event{}, context.Cause(ctx)
		}
		e, ok := w.take()
		if ok {
			return e, nil
		}
		select {
		case <-w.more:
		case <-w.closed:
			return Event{}, net.ErrClosed
		case <-ctx.Done():
		}
	}
}

// Close ends the Watcher.
func (w *Watcher) Close() error {
	w.once.Do(func() {
		close(w.closed)
		w.finder.removeWatcher(w)
	})
	return nil
}

// Wait returns the device that matches as soon as exactly one matches and answers. If
// several match, it returns an *AmbiguousError. ctx bounds the wait.
func (f *Finder) Wait(ctx context.Context, s Selector) (*Device, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	w := f.Watch(WatchOptions{Network: s.Network || s.Transport == "wifi"})
	defer w.Close()
	for {
		infos, err := f.List(ctx, s)
		if err == nil {
			infos = slices.DeleteFunc(infos, func(i Info) bool { return !i.ready() })
			if len(infos) > 1 {
				return nil, &AmbiguousError{Matches: infos}
			}
			if len(infos) == 1 {
				return f.Device(infos[0]), nil
			}
		}
		if err := w.await(ctx, s); err != nil {
			return nil, &Error{UDID: s.UDID, Op: "wait", Err: err}
		}
	}
}

// await waits for a device that matches, or that may match because it has not answered.
// Other devices are not a reason to list all of them again.
func (w *Watcher) await(ctx context.Context, s Selector) error {
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return err
		}
		if e.Kind == Attached && (e.Info.Err != nil || s.Matches(e.Info)) {
			return nil
		}
	}
}
