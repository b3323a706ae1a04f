package virtual

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/tunnel"
)

const (
	// quietTunnel is how long a tunnel's listener stays open while it receives
	// nothing. Hosts send at least one packet every 15 seconds.
	quietTunnel = 60 * time.Second
	// orphanLife is how long an unused listener stays open after its control channel
	// has ended. A host may close the control channel before it connects.
	orphanLife = 3 * time.Second
	// maxListeners bounds the listeners for tunnels that hosts may ask for.
	maxListeners = 64
)

// tunnel answers createListener. channel is a context that ends with the control
// channel.
func (l *listening) tunnel(
	channel context.Context, r remotepair.ListenerRequest,
) (*remotepair.Listener, error) {
	l.m.mu.Lock()
	faults := l.m.tunnelFaults
	l.m.mu.Unlock()
	l.mu.Lock()
	full := l.asked >= maxListeners
	if !full {
		l.asked++
	}
	l.mu.Unlock()
	if full {
		return nil, remotepair.Refuse(remotepair.CodeUnsupported,
			"Unsupported operation: too many listeners")
	}
	var open *remotepair.Listener
	var err error
	switch {
	case faults.RefuseListener:
		err = remotepair.Refuse(remotepair.CodeUnsupported, "Unsupported operation: no listener")
	case r.Protocol == remotepair.QUIC && l.m.phone.Identity.VersionNumber() >= 1802:
		err = remotepair.Refuse(remotepair.CodeUnsupported,
			"Unsupported operation: QUIC tunnels are gone")
	case r.Protocol == remotepair.QUIC:
		open, err = l.quic(channel, r.Key, faults.WrongKey)
	default:
		open, err = l.psk(channel, r.Key)
	}
	if err != nil {
		l.listenerGone()
	}
	return open, err
}

// listenerGone makes room for another listener.
func (l *listening) listenerGone() {
	l.mu.Lock()
	l.asked--
	l.mu.Unlock()
}

// psk opens a TCP listener for one tunnel. The tunnel may outlive the control
// channel.
func (l *listening) psk(channel context.Context, key []byte) (*remotepair.Listener, error) {
	tcp, err := l.bind(0, true)
	if err != nil {
		return nil, err
	}
	if !l.begin(nil) {
		return nil, errors.Join(net.ErrClosed, tcp.Close())
	}
	port := portOf(tcp)
	within := func(d time.Duration) { _ = tcp.(*net.TCPListener).SetDeadline(time.Now().Add(d)) }
	within(portLife)
	stop := context.AfterFunc(channel, func() { within(orphanLife) })
	go func() {
		defer l.work.Done()
		defer l.listenerGone()
		defer stop()
		l.acceptOne(tcp, func(ctx context.Context, c net.Conn) {
			err := l.m.runTunnel(ctx, func(ctx context.Context, d *tunnel.Device) error {
				return d.ServePSK(ctx, c, key)
			})
			if err != nil {
				l.m.log.Debug("tunnel ended", "err", err)
			}
		})
	}()
	return &remotepair.Listener{Port: port}, nil
}

// quic opens a QUIC listener. With wrong the listener presents another key than
// the one that quic returns.
func (l *listening) quic(
	channel context.Context, peer []byte, wrong bool,
) (*remotepair.Listener, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if wrong {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: l.address.AsSlice(), Zone: l.address.Zone()})
	if err != nil {
		return nil, err
	}
	if !l.begin(nil) {
		return nil, errors.Join(net.ErrClosed, udp.Close())
	}
	ctx, end := context.WithCancel(l.life)
	q := &quicListener{
		PacketConn: udp, end: end, timer: time.AfterFunc(quietTunnel, end),
		tunnels: map[context.Context]bool{},
	}
	stop := context.AfterFunc(channel, q.orphaned)
	go func() {
		defer l.work.Done()
		defer l.listenerGone()
		defer end()
		defer q.timer.Stop()
		defer stop()
		err := l.m.runTunnel(ctx, func(ctx context.Context, d *tunnel.Device) error {
			d.Open = q.counted(d.Open)
			return d.ServeQUIC(ctx, q, tunnel.Keys{Own: key, Peer: peer})
		})
		if err != nil {
			l.m.log.Debug("QUIC listener ended", "err", err)
		}
	}()
	return &remotepair.Listener{
		Port: uint16(udp.LocalAddr().(*net.UDPAddr).Port), DevicePublicKey: public,
	}, nil
}

// quicListener is the socket of a listener for QUIC tunnels. It stays open as long
// as it receives packets. After the control channel has ended it is closed with
// its last tunnel.
type quicListener struct {
	net.PacketConn
	end   context.CancelFunc
	timer *time.Timer

	mu      sync.Mutex
	orphan  bool                     // the control channel has ended
	served  bool                     // a tunnel was used
	tunnels map[context.Context]bool // tunnels in use, by the context that ends with each
}

func (q *quicListener) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := q.PacketConn.ReadFrom(p)
	if err == nil {
		q.mu.Lock()
		q.wait()
		q.mu.Unlock()
	}
	return n, from, err
}

// wait restarts the timer that closes the listener if nothing is received. The
// caller holds q.mu.
func (q *quicListener) wait() {
	if q.orphan && len(q.tunnels) == 0 {
		q.timer.Reset(orphanLife)
		return
	}
	q.timer.Reset(quietTunnel)
}

// orphaned is called when the control channel has ended.
func (q *quicListener) orphaned() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.orphan = true
	if q.served && len(q.tunnels) == 0 {
		q.end()
		return
	}
	q.wait()
}

// counted wraps open, so that a tunnel counts as used when the host opens a port
// in it.
func (q *quicListener) counted(
	open func(uint16) (func(context.Context, net.Conn), error),
) func(uint16) (func(context.Context, net.Conn), error) {
	return func(port uint16) (func(context.Context, net.Conn), error) {
		serve, err := open(port)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, c net.Conn) {
			q.used(ctx)
			serve(ctx, c)
		}, nil
	}
}

// used counts a tunnel until ctx ends. If the control channel has ended, the
// listener ends with the last tunnel.
func (q *quicListener) used(ctx context.Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.tunnels[ctx] {
		return
	}
	q.tunnels[ctx], q.served = true, true
	context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.tunnels, ctx)
		if q.orphan && len(q.tunnels) == 0 {
			q.end()
		}
	})
}
