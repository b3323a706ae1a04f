package tunnel

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/tunnel/psk"
)

const (
	// sendLimit is the size of the largest packet that is sent to a device. Devices
	// grant an MTU of 16000 and drop packets over 8192 bytes. The packets that they
	// send may have the size that they have granted.
	sendLimit = 8192
	// sendMSS is the payload of such a packet.
	sendMSS = sendLimit - ipHeader - tcpHeader
	// dialTimeout bounds Dial if Options has no DialTimeout.
	dialTimeout = 10 * time.Second
	// handshakeTimeout bounds a handshake on either side, in addition to the context.
	handshakeTimeout = 30 * time.Second
)

// Options configures the host side of a tunnel.
type Options struct {
	// MTU is the MTU to request; 0 means MaxMTU. Over QUIC it is at most QUICMTU, which
	// is also the default.
	MTU int
	// DialTimeout bounds Dial, in addition to its context; 0 means ten seconds.
	DialTimeout time.Duration
	// Batch is how many bytes of packets may be sent in one write. 0 means one packet
	// per write: real devices become very slow, or end the tunnel, if packets share a
	// write.
	Batch int
	// Kernel makes the tunnel an interface of the operating system instead of a stack
	// in this process, so that every program on the computer can reach the device's
	// address. It requires Linux and CAP_NET_ADMIN. On other systems Open fails with
	// errors.ErrUnsupported. Batch is ignored.
	Kernel bool
	// Rand is the source of random bytes, except for those of QUIC; nil means
	// crypto/rand. It must be safe for concurrent use.
	Rand io.Reader
	// Logger logs the beginning and the end of tunnels. If it is nil, nothing is
	// logged.
	Logger *slog.Logger
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger.With("layer", "tunnel")
}

// Tunnel is the host side of a tunnel. Its methods may be called from several
// goroutines.
type Tunnel struct {
	terms
	session
	dialTimeout time.Duration
}

// Open opens a tunnel on a connection to the device's tunnel service. It takes
// ownership of the connection, and closes it on error. The handshake is bounded by ctx
// and by thirty seconds.
func Open(ctx context.Context, c net.Conn, o Options) (*Tunnel, error) {
	if o.MTU == 0 {
		o.MTU = MaxMTU
	}
	t, err := open(ctx, c, o)
	if err != nil {
		c.Close()
		return nil, &Error{Op: "open", Err: err}
	}
	return t, nil
}

// OpenPSK is Open on a plain TCP connection to a "tcp" listener of remote pairing,
// whose tunnels use TLS with a pre-shared key.
func OpenPSK(ctx context.Context, c net.Conn, key []byte, o Options) (*Tunnel, error) {
	secure, err := psk.Client(ctx, c, &psk.Config{Key: key, Rand: o.Rand})
	if err != nil {
		return nil, &Error{Op: "open", Err: err}
	}
	return Open(ctx, secure, o)
}

func open(ctx context.Context, c net.Conn, o Options) (*Tunnel, error) {
	s := newStream(c)
	var settled terms
	err := withinHandshake(ctx, c, func() (err error) {
		settled, err = ask(s, o.MTU)
		return err
	})
	if err != nil {
		return nil, err
	}
	return newTunnel(settled, s, o)
}

// withinHandshake runs a part of the handshake, which reads and writes on c, within
// handshakeTimeout.
func withinHandshake(ctx context.Context, c net.Conn, part func() error) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	release := link.Guard(ctx, c)
	return release(part())
}

// ask performs the host's part of the handshake.
func ask(s io.ReadWriter, mtu int) (terms, error) {
	q, err := appendRequest(nil, mtu)
	if err != nil {
		return terms{}, err
	}
	if _, err := s.Write(q); err != nil {
		return terms{}, err
	}
	body, err := readFrame(s)
	if err != nil {
		return terms{}, err
	}
	return decodeResponse(body)
}

// newTunnel starts a tunnel after its handshake.
func newTunnel(settled terms, c carrier, o Options) (*Tunnel, error) {
	// If the device grants more than was requested, larger packets would be dropped by
	// the carrier.
	settled.mtu = min(settled.mtu, max(o.MTU, minMTU))
	e, err := newEnd(settled, o)
	if err != nil {
		return nil, err
	}
	t := &Tunnel{
		terms:       settled,
		session:     session{end: e, carrier: c, log: o.logger()},
		dialTimeout: o.DialTimeout,
	}
	if t.dialTimeout == 0 {
		t.dialTimeout = dialTimeout
	}
	t.log.Debug("up", "host", settled.host, "device", settled.device, "rsd", settled.rsdPort, "mtu",
		settled.mtu, "interface", t.Interface())
	t.start()
	return t, nil
}

// newEnd returns the host's end of a tunnel.
func newEnd(settled terms, o Options) (end, error) {
	if o.Kernel {
		if err := settled.private(); err != nil {
			return nil, err
		}
		return newKernel(settled)
	}
	st, err := newStack(settled.host, settled.mtu, min(sendMSS, settled.mtu-ipHeader-tcpHeader))
	if err != nil {
		return nil, err
	}
	// The stack sends no segment that is larger than the peer's SYN allows, so clamp
	// limits that size.
	clamp := func(head []byte, _ int) bool {
		clampMSS(head, sendMSS)
		return true
	}
	return &inside{Stack: st, peer: settled.device, batch: o.Batch, filter: clamp}, nil
}

// PeerAddress returns the device's address inside the tunnel.
func (t *Tunnel) PeerAddress() netip.Addr { return t.device }

// LocalAddress returns the host's address inside the tunnel.
func (t *Tunnel) LocalAddress() netip.Addr { return t.host.Addr() }

// RSDPort returns the port of the device's list of services inside the tunnel.
func (t *Tunnel) RSDPort() uint16 { return t.rsdPort }

// Interface returns the name of the tunnel's interface with Options.Kernel, and "" for
// a tunnel whose stack is in this process.
func (t *Tunnel) Interface() string {
	if k, ok := t.end.(interface{ name() string }); ok {
		return k.name()
	}
	return ""
}

// MTU returns the size of the largest packet that the tunnel carries.
func (t *Tunnel) MTU() int { return t.mtu }

// Dial connects to a port of the device. ctx bounds the dialing only. The connection
// has the method CloseWrite.
func (t *Tunnel) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.dialTimeout)
	defer cancel()
	return t.end.DialTCP(ctx, netip.AddrPortFrom(t.device, port))
}

// Listen accepts connections of the device to a port of the host. Port 0 means any free
// port.
func (t *Tunnel) Listen(port uint16) (net.Listener, error) { return t.end.ListenTCP(port) }

// Done returns a channel that is closed when the tunnel and all its goroutines have
// ended.
func (t *Tunnel) Done() <-chan struct{} { return t.done }

// Err returns why the tunnel ended, or nil while it is up. It returns net.ErrClosed
// after Close, and io.EOF if the device closed the tunnel.
func (t *Tunnel) Err() error {
	select {
	case <-t.done:
		return t.err
	default:
		return nil
	}
}

// Close ends the tunnel and every connection in it, and waits until they have ended.
func (t *Tunnel) Close() error {
	t.close()
	return nil
}
