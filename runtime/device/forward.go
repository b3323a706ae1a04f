package device

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/imdlua/imdlua/runtime/link"
)

// Forward is a listener of this computer whose connections are forwarded to a port of a
// device. It goes on when the device leaves and comes back: each connection
// finds the device anew.
type Forward struct {
	listener net.Listener
	open     atomic.Int64
	total    atomic.Int64
	end      context.CancelFunc
	work     sync.WaitGroup
	once     sync.Once
}

// Forward serves l until Close. failed, if not nil, is told about each
// connection that could not be made.
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
				if err := d.relay(ctx, local, port); err != nil && failed != nil &&
					ctx.Err() == nil {
					failed(err)
				}
			})
		}
	})
	return f
}

// Addr returns the address that is listened on.
func (f *Forward) Addr() net.Addr { return f.listener.Addr() }

// Open returns how many connections are open.
func (f *Forward) Open() int { return int(f.open.Load()) }

// Total returns how many connections there were.
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

// relay copies both ways and passes half-closes on.
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
	back := make(chan struct{})
	go func() {
		defer close(back)
		copyHalf(local, remote)
	}()
	copyHalf(remote, local)
	<-back
	return nil
}

// copyHalf copies src to dst and then ends dst's writing half. When either
// side breaks, both are closed, so that the other direction ends as well.
func copyHalf(dst, src net.Conn) {
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		src.Close()
		return
	}
	link.CloseWrite(dst)
}
