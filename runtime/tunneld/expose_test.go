package tunneld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/rsd"
)

// list asks an API as a client does.
func (b *bench) list(address string) []Entry {
	b.t.Helper()
	list, err := b.client(address).List(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// services reads the list through an entry, as a foreign client does.
func (b *bench) services(e Entry) *rsd.Client {
	b.t.Helper()
	c, err := rsd.Dial(context.Background(), e.Dial, e.RSDPort, rsd.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// TestReachable uses a tunnel through each API. It reads the list of services and then
// connects to every service at the listed port.
func TestReachable(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		api   string
		alias bool
		want  string // address that is listed for the tunnel
	}{
		"alias":         {PythonAddress, true, aliasOf(udid, 0).String()},
		"other ports":   {PythonAddress, false, "127.0.0.1"},
		"go-ios":        {GoIOSAddress, true, tunnelAddress.String()},
		"go-ios, other": {GoIOSAddress, false, tunnelAddress.String()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(b *bench) { b.server.net.alias = tt.alias }, func(b *bench) {
				g := b.plug(udid)
				list := b.list(tt.api)
				if len(list) != 1 {
					t.Fatalf("List = %+v, want one entry", list)
				}
				e := list[0]
				if e.UDID != udid {
					t.Fatalf("List = %+v, want %s", list, udid)
				}
				if e.Address.String() != tt.want {
					t.Fatalf("List = %+v, want the address %s", list, tt.want)
				}
				if same := e.RSDPort == rsdPort; same != (tt.alias || tt.api == GoIOSAddress) {
					t.Errorf("the list is at port %d", e.RSDPort)
				}
				c := b.services(e)
				defer c.Close()
				if got, want := c.Peer().Properties.UDID(), g.phone.Identity.UDID; got != want {
					t.Errorf("the list is of %q, want %q", got, want)
				}
				if got, want := len(c.Peer().Services), len(g.services()); got != want {
					t.Errorf("the list has %d services, want %d", got, want)
				}
				for _, s := range g.services() {
					there, _ := c.Find(s.Name)
					got, err := echo(e.Dial, there.Port)
					if err != nil {
						t.Fatalf("%s at port %d: %v", s.Name, there.Port, err)
					}
					if want := fmt.Sprintf("%d:hello", s.Port); got != want {
						t.Fatalf("%s at port %d says %q, want %q", s.Name, there.Port, got, want)
					}
				}
			})
		})
	}
}

// TestForeignIdentities has clients with identities of their own. The device must see
// that of the server alone, because it closes the ports of its services for another one.
func TestForeignIdentities(t *testing.T) {
	t.Parallel()
	for _, alias := range []bool{true, false} {
		bubble(t, func(b *bench) { b.server.net.alias = alias }, func(b *bench) {
			g := b.plug(udid)
			e := b.list(PythonAddress)[0]
			for range 3 {
				c := b.services(e) // with a random identity
				defer c.Close()
				for _, s := range c.Peer().Services {
					wantEcho(t, e.Dial, s.Port)
				}
			}
			if n := g.moves.Load(); n != 0 {
				t.Errorf("alias %v: the device has seen %d other identities", alias, n)
			}
		})
	}
}

// TestMountedLater adds services while the tunnel is in use. A client that reads the
// list afterwards can reach them.
func TestMountedLater(t *testing.T) {
	t.Parallel()
	for _, alias := range []bool{true, false} {
		bubble(t, func(b *bench) { b.server.net.alias = alias }, func(b *bench) {
			const name = "com.apple.instruments.dtservicehub"
			g := b.plug(udid)
			e := b.list(PythonAddress)[0]
			before := b.services(e)
			if _, ok := before.Find(name); ok {
				t.Error("dtservicehub is listed without an image")
			}
			before.Close()
			g.image.Store(true)
			after := b.services(e)
			defer after.Close()
			s, ok := after.Find(name)
			if !ok {
				t.Fatal("dtservicehub is not listed with an image")
			}
			wantEcho(t, e.Dial, s.Port)
			g.image.Store(false)
			again := b.services(e)
			defer again.Close()
			if got, err := echo(e.Dial, s.Port); got != "" {
				t.Errorf("dtservicehub says %q, %v without an image", got, err)
			}
		})
	}
}

// TestRefreshFails checks that the old list is served if it cannot be read again.
func TestRefreshFails(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) { b.server.net.alias = false }, func(b *bench) {
		g := b.plug(udid)
		e := b.list(PythonAddress)[0]
		g.broken.Store(true)
		c := b.services(e)
		defer c.Close()
		if len(c.Peer().Services) != len(g.services()) {
			t.Errorf("%d services", len(c.Peer().Services))
		}
	})
}

