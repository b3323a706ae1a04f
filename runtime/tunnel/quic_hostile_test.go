package tunnel

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/quic-go/quic-go"
)

// TestQUICMTU has a device that grants larger packets than its datagrams carry.
func TestQUICMTU(t *testing.T) {
	at, _ := quicDevice(t, &Device{Open: services, RSDPort: 1, MTU: 16000}, Keys{Own: deviceKey()})
	tun, err := DialQUIC(within(t), at, Keys{Own: hostKey()}, Options{MTU: 16000})
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	if tun.MTU() != QUICMTU {
		t.Errorf("MTU = %d, want %d", tun.MTU(), QUICMTU)
	}
	data := noise(100_000)
	c := dial(t, tun, portDrop)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := link.CloseWrite(c); err != nil {
		t.Fatal(err)
	}
	check(t, c, []byte("100000"))
}

// TestQUICHostileDevice has devices that accept the connection and then answer with
// anything but a tunnel.
func TestQUICHostileDevice(t *testing.T) {
	for name, row := range map[string]struct {
		play func(s *quic.Stream, conn *quic.Conn, cancel func())
		want error
	}{
		"silent": {
			func(_ *quic.Stream, _ *quic.Conn, cancel func()) { cancel() }, context.Canceled,
		},
		"one byte": {func(s *quic.Stream, _ *quic.Conn, cancel func()) {
			_, _ = s.Write([]byte("C"))
			cancel()
		}, context.Canceled},
		"lying length": {func(s *quic.Stream, _ *quic.Conn, cancel func()) {
			_, _ = s.Write([]byte("CDTunnel\xff\xff{"))
			cancel()
		}, context.Canceled},
		"another protocol": {func(s *quic.Stream, _ *quic.Conn, _ func()) {
			_, _ = s.Write([]byte("SSH-2.0-OpenSSH\r\n"))
		}, link.ErrProtocol},
		"no tunnel": {func(s *quic.Stream, _ *quic.Conn, _ func()) {
			_, _ = s.Write([]byte(badTerms["port 0"]))
		}, link.ErrProtocol},
		"long text": {func(s *quic.Stream, _ *quic.Conn, _ func()) {
			_, _ = s.Write([]byte(badTerms["long type"]))
		}, link.ErrProtocol},
		"cut": {func(s *quic.Stream, _ *quic.Conn, _ func()) {
			_, _ = s.Write([]byte(goldenResponse[:20]))
			_ = s.Close()
		}, io.ErrUnexpectedEOF},
		"stream ends": {func(s *quic.Stream, _ *quic.Conn, _ func()) { _ = s.Close() }, io.EOF},
		"hangs up": {func(_ *quic.Stream, conn *quic.Conn, _ func()) {
			_ = conn.CloseWithError(0, "")
		}, io.EOF},
		"datagrams alone": {func(_ *quic.Stream, conn *quic.Conn, cancel func()) {
			for range 5000 {
				_ = conn.SendDatagram([]byte(strings.Repeat("x", 1000)))
			}
			cancel()
		}, context.Canceled},
	} {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6loopback})
		if err != nil {
			t.Fatal(err)
		}
		config, err := Keys{Own: deviceKey()}.deviceTLS()
		if err != nil {
			t.Fatal(err)
		}
		transport := &quic.Transport{Conn: quietSocket{PacketConn: socket}}
		l, err := transport.Listen(config, quicConfig())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(within(t))
		played := make(chan error, 1)
		go func() {
			conn, err := l.Accept(ctx)
			if err == nil {
				var s *quic.Stream
				s, err = conn.AcceptStream(within(t))
				if err == nil {
					row.play(s, conn, cancel)
				}
			}
			played <- err
		}()
		at := socket.LocalAddr().(*net.UDPAddr).AddrPort()
		tun, err := DialQUIC(ctx, at, Keys{Own: hostKey()}, Options{})
		if tun != nil {
			t.Errorf("%s: a tunnel", name)
			tun.Close()
		}
		refusedWith(t, name, err, row.want)
		if err := <-played; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		_ = l.Close()
		_ = transport.Close()
		_ = socket.Close()
	}
	noneLeft(t)
}

// TestQUICHostileHost has hosts with the right key that do not make a tunnel. The device
// must then serve the next host.
func TestQUICHostileHost(t *testing.T) {
	keys := Keys{Own: deviceKey(), Peer: spki(t, hostKey())}
	at, _ := quicDevice(t, &Device{Open: services, RSDPort: 1}, keys)
	for name, say := range map[string]string{
		"another protocol": "GET / HTTP/1.1\r\n\r\n",
		"no request":       frame("[]"),
		"cut":              goldenRequest[:20],
		"long":             frame(strings.Repeat("[", maxHandshake)),
	} {
		config, err := Keys{Own: hostKey()}.tls(hostCurves)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := quic.DialAddr(within(t), at.String(), config, quicConfig())
		if err != nil {
			t.Fatal(err)
		}
		s, err := conn.OpenStreamSync(within(t))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(s, say)
		_ = s.Close()
		<-conn.Context().Done() // the device hangs up
		if _, err := conn.AcceptStream(within(t)); quicEnd(err) != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
	tun, err := DialQUIC(within(t), at, Keys{Own: hostKey()}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tun.Close()
}
