package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"golang.org/x/net/nettest"
)

var routes = []struct {
	name string
	pipes
}{{"memory", memory}, {"loopback", loopback}, {"tls", secure}, {"corked tls", corkable}}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestTerms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ wish, most, want int }{
		{0, 0, 16000}, {1280, 0, 1280}, {16000, 1500, 1500},
	} {
		tun := up(t, memory, Options{MTU: c.wish}, &Device{
			Open: services, RSDPort: 58034, MTU: c.most,
			Network: netip.MustParsePrefix("fd6c:7a1e:52b3::/64"),
		})
		got := fmt.Sprintf("%d %d %s %s", tun.MTU(), tun.RSDPort(), tun.PeerAddress(),
			tun.LocalAddress())
		want := fmt.Sprintf("%d 58034 fd6c:7a1e:52b3::1 fd6c:7a1e:52b3::2", c.want)
		if got != want {
			t.Errorf("%+v: MTU, RSD port and addresses are %s, want %s", c, got, want)
		}
	}
	a, b := up(t, memory, Options{}, nil), up(t, memory, Options{}, nil)
	if a.PeerAddress() == b.PeerAddress() {
		t.Errorf("two tunnels lead to %s, want networks of their own", a.PeerAddress())
	}
	if a.PeerAddress().As16()[0] != 0xfd {
		t.Errorf("a tunnel leads to %s, want a unique local address", a.PeerAddress())
	}
}

// TestStreams uses many connections at once, each with its own bytes and half-closed.
func TestStreams(t *testing.T) {
	t.Parallel()
	for _, route := range routes {
		for _, mtu := range []int{1280, MaxMTU} {
			t.Run(fmt.Sprint(route.name, mtu), func(t *testing.T) {
				t.Parallel()
				tun := up(t, route.pipes, Options{MTU: mtu}, nil)
				var wg sync.WaitGroup
				for i := range 40 {
					data := noise(1 << (i % 20))
					c := dial(t, tun, portEcho)
					wg.Go(func() {
						if _, err := c.Write(data); err != nil {
							t.Error(err)
						}
						if err := link.CloseWrite(c); err != nil {
							t.Error(err)
						}
					})
					wg.Go(func() { check(t, c, data) })
				}
				wg.Wait()
			})
		}
	}
}

// The host may send after the device has closed its sending side.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	tun := up(t, memory, Options{}, nil)
	c := dial(t, tun, portDrop)
	if _, err := c.Write(noise(3 << 20)); err != nil {
		t.Fatal(err)
	}
	if err := link.CloseWrite(c); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing behind CloseWrite: %v", err)
	}
	check(t, c, []byte(strconv.Itoa(3<<20)))
}

func TestRefused(t *testing.T) {
	t.Parallel()
	tun := up(t, memory, Options{}, nil)
	c, err := tun.Dial(within(t), 1)
	wantError(t, "a closed port", err, "dial", syscall.ECONNREFUSED)
	wantNone(t, "a closed port", c)
	c, err = tun.Dial(within(t), 0)
	if err == nil {
		t.Error("Dial to port 0 succeeds")
	}
	wantNone(t, "port 0", c)
	dial(t, tun, portEcho) // the tunnel still works
}

// bare returns a stack over a stream without handshake and acceptor.
func bare(tb testing.TB, c net.Conn, addr netip.Prefix, peer netip.Addr) *session {
	tb.Helper()
	st, err := newStack(addr, MaxMTU, MaxMTU-ipHeader-tcpHeader)
	if err != nil {
		tb.Fatal(err)
	}
	in := &inside{Stack: st, peer: peer, batch: batchSize, verify: true}
	s := &session{end: in, carrier: newStream(c), log: Options{}.logger()}
	s.start()
	tb.Cleanup(s.close)
	return s
}

// TestConnConformance runs the conformance test of golang.org/x/net for a net.Conn.
func TestConnConformance(t *testing.T) {
	t.Parallel()
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		accepted := make(chan net.Conn, 1)
		d := &Device{RSDPort: 1, Open: func(uint16) (func(context.Context, net.Conn), error) {
			return func(ctx context.Context, c net.Conn) { accepted <- c; <-ctx.Done() }, nil
		}}
		a, b := link.Pipe()
		result := serve(d, context.Background(), b)
		tun, err := Open(context.Background(), a, Options{})
		if err != nil {
			return nil, nil, nil, err
		}
		c1, err = tun.Dial(context.Background(), 1)
		if err != nil {
			return nil, nil, nil, err
		}
		return c1, <-accepted, func() { tun.Close(); result() }, nil
	})
}