// TestRefreshShared checks that the list is read once for clients that ask at the same
// time, except for the first of them.
func TestRefreshShared(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) { b.server.net.alias = false }, func(b *bench) {
		g := b.plug(udid)
		e := b.list(PythonAddress)[0]
		b.server.mu.Lock()
		r := b.server.current
		b.server.mu.Unlock()
		x := r.reachable()[0]
		x.reading <- struct{}{} // another client reads the list
		const clients = 20
		lists := make(chan *rsd.Client)
		for range clients {
			go func() {
				c, _ := rsd.Dial(context.Background(), e.Dial, e.RSDPort, rsd.Options{})
				lists <- c
			}()
		}
		synctest.Wait() // all of them wait for that reading
		before := g.dials.Load()
		<-x.reading
		for range clients {
			c := <-lists
			if c == nil {
				t.Fatal("no list")
			}
			c.Close()
		}
		if n := g.dials.Load() - before; n != 1 {
			t.Errorf("the list was read %d times for %d clients, want once", n, clients)
		}
	})
}

// TestTwoTunnels has tunnels to two devices, and two tunnels to one of them.
func TestTwoTunnels(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		b.plug(oldUDID)
		b.plug(udid)
		g := newGadget(t)
		defer g.die()
		wifi := g.tunnel(udid)
		wifi.Interface = "usbmux-" + udid + "-Network"
		b.keeper.mu.Lock()
		b.keeper.list = append(b.keeper.list, wifi)
		b.keeper.mu.Unlock()
		b.server.Changed()
		synctest.Wait()
		_, body := b.get(pythonAt, "GET /")
		want := fmt.Sprintf(`{"%[1]s":[{"tunnel-address":"%[3]s","tunnel-port":58034,"interface":"usbmux-%[1]s-USB"},`+
			`{"tunnel-address":"%[4]s","tunnel-port":58034,"interface":"usbmux-%[1]s-Network"}],`+
			`"%[2]s":[{"tunnel-address":"%[5]s","tunnel-port":58034,"interface":"usbmux-%[2]s-USB"}]}`,
			udid, oldUDID, aliasOf(udid, 0), aliasOf(udid, 1), aliasOf(oldUDID, 0))
		if body != want {
			t.Errorf("GET / = %s\nwant %s", body, want)
		}
		ports := map[uint16]bool{}
		for _, e := range b.list(GoIOSAddress) {
			ports[e.RelayPort] = true
		}
		for port := uint16(60106); port <= 60108; port++ {
			if !ports[port] {
				t.Errorf("no relay at %d, only at %v", port, ports)
			}
		}
	})
}

// TestPortsTaken has other programs on the ports that listeners would use.
func TestPortsTaken(t *testing.T) {
	t.Parallel()
	first, second := aliasOf(udid, 0), aliasOf(udid, 1)
	for name, tt := range map[string]struct {
		taken []netip.AddrPort
		want  string
		relay uint16
	}{
		"one service": {
			[]netip.AddrPort{netip.AddrPortFrom(first, rsd.FirstPort+7)}, second.String(), 60106,
		},
		"the list": {
			[]netip.AddrPort{netip.AddrPortFrom(first, rsdPort)}, second.String(), 60106,
		},
		"a relay": {
			[]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:60106")}, first.String(), 60107,
		},
		"a service everywhere": {everywhere(rsd.FirstPort), "127.0.0.1", 60106},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(b *bench) {
				for _, at := range tt.taken {
					b.mesh.taken[at] = true
				}
			}, func(b *bench) {
				b.plug(udid)
				list := b.list(PythonAddress)
				if len(list) != 1 || list[0].Address.String() != tt.want {
					t.Fatalf("List = %+v, want one at %s", list, tt.want)
				}
				c := b.services(list[0])
				defer c.Close()
				s, _ := c.Find("com.apple.afc")
				wantEcho(t, list[0].Dial, s.Port)
				if agent := b.list(GoIOSAddress); len(agent) != 1 ||
					agent[0].RelayPort != tt.relay {
					t.Errorf("List = %+v, want a relay at %d", agent, tt.relay)
				}
			})
		})
	}
}

func everywhere(port uint16) []netip.AddrPort {
	var list []netip.AddrPort
	for n := range aliasTries {
		list = append(list, netip.AddrPortFrom(aliasOf(udid, n), port))
	}
	return list
}

// TestAliasNotReached uses addresses that can be listened on but not dialled.
func TestAliasNotReached(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) {
		dial := b.server.net.dial
		b.server.net.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "127.77.") {
				return nil, errors.New("filtered")
			}
			return dial(ctx, network, address)
		}
	}, func(b *bench) {
		b.plug(udid)
		if list := b.list(PythonAddress); len(list) != 1 || list[0].Address != loopback {
			t.Errorf("List = %+v, want 127.0.0.1", list)
		}
	})
}

// TestUnreachable checks that a tunnel whose device does not answer is not listed. It
// is tried again, and listed when the device answers.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		g := newGadget(t)
		g.broken.Store(true)
		b.keeper.add(g, udid)
		time.Sleep(pollEvery + retryMin) // the server finds the tunnel by polling
		if list := b.list(PythonAddress); len(list) != 0 {
			t.Errorf("List = %+v, want none", list)
		}
		if list := b.list(GoIOSAddress); len(list) != 1 {
			t.Errorf("List = %+v, want the relay, which needs no list", list)
		}
		g.broken.Store(false)
		time.Sleep(retryMax)
		if list := b.list(PythonAddress); len(list) != 1 {
			t.Errorf("List = %+v, want one", list)
		}
	})
}

