package device

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/device/route"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// lookAgain is how often a Keeper searches the network, which does not announce every
// device.
const lookAgain = 10 * time.Second

// KeeperOptions says for which devices a Keeper keeps tunnels.
type KeeperOptions struct {
	Match   Selector
	Network bool // also those that are found on the network only
	Tunnel  TunnelOptions
	// Tell is called when a tunnel is up, has ended or could not be made.
	Tell func(udid string, e TunnelEvent)
}

// Keeper keeps a tunnel to every device with iOS 17 or later, while the device is
// connected.
type Keeper struct {
	finder *Finder
	opts   KeeperOptions
	life   context.Context
	end    context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	kept  map[string]*kept
	ready bool
	// cancelled has the routes of devices for which Cancel was called. A device that is
	// found on one of these routes has not been connected again.
	cancelled map[string][]Route
}

// kept is the state of one device.
type kept struct {
	device  *Device
	end     context.CancelFunc
	done    chan struct{}
	network bool // found on the network, which does not report that it has left

	tunnel  *Tunnel       // guarded by Keeper.mu
	err     error         // of the last attempt; guarded by Keeper.mu
	changed chan struct{} // closed at the next event; guarded by Keeper.mu
}

// Keep returns a Keeper that has begun to keep tunnels. The Keeper must be closed.
func (f *Finder) Keep(o KeeperOptions) *Keeper {
	k := &Keeper{finder: f, opts: o, kept: map[string]*kept{}, cancelled: map[string][]Route{}}
	k.life, k.end = context.WithCancel(context.Background())
	w := f.Watch()
	k.work.Go(func() {
		defer w.Close()
		k.watch(w)
	})
	k.work.Go(k.look)
	return k
}

// watch handles the events of the muxers.
func (k *Keeper) watch(w *Watcher) {
	for {
		e, err := w.Next(k.life)
		if err != nil {
			return
		}
		switch {
		case e.Kind == usbmux.Attached && k.opts.Match.matches(e.Info):
			k.begin(e.Info, false, false)
		case e.Kind == usbmux.Detached:
			k.left(e.Info.UDID)
		}
	}
}

// look lists the devices once, and then searches the network at intervals.
func (k *Keeper) look() {
	s := k.opts.Match
	s.Network = k.opts.Network
	for {
		ctx, cancel := context.WithTimeout(k.life, DefaultTimeout)
		infos, err := k.finder.List(ctx, s)
		cancel()
		if err != nil && k.life.Err() == nil {
			k.finder.log.Debug("looking for devices failed", "layer", "device", "err", err)
		}
		if err == nil {
			k.forget(infos)
		}
		for _, i := range infos {
			k.begin(i, !slices.ContainsFunc(i.Routes, func(r Route) bool { return r.mux != nil }),
				false)
		}
		k.mu.Lock()
		k.ready = true
		k.mu.Unlock()
		if !k.opts.Network {
			return
		}
		if link.Sleep(k.life, lookAgain) != nil {
			return
		}
	}
}

// forget ends the effect of Cancel for the devices that a search has not found. They are
// not connected, and a device that leaves the network does not report it.
func (k *Keeper) forget(found []Info) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for udid := range k.cancelled {
		if !slices.ContainsFunc(found, func(i Info) bool { return i.UDID == udid }) {
			delete(k.cancelled, udid)
		}
	}
}

// begin keeps a tunnel to a device. It returns the present state of a device that is
// kept already. A device that was cancelled is kept again only if it is asked for, or
// is found on another route.
func (k *Keeper) begin(i Info, network, asked bool) *kept {
	if i.Err != nil || !i.since(route.TunnelsSince) {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if o, ok := k.kept[i.UDID]; ok {
		o.network = o.network && network
		return o
	}
	known := func(r Route) bool { return slices.ContainsFunc(k.cancelled[i.UDID], r.same) }
	if k.life.Err() != nil {
		return nil
	}
	if !asked && slices.ContainsFunc(i.Routes, known) {
		return nil
	}
	delete(k.cancelled, i.UDID)
	one := &kept{
		device: k.finder.Device(i), done: make(chan struct{}), changed: make(chan struct{}),
		network: network,
	}
	ctx, end := context.WithCancel(k.life)
	one.end = end
	k.kept[i.UDID] = one
	k.work.Go(func() {
		defer close(one.done)
		k.keep(ctx, one)
	})
	return one
}

// keep keeps the tunnel to a device until ctx ends or the Device is closed. If the
// tunnel cannot be made, keep tries again at growing intervals, since the device may be
// waiting for its user to trust this host.
func (k *Keeper) keep(ctx context.Context, one *kept) {
	udid := one.device.UDID()
	tell := func(e TunnelEvent) {
		k.mu.Lock()
		one.tunnel, one.err = nil, e.Err
		if e.Up {
			one.tunnel = e.Tunnel
		} else if e.Tunnel != nil {
			one.err = nil // the tunnel has ended and is made again, for which Start waits
		}
		close(one.changed)
		one.changed = make(chan struct{})
		k.mu.Unlock()
		if k.opts.Tell != nil {
			k.opts.Tell(udid, e)
		}
	}
	w := k.finder.Watch()
	defer w.Close()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := one.device.KeepTunnel(ctx, k.opts.Tunnel, tell)
		if ctx.Err() != nil {
			break
		}
		tell(TunnelEvent{Err: err})
		if one.device.life.Err() != nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.kept[udid] == one {
				delete(k.kept, udid)
			}
			return
		}
		if !one.device.returning(ctx, w, pause) {
			break
		}
	}
	one.device.CloseTunnel()
}

