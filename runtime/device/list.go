package device

import (
	"context"
	"errors"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/rsd"
)

// maxListFailures is how often in a row the list of a tunnel of another program may fail
// to be read until that tunnel is lost. The end of such a tunnel shows in no other way if
// the other program accepts connections without it.
const maxListFailures = 4

// dialList reads a list of services. o has what is special about this one.
func (f *Finder) dialList(
	ctx context.Context, dial rsd.DialFunc, port uint16, o rsd.Options,
) (*rsd.Client, error) {
	host, err := f.host(ctx)
	if err != nil {
		return nil, err
	}
	o.Host, o.Label, o.Rand, o.Logger = host, f.opts.Label, f.opts.Rand, f.opts.Logger
	return rsd.Dial(ctx, dial, port, o)
}

// host returns the identity of this computer. It is read once, so that it does not
// change while the program runs.
func (f *Finder) host(ctx context.Context) (xpc.UUID, error) {
	select {
	case f.hostTurn <- struct{}{}:
		defer func() { <-f.hostTurn }()
	case <-ctx.Done():
		return xpc.UUID{}, context.Cause(ctx)
	}
	if f.hostID != (xpc.UUID{}) {
		return f.hostID, nil
	}
	id := xpc.UUID(link.UUID(f.opts.Rand))
	if f.opts.Host != nil {
		stored, err := f.opts.Host(ctx)
		switch {
		case err == nil:
			id = stored
		case ctx.Err() != nil:
			return xpc.UUID{}, context.Cause(ctx)
		default:
			f.warn("this computer has no lasting identity", err)
		}
	}
	f.hostID = id
	return id, nil
}

// relist says when the connection of a list is made again. Some devices keep one for
// each tunnel, and other programs may take it at any time. Each pause is twice as long
// as the one before, until a connection has lasted.
type relist struct {
	open   <-chan struct{} // Done of the connection that was seen last
	since  time.Time       // when it was first seen
	pause  time.Duration   // before the next attempt
	due    <-chan time.Time
	failed int // number of failures in a row
}

// lost returns a channel that is closed when the connection of the list ends. It is nil
// while the connection waits to be made again.
func (r *relist) lost(list *rsd.Client) <-chan struct{} {
	if r.due != nil {
		return nil
	}
	if open := list.Done(); open != r.open {
		r.open, r.since = open, time.Now()
	}
	return r.open
}

// wait begins the pause before the next attempt.
func (r *relist) wait() {
	r.due = time.After(r.pause)
	r.pause = min(2*r.pause, longestPause)
}

// ended begins the pause after a connection has ended.
func (r *relist) ended() {
	if time.Since(r.since) >= 2*longestPause {
		r.pause = firstPause
	}
	r.wait()
}

// watch notices the end of the tunnel. The end of the list's connection is not the end
// of the tunnel: the list is read again after a pause. The tunnel is lost if the device
// does not answer in it any more, or has restarted.
func (t *Tunnel) watch() {
	boot := t.boot()
	var under <-chan struct{}
	if t.under != nil {
		under = t.under.Done()
	}
	tick := time.NewTicker(askAlive)
	defer tick.Stop()
	list := relist{pause: firstPause}
	for {
		var err error
		select {
		case <-t.done:
			return
		case <-under:
			t.lose(t.under.Err())
			return
		case <-tick.C:
			err = t.ping(context.Background())
		case <-list.lost(t.list):
			err = t.unlisted(&list, boot)
		case <-list.due:
			err = t.reread(&list, boot)
		}
		if err != nil {
			t.lose(err)
			return
		}
	}
}

// errBooted is the reason for the end of a tunnel whose device has restarted so quickly
// that its route did not break. Nothing in the tunnel is valid after that.
var errBooted = errors.New("the device has restarted")

// unlisted is called when a connection of the list has ended. If a call has made another
// one, the tunnel is lost only if that call has found another boot.
func (t *Tunnel) unlisted(r *relist, boot string) error {
	if t.list.Err() == nil {
		return t.booted(boot)
	}
	r.ended()
	return nil
}

// booted returns errBooted if the list was read in another boot.
func (t *Tunnel) booted(boot string) error {
	if t.boot() != boot {
		return errBooted
	}
	return nil
}

// reread reads the list again, unless a call has done so. It returns an error if the
// tunnel is lost.
func (t *Tunnel) reread(r *relist, boot string) error {
	r.due = nil
	if t.list.Err() != nil {
		err := t.probe(context.Background())
		if err != nil {
			r.failed++
			foreign := t.under == nil && r.failed >= maxListFailures
			if foreign || t.reachable() != nil {
				return err
			}
			r.wait()
			return nil
		}
	}
	r.failed = 0
	return t.booted(boot)
}

// reachable checks that something answers at the other end of the tunnel. It does not
// read the list, because other programs may use its connection.
func (t *Tunnel) reachable() error {
	if t.under != nil {
		return t.ping(context.Background())
	}
	ctx, cancel := t.within(context.Background(), probeTime)
	defer cancel()
	c, err := t.dial(ctx, t.RSDPort)
	if err == nil {
		c.Close()
	}
	return err
}

// answers reports whether the device answers in a tunnel in which a call failed. In a
// tunnel of another program only the list can tell. It is read twice at most, because
// the device may give its connection to another program at the same moment.
func (t *Tunnel) answers(ctx context.Context) bool {
	if t.under != nil {
		return t.ping(ctx) == nil && t.alive()
	}
	if t.probe(ctx) == nil {
		return true
	}
	return t.reachable() == nil && link.Sleep(ctx, firstPause) == nil && t.probe(ctx) == nil
}

// ping checks that the device is at the other end of a tunnel, because a carrier such
// as Wi-Fi may fail silently. It sends two packets, since one may get lost. It does not
// check tunnels of other programs.
func (t *Tunnel) ping(ctx context.Context) (err error) {
	for range 2 {
		if t.under == nil {
			return nil
		}
		bound, cancel := context.WithTimeout(ctx, probeTime)
		err = t.under.Probe(bound)
		cancel()
		if err == nil || !t.alive() {
			return nil
		}
	}
	return err
}

// boot returns the identifier of the boot in which the list was read, or "" if the list
// has none.
func (t *Tunnel) boot() string { return t.list.Peer().Properties.BootSession() }

// probe reads the list again. It ends with the tunnel.
func (t *Tunnel) probe(ctx context.Context) error {
	ctx, cancel := t.within(ctx, probeTime)
	defer cancel()
	return t.list.Refresh(ctx)
}

// within returns a context that ends with ctx, after d or with the tunnel.
func (t *Tunnel) within(
	ctx context.Context, d time.Duration,
) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	go func() {
		select {
		case <-t.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
