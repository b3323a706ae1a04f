package virtual_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/diagnosticsrelay"
	"github.com/imdlua/imdlua/runtime/service/heartbeat"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
	"github.com/imdlua/imdlua/runtime/service/syslogrelay"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

const (
	cycles     = 5000
	aborted    = 500
	leakEcho   = 4242
	heapGrowth = 8 << 20 // far below one KiB a cycle
)

// held counts the resources of a process.
type held struct {
	goroutines, descriptors int
	heap                    uint64
}

// descriptors returns the number of open files, if the system has /proc.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held through the first
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// settle waits until both sides have noticed the ends of all connections, and then counts.
func settle(before held) held {
	h := held{goroutines: virtualtest.Settled(before.goroutines)}
	deadline := time.Now().Add(virtualtest.Deadline / 4)
	for h.descriptors = descriptors(); h.descriptors > before.descriptors &&
		time.Now().Before(deadline); h.descriptors = descriptors() {
		time.Sleep(time.Millisecond)
	}
	h.heap = heap()
	return h
}

// cycle connects, uses the connection and closes it. Every fifth cycle has a TLS
// handshake.
func cycle(ctx context.Context, mux *usbmux.Client, d *device.Device, n int) error {
	switch n % 5 {
	case 0:
		return serviceCycle(ctx, d, n/5)
	case 1:
		if n%2 == 0 {
			return second(mux.List(ctx))
		}
	case 2:
		return second(d.Public(ctx))
	case 3:
		return second(d.Get(ctx, "", "DeviceName"))
	case 4:
		return echoCycle(ctx, d, n)
	}
	l, err := mux.Listen(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	return second(l.Next(ctx))
}

func echoCycle(ctx context.Context, d *device.Device, n int) error {
	c, err := d.Connect(ctx, leakEcho)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if _, err := fmt.Fprintf(c, "%08d", n); err != nil {
		return err
	}
	return second(io.ReadFull(c, make([]byte, 8)))
}

func serviceCycle(ctx context.Context, d *device.Device, n int) error {
	use := []func() error{
		func() error {
			return using(ctx, d, afc.Connect,
				func(c *afc.Client) error { return second(c.ReadDir(ctx, "/")) })
		},
		func() error {
			return using(ctx, d, heartbeat.Connect,
				func(c *heartbeat.Client) error { return second(c.Beat(ctx)) })
		},
		func() error {
			return using(ctx, d, diagnosticsrelay.Connect,
				func(c *diagnosticsrelay.Client) error { return second(c.Battery(ctx)) })
		},
		func() error {
			return using(ctx, d, notificationproxy.Connect,
				func(c *notificationproxy.Client) error { return c.Post(ctx, "a.b") })
		},
		func() error {
			return using(ctx, d, ostracerelay.Connect, func(c *ostracerelay.Client) error {
				s, err := c.StartActivity(ctx, ostracerelay.Activity{PID: -1})
				if err != nil {
					return err
				}
				return s.Close()
			})
		},
		func() error {
			return using(ctx, d, syslogrelay.Connect,
				func(c *syslogrelay.Client) error { return second(c.Next(ctx)) })
		},
		func() error {
			return using(ctx, d, installationproxy.Connect, func(
				c *installationproxy.Client,
			) error {
				return second(c.Lookup(ctx,
					installationproxy.Options{BundleIDs: []string{"com.example.notes"}}))
			})
		},
	}
	return use[n%len(use)]()
}

func using[C io.Closer](
	ctx context.Context, d *device.Device, connect func(context.Context, service.Opener) (C, error),
	do func(C) error,
) error {
	c, err := connect(ctx, d)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// inTurns calls do n times from several goroutines.
func inTurns(n int, do func(int)) {
	var next atomic.Int64
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	work.Wait()
}

// TestNothingLeaks uses and closes thousands of connections over real sockets, some of
// which it abandons half way, and then counts the resources that are left.
func TestNothingLeaks(t *testing.T) {
	h := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{Echo: leakEcho}})
	mux, err := usbmux.New(usbmux.Options{Address: virtualtest.Listen(t, h)})
	if err != nil {
		t.Fatal(err)
	}
	f := device.NewFinder(device.Options{Muxers: []*usbmux.Client{mux}})
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*virtualtest.Deadline)
	defer cancel()
	d, err := f.Find(ctx, device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	all := func(n int) {
		inTurns(n, func(i int) {
			if err := cycle(ctx, mux, d, i); err != nil {
				t.Errorf("cycle %d: %v", i, err)
			}
		})
	}
	all(20) // opens the session
	before := settle(held{goroutines: runtime.NumGoroutine(), descriptors: descriptors()})
	all(300) // fills pools and what else stays
	before = settle(before)

	all(cycles)
	compare(t, "after full cycles", before, settle(before))

	var cut atomic.Int64
	inTurns(100*aborted, func(i int) {
		if cut.Load() >= aborted {
			return
		}
		random := rand.New(rand.NewPCG(uint64(i), 1))
		short, cancel := context.WithTimeout(ctx,
			time.Duration(random.IntN(10_000))*time.Microsecond)
		defer cancel()
		if err := cycle(short, mux, d, i); err != nil {
			cut.Add(1)
		}
	})
	if n := cut.Load(); n < aborted {
		t.Errorf("only %d cycles were given up", n)
	}
	if err := cycle(ctx, mux, d, 3); err != nil { // the session may be new
		t.Errorf("after the aborted cycles: %v", err)
	}
	compare(t, fmt.Sprintf("after %d aborted cycles", cut.Load()), before, settle(before))
}

func compare(t *testing.T, when string, before, after held) {
	t.Helper()
	t.Logf("%s: %+v, before %+v", when, after, before)
	if after.goroutines > before.goroutines {
		buf := make([]byte, 1<<20)
		t.Errorf("%s: %d goroutines, before %d\n%s", when, after.goroutines, before.goroutines,
			buf[:runtime.Stack(buf, true)])
	}
	if after.descriptors > before.descriptors {
		t.Errorf("%s: %d descriptors, before %d", when, after.descriptors, before.descriptors)
	}
	if after.heap > before.heap+heapGrowth {
		t.Errorf("%s: heap of %d bytes, before %d", when, after.heap, before.heap)
	}
}
