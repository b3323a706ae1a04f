package tunnel

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	portEcho   = 7
	portDrop   = 9
	portSource = 19
	portMute   = 99 // accepts, never reads
)

// services is what the devices of these tests offer.
func services(port uint16) (func(context.Context, net.Conn), error) {
	switch port {
	case portEcho:
		return func(_ context.Context, c net.Conn) {
			io.Copy(c, c)
			link.CloseWrite(c)
		}, nil
	case portDrop:
		return func(_ context.Context, c net.Conn) {
			n, _ := io.Copy(io.Discard, c)
			c.Write(big.NewInt(n).Append(nil, 10))
		}, nil
	case portSource:
		return func(_ context.Context, c net.Conn) {
			b := make([]byte, 64<<10)
			for {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}, nil
	case portMute:
		return func(ctx context.Context, c net.Conn) { <-ctx.Done() }, nil
	}
	return nil, errors.New("nothing listens")
}

// within returns a context for a test that must not hang.
func within(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

// pipes makes two ends of a connection.
type pipes func(tb testing.TB) (host, device net.Conn)

func memory(testing.TB) (host, device net.Conn) { return link.Pipe() }

func loopback(tb testing.TB) (host, device net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	host, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	device = <-accepted
	if device == nil {
		tb.Fatal("nothing accepted")
	}
	return host, device
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// secure is loopback with the TLS that lockdown puts around a service.
func secure(tb testing.TB) (host, device net.Conn) {
	tb.Helper()
	a, b := loopback(tb)
	return handshake(tb, a, b)
}

func handshake(tb testing.TB, a, b net.Conn) (host, device *tls.Conn) {
	tb.Helper()
	server := tls.Server(b, &tls.Config{
		Certificates: []tls.Certificate{certificate()}, DynamicRecordSizingDisabled: true,
	})
	client := tls.Client(a,
		&tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	failed := make(chan error, 1)
	go func() { failed <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-failed); err != nil {
		tb.Fatal(err)
	}
	return client, server
}

// corkable is secure with TLS that can be corked.
func corkable(tb testing.TB) (host, device net.Conn) {
	tb.Helper()
	x, y := loopback(tb)
	a, b := &kept{Conn: x}, &kept{Conn: y}
	client, server := handshake(tb, a, b)
	return corkTLS{client, a}, corkTLS{server, b}
}

type corkTLS struct {
	*tls.Conn
	below *kept
}

func (c corkTLS) Cork()         { c.below.set(true) }
func (c corkTLS) Uncork() error { return c.below.set(false) }

// kept is a connection that keeps the written bytes while it is corked.
type kept struct {
	net.Conn
	mu     sync.Mutex
	corked bool
	out    []byte
}

func (k *kept) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.corked {
		return k.Conn.Write(b)
	}
	k.out = append(k.out, b...)
	return len(b), nil
}

func (k *kept) set(corked bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.corked = corked
	_, err := k.Conn.Write(k.out)
	k.out = k.out[:0]
	return err
}

// serve runs a device on c. The function that it returns waits for the result.
func serve(d *Device, ctx context.Context, c net.Conn) (result func() error) {
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, c) }()
	return sync.OnceValue(func() error { return <-served })
}

// up makes a tunnel to a device with services. Both end with the test.
func up(tb testing.TB, make pipes, o Options, d *Device) *Tunnel {
	tb.Helper()
	if d == nil {
		d = &Device{Open: services, RSDPort: 58034}
	}
	a, b := make(tb)
	result := serve(d, context.Background(), b)
	t, err := Open(within(tb), a, o)
	if err != nil {
		b.Close()
		tb.Fatal(err, result())
	}
	tb.Cleanup(func() {
		t.Close()
		result()
	})
	return t
}

func dial(tb testing.TB, t *Tunnel, port uint16) net.Conn {
	tb.Helper()
	c, err := t.Dial(within(tb), port)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// noneLeft fails the test if goroutines of these packages are running. Tests that call
// it must not run in parallel.
func noneLeft(tb testing.TB) {
	tb.Helper()
	// All of them have been waited for, but the last ones may not have returned yet.
	for range 10_000 {
		if ours() == "" {
			return
		}
		runtime.Gosched()
	}
	tb.Errorf("left behind:\n%s", ours())
}

func ours() string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(g, "runtime/tunnel") && !strings.Contains(g, "testing.") ||
			strings.Contains(g, "gvisor.dev") || strings.Contains(g, "quic-go") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}

// wantError checks that err is an Error of this operation and matches cause, unless that
// is nil.
func wantError(tb testing.TB, what string, err error, op string, cause error) {
	tb.Helper()
	if !errors.Is(err, cause) && cause != nil {
		tb.Errorf("%s: %v, want %v", what, err, cause)
	}
	var e *Error
	if !errors.As(err, &e) {
		tb.Errorf("%s: %v (%T), want an *Error", what, err, err)
	} else if e.Op != op {
		tb.Errorf("%s: the operation of %v is %q, want %q", what, err, e.Op, op)
	}
}

// wantNone checks that a call which failed returned no tunnel or connection.
func wantNone[T comparable](tb testing.TB, what string, got T) {
	tb.Helper()
	var none T
	if got != none {
		tb.Errorf("%s: the call returns %v with its error", what, got)
	}
}

// wantPacket checks that b is exactly one packet.
func wantPacket(tb testing.TB, what string, b []byte) {
	tb.Helper()
	n, err := packetLength(b)
	if err != nil {
		tb.Errorf("%s: %v", what, err)
	} else if n != len(b) {
		tb.Errorf("%s: %d bytes begin with a packet of %d", what, len(b), n)
	}
}

// check reads until the end and compares the bytes with want.
func check(tb testing.TB, r io.Reader, want []byte) {
	tb.Helper()
	got, err := io.ReadAll(r)
	if err != nil {
		tb.Errorf("read: %v", err)
	}
	if !bytes.Equal(got, want) {
		tb.Errorf("read %d bytes, want the %d that were sent", len(got), len(want))
	}
}
