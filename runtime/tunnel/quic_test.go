package tunnel

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/quic-go/quic-go"
)

// hostKey is an RSA key, as every host has one.
var hostKey = sync.OnceValue(func() crypto.Signer {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// deviceKey is an ECDSA key.
var deviceKey = sync.OnceValue(func() crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

func spki(tb testing.TB, k crypto.Signer) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// quicDevice starts a listener. It returns its address and a function that stops it and
// returns its error.
func quicDevice(tb testing.TB, d *Device, k Keys) (at netip.AddrPort, stop func() error) {
	tb.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.ServeQUIC(ctx, socket, k) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	tb.Cleanup(func() { stop() })
	return socket.LocalAddr().(*net.UDPAddr).AddrPort(), stop
}

func upQUIC(tb testing.TB, d *Device) *Tunnel {
	tb.Helper()
	if d == nil {
		d = &Device{Open: services, RSDPort: 58034}
	}
	at, _ := quicDevice(tb, d, Keys{Own: deviceKey(), Peer: spki(tb, hostKey())})
	tun, err := DialQUIC(within(tb), at, Keys{Own: hostKey(), Peer: spki(tb, deviceKey())},
		Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { tun.Close() })
	return tun
}

func TestQUIC(t *testing.T) {
	tun := upQUIC(t, nil)
	if tun.MTU() != QUICMTU {
		t.Errorf("MTU %d, want %d", tun.MTU(), QUICMTU)
	}
	if tun.RSDPort() != 58034 {
		t.Errorf("RSD port %d, want 58034", tun.RSDPort())
	}
	var wg sync.WaitGroup
	for i := range 10 {
		data := noise(1 << (2 * i))
		c := dial(t, tun, portEcho)
		wg.Go(func() { c.Write(data); link.CloseWrite(c) })
		wg.Go(func() { check(t, c, data) })
	}
	wg.Wait()
}

func TestQUICEnds(t *testing.T) {
	for range 20 {
		at, stop := quicDevice(t, &Device{Open: services, RSDPort: 1}, Keys{Own: deviceKey()})
		one, err := DialQUIC(within(t), at, Keys{Own: hostKey()}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		two, err := DialQUIC(within(t), at, Keys{Own: hostKey()}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		first, second := dial(t, one, portEcho), dial(t, two, portEcho)
		one.Close()
		if _, err := first.Read(make([]byte, 1)); !errors.Is(err, ErrDown) {
			t.Errorf("after Close: %v", err)
		}
		go stop()
		if _, err := second.Read(make([]byte, 1)); !errors.Is(err, ErrDown) {
			t.Errorf("after the device stopped: %v", err)
		}
		<-two.Done()
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("ServeQUIC: %v", err)
		}
	}
	noneLeft(t)
}

// Either side must refuse keys other than those of remote pairing, and everything that
// is not a tunnel.
func TestQUICRefuses(t *testing.T) {
	at, _ := quicDevice(t, &Device{Open: services, RSDPort: 1},
		Keys{Own: deviceKey(), Peer: spki(t, hostKey())})
	for name, k := range map[string]Keys{
		"another host":   {Own: deviceKey(), Peer: spki(t, deviceKey())},
		"another device": {Own: hostKey(), Peer: spki(t, hostKey())},
	} {
		tun, err := DialQUIC(within(t), at, k, Options{})
		wantError(t, name, err, "open", nil)
		wantNone(t, name, tun)
	}
	for name, change := range map[string]func(*tls.Config){
		"no certificate": func(c *tls.Config) { c.Certificates = nil },
		"other protocol": func(c *tls.Config) { c.NextProtos = []string{"h3"} },
	} {
		config, err := Keys{Own: hostKey()}.tls(hostCurves)
		if err != nil {
			t.Fatal(err)
		}
		change(config)
		conn, err := quic.DialAddr(within(t), at.String(), config, quicConfig())
		if err == nil { // a client sees the refusal only after its own handshake
			_, err = conn.AcceptStream(within(t))
		}
		var e *quic.TransportError
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want a TransportError", name, err)
		} else if !e.ErrorCode.IsCryptoError() {
			t.Errorf("%s: %v, want an error of TLS", name, err)
		}
	}
	nobody, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		nobody.ReadFrom(make([]byte, 2000))
		cancel()
	}()
	to := nobody.LocalAddr().(*net.UDPAddr).AddrPort()
	tun, err := DialQUIC(ctx, to, Keys{Own: hostKey()}, Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("nobody answers: %v, want context.Canceled", err)
	}
	wantNone(t, "nobody answers", tun)
}

// TestQUICForeignTLS makes connections as the hosts of other programs do: go-ios offers
// P-256, and qh3 prefers X25519 and verifies RSA and ECDSA signatures only.
func TestQUICForeignTLS(t *testing.T) {
	for name, own := range map[string]crypto.Signer{"ECDSA": deviceKey(), "RSA": hostKey()} {
		at, _ := quicDevice(t, &Device{Open: services, RSDPort: 1}, Keys{Own: own})
		for _, curve := range []tls.CurveID{tls.X25519, tls.CurveP256} {
			config, err := Keys{Own: hostKey()}.tls([]tls.CurveID{curve})
			if err != nil {
				t.Fatal(err)
			}
			conn, err := quic.DialAddr(within(t), at.String(), config, quicConfig())
			if err != nil {
				t.Errorf("%s, %s: %v", name, curve, err)
				continue
			}
			state := conn.ConnectionState().TLS
			if state.CurveID != curve {
				t.Errorf("%s: the key exchange is %s, want %s", name, state.CurveID, curve)
			}
			if got := state.PeerCertificates[0].PublicKeyAlgorithm.String(); got != name {
				t.Errorf("the certificate has a key of %s, want %s", got, name)
			}
			conn.CloseWithError(0, "")
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, stop := quicDevice(t, &Device{Open: services, RSDPort: 1}, Keys{Own: key})
	if err := stop(); !errors.Is(err, errOwnKey) {
		t.Errorf("ServeQUIC with a key that qh3 does not verify = %v, want %v", err, errOwnKey)
	}
}

// A host like go-ios sends padding first, closes the stream after the answer, and sends
// datagrams that are not packets.
func TestQUICForeignHost(t *testing.T) {
	at, stop := quicDevice(t, &Device{
		Open: services, RSDPort: 58034, Network: netip.MustParsePrefix("fd6c:7a1e:52b3::/64"),
	}, Keys{Own: deviceKey()})
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
	ping := append([]byte{128, 0, 0, 0, 0, 1, 0, 1}, "hello"...)
	host := netip.MustParseAddr("fd6c:7a1e:52b3::2")
	device := netip.MustParseAddr("fd6c:7a1e:52b3::1")
	ping[2], ping[3] = pingChecksum(host, device, ping)
	for _, d := range [][]byte{
		bytes.Repeat([]byte("x"), 1024), nil, {0x60}, ip(host, device, 59, nil),
		ip(host, device, protocolTCP, nil)[:39],
	} {
		if err := conn.SendDatagram(d); err != nil {
			t.Fatal(err)
		}
	}
	s.Write([]byte("CDTunnel\x00" + "\x2c" + `{"type":"clientHandshakeRequest","mtu":1280}`))
	body, err := readFrame(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeResponse(body)
	if err != nil {
		t.Errorf("decodeResponse: %v", err)
	}
	if got.mtu != 1280 {
		t.Errorf("the MTU is %d, want 1280", got.mtu)
	}
	if got.device != device {
		t.Errorf("the device is %v, want %v", got.device, device)
	}
	s.Close()
	if err := conn.SendDatagram(ip(host, device, 58, ping)); err != nil {
		t.Fatal(err)
	}
	answer, err := conn.ReceiveDatagram(within(t))
	if err != nil {
		t.Fatalf("the ping is not answered: %v", err)
	}
	if got, want := len(answer), ipHeader+len(ping); got != want {
		t.Fatalf("the answer to the ping has %d bytes, want %d", got, want)
	}
	if answer[ipHeader] != 129 {
		t.Errorf("the answer to the ping has the type %d, want 129", answer[ipHeader])
	}
	if !bytes.HasSuffix(answer, []byte("hello")) {
		t.Errorf("the answer to the ping is % x, want the bytes of the ping", answer)
	}
	go stop()
	if _, err := conn.ReceiveDatagram(within(t)); !errors.Is(quicEnd(err), io.EOF) {
		t.Errorf("the device stops: %v", err)
	}
}

// pingChecksum returns the checksum of ICMPv6, which includes the pseudo header.
func pingChecksum(from, to netip.Addr, b []byte) (hi, lo byte) {
	sum := uint32(len(b)) + 58
	for _, part := range [][]byte{
		from.AsSlice(), to.AsSlice(), append(bytes.Clone(b), make([]byte, len(b)%2)...),
	} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(part[i])<<8 | uint32(part[i+1])
		}
	}
	for sum > 0xFFFF {
		sum = sum&0xFFFF + sum>>16
	}
	return byte(^sum >> 8), byte(^sum)
}
