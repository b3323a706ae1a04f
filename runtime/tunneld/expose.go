package tunneld

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/rsd"
)

const (
	// maxTunnels is how many tunnels are reachable at a time.
	maxTunnels = 64
	// openTimeout bounds making one tunnel reachable, which includes reading its list
	// of services.
	openTimeout = 10 * time.Second
	// refreshTimeout bounds reading that list again.
	refreshTimeout = 5 * time.Second
	// A tunnel that could not be made reachable is tried again after retryMin. The time
	// is doubled for each further attempt, up to retryMax.
	retryMin = time.Second
	retryMax = 30 * time.Second
)

// tunnelID identifies a tunnel. Two tunnels to one device have different IDs, even if
// one follows the other.
type tunnelID struct {
	udid, label string
	address     netip.Addr
	port        uint16
	done        <-chan struct{}
}

func idOf(t *Tunnel) tunnelID {
	return tunnelID{
		udid: t.UDID, label: t.Interface, address: t.Address, port: t.RSDPort, done: t.Done,
	}
}

func (t *Tunnel) over() bool {
	select {
	case <-t.Done:
		return true
	default:
		return false
	}
}

// exposure is a tunnel that other programs can reach or will reach soon.
type exposure struct {
	Tunnel
	run     *run
	ctx     context.Context // ends with the tunnel
	cancel  context.CancelFunc
	settled chan struct{}  // closed when the first attempt is over
	reading chan struct{}  // holds a token while the list is read again
	wg      sync.WaitGroup // listeners and connections
	alias   netip.Addr     // the address to give back at the end

	mu        sync.Mutex
	closed    bool
	hidden    int         // number of reasons for which it is not listed
	at        *front      // nil until it has an address that can be dialled
	relayPort uint16      // 0 until there is a relay
	services  *rsd.Client // connection to the list; some devices end the tunnel with it
	read      int         // how often reading the list again has begun
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]struct{}
}

// update adds and ends exposures, so that they match the Manager's tunnels.
func (r *run) update() {
	r.updating.Lock()
	defer r.updating.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	tunnels := r.Manager.Tunnels()
	there := make(map[tunnelID]bool, len(tunnels))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range tunnels {
		id := idOf(&t)
		there[id] = true
		if r.exposed[id] != nil || t.over() {
			continue
		}
		if len(r.exposed) >= maxTunnels {
			r.log.Warn("too many tunnels", "udid", t.UDID)
			continue
		}
		e := &exposure{
			Tunnel: t, run: r, settled: make(chan struct{}), reading: make(chan struct{}, 1),
			listeners: map[net.Listener]struct{}{}, conns: map[net.Conn]struct{}{},
		}
		e.ctx, e.cancel = context.WithCancel(r.ctx)
		r.exposed[id] = e
		r.wg.Go(e.live)
	}
	for id, e := range r.exposed {
		if !there[id] {
			delete(r.exposed, id)
			e.cancel()
		}
	}
}

// live makes the tunnel reachable, and keeps it reachable until it ends.
func (e *exposure) live() {
	defer e.end()
	e.wg.Go(func() {
		select {
		case <-e.Done: // nil, and so never ready, for a Tunnel without Done
		case <-e.ctx.Done():
		}
		e.forget()
		e.cancel()
	})
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		ctx, cancel := context.WithTimeout(e.ctx, openTimeout)
		err := e.open(ctx)
		cancel()
		e.settle()
		if err == nil || e.ctx.Err() != nil {
			break
		}
		e.run.log.Warn("not reachable", "udid", e.UDID, "error", err)
		_ = link.Sleep(e.ctx, wait)
	}
	<-e.ctx.Done()
}

func (e *exposure) settle() {
	select {
	case <-e.settled:
	default:
		close(e.settled)
	}
}

// forget removes the exposure from those that are listed.
func (e *exposure) forget() {
	e.run.mu.Lock()
	defer e.run.mu.Unlock()
	if id := idOf(&e.Tunnel); e.run.exposed[id] == e {
		delete(e.run.exposed, id)
	}
}

