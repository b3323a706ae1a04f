package virtual

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"github.com/imdlua/imdlua/runtime/link"
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
