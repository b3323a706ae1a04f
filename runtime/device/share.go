package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/imdlua/imdlua/runtime/device/route"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

const (
	// maxShared is how many devices a Sharing has.
	maxShared = 1024
	// absences is after how many searches without it a device on the network has left.
	absences = 3
	// sharedClients is how many connections other programs may have, and sharedIdle how
	// long each may take for a request.
	sharedClients = 1024
	sharedIdle    = time.Minute
	// storeTime bounds a request of another program for a pair record.
	storeTime = 15 * time.Second
)

// ShareOptions says which devices a Sharing has.
type ShareOptions struct {
	Match   Selector
	Network bool // also those that are found on the network only
}

// Sharing is a muxer for other programs that has the devices of a Finder: those of all its
// muxers, those on the network and those that only a tunnel reaches. To the programs
// all of them seem to be connected by cable, because libimobiledevice dials devices on
// the network itself, and its tools pass over them unless they are told otherwise.
//
// A connection takes the route that Device.Connect takes. If a device has no route with
// lockdown, port 62078 is the lockdown of its tunnel, see tunneledLockdown.
//
// Pair records are read from and written to where this host keeps them.
type Sharing struct {
	finder *Finder
	opts   ShareOptions
	muxer  *usbmux.Muxer
	life   context.Context
	end    context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	shared map[string]*shared // by UDID
}

// shared is a device of a Sharing.
type shared struct {
	info    Info   // as it was found
	id      uint32 // at the muxer
	started tunneledLockdown
	waking  atomic.Bool // whether wake is running

	muxed  bool // whether a muxer of the Finder has it; guarded by Sharing.mu
	absent int  // number of searches that did not find it; guarded by Sharing.mu
}

// Share returns a Sharing, which must be closed. ctx bounds the wait for the identity of
// this host, which programs see as that of the muxer.
func (f *Finder) Share(ctx context.Context, o ShareOptions) *Sharing {
	buid, err := f.buid(ctx, Info{})
	if err != nil {
		f.log.Debug("no identity of this host", "layer", "device", "err", err)
	}
	s := &Sharing{finder: f, opts: o, shared: map[string]*shared{}}
	s.life, s.end = context.WithCancel(context.Background())
	s.muxer = usbmux.NewMuxer(usbmux.MuxerOptions{
		Records: &sharedRecords{finder: f, life: s.life}, BUID: buid, Logger: f.opts.Logger,
		MaxClients: sharedClients, Idle: sharedIdle,
	})
	w := f.Watch(WatchOptions{})
	s.work.Go(func() {
		defer w.Close()
		s.watch(w)
	})
	s.work.Go(s.look)
	return s
}

// Serve accepts programs from l until ctx ends, the Sharing is closed or l fails. In the
// first two cases it returns nil. When it returns, l and all connections from it are
// closed.
func (s *Sharing) Serve(ctx context.Context, l net.Listener) error { return s.muxer.Serve(ctx, l) }

// Close ends all connections and waits for them.
func (s *Sharing) Close() error {
	s.end()
	err := s.muxer.Close()
	s.work.Wait()
	return err
}

// watch handles the events of the muxers.
func (s *Sharing) watch(w *Watcher) {
	for {
		e, err := w.Next(s.life)
		switch {
		case err != nil:
			return
		case e.Kind == Attached:
			s.add(e.Info, true)
		case e.Kind == Detached:
			s.left(e.Info.UDID)
		}
	}
}

// look lists the devices once, and then searches the network at intervals.
func (s *Sharing) look() {
	selector := s.opts.Match
	selector.Network = s.opts.Network
	for {
		ctx, cancel := context.WithTimeout(s.life, DefaultTimeout)
		infos, err := s.finder.List(ctx, selector)
		cancel()
		if err == nil {
			s.found(infos)
		} else if s.life.Err() == nil {
			s.finder.log.Debug("looking for devices failed", "layer", "device", "err", err)
		}
		if !s.opts.Network && s.finder.opts.Direct == nil {
			return
		}
		if link.Sleep(s.life, lookAgain) != nil {
			return
		}
	}
}

// found adds the devices that a search has found on the network, and removes those that
// have left it. Those of muxers are left to watch, because one that was unplugged during
// the search may be among them.
func (s *Sharing) found(infos []Info) {
	for _, i := range infos {
		if len(i.muxed()) < len(i.Routes) {
			s.add(i, false)
		}
	}
	s.mu.Lock()
	var gone []string
	for udid, one := range s.shared {
		if one.muxed || slices.ContainsFunc(infos, func(i Info) bool { return i.UDID == udid }) {
			continue
		}
		one.absent++
		if one.absent >= absences {
			gone = append(gone, udid)
		}
	}
	s.mu.Unlock()
	for _, udid := range gone {
		s.remove(udid)
	}
}

