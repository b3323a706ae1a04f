package tunnel

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"
	"gvisor.dev/gvisor/pkg/buffer"
)

const (
	// quicProtocol is the ALPN name of the tunnel's protocol.
	quicProtocol = "RemotePairingTunnelProtocol"
	// quicPacketSize allows datagrams of 1415 bytes from the beginning. With the
	// library's default the first datagrams have at most 1243 bytes until the path has
	// been probed, which is less than the minimum MTU of IPv6.
	quicPacketSize = 1452
	quicKeepAlive  = 10 * time.Second
	quicIdle       = 30 * time.Second
	// openerSize is the size of the first datagram of a host. It consists of zeros,
	// opens the path and is ignored.
	openerSize = 1024
)

// Keys identify the two sides of a QUIC tunnel to each other. They are the public keys
// that were exchanged when the host asked for the listener. The certificates only carry
// them.
type Keys struct {
	// Own is this side's key: RSA for a host, RSA or ECDSA for a device.
	Own crypto.Signer
	// Peer is the other side's public key as a DER SubjectPublicKeyInfo. If it is nil,
	// every key is accepted.
	Peer []byte
}

var (
	// errPeerKey is the error about a peer with another key.
	errPeerKey = errors.New("the peer's key is not the expected one")
	// errOwnKey is the error about a device's key that not all hosts can verify.
	errOwnKey = errors.New("the key of a device is RSA or ECDSA")
)

// hostCurves are what a host offers for the key exchange: P-256 alone, as go-ios does.
// deviceCurves are what a device accepts, which includes X25519 for qh3, the QUIC library
// of pymobiledevice3.
var (
	hostCurves   = []tls.CurveID{tls.CurveP256}
	deviceCurves = []tls.CurveID{tls.X25519, tls.CurveP256}
)

// deviceTLS returns the configuration for a device. Its certificate must have an RSA or
// ECDSA key, because qh3 does not accept signatures by Ed25519.
func (k Keys) deviceTLS() (*tls.Config, error) {
	switch k.Own.Public().(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return k.tls(deviceCurves)
	}
	return nil, errOwnKey
}

// tls returns the configuration for a side that uses the curves.
func (k Keys) tls(curves []tls.CurveID) (*tls.Config, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Own.Public(), k.Own)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k.Own}},
		NextProtos:         []string{quicProtocol},
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   curves,
		InsecureSkipVerify: true, // there is no authority; VerifyConnection checks the key
		ClientAuth:         tls.RequireAnyClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			if k.Peer == nil {
				return nil
			}
			if len(s.PeerCertificates) == 0 {
				return errPeerKey
			}
			if !bytes.Equal(s.PeerCertificates[0].RawSubjectPublicKeyInfo, k.Peer) {
				return errPeerKey
			}
			return nil
		},
		SessionTicketsDisabled: true,
	}, nil
}

func quicConfig() *quic.Config {
	return &quic.Config{
		EnableDatagrams:       true,
		InitialPacketSize:     quicPacketSize,
		KeepAlivePeriod:       quicKeepAlive,
		MaxIdleTimeout:        quicIdle,
		MaxIncomingStreams:    4,
		MaxIncomingUniStreams: -1,
	}
}

// quietSocket hides the type of its socket from the QUIC library. Otherwise the library
// writes advice about the system's buffer limits to standard error, which happens on
// most systems.
type quietSocket struct{ net.PacketConn }

// SetReadBuffer sets the buffer as large as the system allows.
func (s quietSocket) SetReadBuffer(n int) error {
	if b, ok := s.PacketConn.(interface{ SetReadBuffer(int) error }); ok {
		_ = b.SetReadBuffer(n)
	}
	return nil
}

// SetWriteBuffer sets the buffer as large as the system allows.
func (s quietSocket) SetWriteBuffer(n int) error {
	if b, ok := s.PacketConn.(interface{ SetWriteBuffer(int) error }); ok {
		_ = b.SetWriteBuffer(n)
	}
	return nil
}

