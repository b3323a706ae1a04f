package link

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

var testCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func configs(version uint16) (client, server *tls.Config) {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version},
		&tls.Config{
			Certificates: []tls.Certificate{testCertificate()}, MinVersion: version,
			MaxVersion: version, SessionTicketsDisabled: true,
		}
}

// shake performs a handshake over a pipe.
func shake(t testing.TB, version uint16) (client, server *TLSConn) {
	t.Helper()
	a, b := Pipe()
	return shakeOver(t, version, a, b)
}

func shakeOver(t testing.TB, version uint16, a, b net.Conn) (client, server *TLSConn) {
	t.Helper()
	cc, sc := configs(version)
	done := make(chan error, 1)
	go func() {
		var err error
		server, err = ServerTLS(context.Background(), b, sc)
		done <- err
	}()
	client, err := ClientTLS(context.Background(), a, cc)
	err = errors.Join(err, <-done)
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// wantNext reads as many bytes as want has and compares them with it.
func wantNext(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatalf("reading %q: %v", want, err)
	}
	if string(got) != want {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// say sends text over one end and expects it at the other.
func say(t testing.TB, from, to net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	_, err1 := io.WriteString(from, text)
	_, err2 := io.ReadFull(to, got)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatalf("sending %q: %v", text, err)
	}
	if string(got) != text {
		t.Fatalf("sent %q, received %q", text, got)
	}
}

// TestHandBack returns both sides to plain text and then to TLS again, as StopSession
// and StartSession do. Either side may be the one that ends TLS first.
func TestHandBack(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		for _, clientFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/client first %v", name, clientFirst), func(t *testing.T) {
				t.Parallel()
				ctx := context.Background()
				a, b := Pipe()
				for round := range 3 {
					client, server := shakeOver(t, version, a, b)
					say(t, client, server, "secret question")
					say(t, server, client, "secret answer")
					first, second := client, server
					if !clientFirst {
						first, second = server, client
					}
					type result struct {
						c   net.Conn
						err error
					}
					done := make(chan result, 1)
					go func() {
						c, err := first.HandBack(ctx)
						if err == nil {
							// The plain text directly follows close_notify, and the
							// other side has not read either yet.
							_, err = io.WriteString(c, "plain at once")
						}
						done <- result{c, err}
					}()
					c2, err2 := second.HandBack(ctx)
					r := <-done
					if err := errors.Join(r.err, err2); err != nil {
						t.Fatalf("round %d: %v", round, err)
					}
					wantNext(t, c2, "plain at once")
					say(t, c2, r.c, "plain back")
					a, b = r.c, c2
					if !clientFirst {
						a, b = c2, r.c
					}
				}
				a.Close()
				b.Close()
			})
		}
	}
}

// TestHandBackWithPlainInSameSegment sends close_notify and plain text in one segment.
// Without recordConn, crypto/tls would read the plain text and drop it.
func TestHandBackWithPlainInSameSegment(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := Pipe()
			gather := &gathering{Conn: b}
			client, server := shakeOver(t, version, a, gather)
			gather.hold = true
			server.CloseWrite()
			gather.Write([]byte("plain text"))
			gather.flush()
			plain, err := client.HandBack(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			wantNext(t, plain, "plain text")
		})
	}
}

// gathering collects writes to send them as one.
type gathering struct {
	net.Conn
	hold bool
	held []byte
}

func (g *gathering) Write(p []byte) (int, error) {
	if !g.hold {
		return g.Conn.Write(p)
	}
	g.held = append(g.held, p...)
	return len(p), nil
}

func (g *gathering) flush() {
	g.Conn.SetWriteDeadline(time.Time{}) // crypto/tls leaves one behind
	g.Conn.Write(g.held)
}

