package device

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
)

// poisoned is a network on which services are advertised that do not exist.
type poisoned struct {
	bonjour.Static
	browses atomic.Int64
}

func (p *poisoned) Browse(ctx context.Context, q bonjour.Query) ([]bonjour.Instance, error) {
	p.browses.Add(1)
	return p.Static.Browse(ctx, q)
}

// refusing returns a port on loopback on which nothing listens.
func refusing(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// advertised returns n instances of each type at a port on loopback.
func advertised(n int, port uint16) bonjour.Static {
	var all bonjour.Static
	for _, typ := range []bonjour.Type{bonjour.Mobdev2, bonjour.Remoted, bonjour.RemotePairing} {
		for i := range n {
			all = append(all, bonjour.Instance{
				Name: "phone" + strconv.Itoa(i), Type: typ, Host: "phone.local", Port: port,
				Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
			})
		}
	}
	return all
}

// TestDiscoveryEnds looks for devices where one advertised port refuses connections,
// and where thousands do. Each type must be browsed once.
func TestDiscoveryEnds(t *testing.T) {
	for _, count := range []int{1, 3000} {
		b := &poisoned{Static: advertised(count, refusing(t))}
		f := NewFinder(Options{Browser: b})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		infos, err := f.List(ctx, Selector{Network: true})
		cancel()
		f.Close()
		if err != nil {
			t.Errorf("List: %v", err)
		}
		if len(infos) > 0 {
			t.Errorf("List = %v, want no devices", infos)
		}
		if n := b.browses.Load(); n != 3 {
			t.Errorf("List() browsed %d times for %d instances, want 3", n, count)
		}
	}
}

// TestLostDeviceIsSoughtOnce connects to a device whose only route refuses connections.
func TestLostDeviceIsSoughtOnce(t *testing.T) {
	port := refusing(t)
	b := &poisoned{Static: advertised(1, port)}
	f := NewFinder(Options{Browser: b})
	defer f.Close()
	route := networkRoute(
		"wifi",
		ViaLockdown,
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port),
	)
	d := f.Device(Info{UDID: "x", Version: "17.0", Routes: []Route{route}})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := d.Public(ctx); err == nil {
		t.Error("Public() = nil, want an error")
	}
	if n := b.browses.Load(); n != 3 {
		t.Errorf("Public() browsed %d times, want 3", n)
	}
	ended, stop := context.WithCancelCause(context.Background())
	stop(errors.New("enough"))
	before := b.browses.Load()
	if _, err := d.Public(ended); err == nil {
		t.Error("Public() with an ended context = nil, want an error")
	}
	if n := b.browses.Load(); n != before {
		t.Errorf("with an ended context it browsed %d times more", n-before)
	}
}

// TestEverySenderIsAsked has a sender with hundreds of devices that do not answer.
// Their names come before the name of a device that another sender advertises.
func TestEverySenderIsAsked(t *testing.T) {
	silent, honest := listening(t), listening(t)
	var all bonjour.Static
	for i := range 256 {
		all = append(all, instanceOf("192.0.2.66", strconv.Itoa(1000+i), silent))
	}
	all = append(all, instanceOf("192.0.2.1", "phone", honest))
	f := NewFinder(Options{Browser: all})
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	asked := make(chan struct{})
	go func() {
		if c, err := honest.Accept(); err == nil {
			c.Close()
			close(asked)
			cancel()
		}
	}()
	if infos, err := f.List(ctx, Selector{Network: true}); len(infos) > 0 {
		t.Errorf("List() = %v, %v, want no devices", infos, err)
	}
	select {
	case <-asked:
	default:
		t.Error("the sender of one instance was never asked")
	}
}

// listening returns a listener on loopback that the test closes.
func listening(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// instanceOf returns the instance that a sender advertises for a device at a listener.
func instanceOf(sender, name string, at net.Listener) bonjour.Instance {
	a := at.Addr().(*net.TCPAddr).AddrPort()
	return bonjour.Instance{
		Name: name, Type: bonjour.Mobdev2, Host: "h.local", Port: a.Port(),
		Addresses: []netip.Addr{a.Addr().Unmap()}, Sender: netip.MustParseAddr(sender),
	}
}
