package device

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/imdlua/imdlua/runtime/device/route"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

const (
	// askAlive is how often a device is asked whether it is there: through
	// RSD, unless it does not know the question, and by a packet.
	askAlive = 10 * time.Second
	// probeTime is how long a tunnel that looks dead has to prove otherwise.
	probeTime = 3 * time.Second
	// Between two attempts to bring a tunnel up again; each waits twice as long
	// as the one before, and a device that is plugged in ends the waiting.
	firstPause, longestPause = 250 * time.Millisecond, 30 * time.Second
)

// TunnelOptions says which tunnel is wanted. The zero value takes the best.
type TunnelOptions struct {
	// Protocol is "tcp" or "quic"; "" takes what the device has.
	Protocol string
	// Route is "usb" or "wifi"; "" takes the best.
	Route string
	// Kernel makes it a network interface of this computer, for programs that
	// are to dial the device themselves. Linux only, and it needs
	// CAP_NET_ADMIN.
	Kernel bool
}

// Tunnel is a way to the services of iOS 17 and later: a tunnel of this
// program, or what somebody else's makes reachable. When its end is noticed
// every connection in it fails with an error that is tunnel.ErrDown; the next
// call that needs one gets a new Tunnel.
type Tunnel struct {
	// Generation counts the tunnels of a Device, the first being 1.
	Generation int
	// Protocol is "tcp", "quic" or, when others made it, "rsd".
	Protocol string
	// How says more exactly which it is.
	How route.Means
	// Route is where it runs.
	Route Route
	// Address is the device's inside the tunnel; invalid when others made it.
	Address netip.Addr
	// RSDPort is where the list of services is.
	RSDPort uint16
	// MTU is the largest packet; 0 when others made it.
	MTU int
	// Interface is the network interface of a Kernel tunnel, "" otherwise.
	Interface string
	// Took is how long it took until the list of services was read.
	Took time.Duration

	dial  rsd.DialFunc
	list  *rsd.Client
	under *tunnel.Tunnel // nil when others made it
	ends  []func()       // what else ends with it

	once sync.Once
	err  error
	done chan struct{}
	work sync.WaitGroup
}

// Dial opens a connection to a TCP port of the device.
func (t *Tunnel) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	return t.dial(ctx, port)
}

// List is the device's list of services. It must not be closed.
func (t *Tunnel) List() *rsd.Client { return t.list }

// Done is closed when the tunnel has ended.
func (t *Tunnel) Done() <-chan struct{} { return t.done }

// Err says why the tunnel ended, nil while it has not.
func (t *Tunnel) Err() error {
	select {
	case <-t.done:
		return t.err
	default:
		return nil
	}
}

// alive reports whether the end has not been noticed yet.
func (t *Tunnel) alive() bool {
	select {
	case <-t.done:
		return false
	default:
		return true
	}
}

// lose ends the tunnel; the first reason counts.
func (t *Tunnel) lose(err error) {
	t.once.Do(func() {
		t.err = err
		if t.under != nil {
			t.under.Close()
		}
		for _, end := range t.ends {
			end()
		}
		close(t.done)
	})
}

// close ends the tunnel and waits for what runs in it.
func (t *Tunnel) close() {
	t.lose(net.ErrClosed)
	t.list.Close()
	t.work.Wait()
}

// errBooted is why a route ended whose device came back so quickly that the route
// itself did not break: nothing in it is what it was.
var errBooted = errors.New("the device has restarted")

// watch notices the end. That RSD hangs up is not an end by itself: the list is
// read again, and only a device that does not answer then, or has restarted,
// is lost.
func (t *Tunnel) watch() {
	boot := t.boot()
	var under <-chan struct{}
	if t.under != nil {
		under = t.under.Done()
	}
	tick := time.NewTicker(askAlive)
	defer tick.Stop()
	for {
		list := t.list.Done()
		select {
		case <-t.done:
			return
		case <-under:
			t.lose(t.under.Err())
			return
		case <-tick.C:
			if err := t.ping(); err != nil {
				t.lose(err)
				return
			}
			continue
		case <-list:
			if list != t.list.Done() {
				continue // the list was read again
			}
		}
		err := t.probe(context.Background())
		if err == nil && t.boot() != boot {
			err = errBooted
		}
		if err != nil {
			t.lose(err)
			return
		}
	}
}

