package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

const (
	tunnelCycles = 1000
	tornCycles   = 200
	// Making a tunnel takes the device more bytes than these.
	proxyBytes, listBytes, pairingBytes = 14_000, 12_000, 1200
)

// cycler makes tunnels to one device over one route.
type cycler struct {
	device  *device.Device
	machine *virtual.Machine
	how     string
	share   int  // of the cycles
	torn    bool // something goes wrong
}

// cyclers has a device on each route over which tunnels are made.
func cyclers(t *testing.T) []*cycler {
	t.Helper()
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: "ios17"}}})
	add := func(profile string) *virtual.Machine {
		m, err := h.Add(
			virtual.Options{Phone: phone.Options{Profile: profile, Serial: h.NextSerial()}},
		)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	machines := []*virtual.Machine{h.Devices()[0], add("ios17.2"), add("ios26")}
	if _, err := machines[2].Show(virtual.NetworkOptions{Wifi: true}); err != nil {
		t.Fatal(err)
	}
	records := trustHost(t, machines...)
	var all []*cycler
	for n, c := range []struct {
		how   string
		types []bonjour.Type
		share int
	}{{proxy, nil, 5}, {quic, []bonjour.Type{cable}, 2}, {tcp, []bonjour.Type{air}, 3}} {
		o := device.Options{Browser: ears{h, c.types}}
		var f *device.Finder
		if n == 0 {
			o.Stores = []pair.Store{records}
			f = virtualtest.Finder(t, h, o)
		} else { // without a muxer there is one route alone
			f = device.NewFinder(o)
			t.Cleanup(func() { f.Close() })
		}
		d, err := f.Find(virtualtest.Context(t), device.Selector{UDID: machines[n].UDID()})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &cycler{device: d, machine: machines[n], how: c.how, share: c.share})
	}
	return all
}

// whole makes a tunnel, uses it and closes it. After a cut the tunnel may use another
// way.
func (c *cycler) whole(ctx context.Context, n int) error {
	tun, err := c.device.Tunnel(ctx, device.TunnelOptions{})
	if err != nil {
		return err
	}
	defer c.device.CloseTunnel()
	if tun.How != c.how && !c.torn {
		return fmt.Errorf("tunnel is %q, want %q", tun.How, c.how)
	}
	switch n % 12 {
	case 0:
		return askProcesses(ctx, c.device, c.machine)
	case 1:
		nc, err := tun.List().Open(ctx, afc.Service)
		if err != nil {
			return err
		}
		files := afc.New(nc)
		defer files.Close()
		return second(files.ReadDir(ctx, "/"))
	case 2:
		return tun.List().Refresh(ctx)
	}
	return nil
}

// tear is like whole, but the device disconnects at a random byte, or at a random moment
// the tunnel is cut or the caller gives up.
func (c *cycler) tear(ctx context.Context, n int) error {
	random := rand.New(rand.NewPCG(uint64(n), 2))
	c.torn = true
	defer func() {
		c.torn = false
		c.machine.ClearFaults()
	}()
	switch kind := n % 5; {
	case kind == 0:
		c.machine.SetTunnelFaults(
			virtual.TunnelFaults{Faults: tunnel.Faults{CutAfter: 1 + random.Int64N(listBytes)}},
		)
	case kind == 4 && c.how == proxy:
		c.machine.SetFault(proxyService,
			virtual.Fault{Kind: virtual.CloseMidMessage, After: random.IntN(proxyBytes)})
	case kind == 4:
		c.machine.SetFault(remotepair.Service,
			virtual.Fault{Kind: virtual.CloseMidMessage, After: random.IntN(pairingBytes)})
	case kind == 1:
		c.machine.SetFault("rsd",
			virtual.Fault{Kind: virtual.CloseMidMessage, After: random.IntN(listBytes)})
	case kind == 2:
		// Cut the tunnel again and again while it is made and used. Dialling a UDP port
		// that is gone takes seconds, so QUIC is cut only once while it is made.
		over, work := make(chan struct{}), sync.WaitGroup{}
		work.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Duration(random.IntN(2000)) * time.Microsecond):
					if c.how != quic || n == 2 || c.device.Tunneled() != nil {
						c.machine.DropTunnels()
					}
				}
			}
		})
		defer work.Wait()
		defer close(over)
	default:
		short, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(4000))*time.Microsecond)
		defer cancel()
		ctx = short
	}
	return c.whole(ctx, 0)
}

