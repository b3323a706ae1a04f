package virtual

import (
	"context"
	"net"
)

// Misbehave gives tests the faults without a service behind them.
func Misbehave(ctx context.Context, c net.Conn, f Fault) net.Conn {
	m := &Machine{faults: map[string]Fault{"x": f}}
	return m.misbehave(ctx, "x", c)
}
