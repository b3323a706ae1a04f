package tunneld

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/rsd"
)

const (
	// maxTunnels is how many tunnels are made reachable at a time.
	maxTunnels = 64
	// openTimeout bounds making one reachable: reading its list of services.
	openTimeout = 10 * time.Second
	// refreshTimeout bounds reading the list anew.
	refreshTimeout = 5 * time.Second
	// A tunnel that could not be made reachable is tried again after retryMin,
	// twice that and so on, up to retryMax.
	retryMin = time.Second
	retryMax = 30 * time.Second
)

// tunnelID tells tunnels apart, also those to one device that follow each
// other.
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

// exposure is a tunnel that other programs can reach, or can soon.
type exposure struct {
	Tunnel
	run     *run
	ctx     context.Context // ends with the tunnel
	cancel  context.CancelFunc
	settled chan struct{}  // the first attempt is over
	reading chan struct{}  // holds a token while the list is read anew
	wg      sync.WaitGroup // listeners and connections
	alias   netip.Addr     // to be given back

	mu        sync.Mutex
	closed    bool
	hidden    int         // reasons not to tell of it
	at        *front      // nil until its address can be dialled
	relayPort uint16      // 0 until there is a relay
	services  *rsd.Client // the list, kept: some devices end the tunnel with it
	read      int         // how often reading it anew has begun
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]struct{}
}

// update makes the exposures follow the Manager's tunnels.
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

// live makes the tunnel reachable and keeps it so until it ends.
func (e *exposure) live() {
	defer e.end()
	e.wg.Go(func() {
		select {
		case <-e.Done: // of a Tunnel without it, never
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
		sleep(e.ctx, wait)
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

// forget takes the tunnel out of what is told.
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

// open makes what is missing: the relay for go-ios, the address for others.
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

// usable reports whether clients may be told of the tunnel.
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

// told returns the exposures of the Manager's tunnels, in its order, that have
// what a client needs.
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

// await returns the exposure of a tunnel once it is reachable, nil when it is
// not.
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

// known returns how the Manager writes a device's identifier, or what the
// client wrote.
func (r *run) known(udid string) string {
	for _, t := range r.Manager.Tunnels() {
		if SameUDID(t.UDID, udid) {
			return t.UDID
		}
	}
	return udid
}

// hide stops telling of tunnels until shown is called, for those that are about
// to be closed.
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

// drop closes the tunnels to a device, after it is told of no more.
func (r *run) drop(udid string) bool {
	shown := r.hide(func(e *exposure) bool { return SameUDID(e.UDID, udid) })
	ok := r.Manager.Cancel(r.known(udid))
	r.update()
	shown()
	return ok
}
