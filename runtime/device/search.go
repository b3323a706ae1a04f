package device

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/bonjour"
)

// network searches for devices that advertise one of the types and asks each for its
// identity. Those that do not answer are left out, because an advertised name does not
// identify a device. If enough is not nil, the search ends when it returns true.
func (f *Finder) network(
	ctx context.Context, enough func(Info) bool, types ...bonjour.Type,
) []Info {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	s := search{finder: f, slots: make(chan struct{}, askedAtOnce), enough: func(i Info) {
		if enough != nil && enough(i) {
			cancel()
		}
	}}
	for _, b := range f.allBrowsers() {
		for _, t := range types {
			if !f.uses(kindOf(t)) {
				continue
			}
			s.running.Go(func() { s.browse(ctx, b, t) })
		}
	}
	s.running.Wait()
	if s.left > 0 {
		f.warn(fmt.Sprintf("%d addresses that are advertised were not asked", s.left), nil)
	}
	return s.infos
}

// search is one search of the network.
type search struct {
	finder  *Finder
	enough  func(Info)
	slots   chan struct{} // one for each instance that is being asked
	running sync.WaitGroup

	mu    sync.Mutex
	asked int
	left  int // number of instances that were not asked
	infos []Info
}

// browse asks every instance of a type that a browser finds.
func (s *search) browse(ctx context.Context, b bonjour.Browser, t bonjour.Type) {
	list, err := b.Browse(ctx, bonjour.Query{Type: t, Timeout: browseTime, Loopback: true})
	if err != nil && ctx.Err() == nil {
		s.finder.log.Debug("browsing failed", "layer", "device", "type", string(t), "err", err)
	}
	for n, instance := range inTurns(list) {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			s.leave(ctx, len(list)-n)
			return
		}
		if !s.next() {
			<-s.slots
			s.leave(ctx, len(list)-n)
			return
		}
		s.running.Go(func() {
			defer func() { <-s.slots }()
			s.ask(ctx, instance)
		})
	}
}

// inTurns puts the first instance of each sender before the second of any, and so on. A
// sender that advertises a thousand devices then does not keep the others from being
// asked.
func inTurns(list []bonjour.Instance) []bonjour.Instance {
	turns := map[netip.Addr]int{}
	turn := make([]int, len(list))
	order := make([]int, len(list))
	for n, i := range list {
		order[n], turn[n] = n, turns[i.Sender]
		turns[i.Sender]++
	}
	slices.SortStableFunc(order, func(a, b int) int { return turn[a] - turn[b] })
	sorted := make([]bonjour.Instance, len(list))
	for n, at := range order {
		sorted[n] = list[at]
	}
	return sorted
}

// next counts an instance that is about to be asked, and reports whether the limit
// allows it.
func (s *search) next() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.asked <= maxAsked
}

// leave counts instances that are not asked, unless the search has already found what
// it looks for.
func (s *search) leave(ctx context.Context, n int) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left += n
}

func (s *search) ask(ctx context.Context, i bonjour.Instance) {
	info, err := s.finder.identify(ctx, i)
	if err != nil {
		s.finder.log.Debug("did not say who it is", "layer", "device", "instance", i.Name, "err",
			err)
		return
	}
	for n := range info.Routes {
		info.Routes[n].instance = i.Name + " on " + i.Interface
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.infos = merge(s.infos, []Info{info})
	s.enough(info)
}

// looks shares searches of the network between callers that each look for one device.
// Many devices that come back at the same time are then asked once, and not once for
// each caller.
type looks struct {
	mu      sync.Mutex
	running map[string]*look // by the types that are looked for
}

// look is a search that several callers wait for.
type look struct {
	cancel  context.CancelFunc
	done    chan struct{}
	wanted  map[string]int           // number of callers for each UDID that is wanted
	found   map[string][]Route       // routes to every device that was found
	changed map[string]chan struct{} // closed when the wanted device is found
}

// lookFor returns the routes to a device that advertises one of the types, or nil if it
// is not found. It joins a search that is running. If that one ends without the device,
// lookFor starts another, since the device may have appeared meanwhile.
func (f *Finder) lookFor(ctx context.Context, udid string, types ...bonjour.Type) []Route {
	for attempt := 0; ; attempt++ {
		l, found, began := f.join(udid, types)
		select {
		case <-found:
		case <-l.done:
		case <-ctx.Done():
		}
		routes := f.leave(l, udid)
		if routes != nil || ctx.Err() != nil {
			return routes
		}
		if began || attempt > 0 {
			return nil
		}
	}
}

// join returns the running search for the types, or starts one. found is closed when
// the search has found the device.
func (f *Finder) join(
	udid string, types []bonjour.Type,
) (l *look, found chan struct{}, began bool) {
	f.looks.mu.Lock()
	defer f.looks.mu.Unlock()
	var key strings.Builder
	for _, t := range types {
		key.WriteString(string(t) + " ")
	}
	l = f.looks.running[key.String()]
	if l == nil {
		l, began = f.look(key.String(), types), true
	}
	l.wanted[udid]++
	found = l.changed[udid]
	if found == nil {
		found = make(chan struct{})
		l.changed[udid] = found
		if l.found[udid] != nil {
			close(found)
		}
	}
	return l, found, began
}

// look starts a search of the network. The caller holds f.looks.mu.
func (f *Finder) look(key string, types []bonjour.Type) *look {
	l := &look{
		done: make(chan struct{}), wanted: map[string]int{}, found: map[string][]Route{},
		changed: map[string]chan struct{}{},
	}
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	if f.looks.running == nil {
		f.looks.running = map[string]*look{}
	}
	f.looks.running[key] = l
	go func() {
		defer close(l.done)
		defer l.cancel()
		f.network(ctx, func(i Info) bool { return f.note(l, i) }, types...)
		f.looks.mu.Lock()
		defer f.looks.mu.Unlock()
		if f.looks.running[key] == l {
			delete(f.looks.running, key)
		}
	}()
	return l
}

// note stores what a search has found. It reports whether no caller waits for more.
func (f *Finder) note(l *look, i Info) bool {
	f.looks.mu.Lock()
	defer f.looks.mu.Unlock()
	found := l.changed[i.UDID]
	if found != nil && l.found[i.UDID] == nil {
		close(found)
	}
	l.found[i.UDID] = addRoutes(l.found[i.UDID], i.Routes)
	for udid := range l.wanted {
		if l.found[udid] == nil {
			return false
		}
	}
	return true
}

// leave returns what a search has found of a device. The last caller to leave ends the
// search and waits for its end.
func (f *Finder) leave(l *look, udid string) []Route {
	f.looks.mu.Lock()
	routes := l.found[udid]
	l.wanted[udid]--
	if l.wanted[udid] == 0 {
		delete(l.wanted, udid)
	}
	last := len(l.wanted) == 0
	if last {
		for key, r := range f.looks.running {
			if r == l {
				delete(f.looks.running, key)
			}
		}
	}
	f.looks.mu.Unlock()
	if last {
		l.cancel()
		<-l.done
	}
	return routes
}