// TestTunnelsLeaveNothing makes and closes tunnels on every route at the same time. Many
// of them are abandoned half way.
func TestTunnelsLeaveNothing(t *testing.T) {
	all := cyclers(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*virtualtest.Deadline)
	defer cancel()
	// Each device has one tunnel at a time.
	each := func(do func(c *cycler)) {
		var work sync.WaitGroup
		for _, c := range all {
			work.Go(func() { do(c) })
		}
		work.Wait()
	}
	wholes := func(count int) {
		each(func(c *cycler) {
			for n := range count * c.share / 10 {
				if err := c.whole(ctx, n); err != nil {
					t.Errorf("%s, cycle %d: %v", c.how, n, err)
				}
			}
		})
	}
	wholes(30) // pairs, opens the session, fills pools and what else stays
	quiet(ctx, all)
	before := settle(held{goroutines: runtime.NumGoroutine(), descriptors: descriptors()})
	wholes(tunnelCycles - tornCycles)
	compare(t, "after full cycles", before, settle(before))

	var tore atomic.Int64
	each(func(c *cycler) {
		want := tornCycles*c.share/10 + 1
		for n, failed := 0, 0; failed < want && n < 10*want; n++ {
			if err := c.tear(ctx, n); err != nil {
				failed++
				tore.Add(1)
				var e *device.Error
				known := errors.Is(err, tunnel.ErrDown) || errors.Is(err, context.DeadlineExceeded)
				if !known && (!errors.As(err, &e) || e.UDID != c.machine.UDID()) {
					t.Errorf("%s, torn cycle %d: %T does not name the device: %v", c.how, n, err,
						err)
				}
			}
		}
	})
	if n := tore.Load(); n < tornCycles {
		t.Errorf("only %d cycles were torn", n)
	}
	wholes(10)
	compare(t, fmt.Sprintf("after %d torn cycles", tore.Load()), before, settle(before))
	if !quiet(ctx, all) {
		t.Error("a device still has a tunnel")
	}
}

// quiet waits until no device has a tunnel, or a listener for one.
func quiet(ctx context.Context, all []*cycler) bool {
	for ctx.Err() == nil {
		if !slices.ContainsFunc(all, func(c *cycler) bool { return c.machine.Tunnels() > 0 }) {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// TestManyTunnels uses tunnels to many devices at the same time.
func TestManyTunnels(t *testing.T) {
	const count = 20
	goroutines := runtime.NumGoroutine()
	t.Run("together", func(t *testing.T) {
		h := virtualtest.Host(t, virtual.HostOptions{
			Count: count / 2, Device: virtual.Options{Phone: phone.Options{Profile: "ios17"}},
		})
		for n := range count / 2 {
			profile := []string{"ios17.2", "ios26"}[n%2]
			if _, err := h.Add(
				virtual.Options{Phone: phone.Options{Profile: profile, Serial: h.NextSerial()}},
			); err != nil {
				t.Fatal(err)
			}
		}
		f := virtualtest.Finder(t, h,
			device.Options{Stores: []pair.Store{trustHost(t, h.Devices()...)}})
		ctx := virtualtest.Context(t)
		infos, err := f.List(ctx, device.Selector{})
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		if len(infos) != count {
			t.Fatalf("List finds %d devices, want %d", len(infos), count)
		}
		machines := map[string]*virtual.Machine{}
		for _, m := range h.Devices() {
			machines[m.UDID()] = m
		}
		var made, used sync.WaitGroup
		made.Add(count)
		for _, i := range infos {
			used.Go(func() {
				d, m := f.Device(i), machines[i.UDID]
				_, err := d.Tunnel(ctx, device.TunnelOptions{})
				made.Done()
				made.Wait() // all are there
				if err == nil {
					err = errors.Join(askProcesses(ctx, d, m),
						want(m.Tunnels() == 1, "%d tunnels to it", m.Tunnels()))
				}
				if err != nil {
					t.Errorf("%s: %v", i, err)
				}
			})
		}
		used.Wait()
	})
	if n := virtualtest.Settled(goroutines); n > goroutines {
		t.Errorf("%d goroutines are left of %d tunnels, before %d", n, count, goroutines)
	}
}
