package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// counting is a host whose connections to the muxer are counted.
type counting struct {
	*virtual.Host
	made atomic.Int64
}

func (c *counting) Dial(ctx context.Context) (net.Conn, error) {
	c.made.Add(1)
	return c.Host.Dial(ctx)
}

// finder returns a Finder that reaches the muxer of the host and nothing else.
func (c *counting) finder(tb testing.TB) *device.Finder {
	tb.Helper()
	mux, err := usbmux.New(usbmux.Options{Dial: c.Dial})
	if err != nil {
		tb.Fatal(err)
	}
	f := device.NewFinder(device.Options{Muxers: []*usbmux.Client{mux}})
	tb.Cleanup(func() { f.Close() })
	return f
}

// keepAll keeps tunnels to all devices of a host until all of them are up. It returns
// the number of connections to the muxer that this took, and the Keeper.
func keepAll(tb testing.TB, c *counting) (int64, *device.Keeper) {
	tb.Helper()
	ctx := virtualtest.Context(tb)
	f := c.finder(tb)
	changed := make(chan device.TunnelEvent, 1000)
	k := f.Keep(device.KeeperOptions{
		Tell: func(_ string, e device.TunnelEvent) { changed <- e },
	})
	for range c.Devices() {
		select {
		case e := <-changed:
			if !e.Up {
				tb.Fatalf("a tunnel could not be made: %v", e.Err)
			}
		case <-ctx.Done():
			tb.Fatalf("%d tunnels are up, want %d", len(k.Tunnels()), len(c.Devices()))
		}
	}
	return c.made.Load(), k
}

func countingHost(tb testing.TB, devices int) *counting {
	tb.Helper()
	return &counting{Host: virtualtest.Host(tb, virtual.HostOptions{
		Count:  devices,
		Device: virtual.Options{Phone: phone.Options{Profile: "ios17", LogRate: -1}},
	})}
}

// TestKeeperConnections keeps tunnels to 1, 10 and 40 devices of one muxer, as tunneld
// does. The number of connections to the muxer must grow with the number of devices, and
// not with its square.
func TestKeeperConnections(t *testing.T) {
	t.Parallel()
	counts := map[int]int64{}
	for _, n := range []int{1, 10, 40} {
		var k *device.Keeper
		counts[n], k = keepAll(t, countingHost(t, n))
		if up := len(k.Tunnels()); up != n {
			t.Errorf("%d tunnels are up, want %d", up, n)
		}
		k.Close()
	}
	t.Logf("connections by the number of devices: %v", counts)
	// A search may describe a device that the events have described as well, or come
	// later than the last tunnel, so a device may cost a little more or less.
	const most = 12
	for n, made := range counts {
		if made > int64(most*n+2) {
			t.Errorf("%d devices take %d connections, want at most %d for each and 2 more",
				n, made, most)
		}
	}
}

// TestWatchersShareOneHub watches three devices with 20 Watchers. There must be one
// connection that listens, and one for each description.
func TestWatchersShareOneHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices = 3
		c := countingHost(t, devices)
		f := c.finder(t)
		for range 20 {
			w := f.Watch(device.WatchOptions{})
			defer w.Close()
			for range devices {
				if e := next(t, w); e.Kind != device.Attached || e.Info.Name == "" {
					t.Errorf("the event is %+v, want a described device that is attached", e)
				}
			}
			silent(t, w)
		}
		if made := c.made.Load(); made != 1+devices {
			t.Errorf("20 Watchers made %d connections, want %d", made, 1+devices)
		}
	})
}

// next returns the next event of a Watcher.
func next(t *testing.T, w *device.Watcher) device.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := w.Next(ctx)
	if err != nil {
		t.Fatalf("there is no event: %v", err)
	}
	return e
}

// silent checks that a Watcher has no more events. It runs in a bubble of synctest.
func silent(t *testing.T, w *device.Watcher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := w.Next(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("there is another event, %+v, %v", e, err)
	}
}

