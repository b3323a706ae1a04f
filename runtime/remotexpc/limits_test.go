package remotexpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// TestNoGoroutineLeft ends connections in every way. A bubble does not end while it has
// goroutines.
func TestNoGoroutineLeft(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, end := range map[string]func(h, d *Conn){
		"host closes":      func(h, d *Conn) { h.Close() },
		"device closes":    func(h, d *Conn) { d.Close() },
		"both close":       func(h, d *Conn) { go d.Close(); h.Close() },
		"peer's transport": func(h, d *Conn) { d.conn.Close() },
		"device shuts":     func(h, d *Conn) { _ = d.Shutdown(ctx) },
		"host shuts":       func(h, d *Conn) { _ = h.Shutdown(ctx) },
		"bad frame":        func(h, d *Conn) { _, _ = h.conn.Write(make([]byte, 9)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, d := pair(t, Options{Window: 100}, Options{Window: 100})
				var wg sync.WaitGroup
				for _, c := range []*Conn{h, d} {
					wg.Go(func() { _, _ = c.Receive(ctx) })
					wg.Go(func() {
						_, _ = c.Call(ctx,
							xpc.Dict{{Key: "data", Value: make([]byte, 5000)}})
					})
					wg.Go(func() { _, _ = c.ReceiveFile(ctx, 5, 1) })
					wg.Go(func() {
						if w, err := c.OpenFile(ctx, 1); err == nil {
							_ = w.Send(ctx, zeroReader{}, 5000)
						}
					})
				}
				synctest.Wait()
				end(h, d)
				wg.Wait()
				<-h.Done()
				<-d.Done()
				h.Close()
				d.Close()
			})
		})
	}
}

// TestDevice serves requests, and lets the host read the last reply before it closes
// the connection.
func TestDevice(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	dev := &Device{Handle: func(ctx context.Context, c *Conn) error {
		m, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		return c.Reply(ctx, m, xpc.Dict{{Key: "data", Value: make([]byte, 500_000)}})
	}}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			served <- dev.Serve(ctx, nc)
		}
	}()
	for range 20 {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		h, err := Connect(ctx, nc, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}})
		if err != nil {
			t.Fatalf("Call: %v", err)
		}
		if b, _ := got.Data("data"); len(b) != 500_000 {
			t.Fatalf("Call has %d bytes, want 500000", len(b))
		}
		h.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	}
	// It is not an error if a host leaves in the middle, but it is one if it sends
	// invalid bytes.
	nc, _ := net.Dial("tcp", l.Addr().String())
	if h, err := Connect(ctx, nc, Options{}); err == nil {
		h.Close()
	}
	if err := <-served; err != nil {
		t.Errorf("Serve = %v for a host that left", err)
	}
	nc, _ = net.Dial("tcp", l.Addr().String())
	_, _ = io.WriteString(nc, strings.Repeat("GET / HTTP/1.1\r\n", 4))
	if err := <-served; !errors.Is(err, ErrProtocol) {
		t.Errorf("Serve = %v for a browser", err)
	}
	nc.Close()
}

// TestDeviceStops ends a connection with its context.
func TestDeviceStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		a, b := linktest.Pipe()
		served := make(chan error, 1)
		dev := &Device{Handle: func(ctx context.Context, c *Conn) error {
			_, err := c.Receive(ctx)
			return err
		}}
		go func() { served <- dev.Serve(ctx, b) }()
		h, err := Connect(context.Background(), a, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-served; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Serve = %v", err)
		}
		<-h.Done()
		h.Close()
	})
}

// TestMemory declares a message of 256 MiB and sends a part of it.
func TestMemory(t *testing.T) {
	p, h := handDevice(t, Options{MaxMessage: 256 << 20}, 1<<20)
	p.headers(1)
	head := bytes.Clone(openedBytes)
	head[11] = 0x10 - 1 // a body of 240 MiB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p.data(1, append(head, make([]byte, 1000)...))
	p.pong()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes taken for 1024 that came", n)
	}
	h.Close()
}