// left stops keeping the tunnel to a device that no muxer has any more. It is kept
// again when it is connected again.
func (k *Keeper) left(udid string) {
	k.mu.Lock()
	one, ok := k.kept[udid]
	ok = ok && !one.network && !hasPairing(one.device.Info().Routes)
	k.mu.Unlock()
	if ok {
		k.drop(udid, false)
	}
}

// Kept is an established tunnel.
type Kept struct {
	UDID   string
	Tunnel *Tunnel
}

// Tunnels returns the established tunnels, sorted by UDID. It does not wait.
func (k *Keeper) Tunnels() []Kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []Kept
	for udid, one := range k.kept {
		if one.tunnel != nil && one.tunnel.alive() {
			list = append(list, Kept{udid, one.tunnel})
		}
	}
	slices.SortFunc(list, func(a, b Kept) int { return strings.Compare(a.UDID, b.UDID) })
	return list
}

// Ready reports whether the first search for devices has ended.
func (k *Keeper) Ready() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ready
}

// Start returns the tunnel to a device. It begins to keep one if there is none.
func (k *Keeper) Start(ctx context.Context, udid string) (Kept, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	one := k.find(udid)
	if one == nil {
		infos, err := k.finder.List(ctx, Selector{UDID: udid, Network: k.opts.Network})
		if err != nil {
			return Kept{}, err
		}
		if len(infos) == 0 {
			return Kept{}, &Error{UDID: udid, Op: "open tunnel", Err: ErrNotFound}
		}
		one = k.begin(infos[0], false, true)
		if one == nil {
			return Kept{}, &Error{
				UDID: udid, Op: "open tunnel",
				Err: fmt.Errorf("%w: iOS %s has none", ErrNoTunnel, infos[0].Version),
			}
		}
	}
	for {
		k.mu.Lock()
		t, err, changed := one.tunnel, one.err, one.changed
		k.mu.Unlock()
		switch {
		case t != nil && t.alive():
			return Kept{one.device.UDID(), t}, nil
		case t == nil && err != nil:
			return Kept{}, err
		}
		select {
		case <-changed:
		case <-one.done:
			return Kept{}, &Error{UDID: udid, Op: "open tunnel", Err: context.Canceled}
		case <-ctx.Done():
			return Kept{}, &Error{UDID: udid, Op: "open tunnel", Err: context.Cause(ctx)}
		}
	}
}

func (k *Keeper) find(udid string) *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	for have, one := range k.kept {
		if foldUDID(have) == foldUDID(udid) {
			return one
		}
	}
	return nil
}

// Cancel closes the tunnel to a device, stops keeping it, and reports whether it was
// kept. It is kept again after Start, or when the device is connected again.
func (k *Keeper) Cancel(udid string) bool { return k.drop(udid, true) }

// Restart closes the tunnel to a device and reports whether there was one. The tunnel is
// made again if the device is still connected.
func (k *Keeper) Restart(udid string) bool {
	one := k.find(udid)
	if one == nil {
		return false
	}
	k.mu.Lock()
	had := one.tunnel != nil
	one.tunnel = nil // Tunnels and Start must not return it any more
	k.mu.Unlock()
	one.device.CloseTunnel()
	return had
}

// drop stops keeping a tunnel. If remember is true, the device is not kept again while
// it stays connected.
func (k *Keeper) drop(udid string, remember bool) bool {
	one := k.find(udid)
	if one == nil {
		return false
	}
	k.mu.Lock()
	delete(k.kept, one.device.UDID())
	if remember {
		k.cancelled[one.device.UDID()] = one.device.Info().Routes
	}
	one.tunnel = nil // Tunnels and Start must not return it any more
	k.mu.Unlock()
	one.end()
	<-one.done
	return true
}

// Clear cancels all devices.
func (k *Keeper) Clear() {
	k.mu.Lock()
	var udids []string
	for udid := range k.kept {
		udids = append(udids, udid)
	}
	k.mu.Unlock()
	for _, udid := range udids {
		k.Cancel(udid)
	}
}

// Close closes all tunnels and waits until they have ended.
func (k *Keeper) Close() error {
	k.end()
	k.work.Wait()
	return nil
}
