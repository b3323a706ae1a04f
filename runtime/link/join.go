package link

import (
	"io"
	"net"
	"sync"
)

// Join passes bytes on between two connections, and the end of each direction as a
// half-close. It returns when both directions have ended. If one fails, Join closes both
// connections.
func Join(a, b net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { carry(b, a) })
	carry(a, b)
	wg.Wait()
}

// carry copies one direction and passes its end on. An error closes both connections.
func carry(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if err == nil {
		err = CloseWrite(to)
	}
	if err != nil {
		_ = to.Close()
		_ = from.Close()
	}
}
