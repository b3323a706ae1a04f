package virtual

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// HostOptions describes a host with virtual devices plugged in.
type HostOptions struct {
	Count  int     // number of devices
	Device Options // of each device; Phone.Serial is that of the first one
	Muxer  usbmux.MuxerOptions
	Cable  link.Conditions // of connections that Dial makes
	Logger *slog.Logger    // nil means silent
}

// Host is a muxer with virtual devices plugged in. It is safe for concurrent
// use.
type Host struct {
	Mux   *usbmux.Muxer
	cable link.Conditions

	mu      sync.Mutex
	devices []*Machine
	serial  int // Phone.Serial of the next device

	browsing sync.Mutex // held while Browse makes a network interface

	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup
}

// NewHost makes a host and its devices, and plugs the devices in.
func NewHost(o HostOptions) (*Host, error) {
	if o.Logger != nil {
		o.Muxer.Logger, o.Device.Logger = o.Logger, o.Logger
	}
	h := &Host{Mux: usbmux.NewMuxer(o.Muxer), cable: o.Cable}
	h.life, h.end = context.WithCancel(context.Background())
	h.serial = o.Device.Phone.Serial
	for i := range o.Count {
		d := o.Device
		d.Phone.Serial = h.NextSerial()
		m, err := h.add(d, i)
		if err != nil {
			h.Close()
			return nil, err
		}
		m.Attach(h.Mux)
	}
	return h, nil
}

// Add makes one more device and plugs it in.
func (h *Host) Add(o Options) (*Machine, error) {
	m, err := h.add(o, 0)
	if err == nil {
		m.Attach(h.Mux)
	}
	return m, err
}

// add makes a device. If n is not 0, the device is one of several and n+1 is
// appended to its name.
func (h *Host) add(o Options, n int) (*Machine, error) {
	m, err := New(o)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		name := fmt.Sprintf("%s %d", m.phone.Values.Name(), n+1)
		if err := m.phone.Values.Set("", "DeviceName", name); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	h.devices = append(h.devices, m)
	h.mu.Unlock()
	return m, nil
}

// NextSerial returns a Phone.Serial that no device of this host has had.
func (h *Host) NextSerial() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serial++
	return h.serial - 1
}

// Devices returns all devices, plugged in or not, in the order in which they were
// made.
func (h *Host) Devices() []*Machine {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.devices)
}

// Dial opens a connection in memory to the muxer; it is a link.DialFunc.
func (h *Host) Dial(ctx context.Context) (net.Conn, error) {
	if err := h.life.Err(); err != nil {
		return nil, net.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	client, server := h.cable.Pipe()
	h.work.Add(1)
	go func() {
		defer h.work.Done()
		h.Mux.ServeConn(h.life, server)
	}()
	return client, nil
}

// Serve serves clients that connect to l, until ctx ends or the Host is closed.
func (h *Host) Serve(ctx context.Context, l net.Listener) error { return h.Mux.Serve(ctx, l) }

// Close unplugs every device, ends all connections and waits for them.
func (h *Host) Close() error {
	h.end()
	for _, m := range h.Devices() {
		m.Close()
	}
	err := h.Mux.Close()
	h.work.Wait()
	return err
}
