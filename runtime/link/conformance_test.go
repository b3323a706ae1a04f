package link

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// The conformance test of golang.org/x/net for a net.Conn.
func TestPipeConformance(t *testing.T) {
	t.Parallel()
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = Pipe()
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}
