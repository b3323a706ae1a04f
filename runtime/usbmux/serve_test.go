package usbmux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

func TestConcurrentConnects(t *testing.T) {
	m := newMuxer(t, MuxerOptions{})
	id := m.Attach(Attachment{UDID: testUDID, Open: openEcho})
	ctx := testContext(t)
	for name, c := range routes(t, m) {
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			for i := range 200 {
				wg.Go(func() {
					conn, err := c.Connect(ctx, id, echoPort)
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					text := strings.Repeat(fmt.Sprintf("connection %d;", i), 1000)
					io.WriteString(conn, text)
					link.CloseWrite(conn)
					b, err := io.ReadAll(conn)
					if err != nil {
						t.Errorf("connection %d: %v", i, err)
					}
					if string(b) != strings.ToUpper(text) {
						t.Errorf("connection %d: %d wrong bytes, want %d", i, len(b), len(text))
					}
				})
			}
			wg.Wait()
		})
	}
}

// The bubble fails its test if goroutines are left at the end.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMuxer(MuxerOptions{})
		c := newClient(t, Options{Dial: pipeTo(m)})
		ctx := context.Background()
		id := m.Attach(Attachment{UDID: testUDID,
			Open: func(uint16) (func(context.Context, net.Conn), error) {
				return func(ctx context.Context, c net.Conn) { io.Copy(io.Discard, c) }, nil
			}})
		idle, _ := pipeTo(m)(nil)
		piped, err1 := c.Connect(ctx, id, 1)
		l, err2 := c.Listen(ctx)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		next(t, l)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { m.Close() })
		}
		wg.Wait()
		m.Close()
		for _, conn := range []net.Conn{idle, piped, l.conn} {
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after Close Read = %v, want EOF", err)
			}
			conn.Close()
		}
		if id := m.Attach(Attachment{}); id != 0 {
			t.Errorf("Attach to a closed muxer = %d", id)
		}
		m.Detach(id)
		if err := m.Serve(ctx, nopListener{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve on a closed muxer = %v", err)
		}
	})
}

type nopListener struct{ net.Listener }

func (nopListener) Close() error { return nil }

// TestServeLeavesNothing uses real sockets, many clients and both ways to end Serve.
func TestServeLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, network := range []string{"unix", "tcp"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "mux")
		}
		for _, byContext := range []bool{true, false} {
			m := NewMuxer(MuxerOptions{})
			m.Attach(Attachment{UDID: testUDID, Open: openEcho})
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			served := make(chan error, 1)
			go func() { served <- m.Serve(ctx, l) }()
			a := l.Addr().String()
			if network == "unix" {
				a = "unix:" + a
			}
			c := newClient(t, Options{Address: a})
			for range 20 {
				listener, err1 := c.Listen(testContext(t))
				conn, err2 := c.Connect(testContext(t), 1, echoPort)
				if err := errors.Join(err1, err2); err != nil {
					t.Fatal(err)
				}
				defer listener.Close()
				defer conn.Close()
			}
			if byContext {
				cancel()
			} else {
				m.Close()
			}
			if err := <-served; err != nil {
				t.Errorf("Serve = %v", err)
			}
			cancel()
			m.Close()
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("goroutines left:\n%s", buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}

// failingListener fails with one error after the other.
type failingListener struct {
	errs  []error
	calls int
}

type tooManyFiles struct{ error }

func (tooManyFiles) Temporary() bool { return true }

func (l *failingListener) Accept() (net.Conn, error) {
	l.calls++
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}
func (l *failingListener) Close() error   { return nil }
func (l *failingListener) Addr() net.Addr { return nil }

func TestServeOutlivesTemporaryErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMuxer(t, MuxerOptions{})
		final := errors.New("final")
		temporary := tooManyFiles{errors.New("too many open files")}
		l := &failingListener{errs: []error{temporary, temporary, temporary, final}}
		if err := m.Serve(context.Background(), l); !errors.Is(err, final) {
			t.Errorf("Serve = %v, want %v", err, final)
		}
		if l.calls != 4 {
			t.Errorf("Serve accepts %d times, want 4", l.calls)
		}
	})
}

func BenchmarkConnect(b *testing.B) {
	m := newMuxer(b, MuxerOptions{})
	id := m.Attach(Attachment{UDID: testUDID,
		Open: func(uint16) (func(context.Context, net.Conn), error) {
			return func(context.Context, net.Conn) {}, nil
		}})
	c := newClient(b, Options{Address: "unix:" + listenOn(b, m, "unix")})
	b.ReportAllocs()
	for b.Loop() {
		conn, err := c.Connect(context.Background(), id, 1)
		if err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
}

func BenchmarkPipe(b *testing.B) {
	for _, network := range []string{"unix", "tcp"} {
		b.Run(network, func(b *testing.B) {
			m := newMuxer(b, MuxerOptions{})
			const chunk = 1 << 20
			data := make([]byte, chunk)
			id := m.Attach(Attachment{UDID: testUDID,
				Open: func(uint16) (func(context.Context, net.Conn), error) {
					return func(_ context.Context, c net.Conn) {
						for {
							if _, err := c.Write(data); err != nil {
								return
							}
						}
					}, nil
				}})
			address := listenOn(b, m, network)
			if network == "unix" {
				address = "unix:" + address
			}
			conn, err := newClient(b, Options{Address: address}).Connect(context.Background(), id,
				1)
			if err != nil {
				b.Fatal(err)
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
		})
	}
}
