package psk

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
)

// stream measures packets of a tunnel's size from one end to the other.
func stream(b *testing.B, from, to net.Conn) {
	b.Helper()
	packet := make([]byte, 16000)
	done := make(chan error, 1)
	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		_, err := io.CopyN(io.Discard, struct{ io.Reader }{to}, int64(b.N)*int64(len(packet)))
		done <- err
	}()
	for range b.N {
		if _, err := from.Write(packet); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func BenchmarkThroughput(b *testing.B) {
	for _, suite := range allSuites {
		b.Run(suite.String(), func(b *testing.B) {
			c, s := pair(b, &Config{Key: testKey(), Suites: []Suite{suite}},
				&Config{Key: testKey()})
			stream(b, c, s)
		})
	}
	// What the standard library does with the same bytes, for comparison.
	b.Run("crypto/tls", func(b *testing.B) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader,
			&x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, key.Public(), key)
		if err != nil {
			b.Fatal(err)
		}
		x, y := link.Pipe()
		c := tls.Client(x, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		s := tls.Server(y, &tls.Config{Certificates: []tls.Certificate{
			{Certificate: [][]byte{der}, PrivateKey: key},
		}, DynamicRecordSizingDisabled: true})
		shaken := make(chan error, 1)
		go func() { shaken <- s.Handshake() }()
		if err := c.Handshake(); err != nil {
			b.Fatal(err)
		}
		if err := <-shaken; err != nil {
			b.Fatal(err)
		}
		stream(b, s, c)
	})
}

func BenchmarkHandshake(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		x, y := link.Pipe()
		c, s := mustMeet(b, x, y, &Config{Key: testKey()}, &Config{Key: testKey()})
		c.Close()
		s.Close()
	}
}