// TestWatcherHasNoHistory unplugs a device and plugs it in several times. A Watcher that
// begins later, or that is not read meanwhile, must report the present state alone.
func TestWatcherHasNoHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := countingHost(t, 1)
		m := c.Devices()[0]
		f := c.finder(t)
		early, idle := f.Watch(device.WatchOptions{}), f.Watch(device.WatchOptions{})
		defer early.Close()
		defer idle.Close()
		skipped := f.Watch(device.WatchOptions{})
		defer skipped.Close()
		reader := f.Watch(device.WatchOptions{})
		defer reader.Close()
		for _, w := range []*device.Watcher{idle, reader} {
			if e := next(t, w); e.Kind != device.Attached {
				t.Errorf("the first event is %+v, want Attached", e)
			}
		}
		for range 5 {
			m.Detach()
			if e := next(t, reader); e.Kind != device.Detached {
				t.Errorf("the event is %+v, want Detached", e)
			}
			if err := m.Replug(); err != nil {
				t.Fatal(err)
			}
			if e := next(t, reader); e.Kind != device.Attached {
				t.Errorf("the event is %+v, want Attached", e)
			}
		}
		skipped.Skip()
		for name, test := range map[string]struct {
			w    *device.Watcher
			want []device.EventKind
		}{
			"never read": {early, []device.EventKind{device.Attached}},
			"read once":  {idle, []device.EventKind{device.Detached, device.Attached}},
			"new":        {f.Watch(device.WatchOptions{}), []device.EventKind{device.Attached}},
			"skipped":    {skipped, nil},
		} {
			for _, kind := range test.want {
				e := next(t, test.w)
				if e.Kind != kind {
					t.Errorf("%s: the event is %s, want %s", name, e.Kind, kind)
				}
				routes := 1
				if kind == device.Detached {
					routes = 0 // the present one is not reported yet
				}
				if n := len(e.Info.Routes); n != routes {
					t.Errorf("%s: %s has %d routes, want %d", name, kind, n, routes)
				}
			}
			silent(t, test.w)
			test.w.Close()
		}
	})
}

// TestSkipKeepsWhatComes unplugs a device after Skip.
func TestSkipKeepsWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := countingHost(t, 1)
		f := c.finder(t)
		w, other := f.Watch(device.WatchOptions{}), f.Watch(device.WatchOptions{})
		defer w.Close()
		defer other.Close()
		next(t, other) // the device is attached for both of them
		w.Skip()
		c.Devices()[0].Detach()
		if e := next(t, w); e.Kind != device.Detached {
			t.Errorf("the event is %+v, want Detached", e)
		}
		silent(t, w)
	})
}

// breakable dials the services inside a device, until it is broken.
type breakable struct {
	m *virtual.Machine

	mu     sync.Mutex
	broken bool
	open   []net.Conn
	asked  chan time.Time // gets the time of each call while it is broken
}

func (b *breakable) dial(ctx context.Context, port uint16) (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		b.asked <- time.Now()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("it is broken")}
	}
	c, err := b.m.Inside(ctx, port)
	if err == nil {
		b.open = append(b.open, c)
	}
	return c, err
}

// breakAll breaks the route with all connections on it.
func (b *breakable) breakAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = true
	for _, c := range b.open {
		c.Close()
	}
}

// TestKeepTunnelWaitsOutItsPause plugs a device in again several times while a tunnel to
// it is up on another route. After the tunnel has ended, these old events must not cut
// the pause short.
func TestKeepTunnelWaitsOutItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := countingHost(t, 1)
		m := c.Devices()[0]
		f := device.NewFinder(device.Options{
			Muxers:     []*usbmux.Client{must(usbmux.New(usbmux.Options{Dial: c.Dial}))(t)},
			NoAutoPair: true, // so that the only tunnel is the one that is broken
		})
		defer f.Close()
		b := &breakable{m: m, asked: make(chan time.Time, 1000)}
		d := must(f.At(t.Context(),
			device.Direct{Address: "inside", Port: m.ListPort(), Dial: b.dial}))(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		told, done := make(events, 100), make(chan error, 1)
		go func() {
			done <- d.KeepTunnel(ctx, device.TunnelOptions{}, func(e device.TunnelEvent) {
				for e.Tunnel != nil && len(b.asked) > 0 { // how the end was noticed
					<-b.asked
				}
				told <- e
			})
		}()
		told.up(t, ctx, 0)
		reader := f.Watch(device.WatchOptions{})
		defer reader.Close()
		next(t, reader)
		for range 3 {
			m.Detach()
			next(t, reader)
			if err := m.Replug(); err != nil {
				t.Fatal(err)
			}
			next(t, reader)
		}
		b.breakAll()
		if e := <-told; e.Up {
			t.Fatal("a tunnel came up on a route that is broken")
		}
		down := time.Now()
		if at := <-b.asked; at.Equal(down) {
			t.Error("the next attempt is made at once")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("KeepTunnel = %v", err)
		}
	})
}

