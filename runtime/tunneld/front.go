package tunneld

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/rsd"
)

const (
	// maxPorts is how many ports a device's list may have. Real ones have about eighty.
	maxPorts = 512
	// aliasTries is how many addresses are tried to find one on which all ports are
	// free.
	aliasTries = 8
	// probeTimeout bounds the connection that shows whether an alias can be reached.
	probeTimeout = 2 * time.Second
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// front is what other programs dial instead of the device. It is either an address of
// its own that has the device's ports, or 127.0.0.1 with other ports and a list of
// services in which the ports are replaced. This program sends the list in either case.
type front struct {
	address netip.Addr
	rsdPort uint16
	alias   bool
	// ports maps the device's ports, with that of its list, to ours. exposure.mu guards it.
	ports map[uint16]uint16
}

// machineNetwork returns the network of this machine.
func machineNetwork() network {
	var lc net.ListenConfig
	var d net.Dialer
	return network{
		listen: func(at netip.AddrPort) (net.Listener, error) {
			return lc.Listen(context.Background(), "tcp", at.String())
		},
		dial:  d.DialContext,
		alias: runtime.GOOS == "linux",
	}
}

// aliasOf returns the n-th address to try for a device. The addresses are consecutive,
// and the first depends on the UDID alone, so that a device gets the same one each
// time.
func aliasOf(udid string, n int) netip.Addr {
	h := fnv.New32a()
	_, _ = h.Write([]byte(plainUDID(udid)))
	v := h.Sum32()%(256*254) + uint32(n)
	return netip.AddrFrom4([4]byte{127, 77, byte(v / 254), byte(v%254 + 1)})
}

// openFront reads the device's list and listens on its ports.
func (e *exposure) openFront(ctx context.Context) error {
	services, err := rsd.Dial(ctx, e.Dial, e.RSDPort,
		rsd.Options{Host: e.Host, Patience: rsd.UsualPatience, Logger: e.run.Logger})
	if err != nil {
		return err
	}
	ports, err := e.portsOf(services.Peer())
	if err == nil {
		err = e.listen(ctx, services, ports)
	}
	if err != nil {
		_ = services.Close()
	}
	return err
}

// portsOf returns the ports of a list. The port of the list itself comes first.
func (e *exposure) portsOf(peer *rsd.Peer) ([]uint16, error) {
	set := map[uint16]bool{}
	for _, s := range peer.Services {
		set[s.Port] = true
	}
	delete(set, e.RSDPort)
	if len(set) > maxPorts {
		return nil, fmt.Errorf("list has %d ports, over the limit of %d", len(set), maxPorts)
	}
	return append([]uint16{e.RSDPort}, slices.Sorted(maps.Keys(set))...), nil
}

// listen opens an alias, or ports on 127.0.0.1 if there is none.
func (e *exposure) listen(ctx context.Context, services *rsd.Client, ports []uint16) error {
	var f *front
	var listeners []net.Listener
	if e.run.net.alias {
		f, listeners = e.openAlias(ctx, ports)
	}
	if f == nil {
		var err error
		listeners, err = e.bind(ports,
			func(uint16) netip.AddrPort { return netip.AddrPortFrom(loopback, 0) })
		if err != nil {
			return err
		}
		f = &front{address: loopback}
	}
	f.ports = map[uint16]uint16{}
	for i, l := range listeners {
		f.ports[ports[i]] = portOf(l)
	}
	f.rsdPort = f.ports[e.RSDPort]
	e.mu.Lock()
	e.services = services
	e.mu.Unlock()
	for i, l := range listeners {
		e.serve(l, e.handler(f, ports[i]))
	}
	e.mu.Lock()
	e.at = f
	e.mu.Unlock()
	e.run.log.Debug("reachable", "udid", e.UDID, "address", f.address, "port", f.rsdPort,
		"services", len(listeners)-1)
	return nil
}

// openAlias returns nil if there is no address on which all ports are free.
func (e *exposure) openAlias(ctx context.Context, ports []uint16) (*front, []net.Listener) {
	for n := range aliasTries {
		a := aliasOf(e.UDID, n)
		if !e.occupy(a) {
			continue // it is in use by another tunnel to the same device
		}
		listeners, err := e.bind(ports,
			func(port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) })
		if err == nil {
			err = e.probe(ctx, listeners[0])
			if err == nil {
				return &front{address: a, alias: true}, listeners
			}
			link.CloseAll(listeners)
		}
		e.vacate()
		e.run.log.Debug("no alias", "udid", e.UDID, "address", a, "error", err)
	}
	return nil, nil
}