// ping asks whether anybody is at the other end of a tunnel whose carrier may
// have fallen silent, as Wi-Fi does: twice, since one packet may get lost.
// Tunnels of others are theirs to look after.
func (t *Tunnel) ping() (err error) {
	for range 2 {
		if t.under == nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), probeTime)
		err = t.under.Probe(ctx)
		cancel()
		if err == nil || !t.alive() {
			return nil
		}
	}
	return err
}

// boot says which boot of the device the list is of, "" if it does not tell.
func (t *Tunnel) boot() string { return t.list.Peer().Properties.BootSession() }

// probe reads the list again. It ends with the tunnel.
func (t *Tunnel) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-t.done:
			cancel()
		case <-over:
		}
	}()
	return t.list.Refresh(ctx)
}

// open connects to a service. One that is not listed may have come up since the
// list was read, and one that refuses may have left with its image: then the
// list is read once more.
func (t *Tunnel) open(ctx context.Context, n service.Name) (net.Conn, error) {
	c, err := t.list.Open(ctx, n)
	if errors.Is(err, rsd.ErrNotListed) || link.Is(err, syscall.ECONNREFUSED) {
		if err := t.list.Refresh(ctx); err != nil {
			return nil, t.why(err)
		}
		c, err = t.list.Open(ctx, n)
	}
	if err != nil {
		return nil, t.why(err)
	}
	return c, nil
}

// why adds to an error that the tunnel is down, if it is.
func (t *Tunnel) why(err error) error {
	if err == nil || t.alive() || errors.Is(err, tunnel.ErrDown) {
		return err
	}
	return &downError{err}
}

// downError is an error of a connection whose tunnel is down.
type downError struct{ error }

func (e *downError) Unwrap() []error { return []error{e.error, tunnel.ErrDown} }
func (e *downError) Error() string   { return tunnel.ErrDown.Error() + ": " + e.error.Error() }

// tunnels is the supervision of a Device's tunnels.
type tunnels struct {
	turn       chan struct{} // held while a tunnel is made
	current    *Tunnel       // guarded by Device.mu
	options    TunnelOptions // guarded by turn
	generation int           // guarded by turn
	attempts   []Attempt     // of the last making; guarded by Device.mu
}

// Tunnel returns the device's tunnel, making one when there is none. Options
// other than those of the present one end that one.
func (d *Device) Tunnel(ctx context.Context, o TunnelOptions) (*Tunnel, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	t, err := d.tunnelWith(ctx, &o)
	if err != nil {
		return nil, d.fail("open tunnel", "", err)
	}
	return t, nil
}

// Tunneled returns the tunnel if there is one, nil otherwise.
func (d *Device) Tunneled() *Tunnel {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.tunnels.current; t != nil && t.alive() {
		return t
	}
	return nil
}

// CloseTunnel ends the device's tunnel if there is one.
func (d *Device) CloseTunnel() {
	if t := d.Tunneled(); t != nil {
		t.close()
	}
}

// tunnel returns the present tunnel or a new one with the options that were
// asked for last.
func (d *Device) tunnel(ctx context.Context) (*Tunnel, error) {
	if t := d.Tunneled(); t != nil {
		return t, nil
	}
	return d.tunnelWith(ctx, nil)
}