// DialQUIC opens a tunnel to a "quic" listener of remote pairing at an outer address of
// the device. Dialing and handshake are bounded by ctx and by thirty seconds.
func DialQUIC(ctx context.Context, to netip.AddrPort, k Keys, o Options) (*Tunnel, error) {
	if o.MTU == 0 || o.MTU > QUICMTU {
		o.MTU = QUICMTU // larger packets do not fit into a datagram
	}
	t, err := dialQUIC(ctx, to, k, o)
	if err != nil {
		return nil, &Error{Op: "open", Subject: to.String(), Err: err}
	}
	return t, nil
}

func dialQUIC(ctx context.Context, to netip.AddrPort, k Keys, o Options) (*Tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	config, err := k.tls(hostCurves)
	if err != nil {
		return nil, err
	}
	// A socket for both families would be one of IPv4 on a host whose loopback has no IPv6.
	family := "udp4"
	if to.Addr().Is6() && !to.Addr().Is4In6() {
		family = "udp6"
	}
	socket, err := net.ListenUDP(family, nil)
	if err != nil {
		return nil, err
	}
	c := &datagrams{
		transport: &quic.Transport{Conn: quietSocket{PacketConn: socket}}, socket: socket,
	}
	if c.conn, err = c.transport.Dial(ctx, net.UDPAddrFromAddrPort(to), config,
		quicConfig()); err != nil {
		c.free()
		return nil, err
	}
	settled, err := c.ask(ctx, o.MTU)
	if err != nil {
		c.Close()
		c.free()
		return nil, err
	}
	t, err := newTunnel(settled, c, o)
	if err != nil {
		c.Close()
		c.free()
		return nil, err
	}
	return t, nil
}

// ask opens the path and performs the host's part of the handshake on stream 0.
func (d *datagrams) ask(ctx context.Context, mtu int) (terms, error) {
	if err := d.conn.SendDatagram(make([]byte, openerSize)); err != nil {
		return terms{}, err
	}
	s, err := d.conn.OpenStreamSync(ctx)
	if err != nil {
		return terms{}, err
	}
	c := &quicStream{Stream: s, conn: d.conn}
	var settled terms
	err = withinHandshake(ctx, c, func() (err error) {
		settled, err = ask(c, mtu)
		return quicEnd(err)
	})
	return settled, err
}

// quicStream makes a stream a net.Conn.
type quicStream struct {
	*quic.Stream
	conn *quic.Conn
}

func (s *quicStream) LocalAddr() net.Addr  { return s.conn.LocalAddr() }
func (s *quicStream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// datagrams is a carrier with one packet in each DATAGRAM frame. Frames may be lost or
// reordered. The TCP connections in the tunnel recover from that.
type datagrams struct {
	conn      *quic.Conn
	transport *quic.Transport // set on the host, which has a transport for each tunnel
	socket    net.PacketConn
}

// receive skips datagrams that are not a packet, such as the opener.
func (d *datagrams) receive() (head, body *buffer.View, more bool, err error) {
	for {
		b, err := d.conn.ReceiveDatagram(context.Background())
		if err != nil {
			return nil, nil, false, quicEnd(err)
		}
		if len(b) < ipHeader {
			continue
		}
		if n, err := packetLength(b); err != nil || n != len(b) {
			continue
		}
		h := headersLength(b)
		head = buffer.NewViewWithData(b[:h])
		if h < len(b) {
			body = buffer.NewViewWithData(b[h:])
		}
		return head, body, false, nil
	}
}

func (d *datagrams) burst() int { return 0 }

func (d *datagrams) send(b []byte, _ int) error {
	for len(b) > 0 {
		n, err := packetLength(b)
		if err != nil {
			return err
		}
		err = d.conn.SendDatagram(b[:n])
		var large *quic.DatagramTooLargeError
		if err != nil && !errors.As(err, &large) {
			return quicEnd(err)
		}
		b = b[n:]
	}
	return nil
}

func (d *datagrams) Close() error { return d.conn.CloseWithError(0, "") }

func (d *datagrams) free() {
	if d.transport != nil {
		d.transport.Close()
		d.socket.Close()
	}
}

// quicEnd returns io.EOF for the orderly end of a connection.
func quicEnd(err error) error {
	var e *quic.ApplicationError
	if errors.As(err, &e) && e.Remote && e.ErrorCode == 0 {
		return io.EOF
	}
	return err
}
