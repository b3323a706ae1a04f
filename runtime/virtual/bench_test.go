package virtual_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// bulk is the size of the file that is copied.
const bulk = 256 << 20

// served returns a device that is reached through a muxer on a real socket.
func served(b *testing.B) (*device.Device, *virtual.Machine) {
	h := virtualtest.Host(b,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{LogRate: -1}}})
	mux, err := usbmux.New(usbmux.Options{Address: virtualtest.Listen(b, h)})
	if err != nil {
		b.Fatal(err)
	}
	f := device.NewFinder(device.Options{Muxers: []*usbmux.Client{mux}})
	b.Cleanup(func() { f.Close() })
	d, err := f.Find(context.Background(), device.Selector{})
	if err != nil {
		b.Fatal(err)
	}
	return d, h.Devices()[0]
}

// BenchmarkBareTLS is the reference for the others. It sends as many bytes with crypto/tls
// alone over loopback TCP, with the cipher suite that devices choose. The receiver drops
// them, as that of BenchmarkPull does, or keeps all of them in memory, as the virtual device
// does in BenchmarkPush: that alone costs a third of the speed.
func BenchmarkBareTLS(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	server := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MaxVersion:   tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		s, piece := tls.Server(c, server), make([]byte, 1<<20)
		for {
			if _, err := s.Write(piece); err != nil {
				return
			}
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for name, size := range map[string]int{"dropped": 1 << 20, "kept": bulk} {
		b.Run(name, func(b *testing.B) {
			kept := make([]byte, size)
			b.SetBytes(bulk)
			b.ReportAllocs()
			for b.Loop() {
				for n := 0; n < bulk; n += 1 << 20 {
					at := n % size
					if _, err := io.ReadFull(c, kept[at:at+1<<20]); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// pulls copies the file from the device once.
func pulls(b *testing.B, c *afc.Client) {
	b.Helper()
	n, err := c.Pull(context.Background(), "Downloads/bulk", io.Discard, afc.Transfer{})
	if err != nil {
		b.Fatalf("Pull: %v", err)
	}
	if n != bulk {
		b.Fatalf("Pull: %d bytes, want %d", n, bulk)
	}
}

// pushes copies the file to the device once.
func pushes(b *testing.B, c *afc.Client, content []byte) {
	b.Helper()
	n, err := c.Push(context.Background(), bytes.NewReader(content), "Downloads/bulk",
		afc.Transfer{})
	if err != nil {
		b.Fatalf("Push: %v", err)
	}
	if n != bulk {
		b.Fatalf("Push: %d bytes, want %d", n, bulk)
	}
}

// BenchmarkPull copies a file from the device over usbmux, TLS and AFC.
func BenchmarkPull(b *testing.B) {
	d, m := served(b)
	if err := m.Phone().Media.AddSynthetic("Downloads/bulk", bulk, 1, time.Now()); err != nil {
		b.Fatal(err)
	}
	c, err := afc.Connect(context.Background(), d)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.SetBytes(bulk)
	b.ReportAllocs()
	for b.Loop() {
		pulls(b, c)
	}
}

// BenchmarkPush copies a file to the device.
func BenchmarkPush(b *testing.B) {
	d, _ := served(b)
	content := make([]byte, bulk)
	c, err := afc.Connect(context.Background(), d)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.SetBytes(bulk)
	b.ReportAllocs()
	for b.Loop() {
		pushes(b, c, content)
	}
}

// BenchmarkFirstValue connects, starts a session and reads one value, as each command does.
func BenchmarkFirstValue(b *testing.B) {
	d, _ := served(b)
	if _, err := d.Get(context.Background(), "", "DeviceName"); err != nil { // pairs
		b.Fatal(err)
	}
	mux, err := usbmux.New(usbmux.Options{Address: d.Info().Routes[0].Muxer})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f := device.NewFinder(device.Options{Muxers: []*usbmux.Client{mux}})
		d, err := f.Find(context.Background(), device.Selector{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.Get(context.Background(), "", "DeviceName"); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
