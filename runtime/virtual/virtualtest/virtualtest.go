// Package virtualtest starts virtual devices in tests.
package virtualtest

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// Deadline bounds every wait of a test. It does not measure speed: it only turns
// a hang into a failure.
const Deadline = 3 * time.Minute

// Host starts a host with virtual devices and closes it when the test ends. A
// Count of 0 means one device.
func Host(t testing.TB, o virtual.HostOptions) *virtual.Host {
	t.Helper()
	o.Count = max(o.Count, 1)
	if _, speed := t.(*testing.B); !speed {
		o.Cable = linktest.Conditions()
	}
	h, err := virtual.NewHost(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// Finder returns a Finder for the devices of h. It reaches their muxer through
// connections in memory, and finds them on networks with h.Browse.
func Finder(t testing.TB, h *virtual.Host, o device.Options) *device.Finder {
	t.Helper()
	mux, err := usbmux.New(usbmux.Options{Dial: h.Dial})
	if err != nil {
		t.Fatal(err)
	}
	o.Muxers = append(o.Muxers, mux)
	if o.Browser == nil {
		o.Browser = h
	}
	f := device.NewFinder(o)
	t.Cleanup(func() { f.Close() })
	return f
}

// Device starts one virtual device. It returns the device as a host sees it, and
// the machine behind it.
func Device(t testing.TB, o virtual.Options) (*device.Device, *virtual.Machine) {
	t.Helper()
	h := Host(t, virtual.HostOptions{Device: o})
	f := Finder(t, h, device.Options{})
	d, err := f.Find(Context(t), device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	return d, h.Devices()[0]
}

// Context returns a context that ends with the test, or after Deadline.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	t.Cleanup(cancel)
	return ctx
}

// Listen serves h on a port of 127.0.0.1 and returns the address as host:port,
// the form that all programs understand.
func Listen(t testing.TB, h *virtual.Host) string {
	t.Helper()
	return serve(t, h, "tcp", "127.0.0.1:0").String()
}

func serve(t testing.TB, h *virtual.Host, network, address string) net.Addr {
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		l.Close()
		<-done
	})
	return l.Addr()
}

// Settled waits until there are at most want goroutines, and returns their number.
// It gives up after a part of Deadline. The goroutines of a connection end a
// moment after the connection does.
func Settled(want int) int {
	deadline := time.Now().Add(Deadline / 4)
	for {
		n := runtime.NumGoroutine()
		if n <= want || time.Now().After(deadline) {
			return n
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}
