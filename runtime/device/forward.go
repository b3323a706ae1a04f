package device

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/imdlua/imdlua/runtime/link"
)

// Forward is a listener on this computer that forwards its connections to a port of a
// device. Each connection looks up the device again, so that a Forward outlasts the
// device's disconnection.
type Forward struct {
	listener net.Listener
	open     atomic.Int64
	total    atomic.Int64
	end      context.CancelFunc
	work     sync.WaitGroup
	once     sync.Once
}

// Forward serves l until Close. If failed is not nil, it is called for each connection
// that could not be made.
func (d *Device) Forward(l net.Listener, port uint16, failed func(error)) *Forward {
	ctx, end := context.WithCancel(context.Background())
	f := &Forward{listener: l, end: end}
	f.work.Go(func() {
		for {
			local, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) && ctx.Err() == nil && failed != nil {
					failed(err)
				}
				return
			}
			f.work.Go(func() {
				f.open.Add(1)
				f.total.Add(1)
				defer f.open.Add(-1)
				err := d.relay(ctx, local, port)
				if err != nil && failed != nil && ctx.Err() == nil {
					failed(err)
				}
			})
		}
	})
	return f
}

// Addr returns the address of the listener.
func (f *Forward) Addr() net.Addr { return f.listener.Addr() }

// Open returns the number of open connections.
func (f *Forward) Open() int { return int(f.open.Load()) }

// Total returns the number of connections so far.
func (f *Forward) Total() int { return int(f.total.Load()) }

// Close stops listening, ends the connections and waits for them.
func (f *Forward) Close() error {
	var err error
	f.once.Do(func() {
		f.end()
		err = f.listener.Close()
	})
	f.work.Wait()
	return err
}

// relay copies in both directions and forwards half-closes.
func (d *Device) relay(ctx context.Context, local net.Conn, port uint16) error {
	defer local.Close()
	remote, err := d.Connect(ctx, port)
	if err != nil {
		return err
	}
	defer remote.Close()
	stop := context.AfterFunc(ctx, func() {
		local.Close()
		remote.Close()
	})
	defer stop()
	link.Join(local, remote)
	return nil
}