// add attaches a device to the muxer. If it is attached already, its Device learns the
// routes.
func (s *Sharing) add(i Info, muxed bool) {
	if i.UDID == "" || !s.opts.Match.Matches(i) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return
	}
	if one, ok := s.shared[i.UDID]; ok {
		one.absent, one.muxed = 0, one.muxed || muxed
		s.device(one).learn(i.Routes)
		return
	}
	if len(s.shared) >= maxShared {
		s.finder.warn(fmt.Sprintf("more than %d devices: %s is not shared", maxShared, i.UDID), nil)
		return
	}
	one := &shared{info: i, muxed: muxed}
	one.id = s.muxer.Attach(usbmux.Attachment{
		UDID: i.UDID, ProductID: productID(i.Class),
		Dial: func(ctx context.Context, port uint16) (net.Conn, error) {
			return s.dial(ctx, one, port)
		},
	})
	s.shared[i.UDID] = one
}

// productID returns the USB product that a device of a class is, or 0 for an iPhone.
func productID(class string) uint16 {
	if class == "iPad" {
		return 0x12AB
	}
	return 0
}

// left handles the end of a connection to a muxer. The device stays if another muxer has
// it, and while it may still be on the network.
func (s *Sharing) left(udid string) {
	ctx, cancel := context.WithTimeout(s.life, describeTimeout)
	defer cancel()
	infos, _, err := s.finder.entries(ctx)
	if err == nil && slices.ContainsFunc(infos, func(i Info) bool { return i.UDID == udid }) {
		return
	}
	s.mu.Lock()
	one, ok := s.shared[udid]
	if ok {
		one.muxed = false
		ok = !slices.ContainsFunc(s.device(one).Info().Routes, Route.network)
	}
	s.mu.Unlock()
	if ok {
		s.remove(udid)
	}
}

// remove detaches a device from the muxer, which ends the connections to it.
func (s *Sharing) remove(udid string) {
	s.mu.Lock()
	one, ok := s.shared[udid]
	delete(s.shared, udid)
	s.mu.Unlock()
	if ok {
		s.muxer.Detach(one.id)
	}
}

// device returns the Device of the Finder, which other parts of the program use as well.
func (s *Sharing) device(one *shared) *Device {
	s.finder.mu.Lock()
	d, ok := s.finder.known[one.info.UDID]
	s.finder.mu.Unlock()
	if ok {
		return d
	}
	return s.finder.Device(one.info)
}

// learn adds routes that were found.
func (d *Device) learn(routes []Route) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.info.Routes = addRoutes(d.info.Routes, routes)
}

// dial connects a program to a port of a device.
func (s *Sharing) dial(ctx context.Context, one *shared, port uint16) (net.Conn, error) {
	d := s.device(one)
	r, ok := d.Info().lockdown()
	if !ok {
		if port == lockdown.Port {
			return s.tunneledLockdown(ctx, one, d)
		}
		if name := one.started.service(port); name != "" {
			return d.openStarted(ctx, name)
		}
		return d.Connect(ctx, port)
	}
	if r.Via == ViaLockdown {
		s.wake(one, d)
	}
	c, err := d.Connect(ctx, port)
	if !link.Is(err, syscall.ECONNREFUSED) || port == lockdown.Port {
		return c, err
	}
	// The port may be open in a tunnel only.
	inTunnel := d.Tunneled() != nil || r.mux == nil && d.Info().since(route.TunnelsSince)
	if !inTunnel {
		return nil, err
	}
	c, tunnelErr := d.connectTunneled(ctx, port, fmt.Sprintf("port %d", port))
	if tunnelErr != nil {
		return nil, err
	}
	return c, nil
}

// wake makes sure that the heartbeat of a device on Wi-Fi is answered, because the device
// ends connections otherwise. Programs do not answer it themselves on a connection that
// seems to be a cable. The session to which the heartbeat belongs is that of the Device.
func (s *Sharing) wake(one *shared, d *Device) {
	if !one.waking.CompareAndSwap(false, true) {
		return
	}
	s.work.Go(func() {
		defer one.waking.Store(false)
		ctx, cancel := context.WithTimeout(s.life, describeTimeout)
		defer cancel()
		err := d.withSession(ctx, func(c *session) error {
			_, err := c.Get(ctx, "", "UniqueDeviceID") // finds out whether it still works
			return err
		})
		if err != nil {
			s.finder.log.Debug("no heartbeat", "layer", "device", "udid", one.info.UDID, "err", err)
		}
	})
}

// sharedRecords gives other programs the pair records of this host.
type sharedRecords struct {
	finder *Finder
	life   context.Context
}

// info returns what is known of the device of a record.
func (r *sharedRecords) info(id string) Info {
	r.finder.mu.Lock()
	d, ok := r.finder.known[id]
	r.finder.mu.Unlock()
	if !ok {
		return Info{UDID: id}
	}
	return d.Info()
}

// Read returns a record as a property list.
func (r *sharedRecords) Read(id string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.life, storeTime)
	defer cancel()
	record, err := r.finder.loadRecord(ctx, r.info(id))
	if errors.Is(err, ErrNotPaired) {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, err
	}
	return record.Encode()
}

// Write stores a record.
func (r *sharedRecords) Write(id string, b []byte) error {
	record, err := pair.Parse(b)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.life, storeTime)
	defer cancel()
	return r.finder.saveRecord(ctx, r.info(id), record)
}

// Delete removes a record.
func (r *sharedRecords) Delete(id string) error {
	ctx, cancel := context.WithTimeout(r.life, storeTime)
	defer cancel()
	return r.finder.deleteRecord(ctx, r.info(id))
}
