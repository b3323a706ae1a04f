package virtual

import (
	"context"
	"net"

	"github.com/imdlua/imdlua/runtime/link"
)

// Misbehave gives tests the faults without a service behind them.
func Misbehave(ctx context.Context, c net.Conn, f Fault) net.Conn {
	m := &Machine{faults: map[string]Fault{"x": f}}
	return m.misbehave(ctx, "x", c)
}

// Inside dials what tunnels have, in memory and without a tunnel: tests whose
// time is their own cannot have one.
func (m *Machine) Inside(_ context.Context, port uint16) (net.Conn, error) {
	serve, err := m.openInTunnel(port)
	if err != nil {
		return nil, err
	}
	client, server := link.Pipe()
	go func() {
		defer server.Close()
		serve(m.life, server)
	}()
	return client, nil
}

// ListPort is where Inside has the list.
func (m *Machine) ListPort() uint16 { return m.rsdPort() }
