package tunnel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/tunnel/psk"
)

// Device is the device side. Every connection that it serves is a tunnel with a network
// and a stack of its own. The fields must not change while it serves.
type Device struct {
	// Open returns the function that serves a port of the tunnel. If it returns an
	// error, the connection is refused. The function serves the connection until the
	// peer leaves, and need not close it. Its context ends with the tunnel. If the peer
	// leaves before it can be told of the success, the function is called with a closed
	// connection.
	Open func(port uint16) (func(ctx context.Context, c net.Conn), error)
	// RSDPort is the port of the list of services.
	RSDPort uint16
	// MTU is the largest MTU to grant; 0 means MaxMTU, or QUICMTU over QUIC.
	MTU int
	// Network is the /64 of every tunnel. The zero value means a new random one for
	// each tunnel, as on devices.
	Network netip.Prefix
	// Faults makes the tunnels misbehave.
	Faults
	// Rand is the source of random bytes; nil means crypto/rand. It must be safe for
	// concurrent use.
	Rand io.Reader
	// Logger logs tunnels and connections. If it is nil, nothing is logged.
	Logger *slog.Logger
}

// Serve answers the handshake on c and serves the tunnel until the host closes it,
// which is not an error, or ctx ends. It closes c.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	defer c.Close()
	if d.CutAfter > 0 {
		c = &cutConn{Conn: c, budget: &budget{left: d.CutAfter}}
	}
	s := newStream(c)
	q, err := hear(ctx, c, s)
	if err == nil && d.Mute {
		release := link.Guard(ctx, c)
		_, err = io.Copy(io.Discard, struct{ io.Reader }{s})
		err = release(err)
	}
	if err != nil || d.Mute {
		return d.unanswered(err)
	}
	return d.run(ctx, s, q, d.most(MaxMTU), answerOn(ctx, c))
}

// answerOn returns a function that sends the answer to the host's request.
func answerOn(ctx context.Context, c net.Conn) func([]byte) error {
	return func(b []byte) error {
		return withinHandshake(ctx, c, func() error {
			_, err := c.Write(b)
			return err
		})
	}
}

// unanswered returns the error of a connection whose handshake was not answered. If the
// device is mute, it is not an error that the host gave up.
func (d *Device) unanswered(err error) error {
	if d.Mute && (err == nil || hungUp(err)) {
		return nil
	}
	return &Error{Op: "serve", Err: err}
}

// ServePSK is Serve on a plain TCP connection. The key is the one that the host sent
// when it asked for the listener.
func (d *Device) ServePSK(ctx context.Context, c net.Conn, key []byte) error {
	secure, err := psk.Server(ctx, c, &psk.Config{Key: key, Rand: d.Rand})
	if err != nil {
		return &Error{Op: "serve", Err: err}
	}
	return d.Serve(ctx, secure)
}

func (d *Device) most(def int) int {
	if d.MTU == 0 {
		return def
	}
	return d.MTU
}

// hear reads the host's part of the handshake from s, which reads from c.
func hear(ctx context.Context, c net.Conn, s io.Reader) (request, error) {
	var body []byte
	err := withinHandshake(ctx, c, func() (err error) {
		body, err = readFrame(s)
		return err
	})
	if err != nil {
		return request{}, err
	}
	return decodeRequest(body)
}

// run serves the tunnel after the host's request. It sends the answer in one write, and
// only when everything in the tunnel can be reached.
func (d *Device) run(
	ctx context.Context, c carrier, q request, most int, answer func([]byte) error,
) error {
	t := d.terms(grant(q.MTU, most))
	b, err := appendResponse(nil, t)
	if err != nil {
		return &Error{Op: "serve", Err: err}
	}
	own := netip.PrefixFrom(t.device, t.host.Bits())
	st, err := newStack(own, t.mtu, t.mtu-ipHeader-tcpHeader)
	if err != nil {
		return &Error{Op: "serve", Err: err}
	}
	log := Options{Logger: d.Logger}.logger()
	a := newAcceptor(st, d.Open, log)
	in := &inside{Stack: st, peer: t.host.Addr(), batch: batchSize, verify: true}
	if d.DropOver > 0 {
		in.filter = func(_ []byte, size int) bool { return size <= d.DropOver }
	}
	s := &session{end: in, carrier: d.spoil(c), log: log}
	if err := answer(b); err != nil {
		st.close()
		a.close()
		return &Error{Op: "serve", Err: err}
	}
	log.Debug("up", "host", t.host, "device", t.device, "mtu", t.mtu)
	s.start()
	stop := context.AfterFunc(ctx, func() { s.fail(context.Cause(ctx)) })
	<-s.done
	stop()
	a.close()
	if hungUp(s.err) {
		return nil
	}
	return &Error{Op: "serve", Err: s.err}
}

// hungUp reports whether a tunnel ended because its peer left. The writer may get
// another error than the reader.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || link.Disconnected(err)
}

// terms returns the network of a tunnel, in which the device is ::1 and the host is
// ::2.
func (d *Device) terms(mtu int) terms {
	network := d.Network
	if !network.IsValid() {
		b := [16]byte{0: 0xfd}
		link.Fill(d.Rand, b[1:6])
		network = netip.PrefixFrom(netip.AddrFrom16(b), 64)
	}
	b := network.Masked().Addr().As16()
	b[15] = 1
	device := netip.AddrFrom16(b)
	return terms{
		host: netip.PrefixFrom(device.Next(), network.Bits()), device: device, rsdPort: d.RSDPort,
		mtu: mtu,
	}
}
