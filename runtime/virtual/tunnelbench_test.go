package virtual_test

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// inside opens every service in the tunnel of the device, even if lockdown has it.
type inside struct{ d *device.Device }

func (i inside) Open(ctx context.Context, n service.Name) (net.Conn, error) {
	t, err := i.d.Tunnel(ctx, device.TunnelOptions{})
	if err != nil {
		return nil, err
	}
	return t.List().Open(ctx, n)
}

// tunneled returns a device behind a real muxer whose tunnel is up.
func tunneled(b *testing.B) (*device.Device, *virtual.Machine) {
	d, m := served(b)
	if _, err := d.Tunnel(context.Background(), device.TunnelOptions{}); err != nil { // pairs
		b.Fatal(err)
	}
	return d, m
}

// BenchmarkTunnelUp measures the time until a service can be opened: StartService, TLS, the
// handshake of the tunnel and the list of services.
func BenchmarkTunnelUp(b *testing.B) {
	d, _ := tunneled(b)
	b.ReportAllocs()
	for b.Loop() {
		d.CloseTunnel()
		if _, err := d.Tunnel(context.Background(), device.TunnelOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTunnelPull and BenchmarkTunnelPush copy a file with AFC over one TCP stream in
// the tunnel. BenchmarkBareTLS is the reference.
func BenchmarkTunnelPull(b *testing.B) {
	d, m := tunneled(b)
	if err := m.Phone().Media.AddSynthetic("Downloads/bulk", bulk, 1, time.Now()); err != nil {
		b.Fatal(err)
	}
	c, err := afc.Connect(context.Background(), inside{d})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.SetBytes(bulk)
	b.ReportAllocs()
	for b.Loop() {
		if err := pulls(c, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTunnelPush(b *testing.B) {
	d, _ := tunneled(b)
	content := make([]byte, bulk)
	c, err := afc.Connect(context.Background(), inside{d})
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

// BenchmarkDTX calls Instruments in the tunnel, alone and while a file is copied
// through the same tunnel.
func BenchmarkDTX(b *testing.B) {
	for _, busy := range []bool{false, true} {
		name := map[bool]string{false: "idle", true: "busy"}[busy]
		b.Run(name, func(b *testing.B) {
			d, m := tunneled(b)
			s, err := dvt.Connect(context.Background(), d, dvt.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if busy {
				defer load(b, d, m)()
			}
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if _, err := s.MachTime(context.Background()); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// load copies a file again and again until the returned function is called.
func load(b *testing.B, d *device.Device, m *virtual.Machine) (stop func()) {
	if err := m.Phone().Media.AddSynthetic("Downloads/bulk", bulk, 1, time.Now()); err != nil {
		b.Fatal(err)
	}
	c, err := afc.Connect(context.Background(), inside{d})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var copied atomic.Int64
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, _ = c.Pull(ctx, "Downloads/bulk", counter{&copied}, afc.Transfer{}) // ends with ctx
		}
	}()
	begun := time.Now()
	return func() {
		b.ReportMetric(float64(copied.Load())/1e6/time.Since(begun).Seconds(), "load-MB/s")
		cancel()
		<-done
		c.Close()
	}
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// BenchmarkScreenshot takes a picture of 3 MB.
func BenchmarkScreenshot(b *testing.B) {
	d, m := tunneled(b)
	picture := noise(b, 3<<20)
	if err := m.Phone().Screen.Show(picture); err != nil {
		b.Fatal(err)
	}
	s, err := dvt.Connect(context.Background(), d, dvt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.SetBytes(int64(len(picture)))
	b.ReportAllocs()
	for b.Loop() {
		got, err := s.Screenshot(context.Background())
		if err != nil {
			b.Fatalf("Screenshot: %v", err)
		}
		if len(got) != len(picture) {
			b.Fatalf("a picture of %d bytes, want %d", len(got), len(picture))
		}
	}
}

// noise makes a picture of about the given number of bytes that cannot be compressed.
func noise(b *testing.B, size int) []byte {
	side := 1
	for side*side*3 < size {
		side++
	}
	img, r := image.NewNRGBA(image.Rect(0, 0, side, side)), rand.New(rand.NewPCG(1, 2))
	for y := range side {
		for x := range side {
			n := r.Uint32()
			img.Set(x, y, color.NRGBA{R: byte(n), G: byte(n >> 8), B: byte(n >> 16), A: 255})
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
