package virtual_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/savefile"
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
// them, keeps all of them in memory, as the virtual device does in BenchmarkPush, or
// replaces a file with them, as the command that pulls does.
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
	kept, dir := make([]byte, bulk), b.TempDir()
	b.Run("dropped", copies(func() error { return pieces(c, io.Discard) }))
	b.Run("kept", copies(func() error {
		_, err := io.ReadFull(c, kept)
		return err
	}))
	b.Run("stored", copies(func() error {
		return stored(dir, func(w io.Writer) error { return pieces(c, w) })
	}))
}

// copies returns a benchmark of a function that copies the file once.
func copies(once func() error) func(*testing.B) {
	return func(b *testing.B) {
		b.SetBytes(bulk)
		b.ReportAllocs()
		for b.Loop() {
			if err := once(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// pieces copies the bytes of one file in pieces of the usual size.
func pieces(r io.Reader, w io.Writer) error {
	piece := make([]byte, 1<<20)
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, bulk), piece)
	return err
}

// stored replaces a file in a directory of this computer.
func stored(dir string, write func(io.Writer) error) error {
	return savefile.File(filepath.Join(dir, "bulk"), savefile.Options{},
		func(f *os.File) error { return write(savefile.Writer(f)) })
}

// pulls copies the file from the device once.
func pulls(c *afc.Client, w io.Writer) error {
	n, err := c.Pull(context.Background(), "Downloads/bulk", w, afc.Transfer{})
	if err == nil && n != bulk {
		err = fmt.Errorf("%d bytes, want %d", n, bulk)
	}
	return err
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

// BenchmarkPull copies a file from the device over usbmux, TLS and AFC, and drops it or
// replaces a file of this computer with it.
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
	dir := b.TempDir()
	b.Run("dropped", copies(func() error { return pulls(c, io.Discard) }))
	b.Run("stored", copies(func() error {
		return stored(dir, func(w io.Writer) error { return pulls(c, w) })
	}))
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
