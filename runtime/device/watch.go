package device

import (
	"context"
	"sync"

	"github.com/imdlua/imdlua/runtime/usbmux"
)

// Event reports that a device was connected or disconnected.
type Event struct {
	Kind usbmux.EventKind // Attached, Detached or Paired
	Info Info             // read when the device attached; later events repeat it
}

// Watcher reports which devices come and go at all muxers of a Finder, beginning with
// those that are connected. It reconnects to muxers that restart.
type Watcher struct {
	finder *Finder
	events chan Event
	end    context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	known map[string]Info
}

// Watch returns a Watcher, which must be closed.
func (f *Finder) Watch() *Watcher {
	ctx, end := context.WithCancel(context.Background())
	w := &Watcher{finder: f, events: make(chan Event, 64), end: end, known: map[string]Info{}}
	for _, m := range f.allMuxers() {
		mw := m.Watch()
		w.work.Go(func() {
			defer mw.Close()
			for {
				e, err := mw.Next(ctx)
				if err != nil {
					return
				}
				w.tell(ctx, m, e)
			}
		})
	}
	return w
}

func (w *Watcher) tell(ctx context.Context, m *usbmux.Client, e usbmux.Event) {
	info := Info{UDID: e.Entry.UDID, Routes: []Route{muxerRoute(m, e.Entry)}}
	if !w.finder.uses(info.Routes[0].Kind) {
		return
	}
	if e.Kind == usbmux.Attached {
		info = describe(ctx, w.finder, info)
		w.mu.Lock()
		w.known[info.UDID] = info
		w.mu.Unlock()
	} else {
		w.mu.Lock()
		if k, ok := w.known[info.UDID]; ok {
			info = k
		}
		if e.Kind == usbmux.Detached {
			delete(w.known, info.UDID) // or a muxer that invents devices would fill it without end
		}
		w.mu.Unlock()
	}
	select {
	case w.events <- Event{Kind: e.Kind, Info: info}:
	case <-ctx.Done():
	}
}

// Next returns the next event.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	select {
	case e := <-w.events:
		return e, nil
	case <-ctx.Done():
		return Event{}, context.Cause(ctx)
	}
}

// Close ends the Watcher.
func (w *Watcher) Close() error {
	w.end()
	w.work.Wait()
	return nil
}

// Wait returns the device that matches as soon as exactly one matches and answers. If
// several match, it returns an *AmbiguousError. ctx bounds the wait.
func (f *Finder) Wait(ctx context.Context, s Selector) (*Device, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	w := f.Watch()
	defer w.Close()
	for {
		infos, err := f.List(ctx, s)
		if err == nil {
			n := 0
			for _, i := range infos {
				if i.ready() {
					infos[n] = i
					n++
				}
			}
			if n > 1 {
				return nil, &AmbiguousError{Matches: infos[:n]}
			}
			if n == 1 {
				return f.Device(infos[0]), nil
			}
		}
		if _, err := w.Next(ctx); err != nil {
			return nil, &Error{UDID: s.UDID, Op: "wait", Err: err}
		}
	}
}
