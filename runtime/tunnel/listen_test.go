package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
)

func TestListen(t *testing.T) {
	t.Parallel()
	back := make(chan error, 1)
	var tun *Tunnel
	d := &Device{RSDPort: 1}
	listening := make(chan *net.TCPAddr, 1)
	d.Open = func(port uint16) (func(context.Context, net.Conn), error) {
		return func(ctx context.Context, c net.Conn) { <-ctx.Done() }, nil
	}
	tun = up(t, memory, Options{}, d)
	l, err := tun.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	listening <- l.Addr().(*net.TCPAddr)
	if (<-listening).Port == 0 {
		t.Error("no port was chosen")
	}
	go func() { _, err := l.Accept(); back <- err }()
	l.Close()
	if err := <-back; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v", err)
	}
	l, err = tun.Listen(4000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tun.Listen(4000); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port twice: %v", err)
	}
	go func() { _, err := l.Accept(); back <- err }()
	tun.Close()
	if err := <-back; !errors.Is(err, ErrDown) {
		t.Errorf("Accept in a tunnel that ended: %v", err)
	}
	if _, err := tun.Listen(4001); !errors.Is(err, ErrDown) {
		t.Errorf("Listen in a tunnel that ended: %v", err)
	}
}

// TestListenTCP connects two stacks, one of which accepts connections of the other.
func TestListenTCP(t *testing.T) {
	t.Parallel()
	a, b := link.Pipe()
	network := netip.MustParsePrefix("fd00::/64")
	one, two := network.Addr().Next(), network.Addr().Next().Next()
	left, right := bare(t, a, netip.PrefixFrom(one, 64),
		two), bare(t, b, netip.PrefixFrom(two, 64), one)
	l, err := left.end.ListenTCP(0)
	if err != nil {
		t.Fatal(err)
	}
	to := l.Addr().(*net.TCPAddr).AddrPort()
	for i := range 20 {
		c, err := right.end.DialTCP(within(t), to)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.RemoteAddr().String(), c.LocalAddr().String(); got != want {
			t.Errorf("the connection arrives from %s, want %s", got, want)
		}
		if got := c.RemoteAddr().String(); got != to.String() {
			t.Errorf("the connection goes to %s, want %s", got, to)
		}
		go func() { s.Write(noise(i)); s.Close() }()
		check(t, c, noise(i))
		c.Close()
	}
	l.Close()
	if c, err := right.end.DialTCP(within(t), to); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial of a closed listener: %v, %v", c, err)
	}
}