// TestHungDeviceDelaysNobody watches two devices. The lockdownd of the first one never
// answers, so that all is known of the second one before.
func TestHungDeviceDelaysNobody(t *testing.T) {
	for _, atOnce := range []bool{true, false} {
		t.Run(fmt.Sprintf("at once %t", atOnce), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := countingHost(t, 2)
				hung, other := c.Devices()[0], c.Devices()[1]
				hung.SetFault("lockdown", virtual.Fault{Kind: virtual.Stall})
				w := c.finder(t).Watch(device.WatchOptions{AtOnce: atOnce})
				defer w.Close()
				attached := map[string]bool{}
				var described []string
				for len(described) < 2 {
					e := next(t, w)
					if e.Kind == device.Attached {
						attached[e.Info.UDID] = true
					}
					if e.Described {
						described = append(described, e.Info.UDID)
					}
					if e.Described && e.Info.UDID == hung.UDID() && e.Info.Err == nil {
						t.Error("the device that hangs has no error")
					}
					before := atOnce || len(described) == 2
					if len(described) > 0 && before != attached[hung.UDID()] {
						t.Errorf("the device that hangs is attached: %t, want %t",
							attached[hung.UDID()], before)
					}
				}
				if want := []string{other.UDID(), hung.UDID()}; !slices.Equal(described, want) {
					t.Errorf("%q are described, want %q", described, want)
				}
				silent(t, w)
			})
		})
	}
}

// TestWatchOneDeviceAsksOne watches one of three devices. The others must not be asked.
func TestWatchOneDeviceAsksOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := countingHost(t, 3)
		f := c.finder(t)
		w := f.Watch(device.WatchOptions{UDID: c.Devices()[1].UDID()})
		defer w.Close()
		if e := next(t, w); e.Info.UDID != c.Devices()[1].UDID() {
			t.Errorf("the event is one of %s, want %s", e.Info.UDID, c.Devices()[1].UDID())
		}
		silent(t, w)
		if made := c.made.Load(); made != 2 {
			t.Errorf("it made %d connections, want one that listens and one to the device", made)
		}
		rest := f.Watch(device.WatchOptions{})
		defer rest.Close()
		for range 3 {
			if e := next(t, rest); !e.Described {
				t.Errorf("%s is not described", e.Info.UDID)
			}
		}
		if made := c.made.Load(); made != 4 {
			t.Errorf("a Watcher of all devices brings the connections to %d, want 4", made)
		}
	})
}

// TestDetachNamesTheRoute has a device on a cable and, at the same muxer, on Wi-Fi.
func TestDetachNamesTheRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := countingHost(t, 1)
		m := c.Devices()[0]
		w := c.finder(t).Watch(device.WatchOptions{})
		defer w.Close()
		check := func(kind device.EventKind, route string, routes ...string) {
			t.Helper()
			e := next(t, w)
			if e.Kind != kind {
				t.Errorf("the event is %s, want %s", e.Kind, kind)
			}
			if e.Route.Kind != route {
				t.Errorf("%s on %s, want %s", kind, e.Route.Kind, route)
			}
			if e.Info.Name == "" {
				t.Errorf("%s on %s does not describe the device: %+v", kind, route, e.Info)
			}
			var kinds []string
			for _, r := range e.Info.Routes {
				kinds = append(kinds, r.Kind)
			}
			if !slices.Equal(kinds, routes) {
				t.Errorf("%s on %s has the routes %q, want %q", kind, route, kinds, routes)
			}
		}
		check(device.Attached, "usb", "usb")
		id := m.AttachWifi(c.Mux)
		check(device.Attached, "wifi", "usb", "wifi")
		m.Detach()
		check(device.Detached, "usb", "wifi")
		c.Mux.Detach(id)
		check(device.Detached, "wifi")
		silent(t, w)
	})
}