// TestRawWithPlainInSameSegment uses a service that uses TLS only for its handshake. It
// sends its first bytes in the segment of its last handshake record.
func TestRawWithPlainInSameSegment(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := Pipe()
			gather := &gathering{Conn: b}
			cc, sc := configs(version)
			done := make(chan error, 1)
			go func() {
				server := &TLSConn{raw: &recordConn{Conn: gather}}
				server.Conn = tls.Server(server.raw, sc)
				// The server's last flight goes out with the plain text.
				var err error
				if version == tls.VersionTLS12 {
					gather.hold = false
					server.raw.Conn = &holdFrom{Conn: gather.Conn, g: gather, flights: 2}
				}
				err = server.Handshake()
				if err == nil {
					gather.hold = true
					gather.Write([]byte("plain greeting"))
					gather.flush()
				}
				done <- err
			}()
			client, err := ClientTLS(context.Background(), a, cc)
			err = errors.Join(err, <-done)
			if err != nil {
				t.Fatal(err)
			}
			raw := client.Raw()
			wantNext(t, raw, "plain greeting")
			io.WriteString(raw, "plain reply")
			wantNext(t, b, "plain reply")
		})
	}
}

// holdFrom holds the given flight and all that follow, and passes the earlier ones on.
type holdFrom struct {
	net.Conn
	g       *gathering
	flights int
}

func (h *holdFrom) Write(p []byte) (int, error) {
	h.flights--
	if h.flights <= 0 {
		h.g.held = append(h.g.held, p...)
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// TestHandBackFailures uses peers that close without ending TLS, or send nothing. In both
// cases HandBack must fail and must not treat any bytes as plain text.
func TestHandBackFailures(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := shake(t, version)
			server.raw.Close()
			c, err := client.HandBack(context.Background())
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("peer closed: HandBack = %v, want %v", err, io.ErrUnexpectedEOF)
			}
			if c != nil {
				t.Errorf("peer closed: HandBack returns %v", c)
			}
			synctest.Test(t, func(t *testing.T) {
				client, server := shake(t, version)
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				c, err := client.HandBack(ctx)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("silent peer: HandBack = %v, want %v", err, context.DeadlineExceeded)
				}
				if c != nil {
					t.Errorf("silent peer: HandBack returns %v", c)
				}
				if _, err := client.raw.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("the connection is still open: %v", err)
				}
				server.raw.Close()
			})
		})
	}
}

func TestHandshakeFailures(t *testing.T) {
	t.Parallel()
	cc, sc := configs(tls.VersionTLS13)
	for name, do := range map[string]func(context.Context, net.Conn) (*TLSConn, error){
		"client": func(ctx context.Context, c net.Conn) (*TLSConn, error) {
			return ClientTLS(ctx, c, cc)
		},
		"server": func(ctx context.Context, c net.Conn) (*TLSConn, error) {
			return ServerTLS(ctx, c, sc)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, b := Pipe()
			io.WriteString(b, "HTTP/1.1 400 Bad Request\r\n\r\n")
			c, err := do(context.Background(), a)
			if err == nil {
				t.Errorf("%s against plain text does not fail", name)
			}
			if c != nil {
				t.Errorf("%s against plain text returns %v", name, c)
			}
			if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: the connection is still open: %v", name, err)
			}
			b.Close()

			a, b = Pipe()
			start := time.Now()
			_, err = do(context.Background(), a)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s against silence = %v, want %v", name, err, context.DeadlineExceeded)
			}
			if took := time.Since(start); took != handshakeTimeout {
				t.Errorf("%s against silence took %v, want %v", name, took, handshakeTimeout)
			}
			b.Close()

			a, b = Pipe()
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			if _, err := do(ctx, a); !errors.Is(err, context.Canceled) {
				t.Errorf("%s cancelled: %v", name, err)
			}
			b.Close()
		})
	}
}

// TestRecordConnPieces checks that TLS works however the bytes are split on arrival.
func TestRecordConnPieces(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"one byte": iotest.OneByteReader, "halves": iotest.HalfReader,
	} {
		for versionName, version := range versions {
			t.Run(name+"/"+versionName, func(t *testing.T) {
				t.Parallel()
				a, b := Pipe()
				client, server := shakeOver(t, version, &wrapped{a, wrap(a)}, &wrapped{b, wrap(b)})
				data := bytes.Repeat([]byte("0123456789abcdef"), 2_500) // three records
				go func() {
					server.Write(data)
					server.Close()
				}()
				got, err := io.ReadAll(client)
				if err != nil {
					t.Errorf("after %d of %d bytes: %v", len(got), len(data), err)
				} else if !bytes.Equal(got, data) {
					t.Errorf("%d bytes arrive, want other %d bytes", len(got), len(data))
				}
			})
		}
	}
}

