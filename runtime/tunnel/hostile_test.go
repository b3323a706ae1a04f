package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// injector is a connection into which a test puts packets of its own.
type injector struct {
	net.Conn
	mu sync.Mutex
}

func (i *injector) Write(b []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.Conn.Write(b)
}

// infiltrate makes a tunnel and returns the places where packets reach the
// device and the host.
func infiltrate(t *testing.T) (tun *Tunnel, toDevice, toHost *injector) {
	t.Helper()
	tun = up(t, func(testing.TB) (net.Conn, net.Conn) {
		a, b := link.Pipe()
		toDevice, toHost = &injector{Conn: a}, &injector{Conn: b}
		return toDevice, toHost
	}, Options{}, nil)
	return tun, toDevice, toHost
}

func ip(from, to netip.Addr, next byte, payload []byte) []byte {
	b := make([]byte, ipHeader, ipHeader+len(payload))
	b[0], b[6], b[7] = 0x60, next, 255
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], from.AsSlice())
	copy(b[24:], to.AsSlice())
	return append(b, payload...)
}

// Both sides must ignore what kernels with a TUN device send by themselves, what frida
// sends, and invalid packets.
func TestStrangePackets(t *testing.T) {
	t.Parallel()
	tun, toDevice, toHost := infiltrate(t)
	host, device := tun.LocalAddress(), tun.PeerAddress()
	all := netip.MustParseAddr("ff02::2")
	r := rand.New(rand.NewChaCha8([32]byte{2}))
	junk := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for _, way := range []struct {
		c        *injector
		from, to netip.Addr
	}{{toDevice, host, device}, {toHost, device, host}} {
		packets := [][]byte{
			ip(way.from, way.to, 59, nil),                           // frida's dummy
			ip(way.from, all, 58, []byte{133, 0, 0, 0, 0, 0, 0, 0}), // router solicitation
			ip(way.from, all, 58, append([]byte{143, 0, 0, 0, 0, 0, 0, 1}, junk(20)...)),
			ip(way.from, way.to, 0, []byte{59, 0, 0xc2, 4, 0, 1, 0, 0}), // jumbogram
			ip(way.from, way.to, 44, junk(8)),                           // fragment
			ip(way.from, way.to, protocolTCP, nil),
			ip(way.from, way.to, protocolTCP, junk(3)),
			ip(way.to, way.to, protocolTCP, junk(40)), // from the address itself
			ip(way.from, way.to, 17, junk(1<<16-1)),
		}
		for next := range 256 {
			packets = append(packets, ip(way.from, way.to, byte(next), junk(r.IntN(200))),
				ip(way.from, way.to, protocolTCP, junk(r.IntN(60))))
		}
		for _, p := range packets {
			if _, err := way.c.Write(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	data := noise(100_000)
	c := dial(t, tun, portEcho)
	go func() { c.Write(data); link.CloseWrite(c) }()
	check(t, c, data)
}

// wantLost checks that err is a PacketError about a packet with this first byte.
func wantLost(t *testing.T, what string, err error, first byte) {
	t.Helper()
	var e *PacketError
	if !errors.As(err, &e) {
		t.Errorf("%s: %v, want a PacketError", what, err)
	} else if e.First != first {
		t.Errorf("%s: the PacketError has the byte %#x, want %#x", what, e.First, first)
	}
}

// Bytes whose packet length is unknown must end the tunnel, on either side.
func TestLostTrack(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]string{
		"IPv4": "\x45\x00\x00\x14", "text": "HTTP/1.1 ", "a second handshake": goldenRequest,
	} {
		tun, _, toHost := infiltrate(t)
		toHost.Write(append([]byte(bytes), make([]byte, ipHeader)...))
		<-tun.Done()
		wantLost(t, name, tun.Err(), bytes[0])
		a, b := link.Pipe()
		result := serve(&Device{Open: services, RSDPort: 1}, context.Background(), b)
		io.WriteString(a, goldenRequest+bytes+string(make([]byte, ipHeader)))
		wantLost(t, name+": device", result(), bytes[0])
	}
	for _, n := range []int{1, ipHeader - 1, ipHeader, ipHeader + 19} {
		a, b := link.Pipe()
		result := serve(&Device{Open: services, RSDPort: 1}, context.Background(), b)
		p := ip(netip.IPv6LinkLocalAllNodes(), netip.IPv6LinkLocalAllNodes(), 59, make([]byte, 20))
		io.WriteString(a, goldenRequest+string(p[:n]))
		link.CloseWrite(a)
		if err := result(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of a packet: %v", n, err)
		}
	}
}

// fragile is a connection that breaks after a number of bytes.
type fragile struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (f *fragile) Write(b []byte) (int, error) {
	f.mu.Lock()
	n := min(f.left, len(b))
	f.left -= n
	f.mu.Unlock()
	done, err := f.Conn.Write(b[:n])
	if n < len(b) {
		f.Conn.Close()
		return done, io.ErrClosedPipe
	}
	return done, err
}

// cycle opens a tunnel, transfers bytes and closes it. The host's or the device's
// connection may break after a number of bytes; 0 means never.
func cycle(ctx context.Context, t *testing.T, p pipes, host, device int) {
	a, b := p(t)
	if host > 0 {
		a = &fragile{Conn: a, left: host}
	}
	d := &Device{Open: services, RSDPort: 1, Faults: Faults{CutAfter: int64(device)}}
	result := serve(d, context.Background(), b)
	defer result()
	tun, err := Open(ctx, a, Options{})
	if err != nil {
		if host+device == 0 {
			t.Error(err)
		}
		return
	}
	defer tun.Close()
	for _, port := range []uint16{portSource, portMute, portEcho, 1} {
		c, err := tun.Dial(ctx, port)
		if err == nil {
			_, err = c.Write(make([]byte, 30_000))
		}
		if err == nil && port == portEcho {
			_, err = io.ReadFull(c, make([]byte, 30_000))
		}
		if err != nil && host+device == 0 && port != 1 {
			t.Errorf("port %d: %v", port, err)
		}
	}
}

// cycles runs n of them, 20 at a time. Every fifth breaks at a random byte.
func cycles(t *testing.T, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	r := rand.New(rand.NewPCG(3, 4))
	turns := make(chan struct{}, 20)
	var wg sync.WaitGroup
	for i := range n {
		p, host, device := memory, 0, 0
		if i%2 == 1 {
			p = loopback
		}
		switch at := 1 + r.IntN(1000)<<r.IntN(10); i % 10 {
		case 4:
			host = at
		case 9:
			device = at
		}
		turns <- struct{}{}
		wg.Go(func() {
			cycle(ctx, t, p, host, device)
			<-turns
		})
	}
	wg.Wait()
}

// TestCycles opens a thousand tunnels, of which two hundred break. No goroutine,
// descriptor or memory may be left.
func TestCycles(t *testing.T) {
	cycles(t, 200) // fills the pools
	noneLeft(t)
	before, files := heap(), descriptors(t)
	cycles(t, 1000)
	noneLeft(t)
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("1000 tunnels leave %d bytes", grown)
	}
	if now := descriptors(t); now > files {
		t.Errorf("%d descriptors become %d", files, now)
	}
}

func heap() int64 {
	var m runtime.MemStats
	for range 3 { // the second collection empties the pools
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // not Linux
	}
	return len(list)
}

// TestManyTunnels opens twenty tunnels and closes each while it is busy.
func TestManyTunnels(t *testing.T) {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			a, b := link.Pipe()
			result := serve(&Device{Open: services, RSDPort: 1}, context.Background(), b)
			tun, err := Open(within(t), a, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			var calls sync.WaitGroup
			for range 5 {
				c, err := tun.Dial(within(t), portSource)
				if err != nil {
					t.Error(err)
					break
				}
				calls.Go(func() {
					if _, err := io.Copy(io.Discard, c); !errors.Is(err, ErrDown) {
						t.Errorf("a read when the tunnel ends: %v", err)
					}
				})
			}
			tun.Close()
			calls.Wait()
			if err := result(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	noneLeft(t)
}

// Dials and listeners that begin while the tunnel ends.
func TestEndRaces(t *testing.T) {
	for range 50 {
		a, b := link.Pipe()
		result := serve(&Device{Open: services, RSDPort: 1}, context.Background(), b)
		tun, err := Open(within(t), a, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					c, err := tun.Dial(within(t), portEcho)
					if err != nil {
						if !errors.Is(err, ErrDown) {
							t.Error(err)
						}
						return
					}
					c.Close()
				}
			})
		}
		wg.Go(func() {
			for {
				l, err := tun.Listen(0)
				if err != nil {
					return
				}
				l.Close()
			}
		})
		dial(t, tun, portEcho)
		tun.Close()
		wg.Wait()
		result()
	}
	noneLeft(t)
}
