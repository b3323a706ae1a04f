package virtual

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// Misbehave applies a fault to a connection without a service.
func Misbehave(ctx context.Context, c net.Conn, f Fault) net.Conn {
	m := &Machine{faults: map[string]Fault{"x": f}}
	return m.misbehave(ctx, "x", c)
}

// Inside dials the services of tunnels in memory and without a tunnel, because a tunnel
// does not work in a bubble of synctest.
func (m *Machine) Inside(ctx context.Context, port uint16) (net.Conn, error) {
	return m.Carrier()(ctx, port)
}

// Carrier returns a function like Inside. All calls of the function are in one tunnel, so
// that the rules for several hosts of one list apply to them. A port that is closed
// refuses the connection.
func (m *Machine) Carrier() func(ctx context.Context, port uint16) (net.Conn, error) {
	in := m.newInside()
	return func(_ context.Context, port uint16) (net.Conn, error) {
		serve, err := in.open(port)
		if err != nil {
			return nil, fmt.Errorf("%w (%w)", syscall.ECONNREFUSED, err)
		}
		client, server := link.Pipe()
		go func() {
			defer server.Close()
			serve(m.life, server)
		}()
		return client, nil
	}
}

// ListPort is the port on which Inside serves the list of services.
func (m *Machine) ListPort() uint16 { return m.rsdPort() }

// AttachWifi attaches the device to a muxer as one on Wi-Fi, and returns its number
// there. It can be reached whether it is plugged in or not.
func (m *Machine) AttachWifi(mux *usbmux.Muxer) uint32 {
	open := func(number uint16) (func(context.Context, net.Conn), error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		p, ok := m.ports[number]
		if !ok {
			return nil, errors.New("connection refused")
		}
		if p.once {
			p.expires.Stop()
			delete(m.ports, number)
		}
		return p.serve, nil
	}
	return mux.Attach(usbmux.Attachment{UDID: m.UDID(), Network: true, Open: open})
}