// A connection that is not read must not block the others.
func TestStalledConsumer(t *testing.T) {
	t.Parallel()
	tun := up(t, loopback, Options{}, nil)
	stalled := dial(t, tun, portSource) // sends without end; the test does not read
	mute := dial(t, tun, portMute)      // the device does not read
	filled := make(chan error, 1)
	go func() {
		_, err := io.Copy(mute, endless{})
		filled <- err
	}()
	for i := range 20 {
		data := noise(1 << i)
		c := dial(t, tun, portEcho)
		go func() { c.Write(data); link.CloseWrite(c) }()
		check(t, c, data)
	}
	stalled.Close()
	tun.Close()
	if err := <-filled; !errors.Is(err, ErrDown) {
		t.Errorf("a write that waits when the tunnel ends: %v", err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// Every waiting call must end with the tunnel, whichever side ended it.
func TestEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(tun *Tunnel, host, device net.Conn, cancel func())
		want error
	}{
		"Close": {
			func(tun *Tunnel, _, _ net.Conn, _ func()) { tun.Close() }, net.ErrClosed,
		},
		"the device hangs up": {
			func(_ *Tunnel, _, device net.Conn, _ func()) { device.Close() }, ErrDown,
		},
		"the device stops": {func(_ *Tunnel, _, _ net.Conn, cancel func()) { cancel() }, ErrDown},
		"the link breaks": {
			func(_ *Tunnel, host, _ net.Conn, _ func()) { host.Close() }, net.ErrClosed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := link.Pipe()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			result := serve(&Device{Open: services, RSDPort: 1}, ctx, b)
			tun, err := Open(within(t), a, Options{})
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-tun.Done():
				t.Fatal("done before the end")
			default:
			}
			if err := tun.Err(); err != nil {
				t.Errorf("Err of a live tunnel: %v", err)
			}
			calls := make(chan error)
			mute, echo := dial(t, tun, portMute), dial(t, tun, portEcho)
			go func() { _, err := echo.Read(make([]byte, 1)); calls <- err }()
			go func() { _, err := io.Copy(mute, endless{}); calls <- err }()
			c.end(tun, a, b, cancel)
			for range 2 {
				err := <-calls
				if !errors.Is(err, ErrDown) {
					t.Errorf("a call in flight: %v, want ErrDown", err)
				}
				if !errors.Is(err, c.want) {
					t.Errorf("a call in flight: %v, want %v", err, c.want)
				}
			}
			<-tun.Done()
			err = tun.Err()
			if err == nil {
				t.Error("Err is nil after the end")
			}
			if c.want != ErrDown && !errors.Is(err, c.want) {
				t.Errorf("Err = %v, want %v", err, c.want)
			}
			if c, err := tun.Dial(within(t), portEcho); !errors.Is(err, ErrDown) {
				t.Errorf("Dial afterwards: %v, %v", c, err)
			}
			if _, err := echo.Write([]byte("x")); !errors.Is(err, ErrDown) {
				t.Errorf("Write afterwards: %v", err)
			}
			if err := errors.Join(tun.Close(), tun.Close()); err != nil {
				t.Errorf("Close again: %v", err)
			}
			err = result()
			switch name {
			case "the device stops":
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Serve = %v, want context.Canceled", err)
				}
			case "Close", "the link breaks":
				if err != nil {
					t.Errorf("Serve = %v, want nil", err)
				}
			}
		})
	}
}

// Open must end by its context, and close the connection.
func TestOpenHangs(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"nothing": "", "half a header": goldenResponse[:5], "half a body": goldenResponse[:50],
	} {
		a, b := link.Pipe()
		io.WriteString(b, answer)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		tun, err := Open(ctx, a, Options{})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: Open = %v, want context.DeadlineExceeded", name, err)
		}
		wantNone(t, name, tun)
		if got, _ := io.ReadAll(b); string(got) != goldenRequest {
			t.Errorf("%s: the device was sent %q", name, got)
		}
	}
}