type wrapped struct {
	net.Conn
	r io.Reader
}

func (w *wrapped) Read(p []byte) (int, error) { return w.r.Read(p) }

// FuzzRecordConn checks that recordConn returns no byte from after the current record,
// and returns every byte in order.
func FuzzRecordConn(f *testing.F) {
	f.Add([]byte("\x16\x03\x01\x00\x02ab\x17\x03\x03\x00\x01c"), uint8(3))
	f.Add([]byte("HTTP/1.1"), uint8(1))
	f.Add([]byte("\x17\x03\x03\xff\xff"), uint8(100))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		a, b := Pipe()
		b.Write(in)
		b.Close()
		c := &recordConn{Conn: a}
		var got []byte
		p := make([]byte, int(size)+1)
		for {
			left := c.left
			n, err := c.Read(p)
			if left > 0 && n > left {
				t.Fatalf("%d bytes of a record with %d left", n, left)
			}
			got = append(got, p[:n]...)
			if err != nil {
				break
			}
		}
		if !bytes.Equal(got, in) {
			t.Fatalf("% x came out as % x", in, got)
		}
	})
}

// BenchmarkTLS measures what recordConn costs, which makes it possible to return to
// plain text.
func BenchmarkTLS(b *testing.B) {
	for _, kind := range []string{"recordConn", "bare crypto/tls"} {
		b.Run(kind, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			cc, sc := configs(tls.VersionTLS13)
			const chunk = 1 << 20
			accepted := make(chan net.Conn, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				var s net.Conn = tls.Server(c, sc)
				if kind == "recordConn" {
					s, err = ServerTLS(context.Background(), c, sc)
					if err != nil {
						return
					}
				}
				accepted <- s
				data := make([]byte, chunk)
				for {
					if _, err := s.Write(data); err != nil {
						return
					}
				}
			}()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			var conn net.Conn = tls.Client(c, cc)
			if kind == "recordConn" {
				conn, err = ClientTLS(context.Background(), c, cc)
				if err != nil {
					b.Fatal(err)
				}
			}
			defer conn.Close()
			buf := make([]byte, chunk)
			b.SetBytes(chunk)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.ReadFull(conn, buf); err != nil {
					b.Fatal(err)
				}
			}
			defer (<-accepted).Close()
		})
	}
}

func BenchmarkPipe(b *testing.B) {
	x, y := Pipe()
	defer x.Close()
	data := make([]byte, 64<<10)
	go func() {
		for {
			if _, err := y.Write(data); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.ReadFull(x, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// countedWrites counts the writes that reach the connection below TLS.
type countedWrites struct {
	net.Conn
	n atomic.Int64
}

func (c *countedWrites) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(b)
}

// TestCork writes many records in one write of the connection below, and the
// peer reads what it would have read anyway.
func TestCork(t *testing.T) {
	t.Parallel()
	client, server := shake(t, tls.VersionTLS12)
	defer server.Close()
	below := &countedWrites{Conn: client.raw.Conn}
	client.raw.Conn = below
	got := make(chan []byte, 1)
	const records, size = 16, 1000
	go func() {
		b := make([]byte, records*size)
		_, _ = io.ReadFull(server, b)
		got <- b
		_, _ = io.Copy(io.Discard, server) // the pipe has no buffer for ever
	}()
	want := make([]byte, 0, records*size)
	client.Cork()
	for n := range records {
		piece := bytes.Repeat([]byte{byte(n)}, size)
		want = append(want, piece...)
		if _, err := client.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if n := below.n.Load(); n != 0 {
		t.Errorf("%d writes while corked, want none", n)
	}
	if err := client.Uncork(); err != nil {
		t.Fatal(err)
	}
	if b := <-got; !bytes.Equal(b, want) {
		t.Error("the peer read something else")
	}
	if n := below.n.Load(); n != 1 {
		t.Errorf("%d writes, want one", n)
	}
	if _, err := client.Write([]byte("after")); err != nil {
		t.Errorf("a write after Uncork: %v", err)
	} else if below.n.Load() != 2 {
		t.Errorf("%d writes after Uncork, want 2 in all", below.n.Load())
	}
	client.Close()
}
