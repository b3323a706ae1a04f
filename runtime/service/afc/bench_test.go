package afc

import (
	"github.com/imdlua/imdlua/runtime/phone/files"

	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

const benchSize = 256 << 20

// throwaway returns a certificate for one run.
func throwaway(tb testing.TB) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// loopback returns the two ends of a TCP connection, the client's first.
func loopback(tb testing.TB) (net.Conn, net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// configs returns TLS configurations for a host and a device: TLS 1.2, any certificate.
func configs(tb testing.TB) (client, server *tls.Config) {
	client = &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	return client, &tls.Config{
		Certificates: []tls.Certificate{throwaway(tb)}, MaxVersion: tls.VersionTLS12,
	}
}

// bothTLS starts TLS on the two ends of a connection.
func bothTLS(tb testing.TB, c, s net.Conn) (net.Conn, net.Conn) {
	tb.Helper()
	cc, sc := configs(tb)
	var wg sync.WaitGroup
	var server net.Conn
	wg.Go(func() {
		t, err := link.ServerTLS(context.Background(), s, sc)
		if err != nil {
			tb.Error(err)
			return
		}
		server = t
	})
	client, err := link.ClientTLS(context.Background(), c, cc)
	if err != nil {
		tb.Fatal(err)
	}
	wg.Wait()
	if server == nil {
		tb.FailNow()
	}
	return client, server
}

// BenchmarkBareTLS measures crypto/tls alone, with one end writing and the other
// reading. The transfers are compared with it.
func BenchmarkBareTLS(b *testing.B) {
	c, s := loopback(b)
	cc, sc := configs(b)
	from, to := tls.Client(c, cc), tls.Server(s, sc)
	go to.Handshake()
	if err := from.Handshake(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchSize)
	b.ReportAllocs()
	buf := make([]byte, 1<<20)
	for b.Loop() {
		var wg sync.WaitGroup
		wg.Go(func() {
			in := make([]byte, 1<<20)
			for left := benchSize; left > 0; {
				n, err := to.Read(in[:min(len(in), left)])
				if err != nil {
					b.Error(err)
					return
				}
				left -= n
			}
		})
		for range benchSize / len(buf) {
			if _, err := from.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
		wg.Wait()
	}
}

// benchClient returns a client that is connected to a device over TCP, with or without
// TLS.
func benchClient(b *testing.B, secure bool) (*Client, *files.FS) {
	f := files.NewFS(nil, 8<<30)
	c, s := loopback(b)
	if secure {
		c, s = bothTLS(b, c, s)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := (&Device{FS: f, Model: "iPhone12,8"}).Serve(context.Background(), s); err != nil {
			b.Error(err)
		}
	})
	k := New(c)
	b.Cleanup(func() { k.Close(); wg.Wait() })
	return k, f
}

func BenchmarkPull(b *testing.B) {
	for _, bc := range []struct {
		name   string
		secure bool
		t      Transfer
	}{
		{"tls", true, Transfer{}},
		{"tls-256KiB", true, Transfer{Piece: 256 << 10}},
		{"tls-4MiB", true, Transfer{Piece: 4 << 20}},
		{"tls-one-in-flight", true, Transfer{InFlight: 1}},
		{"plain", false, Transfer{}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			c, f := benchClient(b, bc.secure)
			if err := f.WriteFile("/big", make([]byte, benchSize)); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				n, err := c.Pull(context.Background(), "/big", io.Discard, bc.t)
				if err != nil {
					b.Fatalf("transfer: %v", err)
				}
				if n != benchSize {
					b.Fatalf("%d bytes, want %d", n, benchSize)
				}
			}
		})
	}
}

func BenchmarkPush(b *testing.B) {
	content := make([]byte, benchSize)
	for _, bc := range []struct {
		name   string
		secure bool
		t      Transfer
	}{
		{"tls", true, Transfer{}},
		{"tls-256KiB", true, Transfer{Piece: 256 << 10}},
		{"tls-4MiB", true, Transfer{Piece: 4 << 20}},
		{"tls-one-in-flight", true, Transfer{InFlight: 1}},
		{"plain", false, Transfer{}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			c, _ := benchClient(b, bc.secure)
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				n, err := c.Push(context.Background(), bytes.NewReader(content), "/big", bc.t)
				if err != nil {
					b.Fatalf("transfer: %v", err)
				}
				if n != benchSize {
					b.Fatalf("%d bytes, want %d", n, benchSize)
				}
			}
		})
	}
}

func BenchmarkStat(b *testing.B) {
	c, f := benchClient(b, true)
	if err := f.WriteFile("/a", nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Stat(context.Background(), "/a"); err != nil {
			b.Fatal(err)
		}
	}
}
