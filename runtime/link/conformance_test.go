package link

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// The standard's own idea of what a net.Conn does.
func TestPipeConformance(t *testing.T) {
	t.Parallel()
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = Pipe()
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}
