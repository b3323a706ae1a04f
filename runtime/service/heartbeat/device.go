package heartbeat

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/service"
)

// defaultInterval is the interval that real devices announce in most cases.
const defaultInterval = 10 * time.Second

// Device is the device side for a virtual device. One Device serves any number of
// connections.
type Device struct {
	service.Env
	// OnMissed, if not nil, is called before Serve closes a connection whose host did
	// not answer in time. Over Wi-Fi a real device also ends the other connections of
	// the host.
	OnMissed func()

	hook  sync.Once
	mu    sync.Mutex
	conns map[chan struct{}]struct{} // one per connection, to tell it that the phone goes to sleep
}

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// Serve sends heartbeat messages until the peer disconnects or does not answer in time,
// until ctx ends, or until the phone goes to sleep.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	sleep := d.join()
	defer d.leave(sleep)
	inner, stop := context.WithCancel(ctx)
	conn := &link.PlistConn{Conn: c, Max: MaxMessage}
	answers := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- listen(inner, conn, answers) }()
	err, listening := d.beat(inner, conn, answers, ended, sleep)
	stop()
	if listening {
		<-ended
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	}
	if err == ErrMissed && d.OnMissed != nil {
		d.OnMissed()
	}
	return errs.New("serve", "", err)
}

// beat sends the messages of a connection. The result listening is true if beat has not
// read from ended.
func (d *Device) beat(
	ctx context.Context, conn *link.PlistConn, answers <-chan struct{}, ended <-chan error,
	sleep <-chan struct{},
) (err error, listening bool) {
	interval := d.interval()
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	var due time.Time // deadline of the oldest message that has no answer
	for now := time.Now(); ; {
		if !due.IsZero() && !now.Before(due) {
			return ErrMissed, true
		}
		if due.IsZero() {
			due = now.Add(2 * interval)
		}
		if err := send(ctx, conn, interval,
			marco{cmdMarco, uint64(interval / time.Second), true}); err != nil {
			return nil, true // the host has disconnected or does not read
		}
		for ticked := false; !ticked; {
			select {
			case now = <-ticks.C:
				ticked = true
			case <-answers:
				due = time.Time{}
			case <-sleep:
				_ = send(ctx, conn, interval, marco{Command: cmdSleepy})
				return nil, true
			case err := <-ended:
				if err == io.EOF {
					err = nil
				}
				return err, false
			case <-ctx.Done():
				return ctx.Err(), true
			}
		}
	}
}

func (d *Device) interval() time.Duration {
	if d.Heartbeat >= time.Second {
		return d.Heartbeat.Truncate(time.Second)
	}
	return defaultInterval
}

func send(ctx context.Context, conn *link.PlistConn, limit time.Duration, m marco) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return conn.Send(ctx, m)
}

// listen signals each Polo and ignores all other messages.
func listen(ctx context.Context, conn *link.PlistConn, answers chan<- struct{}) error {
	for {
		var m polo
		if err := conn.Recv(ctx, &m); err != nil {
			return err
		}
		if m.Command == cmdPolo {
			select {
			case answers <- struct{}{}:
			default:
			}
		}
	}
}

// join registers a connection, so that it learns when the phone goes to sleep.
func (d *Device) join() chan struct{} {
	d.hook.Do(func() {
		d.Phone.Power.OnAction(func(a power.Action) {
			if a == power.Sleep {
				d.asleep()
			}
		})
	})
	told := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		d.conns = map[chan struct{}]struct{}{}
	}
	d.conns[told] = struct{}{}
	return told
}

func (d *Device) leave(told chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, told)
}

func (d *Device) asleep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for told := range d.conns {
		close(told)
	}
	clear(d.conns)
}
