package device

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/device/route"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/tunnel"
)

const (
	// askAlive is the interval at which a device is asked whether it is there: by RSD,
	// if the device supports that, and by a packet.
	askAlive = 10 * time.Second
	// probeTime is how long a tunnel that seems to be broken has to answer.
	probeTime = 3 * time.Second
	// firstPause and longestPause bound the pause between two attempts to make a tunnel
	// or to read a list again. Each pause is twice as long as the one before. Plugging
	// the device in ends the pause before a tunnel.
	firstPause, longestPause = 250 * time.Millisecond, 30 * time.Second
)

// TunnelOptions says which tunnel to make. The zero value chooses the best.
type TunnelOptions struct {
	// Protocol is "tcp" or "quic"; "" chooses what the device has.
	Protocol string
	// Route is "usb" or "wifi"; "" chooses the best.
	Route string
	// Kernel makes the tunnel a network interface of this computer, so that other
	// programs can dial the device themselves. It requires Linux and CAP_NET_ADMIN.
	Kernel bool
}

// Tunnel reaches the services of iOS 17 and later. It is a tunnel of this program, or a
// list of services that another program makes reachable. When its end is noticed, every
// connection in it fails with an error that matches tunnel.ErrDown. The next call that
// needs a tunnel makes a new one.
type Tunnel struct {
	// Generation is the number of the tunnel, which is 1 for the first one of a Device.
	Generation int
	// Protocol is "tcp" or "quic", or "rsd" if another program made it.
	Protocol string
	// How is the method by which it was made.
	How route.Method
	// Route is the route on which it runs.
	Route Route
	// Address is the device's inside the tunnel. It is invalid if another program made
	// it.
	Address netip.Addr
	// RSDPort is the port of the list of services.
	RSDPort uint16
	// MTU is the size of the largest packet, or 0 if another program made the tunnel.
	MTU int
	// Interface is the network interface of a Kernel tunnel, or "".
	Interface string
	// Host is the identity of this computer in the tunnel; see Options.Host.
	Host xpc.UUID
	// Took is the time until the list of services was read.
	Took time.Duration

	dial  rsd.DialFunc
	list  *rsd.Client
	under *tunnel.Tunnel // nil if another program made it
	ends  []func()       // called when the tunnel ends

	once sync.Once
	err  error
	done chan struct{}
	work sync.WaitGroup
}

// Dial opens a connection to a TCP port of the device.
func (t *Tunnel) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	return t.dial(ctx, port)
}

// List returns the device's list of services. It must not be closed.
func (t *Tunnel) List() *rsd.Client { return t.list }

// Done is closed when the tunnel has ended.
func (t *Tunnel) Done() <-chan struct{} { return t.done }

// Err returns why the tunnel ended, or nil if it has not.
func (t *Tunnel) Err() error {
	select {
	case <-t.done:
		return t.err
	default:
		return nil
	}
}

// alive reports whether no end of the tunnel has been noticed.
func (t *Tunnel) alive() bool {
	select {
	case <-t.done:
		return false
	default:
		return true
	}
}

// lose ends the tunnel. Only the first reason is kept.
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

// close ends the tunnel and waits for its goroutines.
func (t *Tunnel) close() {
	t.lose(net.ErrClosed)
	t.list.Close()
	t.work.Wait()
}

// Close ends the tunnel and waits for its goroutines. The next call that needs a tunnel
// makes a new one.
func (t *Tunnel) Close() error {
	t.close()
	return nil
}

// open connects to a service. If the service is not listed, open reads the list again and
// retries once, because services come and go with a developer image.
func (t *Tunnel) open(ctx context.Context, n service.Name) (net.Conn, error) {
	c, err := t.list.Open(ctx, n)
	if errors.Is(err, rsd.ErrNotListed) {
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

// why adds to an error that the tunnel is down, if that is so.
func (t *Tunnel) why(err error) error {
	if err == nil || t.alive() || errors.Is(err, tunnel.ErrDown) {
		return err
	}
	return &downError{err}
}

// downError is the error of a connection whose tunnel is down.
type downError struct{ error }

func (e *downError) Unwrap() []error { return []error{e.error, tunnel.ErrDown} }
func (e *downError) Error() string   { return tunnel.ErrDown.Error() + ": " + e.error.Error() }

// tunnels is the state of a Device's tunnels.
type tunnels struct {
	turn       chan struct{} // has a token; taken while a tunnel is made
	current    *Tunnel       // guarded by Device.mu
	options    TunnelOptions // guarded by turn
	generation int           // guarded by turn
	attempts   []Attempt     // of the last call of raise; guarded by Device.mu
}

// Tunnel returns the device's tunnel, and makes one if there is none. If the present
// tunnel has other options, it is closed first.
func (d *Device) Tunnel(ctx context.Context, o TunnelOptions) (*Tunnel, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	t, err := d.tunnelWith(ctx, &o)
	if err != nil {
		return nil, d.fail("open tunnel", "", err)
	}
	return t, nil
}

// Tunneled returns the device's tunnel, or nil if there is none.
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

// tunnel returns the present tunnel, or makes one with the options of the last request.
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
	sameOptions := o == nil || *o == d.tunnels.options || *o == TunnelOptions{}
	if old != nil && sameOptions {
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

// openTunneled opens a service in the tunnel. A tunnel that turns out to be broken is
// replaced once.
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
		if attempt == 0 && ctx.Err() == nil && d.dead(ctx, t, err) {
			continue
		}
		return nil, d.imageError(ctx, n, err)
	}
}

// dead reports whether a tunnel in which a call failed is broken. If so, it is closed.
func (d *Device) dead(ctx context.Context, t *Tunnel, err error) bool {
	var refused *rsd.Error
	if errors.As(err, &refused) && (refused.Code != "" || errors.Is(err, rsd.ErrNotListed)) {
		return false // the device has answered
	}
	if !t.alive() {
		return true
	}
	if t.answers(ctx) {
		return false
	}
	if t.alive() && ctx.Err() != nil {
		return false // it is not known whether the device would have answered
	}
	t.close()
	return true
}

// TunnelEvent is a change of a tunnel that KeepTunnel keeps.
type TunnelEvent struct {
	Up     bool
	Tunnel *Tunnel // the tunnel that is up or has ended; nil if none could be made
	Err    error   // why it ended or could not be made
}

// KeepTunnel keeps a tunnel up until ctx ends, and reports each change to tell. It
// makes a new tunnel when the device has been plugged in again, has booted, or has
// another route. If the first tunnel cannot be made, KeepTunnel returns the error; it
// does not end when a later one fails. It ends when the Device is closed.
func (d *Device) KeepTunnel(ctx context.Context, o TunnelOptions, tell func(TunnelEvent)) error {
	w := d.finder.Watch(WatchOptions{UDID: d.UDID()})
	defer w.Close()
	pause, had := firstPause, false
	for {
		w.Skip() // a device that comes back from now on ends the pause
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
			w.Skip() // what came while the tunnel was up
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

// returning waits until the device is plugged in or the pause is over, and then looks
// up its routes. w watches this device. It returns false if ctx has ended.
func (d *Device) returning(ctx context.Context, w *Watcher, pause time.Duration) bool {
	wait, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()
	for {
		e, err := w.Next(wait)
		if err != nil || e.Kind == Attached {
			break
		}
	}
	if ctx.Err() != nil {
		return false
	}
	look, stop := context.WithTimeout(ctx, DefaultTimeout)
	defer stop()
	_ = d.rediscover(look) // an error appears when the tunnel is tried
	return ctx.Err() == nil
}