// TestManyPorts checks that a list with too many ports is refused.
func TestManyPorts(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		g := newGadget(t)
		for n := range maxPorts + 1 {
			g.more = append(g.more, rsd.Service{Name: fmt.Sprint("x", n), Port: uint16(1000 + n)})
		}
		b.keeper.add(g, udid)
		b.server.Changed()
		synctest.Wait()
		if list := b.list(PythonAddress); len(list) != 0 {
			t.Errorf("List = %+v, want none", list)
		}
	})
}

// TestTunnelDies ends a tunnel to which clients are connected in every way. They are
// disconnected, and the tunnel is no longer listed, although its Manager has not
// noticed.
func TestTunnelDies(t *testing.T) {
	t.Parallel()
	for _, alias := range []bool{true, false} {
		bubble(t, func(b *bench) { b.server.net.alias = alias }, func(b *bench) {
			g := b.plug(udid)
			var conns []net.Conn
			var lists []*rsd.Client
			for _, address := range []string{PythonAddress, GoIOSAddress} {
				e := b.list(address)[0]
				c := b.services(e)
				lists = append(lists, c)
				s, _ := c.Find("com.apple.afc")
				nc, err := e.Dial(context.Background(), s.Port)
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				conns = append(conns, nc)
			}
			relay := b.list(GoIOSAddress)[0]
			silent, err := b.mesh.dial(context.Background(), "tcp",
				netip.AddrPortFrom(loopback, relay.RelayPort).String())
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			synctest.Wait()
			g.die()
			for _, c := range append(conns, silent) {
				io.Copy(io.Discard, c) // until the connection is closed
			}
			for _, c := range lists {
				<-c.Done()
				c.Close()
			}
			synctest.Wait()
			for _, address := range []string{PythonAddress, GoIOSAddress} {
				if list := b.list(address); len(list) != 0 {
					t.Errorf("%s lists %+v", address, list)
				}
			}
			if n := b.mesh.count(); n != 2 {
				t.Errorf("%d listeners, want those of the APIs alone", n)
			}
			if _, err := relay.Dial(context.Background(), rsdPort); err == nil {
				t.Error("the relay still listens")
			}
		})
	}
}

// TestNotListedWhileClosing asks for the list while the Manager closes a tunnel.
func TestNotListedWhileClosing(t *testing.T) {
	t.Parallel()
	for _, request := range []string{"GET /cancel?udid=" + udid, "GET /clear_tunnels"} {
		stuck, goOn := make(chan struct{}), make(chan struct{})
		bubble(t, func(b *bench) {
			stuck, goOn = make(chan struct{}), make(chan struct{})
			b.server.Manager = &slowKeeper{b.keeper, stuck, goOn}
		}, func(b *bench) {
			b.plug(udid)
			answered := make(chan struct{})
			go func() {
				b.get(pythonAt, request)
				close(answered)
			}()
			<-stuck
			if _, body := b.get(pythonAt, "GET /"); body != "{}" {
				t.Errorf("%s: GET / = %s while the tunnel is closed", request, body)
			}
			close(goOn)
			<-answered
			if _, body := b.get(goiosAt, "GET /tunnels"); body != "[]\n" {
				t.Errorf("%s: GET /tunnels = %s afterwards", request, body)
			}
		})
	}
}

// slowKeeper needs time to close a tunnel.
type slowKeeper struct {
	*keeper
	stuck, goOn chan struct{}
}

func (k *slowKeeper) wait() {
	close(k.stuck)
	<-k.goOn
}

func (k *slowKeeper) Cancel(id string) bool { k.wait(); return k.keeper.Cancel(id) }
func (k *slowKeeper) Clear()                { k.wait(); k.keeper.Clear() }

// TestManagerForgets checks that the ports of a tunnel are closed when its Manager does
// not list it any more, although it has not ended.
func TestManagerForgets(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		g := b.plug(udid)
		nc, err := b.list(GoIOSAddress)[0].Dial(context.Background(), rsd.FirstPort)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		b.keeper.mu.Lock()
		b.keeper.list = nil
		b.keeper.mu.Unlock()
		begin := time.Now()
		io.Copy(io.Discard, nc) // until the connection is closed
		if took := time.Since(begin); took > pollEvery {
			t.Errorf("noticed after %v, want %v at most", took, pollEvery)
		}
		if err := g.ctx.Err(); err != nil {
			t.Errorf("the tunnel has ended: %v", err)
		}
		synctest.Wait()
		if n := b.mesh.count(); n != 2 {
			t.Errorf("%d listeners, want those of the APIs alone", n)
		}
	})
}

// TestRebuilt replaces a tunnel by a second one to the same device.
func TestRebuilt(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		b.plug(udid)
		if status, _ := b.get(goiosAt, "DELETE /tunnel/"+udid); status != 204 {
			t.Fatalf("status %d", status)
		}
		synctest.Wait() // the first has given its alias back
		b.plug(udid)
		list := b.list(PythonAddress)
		if len(list) != 1 || list[0].Address != aliasOf(udid, 0) {
			t.Errorf("List = %+v, want the alias of before", list)
		}
	})
}