// FuzzDevice sends any bytes to a device. It must end without a panic when the bytes
// end.
func FuzzDevice(f *testing.F) {
	var good bytes.Buffer
	good.WriteString(preface)
	fr := http2.NewFramer(&good, nil)
	_ = fr.WriteSettings(http2.Setting{ID: 4, Val: 1 << 20})
	_ = fr.WriteRawFrame(http2.FrameHeaders, 4, 1, nil)
	_ = fr.WriteData(1, false, emptyBytes)
	_ = fr.WriteRawFrame(http2.FrameHeaders, 4, 3, nil)
	_ = fr.WriteData(1, false, openedBytes)
	_ = fr.WriteData(3, false, initBytes)
	f.Add(bytes.Clone(good.Bytes()))
	_ = fr.WriteData(1, false, message(xpc.FlagsRequest, 1, xpc.Dict{{Key: "k", Value: true}}))
	_ = fr.WriteRawFrame(http2.FrameHeaders, 4, 5, nil)
	_ = fr.WriteData(5, false, request)
	_ = fr.WriteDataPadded(5, true, []byte("hello"), make([]byte, 3))
	_ = fr.WriteWindowUpdate(1, 100)
	_ = fr.WritePing(false, [8]byte{})
	_ = fr.WriteRSTStream(5, http2.ErrCodeCancel)
	_ = fr.WriteGoAway(0, 0, []byte("bye"))
	f.Add(good.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		fuzzConn(t, in, func(ctx context.Context, c net.Conn) (*Conn, error) {
			return Accept(ctx, c,
				Options{Window: 100})
		})
	})
}

// FuzzHost sends any bytes to a host.
func FuzzHost(f *testing.F) {
	var good bytes.Buffer
	fr := http2.NewFramer(&good, nil)
	_ = fr.WriteSettings(http2.Setting{ID: 4, Val: 1 << 20})
	_ = fr.WriteWindowUpdate(0, 983041)
	_ = fr.WriteSettingsAck()
	_ = fr.WriteRawFrame(http2.FrameHeaders, 4, 1, nil)
	_ = fr.WriteData(1, false, emptyBytes)
	_ = fr.WriteRawFrame(http2.FrameHeaders, 4, 3, nil)
	_ = fr.WriteData(3, false, initBytes)
	_ = fr.WriteData(1, false, openedBytes)
	f.Add(bytes.Clone(good.Bytes()))
	_ = fr.WriteData(3, false, message(xpc.FlagsReply, 1, xpc.Dict{{Key: "k", Value: true}}))
	_ = fr.WriteData(1, false, message(xpc.FlagsOneWay, 2, xpc.Dict{{Key: "k", Value: "v"}}))
	_ = fr.WriteRawFrame(http2.FrameHeaders, 4, 2, nil)
	_ = fr.WriteData(2, false, request)
	_ = fr.WriteData(2, true, []byte("hello"))
	_ = fr.WriteRSTStream(3, http2.ErrCodeStreamClosed)
	f.Add(good.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		fuzzConn(t, in, func(ctx context.Context, c net.Conn) (*Conn, error) {
			return Connect(ctx,
				c, Options{Window: 100})
		})
	})
}

func fuzzConn(t *testing.T, in []byte, open func(context.Context, net.Conn) (*Conn, error)) {
	ctx := context.Background()
	a, b := linktest.Pipe()
	defer b.Close()
	go func() {
		_, _ = b.Write(in)
		_ = link.CloseWrite(b)
	}()
	go io.Copy(io.Discard, b)
	c, err := open(ctx, a)
	if err != nil {
		if c != nil {
			t.Fatalf("a connection and an error: %v", err)
		}
		return
	}
	defer c.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		if f, err := c.ReceiveFile(ctx, 0, -1); err == nil {
			_, _ = io.Copy(io.Discard, f.Reader(ctx))
			f.Close()
		}
	})
	for {
		m, err := c.Receive(ctx)
		if m == nil && err == nil {
			t.Fatal("neither message nor error")
		}
		if errors.Is(err, net.ErrClosed) {
			break
		}
	}
	wg.Wait()
}