func TestOpenRefused(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"hang up": "", "junk": "<?xml version=\"1.0\"?>",
		"a bad answer": frame(`{"type":"serverHandshakeResponse"}`),
	} {
		a, b := link.Pipe()
		io.WriteString(b, answer)
		link.CloseWrite(b)
		tun, err := Open(within(t), a, Options{})
		wantError(t, name, err, "open", nil)
		wantNone(t, name, tun)
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the connection is left open: %v", name, err)
		}
	}
}

func TestServeRefuses(t *testing.T) {
	t.Parallel()
	for name, question := range map[string]string{
		"hang up": "", "junk": "GET / HTTP/1.1\r\n", "a response": goldenResponse,
		"half": goldenRequest[:20],
	} {
		a, b := link.Pipe()
		result := serve(&Device{Open: services, RSDPort: 1}, context.Background(), b)
		io.WriteString(a, question)
		link.CloseWrite(a)
		wantError(t, name, result(), "serve", nil)
		check(t, a, nil)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, b := link.Pipe()
	result := serve(&Device{Open: services}, ctx, b)
	cancel()
	if err := result(); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while it waits for a request: %v", err)
	}
}

// Dial must end by its context if the device does not answer, and by the timeout in
// Options if the context has no deadline.
func TestDialHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	d := &Device{RSDPort: 1, Open: func(uint16) (func(context.Context, net.Conn), error) {
		<-release
		return nil, errors.New("late")
	}}
	tun := up(t, memory, Options{DialTimeout: 10 * time.Millisecond}, d)
	defer close(release)
	c, err := tun.Dial(context.Background(), 1)
	wantError(t, "without a deadline", err, "dial", context.DeadlineExceeded)
	wantNone(t, "without a deadline", c)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c, err = tun.Dial(ctx, 1)
	wantError(t, "cancelled", err, "dial", context.Canceled)
	wantNone(t, "cancelled", c)
}

// TestDeadlines sets a deadline in the future, one in the past and none.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	tun := up(t, memory, Options{}, nil)
	c := dial(t, tun, portEcho)
	for _, at := range []time.Time{time.Now().Add(5 * time.Millisecond), time.Unix(1, 0)} {
		c.SetDeadline(at)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
	}
	c.SetDeadline(time.Time{})
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	link.CloseWrite(c)
	check(t, c, []byte("x"))
}

// recorder is a connection that records its writes.
type recorder struct {
	net.Conn
	mu     sync.Mutex
	writes [][]byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, bytes.Clone(b))
	r.mu.Unlock()
	return r.Conn.Write(b)
}

// The device grants 16000 but drops packets over 8192, and packets that share a write
// slow it down. The host must send neither.
func TestSendLimit(t *testing.T) {
	t.Parallel()
	var host *recorder
	tun := up(t, func(testing.TB) (net.Conn, net.Conn) {
		a, b := link.Pipe()
		host = &recorder{Conn: a}
		return host, b
	}, Options{}, &Device{Open: services, RSDPort: 1, Faults: Faults{DropOver: sendLimit}})
	data := noise(4 << 20)
	c := dial(t, tun, portEcho)
	go func() {
		c.Write(data)
		link.CloseWrite(c)
	}()
	check(t, c, data)
	tun.Close()
	longest := 0
	for i, w := range host.writes {
		longest = max(longest, len(w))
		if i == 0 {
			continue // the handshake
		}
		wantPacket(t, fmt.Sprint("write ", i), w)
	}
	// The stack keeps room for options that most packets do not have.
	if longest > sendLimit || longest < sendLimit-40 {
		t.Errorf("the longest write had %d bytes, want nearly %d", longest, sendLimit)
	}
}

// Bytes that arrive with the end of the handshake, or just before the end of the
// tunnel, must be delivered.
func TestLastBytes(t *testing.T) {
	t.Parallel()
	tun := up(t, memory, Options{}, nil)
	c := dial(t, tun, portEcho)
	data := noise(100_000)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatal("the echo differs from the bytes that were sent")
	}
	c.Close()
	if _, err := c.Read(got); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := c.Write(got); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close after Close: %v", err)
	}
}
