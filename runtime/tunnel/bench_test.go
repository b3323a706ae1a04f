package tunnel

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

const chunk = 1 << 20

// pump writes b.N chunks to one connection while another goroutine drains the
// other end.
func pump(b *testing.B, w io.Writer, r io.Reader) {
	b.Helper()
	b.ReportAllocs()
	b.SetBytes(chunk)
	done := make(chan error, 1)
	data := make([]byte, chunk)
	n := 0
	b.ResetTimer()
	go func() {
		buf := make([]byte, 256<<10)
		left := int64(b.N) * chunk
		for left > 0 {
			n, err := r.Read(buf)
			if err != nil {
				done <- err
				return
			}
			left -= int64(n)
		}
		done <- nil
	}()
	for ; n < b.N; n++ {
		if _, err := w.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// pair makes one TCP connection through a tunnel and returns both ends of it.
func pair(b *testing.B, p pipes, o Options) (host, device net.Conn) {
	ends := make(chan net.Conn)
	d := &Device{RSDPort: 1, Open: func(uint16) (func(context.Context, net.Conn), error) {
		return func(ctx context.Context, c net.Conn) {
			ends <- c
			<-ctx.Done()
		}, nil
	}}
	t := up(b, p, o, d)
	return dial(b, t, 1), <-ends
}

// BenchmarkThroughput is one TCP stream: crypto/tls over loopback for
// comparison, and tunnels over the same.
func BenchmarkThroughput(b *testing.B) {
	b.Run("tls", func(b *testing.B) {
		host, device := secure(b)
		pump(b, device, host)
	})
	b.Run("tcp", func(b *testing.B) {
		host, device := loopback(b)
		pump(b, device, host)
	})
	for _, road := range []struct {
		name string
		pipes
	}{{"tunnel", loopback}, {"tunnel in tls", secure}, {"tunnel in memory", memory}} {
		b.Run(road.name+"/download", func(b *testing.B) {
			host, device := pair(b, road.pipes, Options{})
			pump(b, device, host)
		})
		b.Run(road.name+"/upload", func(b *testing.B) {
			host, device := pair(b, road.pipes, Options{})
			pump(b, host, device)
		})
	}
}

// BenchmarkRoundTrip is one byte there and back on a connection that stands.
func BenchmarkRoundTrip(b *testing.B) {
	t := up(b, loopback, Options{}, nil)
	roundTrips(b, dial(b, t, portEcho))
}

// BenchmarkRoundTripBusy is the same while a download runs in the tunnel.
func BenchmarkRoundTripBusy(b *testing.B) {
	t := up(b, loopback, Options{}, nil)
	c, bulk := dial(b, t, portEcho), dial(b, t, portSource)
	drained := make(chan struct{})
	go func() {
		io.Copy(io.Discard, bulk)
		close(drained)
	}()
	roundTrips(b, c)
	t.Close()
	<-drained
}

func roundTrips(b *testing.B, c net.Conn) {
	b.ReportAllocs()
	one := make([]byte, 1)
	worst := time.Duration(0)
	for b.Loop() {
		start := time.Now()
		if _, err := c.Write(one); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, one); err != nil {
			b.Fatal(err)
		}
		worst = max(worst, time.Since(start))
	}
	b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
}

// BenchmarkOpen is a tunnel's set-up, one dial in it and its end.
func BenchmarkOpen(b *testing.B) {
	b.ReportAllocs()
	d := &Device{Open: services, RSDPort: 1}
	for b.Loop() {
		h, c := loopback(b)
		result := serve(d, context.Background(), c)
		t, err := Open(context.Background(), h, Options{})
		if err != nil {
			b.Fatal(err)
		}
		conn, err := t.Dial(context.Background(), portEcho)
		if err != nil {
			b.Fatal(err)
		}
		conn.Close()
		t.Close()
		result()
	}
}

// BenchmarkDial is a connection in a tunnel that stands.
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