// end closes all connections into the tunnel.
func (e *exposure) end() {
	e.forget()
	e.cancel()
	e.settle()
	e.mu.Lock()
	e.closed = true
	for l := range e.listeners {
		_ = l.Close()
	}
	for c := range e.conns {
		_ = c.Close()
	}
	services := e.services
	e.mu.Unlock()
	e.wg.Wait()
	if services != nil {
		_ = services.Close()
	}
	e.run.mu.Lock()
	delete(e.run.occupied, e.alias)
	e.run.mu.Unlock()
	e.run.log.Debug("tunnel is gone", "udid", e.UDID)
}

// open opens what is missing: the relay for clients of go-ios' API, the address for
// others.
func (e *exposure) open(ctx context.Context) error {
	var errs []error
	if e.run.relay.IsValid() && e.relay() == 0 {
		errs = append(errs, e.openRelay())
	}
	if e.run.python && e.front() == nil {
		errs = append(errs, e.openFront(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return &Error{Op: "expose", Address: e.Address.String(), Err: err}
	}
	return nil
}

func (e *exposure) front() *front {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at
}

func (e *exposure) relay() uint16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.relayPort
}

// usable reports whether clients may be given the tunnel.
func (e *exposure) usable() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.closed && e.hidden == 0 && e.ctx.Err() == nil && !e.over()
}

func (e *exposure) agent() agentTunnel {
	return agentTunnel{
		Address: e.Address.WithZone("").String(), RSDPort: e.RSDPort, UDID: e.UDID, Userspace: true,
		RelayPort: e.relay(),
	}
}

// told returns the exposures of the Manager's tunnels for which has is true, in the
// Manager's order. A caller's has selects those that have what its clients need.
func (r *run) told(has func(*exposure) bool) []*exposure {
	tunnels := r.Manager.Tunnels()
	var list []*exposure
	r.mu.Lock()
	for _, t := range tunnels {
		if e := r.exposed[idOf(&t)]; e != nil {
			list = append(list, e)
		}
	}
	r.mu.Unlock()
	kept := list[:0]
	for _, e := range list {
		if e.usable() && has(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

func (r *run) reachable() []*exposure {
	return r.told(func(e *exposure) bool { return e.front() != nil })
}

func (r *run) relayed() []*exposure {
	return r.told(func(e *exposure) bool { return e.relay() != 0 })
}

// await waits until a tunnel is reachable and returns its exposure. It returns nil if
// the tunnel cannot be reached.
func (r *run) await(ctx context.Context, t Tunnel) *exposure {
	r.update()
	r.mu.Lock()
	e := r.exposed[idOf(&t)]
	r.mu.Unlock()
	if e == nil {
		return nil
	}
	select {
	case <-e.settled:
	case <-ctx.Done():
	}
	if e.front() == nil || !e.usable() {
		return nil
	}
	return e
}

// known returns the Manager's spelling of a device's UDID, or the client's if the
// Manager has no tunnel to the device.
func (r *run) known(udid string) string {
	for _, t := range r.Manager.Tunnels() {
		if SameUDID(t.UDID, udid) {
			return t.UDID
		}
	}
	return udid
}

// hide removes tunnels from the lists until shown is called. It is called before
// tunnels are closed.
func (r *run) hide(which func(*exposure) bool) (shown func()) {
	var list []*exposure
	r.mu.Lock()
	for _, e := range r.exposed {
		if which(e) {
			list = append(list, e)
		}
	}
	r.mu.Unlock()
	add := func(n int) {
		for _, e := range list {
			e.mu.Lock()
			e.hidden += n
			e.mu.Unlock()
		}
	}
	add(1)
	return func() { add(-1) }
}

// drop closes the tunnels to a device by a method of the Manager. It hides them first.
func (r *run) drop(udid string, by func(udid string) bool) bool {
	shown := r.hide(func(e *exposure) bool { return SameUDID(e.UDID, udid) })
	ok := by(r.known(udid))
	r.update()
	shown()
	return ok
}