func BenchmarkCall(b *testing.B) {
	ctx := context.Background()
	h, d := pair(b, Options{}, Options{})
	go echo(ctx, d)
	body := xpc.Dict{
		{Key: "MessageType", Value: "Heartbeat"}, {Key: "SequenceNumber", Value: uint64(1)},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Call(ctx, body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCallDeadline measures the cost of a deadline for each call.
func BenchmarkCallDeadline(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	h, d := pair(b, Options{}, Options{})
	go echo(context.Background(), d)
	body := xpc.Dict{
		{Key: "MessageType", Value: "Heartbeat"}, {Key: "SequenceNumber", Value: uint64(1)},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Call(ctx, body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMessages sends messages one way.
func BenchmarkMessages(b *testing.B) {
	ctx := context.Background()
	h, d := pair(b, Options{}, Options{})
	body := xpc.Dict{
		{Key: "MessageType", Value: "Heartbeat"}, {Key: "SequenceNumber", Value: uint64(1)},
	}
	go func() {
		for d.Send(ctx, body) == nil {
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Receive(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLargeMessage has replies of 1 MiB.
func BenchmarkLargeMessage(b *testing.B) {
	ctx := context.Background()
	h, d := pair(b, Options{Window: BulkWindow}, Options{})
	data := make([]byte, 1<<20)
	go func() {
		for d.Send(ctx, xpc.Dict{{Key: "data", Value: data}}) == nil {
		}
	}()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Receive(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFile receives a file of 16 MiB from the device, over a pipe and over
// loopback.
func BenchmarkFile(b *testing.B) {
	const size = 16 << 20
	run := func(b *testing.B, o Options, a, c net.Conn) {
		ctx := context.Background()
		h, d := pairOver(b, a, c, o, Options{})
		go func() {
			for id := uint64(1); ; id++ {
				w, err := d.OpenFile(ctx, id)
				if err != nil || w.Send(ctx, zeroReader{}, size) != nil {
					return
				}
			}
		}()
		buf := make([]byte, 64<<10)
		b.SetBytes(size)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			f, err := h.ReceiveFile(ctx, i, size)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, f.Reader(ctx), buf)
			if err != nil {
				b.Fatal(err)
			}
			if n != size {
				b.Fatalf("%d bytes arrive, want %d", n, size)
			}
			f.Close()
		}
	}
	for name, o := range map[string]Options{"usual": {}, "bulk": {Window: BulkWindow}} {
		b.Run("pipe/"+name, func(b *testing.B) {
			a, c := link.Pipe()
			run(b, o, a, c)
		})
		b.Run("tcp/"+name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			a, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			c, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			run(b, o, a, c)
		})
	}
}

// BenchmarkConnect opens a connection.
func BenchmarkConnect(b *testing.B) {
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		x, y := link.Pipe()
		accepted := make(chan *Conn, 1)
		go func() {
			d, _ := Accept(ctx, y, Options{})
			accepted <- d
		}()
		h, err := Connect(ctx, x, Options{})
		if err != nil {
			b.Fatal(err)
		}
		(<-accepted).Close()
		h.Close()
	}
}

// TestSilentHandshake has a peer that sends nothing, or a part of the handshake. Either
// side must give up, although its context has no deadline.
func TestSilentHandshake(t *testing.T) {
	sides := map[string]func(context.Context, net.Conn, Options) (*Conn, error){
		"connect": Connect, "accept": Accept,
	}
	for name, side := range sides {
		for _, said := range []string{"", preface[:7]} {
			t.Run(name+" after "+strconv.Itoa(len(said)), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, b := linktest.Pipe()
					defer b.Close()
					if _, err := io.WriteString(b, said); err != nil {
						t.Fatal(err)
					}
					go func() { _, _ = io.Copy(io.Discard, b) }()
					c, err := side(context.Background(), a, Options{})
					if c != nil {
						t.Errorf("the connection is %v, want none", c)
					}
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("the error is %v, want %v", err, context.DeadlineExceeded)
					}
				})
			})
		}
	}
}