func (e *exposure) occupy(a netip.Addr) bool {
	e.run.mu.Lock()
	defer e.run.mu.Unlock()
	if e.run.occupied[a] {
		return false
	}
	e.run.occupied[a] = true
	e.alias = a
	return true
}

func (e *exposure) vacate() {
	e.run.mu.Lock()
	defer e.run.mu.Unlock()
	delete(e.run.occupied, e.alias)
	e.alias = netip.Addr{}
}

// bind listens on all ports, or on none if one fails.
func (e *exposure) bind(
	ports []uint16, where func(port uint16) netip.AddrPort,
) ([]net.Listener, error) {
	return link.ListenAll(ports, func(port uint16) (net.Listener, error) {
		return e.run.net.listen(where(port))
	})
}

// portOf returns the port of a TCP listener.
func portOf(l net.Listener) uint16 {
	if t, ok := l.Addr().(*net.TCPAddr); ok {
		return uint16(t.Port)
	}
	return 0
}

// probe connects to a listener once, because a listener that could be opened may still
// be unreachable. No other program knows the address yet.
func (e *exposure) probe(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	c, err := e.run.net.dial(ctx, "tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	if d, ok := l.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Now().Add(probeTimeout))
		defer func() { _ = d.SetDeadline(time.Time{}) }()
	}
	a, err := l.Accept()
	if err != nil {
		return err
	}
	return a.Close()
}

// handler returns the function that serves connections to a port of the device. Before
// it sends a client the list, it makes the services reachable that have been added to
// it. Clients do not read the list from the device: since iOS 27.2 the device keeps one
// connection to it, and closes the ports of all services when a client has another
// identity than the last one.
func (e *exposure) handler(f *front, port uint16) func(c net.Conn) {
	if port != e.RSDPort {
		return func(c net.Conn) { e.forward(c, port) }
	}
	return func(c net.Conn) {
		peer := e.refresh(f)
		p := &rsd.Proxy{
			Logger: e.run.Logger,
			Peer:   func(context.Context) (*rsd.Peer, error) { return e.rewritten(f, peer), nil },
		}
		if err := p.Serve(e.ctx, c); err != nil && e.ctx.Err() == nil {
			e.run.log.Debug("list", "udid", e.UDID, "error", err)
		}
	}
}

// refresh reads the list again and opens the ports that are missing. If another
// connection began to read it after this call, that reading serves both. If reading
// fails, the list stays as it was.
func (e *exposure) refresh(f *front) *rsd.Peer {
	e.mu.Lock()
	before := e.read
	e.mu.Unlock()
	select {
	case e.reading <- struct{}{}:
		defer func() { <-e.reading }()
	case <-e.ctx.Done():
		return e.services.Peer()
	}
	e.mu.Lock()
	done := e.read > before
	if !done {
		e.read++
	}
	e.mu.Unlock()
	if done {
		return e.services.Peer()
	}
	ctx, cancel := context.WithTimeout(e.ctx, refreshTimeout)
	defer cancel()
	err := e.services.Refresh(ctx)
	peer := e.services.Peer()
	if err == nil {
		err = e.openMissing(f, peer)
	}
	if err != nil && e.ctx.Err() == nil {
		e.run.log.Warn("list is not read again", "udid", e.UDID, "error", err)
	}
	return peer
}

// openMissing listens on the ports of services that are new in the list. The ports of
// services that are gone stay open, and connections to them fail.
func (e *exposure) openMissing(f *front, peer *rsd.Peer) error {
	ports, err := e.portsOf(peer)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range ports {
		e.mu.Lock()
		_, ok := f.ports[p]
		full := len(f.ports) > 2*maxPorts
		e.mu.Unlock()
		if ok {
			continue
		}
		if full {
			return errors.New("too many ports have come and gone")
		}
		at := netip.AddrPortFrom(f.address, 0)
		if f.alias {
			at = netip.AddrPortFrom(f.address, p)
		}
		l, err := e.run.net.listen(at)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.serve(l, e.handler(f, p))
		e.mu.Lock()
		f.ports[p] = portOf(l)
		e.mu.Unlock()
	}
	return errors.Join(errs...)
}

// rewritten returns the list with our ports in place of the device's.
func (e *exposure) rewritten(f *front, peer *rsd.Peer) *rsd.Peer {
	p := *peer
	p.Services = make(map[string]rsd.Service, len(peer.Services))
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, s := range peer.Services {
		if own, ok := f.ports[s.Port]; ok {
			s.Port = own
			p.Services[name] = s
		}
	}
	return &p
}
