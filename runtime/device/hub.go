package device

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// describedAtOnce bounds the number of devices that a hub describes at the same time,
// because a muxer can report any number of devices.
const describedAtOnce = 64

// hub watches the muxers, and the network if a Watcher asks for it, for all Watchers of
// a Finder. It has one connection to each muxer and asks each attached device that a
// Watcher reports once for its description, whatever the number of Watchers. It never
// waits for a Watcher. A Finder has a hub while it has Watchers.
type hub struct {
	finder *Finder
	ctx    context.Context // ends when the last Watcher is closed
	end    context.CancelFunc
	work   sync.WaitGroup
	slots  chan struct{} // one for each device that is being described

	followed map[*usbmux.Client]bool // guarded by Finder.watching
	entries  []string                // addresses of the lists; only search uses it

	mu        sync.Mutex
	watchers  map[*Watcher]struct{}
	present   map[attachmentKey]*attachment
	devices   map[string][]*attachment // the same by UDID
	last      uint64                   // number of the last attachment
	searching bool
}

// attachmentKey identifies an attachment by what its protocol identifies it by.
type attachmentKey struct {
	// A muxer numbers its devices.
	mux *usbmux.Client
	id  uint32
	// Elsewhere a route has the name of a Bonjour instance on an interface, or the
	// address of an entry in a list of tunnels. Anybody may use that name, so the
	// device that answered there is part of the key.
	via        Via
	name, udid string
}

// attachment is one route to a device, from the report that it is there until the
// report that it is gone. A device that is reached over a cable and over Wi-Fi has two.
type attachment struct {
	key    attachmentKey
	udid   string
	number uint64 // attachments are numbered in the order of the reports

	// The rest is guarded by hub.mu.
	route     Route
	info      Info // without routes
	asked     bool // whether describe was started
	described bool // whether describe has ended
	gone      bool
	pairings  int                // number of Paired events
	stop      context.CancelFunc // ends the description
}

func newHub(f *Finder) *hub {
	h := &hub{
		finder: f, slots: make(chan struct{}, describedAtOnce),
		followed: map[*usbmux.Client]bool{},
		watchers: map[*Watcher]struct{}{}, present: map[attachmentKey]*attachment{},
		devices: map[string][]*attachment{},
	}
	h.ctx, h.end = context.WithCancel(context.Background())
	return h
}

// addWatcher adds a Watcher to the hub of the Finder, and starts the hub for the first
// one. The Watcher gets the devices that are present.
func (f *Finder) addWatcher(w *Watcher) {
	f.watching.Lock()
	defer f.watching.Unlock()
	if f.hub == nil {
		f.hub = newHub(f)
		if f.opts.Direct == nil {
			for _, m := range f.allMuxers() {
				f.hub.follow(m)
			}
		}
	}
	w.hub = f.hub
	w.hub.add(w)
}

// removeWatcher removes a Watcher from its hub. The last one ends the hub and waits for
// its end.
func (f *Finder) removeWatcher(w *Watcher) {
	f.watching.Lock()
	h := w.hub
	h.mu.Lock()
	delete(h.watchers, w)
	last := len(h.watchers) == 0
	h.mu.Unlock()
	if last && f.hub == h {
		f.hub = nil
	}
	f.watching.Unlock()
	if last {
		h.end()
		h.work.Wait()
	}
}

// followAdded lets the running hubs of a Finder, and of those that it has made, follow a
// muxer that was added.
func (f *Finder) followAdded(m *usbmux.Client) {
	f.watching.Lock()
	if f.hub != nil && f.opts.Direct == nil {
		f.hub.follow(m)
	}
	f.watching.Unlock()
	f.mu.Lock()
	made := slices.Collect(maps.Values(f.derived))
	f.mu.Unlock()
	for _, d := range made {
		if d.restriction.Muxer == "" {
			d.followAdded(m)
		}
	}
}

func (h *hub) add(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	inOrder := func(a, b *attachment) int { return cmp.Compare(a.number, b.number) }
	for _, a := range slices.SortedFunc(maps.Values(h.present), inOrder) {
		w.note(a)
	}
	if h.searching {
		return
	}
	direct := h.finder.opts.Direct != nil
	if direct && w.udid == "" {
		h.searching = true
		h.work.Go(func() { h.search(h.listed, Route.listed) })
	} else if !direct && w.network {
		h.searching = true
		h.work.Go(func() { h.search(h.advertised, Route.network) })
	}
}

// follow handles the events of a muxer until the hub ends. The caller holds
// Finder.watching.
func (h *hub) follow(m *usbmux.Client) {
	if h.followed[m] {
		return
	}
	h.followed[m] = true
	w := m.Watch()
	h.work.Go(func() {
		defer w.Close()
		for {
			e, err := w.Next(h.ctx)
			if err != nil {
				return
			}
			h.handle(m, e)
		}
	})
}

func (h *hub) handle(m *usbmux.Client, e usbmux.Event) {
	key := attachmentKey{mux: m, id: e.Entry.DeviceID}
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.present[key]
	switch {
	case e.Kind == usbmux.Attached && a != nil && a.udid == e.Entry.UDID:
		// It is reported again.
	case e.Kind == usbmux.Attached:
		if a != nil {
			h.remove(a) // another device has this number now
		}
		h.put(key, muxerRoute(m, e.Entry), Info{UDID: e.Entry.UDID}, false)
	case a == nil:
		// It was never attached.
	case e.Kind == usbmux.Detached:
		h.remove(a)
	case e.Kind == usbmux.Paired:
		a.pairings++
		h.tell(a)
	}
}

