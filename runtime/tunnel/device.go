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

// Device is the device's side: every connection it serves is one tunnel with a
// network and a stack of its own. The fields must not change while it serves.
type Device struct {
	// Open finds what listens on a port of the tunnel; an error refuses the
	// connection. The function it returns serves the connection until the
	// peer leaves and need not close it; its context ends with the tunnel.
	// When the peer leaves before it can be told of the success, the function
	// is called all the same, with a closed connection.
	Open func(port uint16) (func(ctx context.Context, c net.Conn), error)
	// RSDPort is where the service list listens.
	RSDPort uint16
	// MTU is the most that is granted; 0 means MaxMTU, and QUICMTU over QUIC.
	MTU int
	// Network is the /64 of every tunnel; the zero value means a new random
	// one for each, as devices do.
	Network netip.Prefix
	// Faults is how the tunnels misbehave.
	Faults
	// Rand is where random bytes come from; nil means crypto/rand. It must be safe for
	// concurrent use.
	Rand io.Reader
	// Logger is told of tunnels and connections; nil means silent.
	Logger *slog.Logger
}

// Serve answers the handshake on c and is the device's end of the tunnel until
// the host hangs up, which is not an error, or ctx ends. It closes c.
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

// unanswered is the end of a connection whose handshake got no answer. That
// the host gave up is not an error of a device that is mute.
func (d *Device) unanswered(err error) error {
	if d.Mute && (err == nil || hungUp(err)) {
		return nil
	}
	return &Error{Op: "serve", Err: err}
}

// ServePSK is Serve on a bare TCP connection, for which the host gave the
// pre-shared key when it asked for the listener.
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

// hear reads the host's half of the handshake from s, which reads from c.
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

// run is the tunnel after the host's request. The answer goes out in one write
// and only when everything behind it can be reached.
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

// hungUp reports whether a tunnel ended because its peer left. Whoever happens to
// be writing then hears it otherwise than the reader.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || link.Disconnected(err)
}

// terms makes up the network of a tunnel: the device is ::1 in it, the host
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
