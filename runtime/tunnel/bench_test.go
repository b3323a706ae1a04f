package tunnel

import (
	"context"
	"io"
	"iter"
	"net"
	"slices"
	"testing"
	"time"
)

// chunk is the number of bytes that one route sends before the other route sends as many.
// The benchmarks count chunks.
const chunk = 4 << 20

// line is a connection whose other end is read all the time.
type line struct {
	w       io.Writer
	data    []byte
	arrived chan error // one for each chunk
}

// newLine reads r until it ends.
func newLine(w io.Writer, r io.Reader) *line {
	l := &line{w: w, data: make([]byte, chunk), arrived: make(chan error, 1)}
	go func() {
		buf := make([]byte, 256<<10)
		for {
			for left := chunk; left > 0; {
				n, err := r.Read(buf[:min(len(buf), left)])
				left -= n
				if err != nil {
					l.arrived <- err
					return
				}
			}
			l.arrived <- nil
		}
	}()
	return l
}

// send sends one chunk and returns how long it took to arrive.
func (l *line) send(b *testing.B) time.Duration {
	start := time.Now()
	if _, err := l.w.Write(l.data); err != nil {
		b.Fatal(err)
	}
	if err := <-l.arrived; err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// compare sends each chunk through the line and through crypto/tls over loopback TCP, so
// that other load on the machine affects both. It reports how many times as fast the line
// is.
func compare(b *testing.B, l *line) {
	b.Helper()
	b.ReportAllocs()
	b.SetBytes(chunk)
	host, device := secure(b)
	defer host.Close()
	bare := newLine(device, host)
	l.send(b) // windows open, buffers grow
	bare.send(b)
	var here, there time.Duration
	for b.Loop() {
		here += l.send(b)
		b.StopTimer()
		there += bare.send(b)
		b.StartTimer()
	}
	b.ReportMetric(there.Seconds()/here.Seconds(), "of-bare-tls")
}

// meet makes one TCP connection through a tunnel and returns both ends of it.
func meet(b *testing.B, up func(testing.TB, *Device) *Tunnel) (host, device net.Conn) {
	ends := make(chan net.Conn)
	t := up(b, &Device{RSDPort: 1, Open: func(uint16) (func(context.Context, net.Conn), error) {
		return func(ctx context.Context, c net.Conn) {
			ends <- c
			<-ctx.Done()
		}, nil
	}})
	return dial(b, t, 1), <-ends
}

// BenchmarkThroughput measures one TCP stream in a tunnel, by carrier and direction.
func BenchmarkThroughput(b *testing.B) {
	b.Run("tcp", func(b *testing.B) {
		host, device := loopback(b)
		compare(b, newLine(device, host))
	})
	for name, up := range carriers() {
		b.Run(name+"/download", func(b *testing.B) {
			host, device := meet(b, up)
			compare(b, newLine(device, host))
		})
		b.Run(name+"/upload", func(b *testing.B) {
			host, device := meet(b, up)
			compare(b, newLine(host, device))
		})
	}
}

// carriers makes a tunnel on each of them, in order.
func carriers() iter.Seq2[string, func(testing.TB, *Device) *Tunnel] {
	over := func(p pipes) func(testing.TB, *Device) *Tunnel {
		return func(tb testing.TB, d *Device) *Tunnel { return up(tb, p, Options{}, d) }
	}
	return func(yield func(string, func(testing.TB, *Device) *Tunnel) bool) {
		_ = yield("memory", over(memory)) && yield("plain", over(loopback)) && yield("tls",
			over(secure)) &&
			yield("corked-tls", over(corkable)) && yield("psk", upPSK) && yield("quic", upQUIC)
	}
}

// message has the length of a small DTX call.
const message = 512

// BenchmarkRoundTrip measures a message and its answer on an open connection.
func BenchmarkRoundTrip(b *testing.B) {
	for name, up := range carriers() {
		b.Run(name, func(b *testing.B) { roundTrips(b, dial(b, up(b, nil), portEcho)) })
	}
}

// BenchmarkRoundTripBusy measures the same while a transfer runs in the tunnel.
func BenchmarkRoundTripBusy(b *testing.B) {
	for name, up := range carriers() {
		b.Run(name+"/download", func(b *testing.B) {
			t := up(b, nil)
			c, bulk := dial(b, t, portEcho), dial(b, t, portSource)
			busy(b, t, c, func() { io.Copy(io.Discard, bulk) })
		})
		b.Run(name+"/upload", func(b *testing.B) {
			t := up(b, nil)
			c, bulk := dial(b, t, portEcho), dial(b, t, portDrop)
			data := make([]byte, 1<<20)
			busy(b, t, c, func() {
				for {
					if _, err := bulk.Write(data); err != nil {
						return
					}
				}
			})
		})
	}
}

func busy(b *testing.B, t *Tunnel, c net.Conn, transfer func()) {
	over := make(chan struct{})
	go func() {
		transfer()
		close(over)
	}()
	roundTrips(b, c)
	t.Close()
	<-over
}

// roundTrips reports the median and the worst beside the mean.
func roundTrips(b *testing.B, c net.Conn) {
	b.ReportAllocs()
	m := make([]byte, message)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := c.Write(m); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, m); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-µs")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "worst-µs")
}

// BenchmarkOpen measures the set-up of a tunnel and the TLS below it, until the first byte
// of a service, and its end.
func BenchmarkOpen(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		h, d := secure(b)
		result := serve(&Device{Open: services, RSDPort: portEcho}, context.Background(), d)
		t, err := Open(context.Background(), h, Options{})
		if err != nil {
			b.Fatal(err)
		}
		c, err := t.Dial(context.Background(), portEcho)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		t.Close()
		result()
	}
}

// BenchmarkDial measures a connection in an open tunnel.
func BenchmarkDial(b *testing.B) {
	b.ReportAllocs()
	t := up(b, loopback, Options{}, nil)
	for b.Loop() {
		c, err := t.Dial(context.Background(), portEcho)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