// put adds an attachment. The caller holds h.mu.
func (h *hub) put(key attachmentKey, r Route, info Info, described bool) *attachment {
	h.last++
	info.Routes = nil
	a := &attachment{
		key: key, udid: info.UDID, number: h.last, route: r, info: info,
		asked: described, described: described, stop: func() {},
	}
	h.present[key] = a
	h.devices[a.udid] = append(h.devices[a.udid], a)
	h.tell(a)
	return a
}

// remove removes an attachment. The caller holds h.mu.
func (h *hub) remove(a *attachment) {
	a.gone = true
	a.stop()
	delete(h.present, a.key)
	others := slices.DeleteFunc(h.devices[a.udid], func(o *attachment) bool { return o == a })
	h.devices[a.udid] = others
	if len(others) == 0 {
		delete(h.devices, a.udid)
	}
	h.tell(a)
}

// tell notes a change for every Watcher. The caller holds h.mu.
func (h *hub) tell(a *attachment) {
	for w := range h.watchers {
		w.note(a)
	}
}

// ask starts describe, unless that was done before. The caller holds h.mu.
func (h *hub) ask(a *attachment) {
	if !a.asked {
		a.asked = true
		h.work.Go(func() { h.describe(a) })
	}
}

// describe asks a device for its description on the route that was reported. A device
// that does not answer keeps only its own goroutine waiting.
func (h *hub) describe(a *attachment) {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	h.mu.Lock()
	gone, r := a.gone, a.route
	a.stop = cancel
	h.mu.Unlock()
	if gone {
		return
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return
	}
	info := describe(ctx, h.finder, Info{UDID: a.udid, Routes: []Route{r}})
	info.Routes = nil
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.gone || h.ctx.Err() != nil {
		return
	}
	a.info, a.described = info, true
	h.tell(a)
}

// search looks for devices at intervals where their coming and going is not reported.
// mine tells the routes that look finds from all others.
func (h *hub) search(look func() []Info, mine func(Route) bool) {
	for {
		missing := h.found(look(), mine)
		var asked sync.WaitGroup
		for _, a := range missing {
			asked.Go(func() { h.check(a) })
		}
		asked.Wait()
		if link.Sleep(h.ctx, lookAgain) != nil {
			return
		}
	}
}

// advertised returns the devices that are found on the network.
func (h *hub) advertised() []Info {
	return h.finder.network(h.ctx, nil, bonjour.Mobdev2, bonjour.Remoted, bonjour.RemotePairing)
}

// listed returns the devices of the lists of Options.Direct.
func (h *hub) listed() []Info {
	ctx, cancel := context.WithTimeout(h.ctx, DefaultTimeout)
	defer cancel()
	list, err := h.finder.opts.Direct(ctx)
	var infos []Info
	if err == nil {
		h.entries = nil
		for _, d := range list {
			h.entries = append(h.entries, d.Address)
		}
		infos, err = h.finder.askLists(ctx, list)
	}
	if err != nil && h.ctx.Err() == nil {
		h.finder.log.Debug("lists cannot be read", "layer", "device", "err", err)
	}
	return infos
}

// found compares the result of a search with the attachments. It adds what is new and
// returns what is missing. It keeps as many attachments as one search can find, because
// anybody on the network can advertise new devices each time.
func (h *hub) found(infos []Info, mine func(Route) bool) []*attachment {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return nil
	}
	missing := map[*attachment]bool{}
	for _, a := range h.present {
		if mine(a.route) {
			missing[a] = true
		}
	}
	room := maxAsked - len(missing)
	for _, i := range infos {
		for _, r := range i.Routes {
			key := attachmentKey{
				via: r.Via, name: cmp.Or(r.instance, r.Address), udid: i.UDID,
			}
			a := h.at(key, r)
			switch {
			case a != nil:
				a.route = r
				delete(missing, a)
			case room > 0 && i.UDID != "":
				h.put(key, r, i, true)
				room--
			}
		}
	}
	return slices.Collect(maps.Keys(missing))
}

// at returns the attachment with a key, or with the same device at the same route, since
// two instances may name one address. The caller holds h.mu.
func (h *hub) at(key attachmentKey, r Route) *attachment {
	if a := h.present[key]; a != nil {
		return a
	}
	for _, a := range h.devices[key.udid] {
		if a.route.same(r) {
			return a
		}
	}
	return nil
}

// check removes an attachment that a search has missed, unless the device still answers
// there: an answer to a search may get lost. What is not listed any more is not asked.
func (h *hub) check(a *attachment) {
	h.mu.Lock()
	r := a.route
	h.mu.Unlock()
	unlisted := r.listed() && !slices.Contains(h.entries, r.Address)
	if !unlisted && h.finder.answers(h.ctx, r, a.udid) || h.ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !a.gone {
		h.remove(a)
	}
}

// event returns the event that a Watcher reports of an attachment. The caller holds
// h.mu.
func (h *hub) event(w *Watcher, kind EventKind, a *attachment) Event {
	info := a.info
	for _, o := range h.devices[a.udid] {
		if !a.described && o.described && o.info.Err == nil {
			info = o.info // from another route
		}
	}
	info.Routes = nil
	for _, o := range h.devices[a.udid] {
		// A route that is not reported yet may go again without a report. If it counted
		// after Detached, the last report of a device could leave a route.
		if w.sees(o) && (kind != Detached || w.told[o].attached) {
			info.Routes = append(info.Routes, o.route)
		}
	}
	sortRoutes(info.Routes)
	return Event{Kind: kind, Info: info, Route: a.route, Described: a.described}
}