// TestKeeperKeepsOtherRoute unplugs a device that the muxer has on Wi-Fi, too. The
// Keeper must make another tunnel and not stop keeping it.
func TestKeeperKeepsOtherRoute(t *testing.T) {
	ctx := virtualtest.Context(t)
	c := countingHost(t, 1)
	m := c.Devices()[0]
	m.AttachWifi(c.Mux)
	changed := make(chan device.TunnelEvent, 100)
	k := c.finder(t).Keep(device.KeeperOptions{
		Tell: func(_ string, e device.TunnelEvent) { changed <- e },
	})
	defer k.Close()
	up := func(kind string) {
		t.Helper()
		for {
			select {
			case e := <-changed:
				if e.Up && e.Tunnel.Route.Kind == kind {
					return
				}
			case <-ctx.Done():
				t.Fatalf("no tunnel on %s comes up", kind)
			}
		}
	}
	up("usb")
	m.Detach()
	up("wifi")
}

// TestWatchLists watches the tunnels that another program lists. An entry that is not
// listed any more has gone, and one that is listed but cannot be read for a while is not
// gone as long as the device answers.
func TestWatchLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := countingHost(t, 1)
		m := c.Devices()[0]
		var listed, broken atomic.Bool
		listed.Store(true)
		f := device.NewFinder(device.Options{
			Direct: func(context.Context) ([]device.Direct, error) {
				if broken.Load() {
					return nil, errors.New("no answer")
				}
				if !listed.Load() {
					return nil, nil
				}
				return []device.Direct{
					{Name: "tunneld", Address: "inside", Port: m.ListPort(), Dial: m.Inside},
				}, nil
			},
		})
		defer f.Close()
		w := f.Watch(device.WatchOptions{})
		defer w.Close()
		e := next(t, w)
		if e.Kind != device.Attached || e.Info.UDID != m.UDID() {
			t.Errorf("the event is %+v, want one that attaches %s", e, m.UDID())
		}
		if e.Route.Kind != "tunnel" || e.Route.Name != "tunneld" {
			t.Errorf("the route is %v, want that of the list", e.Route)
		}
		broken.Store(true)
		silent(t, w)
		broken.Store(false)
		silent(t, w)
		listed.Store(false)
		if e := next(t, w); e.Kind != device.Detached || len(e.Info.Routes) != 0 {
			t.Errorf("the event is %+v, want Detached without a route that is left", e)
		}
		silent(t, w)
	})
}

// TestAddedMuxerIsWatched adds a muxer while a Watcher is open.
func TestAddedMuxerIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := device.NewFinder(device.Options{})
		defer f.Close()
		w := f.Watch(device.WatchOptions{})
		defer w.Close()
		c := countingHost(t, 1)
		mux := must(usbmux.New(usbmux.Options{Dial: c.Dial}))(t)
		f.AddMuxer(mux)
		if e := next(t, w); e.Info.UDID != c.Devices()[0].UDID() {
			t.Errorf("the event is %+v, want one of the device", e)
		}
	})
}

// TestWatcherIsClosed closes a Watcher while a call of Next waits, and another Watcher
// goes on.
func TestWatcherIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := countingHost(t, 0)
		f := c.finder(t)
		w, other := f.Watch(device.WatchOptions{}), f.Watch(device.WatchOptions{})
		next(t, w)
		next(t, other)
		ended := make(chan error, 1)
		go func() {
			_, err := w.Next(t.Context())
			ended <- err
		}()
		synctest.Wait()
		w.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next of a closed Watcher = %v, want ErrClosed", err)
		}
		w.Close()
		c.Devices()[0].Detach()
		if e := next(t, other); e.Kind != device.Detached {
			t.Errorf("the event of the other Watcher is %+v, want Detached", e)
		}
		other.Close()
	})
}