func (d *Device) tunnelWith(ctx context.Context, o *TunnelOptions) (*Tunnel, error) {
	select {
	case <-d.tunnels.turn:
		defer func() { d.tunnels.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	old := d.Tunneled()
	if old != nil && (o == nil || *o == d.tunnels.options || *o == TunnelOptions{}) {
		return old, nil
	}
	if o != nil {
		d.tunnels.options = *o
	}
	if old != nil {
		old.close()
	}
	if d.life.Err() != nil {
		return nil, net.ErrClosed
	}
	begun := time.Now()
	t, attempts, err := d.raise(ctx, d.tunnels.options)
	d.mu.Lock()
	d.tunnels.attempts = attempts
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	d.tunnels.generation++
	t.Generation, t.Took = d.tunnels.generation, time.Since(begun)
	t.work.Go(t.watch)
	d.log.Debug("tunnel is up", "layer", "device", "how", t.How, "generation", t.Generation, "took",
		t.Took)
	d.mu.Lock()
	closed := d.life.Err() != nil
	d.tunnels.current = t
	d.mu.Unlock()
	if closed {
		t.close()
		return nil, net.ErrClosed
	}
	return t, nil
}

// openTunneled opens a service in the tunnel. A tunnel that turns out to be
// dead, though nobody has said so, is replaced once.
func (d *Device) openTunneled(ctx context.Context, n service.Name) (net.Conn, error) {
	for attempt := 0; ; attempt++ {
		t, err := d.tunnel(ctx)
		if err != nil {
			return nil, err
		}
		c, err := t.open(ctx, n)
		if err == nil {
			return &conn{Conn: c, udid: d.UDID(), service: n.String(), tunnel: t}, nil
		}
		if attempt > 0 || ctx.Err() != nil || !d.dead(ctx, t, err) {
			return nil, d.imageError(ctx, n, err)
		}
	}
}

// dead reports whether a tunnel in which something failed does not work any more.
// It is closed then.
func (d *Device) dead(ctx context.Context, t *Tunnel, err error) bool {
	var refused *rsd.Error
	if errors.As(err, &refused) && (refused.Code != "" || errors.Is(err, rsd.ErrNotListed)) {
		return false // an answer is a sign of life
	}
	if !t.alive() {
		return true
	}
	if t.probe(ctx) == nil {
		return false
	}
	t.close()
	return true
}

// TunnelEvent is a change of a tunnel that KeepTunnel keeps.
type TunnelEvent struct {
	Up     bool
	Tunnel *Tunnel // the one that came up or went down; nil when none could be made
	Err    error   // why it went down or could not be made
}

// KeepTunnel keeps a tunnel up until ctx ends, and tells of each change. It
// makes a new one when the device was unplugged and comes back, has booted, or
// is there on another route. That a tunnel cannot be made ends it only while
// there has been none yet, Close of the Device in any case.
func (d *Device) KeepTunnel(ctx context.Context, o TunnelOptions, tell func(TunnelEvent)) error {
	w := d.finder.Watch()
	defer w.Close()
	pause, had := firstPause, false
	for {
		try, cancel := context.WithTimeout(ctx, DefaultTimeout)
		t, err := d.Tunnel(try, o)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && (!had || d.life.Err() != nil) {
			return err
		}
		if err == nil {
			pause, had = firstPause, true
			tell(TunnelEvent{Up: true, Tunnel: t})
			select {
			case <-t.Done():
			case <-ctx.Done():
				return nil
			}
			tell(TunnelEvent{Tunnel: t, Err: t.Err()})
		} else {
			tell(TunnelEvent{Err: err})
		}
		if !d.returning(ctx, w, pause) {
			return nil
		}
		pause = min(2*pause, longestPause)
	}
}

// returning waits until the device is plugged in or the pause is over; false
// when ctx ended. Its routes are looked up again afterwards.
func (d *Device) returning(ctx context.Context, w *Watcher, pause time.Duration) bool {
	wait, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()
	for {
		e, err := w.Next(wait)
		if err != nil || e.Kind == usbmux.Attached && e.Info.UDID == d.UDID() {
			break
		}
	}
	if ctx.Err() != nil {
		return false
	}
	look, stop := context.WithTimeout(ctx, DefaultTimeout)
	defer stop()
	_ = d.rediscover(look) // an error shows when a tunnel is tried
	return ctx.Err() == nil
}
