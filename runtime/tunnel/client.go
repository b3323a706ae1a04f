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
	// sendLimit is the largest packet that is sent to a device. Devices grant
	// an MTU of 16000 and drop what is over 8192 bytes; what they send may be
	// as large as they granted.
	sendLimit = 8192
	// sendMSS is what fits in that behind the headers.
	sendMSS = sendLimit - ipHeader - tcpHeader
	// dialTimeout is how long Dial waits when Options says nothing.
	dialTimeout = 10 * time.Second
	// handshakeTimeout bounds a handshake, on either side, beside the context.
	handshakeTimeout = 30 * time.Second
)

// Options configures the host's side of a tunnel.
type Options struct {
	// MTU is what the device is asked for; 0 means MaxMTU, and QUICMTU over
	// QUIC, where it is the most as well.
	MTU int
	// DialTimeout bounds Dial beside its context; 0 means ten seconds.
	DialTimeout time.Duration
	// Batch is how many bytes of packets may go into one write. Zero means
	// one packet a write: real devices become very slow, or end the tunnel,
	// when packets share one.
	Batch int
	// Kernel makes the tunnel an interface of the operating system instead of
	// a stack in this process, so that every program on the machine reaches
	// the device's address. It needs CAP_NET_ADMIN and Linux; elsewhere Open
	// fails with errors.ErrUnsupported. Batch means nothing then.
	Kernel bool
	// Rand is where random bytes come from, but for those of QUIC; nil means
	// crypto/rand. It must be safe for concurrent use.
	Rand io.Reader
	// Logger is told when a tunnel begins and ends; nil means silent.
	Logger *slog.Logger
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger.With("layer", "tunnel")
}

// Tunnel is the host's end of a tunnel. Its methods may be called from several
// goroutines.
type Tunnel struct {
	terms
	session
	dialTimeout time.Duration
}

// Open makes a tunnel of a connection to the device's tunnel service, and owns
// the connection from then on, on error as well. ctx and thirty seconds bound the
// handshake.
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

// OpenPSK is Open on the bare TCP connection to a "tcp" listener of remote
// pairing, whose tunnels are in TLS with a pre-shared key.
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

// ask is the host's half of the handshake.
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
	// A device that grants more than it was asked for would get packets that the
	// carrier drops.
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

// newEnd makes the host's end of a tunnel.
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
	// The stack sends no segment that is larger than the peer's SYN allows.
	clamp := func(head []byte, _ int) bool {
		clampMSS(head, sendMSS)
		return true
	}
	return &inside{Stack: st, peer: settled.device, batch: o.Batch, filter: clamp}, nil
}

// PeerAddress is the device's address inside the tunnel.
func (t *Tunnel) PeerAddress() netip.Addr { return t.device }

// LocalAddress is the host's address inside the tunnel.
func (t *Tunnel) LocalAddress() netip.Addr { return t.host.Addr() }

// RSDPort is the port of the device's service list inside the tunnel.
func (t *Tunnel) RSDPort() uint16 { return t.rsdPort }

// Interface is the name of the tunnel's interface with Options.Kernel, "" for
// a tunnel whose stack is in this process.
func (t *Tunnel) Interface() string {
	if k, ok := t.end.(interface{ name() string }); ok {
		return k.name()
	}
	return ""
}

// MTU is the largest packet that the tunnel carries.
func (t *Tunnel) MTU() int { return t.mtu }

// Dial connects to a port of the device. ctx bounds the dialing alone. The
// connection can CloseWrite.
func (t *Tunnel) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.dialTimeout)
	defer cancel()
	return t.end.DialTCP(ctx, netip.AddrPortFrom(t.device, port))
}

// Listen accepts connections that the device makes to a port of the host; port
// 0 takes a free one.
func (t *Tunnel) Listen(port uint16) (net.Listener, error) { return t.end.ListenTCP(port) }

// Done is closed once the tunnel has ended and nothing of it runs any more.
func (t *Tunnel) Done() <-chan struct{} { return t.done }

// Err says why the tunnel ended, nil while it lives. After Close it is
// net.ErrClosed, when the device hung up io.EOF.
func (t *Tunnel) Err() error {
	select {
	case <-t.done:
		return t.err
	default:
		return nil
	}
}

// Close ends the tunnel and every connection in it, and waits for that.
func (t *Tunnel) Close() error {
	t.close()
	return nil
}
