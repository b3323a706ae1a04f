package tunneld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// maxConns is the number of connections into one tunnel at a time; more are
	// closed at once.
	maxConns = 1024
	// relayTries is how many ports behind go-ios' API are tried for a relay
	// before any port is taken.
	relayTries = 256
	// preambleTimeout is how long a client may take to say where it wants to.
	preambleTimeout = 10 * time.Second
	// acceptPause is waited when no connection can be accepted, as without file
	// descriptors.
	acceptPause = 100 * time.Millisecond
)

// relayBase is where relays listen: behind the port of the API, on the same
// address if that is of loopback.
func relayBase(a net.Addr) netip.AddrPort {
	base := netip.MustParseAddrPort(GoIOSAddress)
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return base
	}
	at := t.AddrPort()
	if ip := at.Addr().Unmap(); ip.IsLoopback() {
		return netip.AddrPortFrom(ip, at.Port())
	}
	return netip.AddrPortFrom(base.Addr(), at.Port())
}

// openRelay listens on the next free port.
func (e *exposure) openRelay() error {
	l, err := e.listenBehind(e.run.relay)
	if err != nil {
		return err
	}
	e.serve(l, e.relayClient)
	e.mu.Lock()
	e.relayPort = portOf(l)
	e.mu.Unlock()
	return nil
}

// listenBehind opens the first free port behind base, or any.
func (e *exposure) listenBehind(base netip.AddrPort) (net.Listener, error) {
	for n := 1; n <= relayTries && int(base.Port())+n < 1<<16; n++ {
		l, err := e.run.net.listen(netip.AddrPortFrom(base.Addr(), base.Port()+uint16(n)))
		if err == nil {
			return l, nil
		}
	}
	return e.run.net.listen(netip.AddrPortFrom(base.Addr(), 0))
}

// relayClient serves a client of the relay.
func (e *exposure) relayClient(c net.Conn) {
	ctx, cancel := context.WithTimeout(e.ctx, preambleTimeout)
	defer cancel()
	b := make([]byte, preambleLen)
	release := link.GuardRead(ctx, c)
	_, err := io.ReadFull(c, b)
	if err = release(err); err == nil {
		var to [16]byte
		var port uint16
		if to, port, err = decodePreamble(b); err == nil && to != e.Address.As16() {
			err = fmt.Errorf("preamble asks for %s", netip.AddrFrom16(to))
		}
		if err == nil {
			e.forward(c, port)
			return
		}
	}
	if !errors.Is(err, io.EOF) &&
		e.ctx.Err() == nil { // who says nothing was looking whether it is there
		e.run.log.Debug("refused", "error",
			&Error{Op: "relay", Address: e.Address.String(), Err: err})
	}
}

// serve accepts connections until the tunnel ends and closes each when its
// handler is done.
func (e *exposure) serve(l net.Listener, handle func(net.Conn)) {
	e.mu.Lock()
	e.listeners[l] = struct{}{}
	if e.closed {
		_ = l.Close()
	}
	e.mu.Unlock()
	e.wg.Go(func() {
		for {
			c, err := l.Accept()
			switch {
			case err == nil && e.track(c):
				e.wg.Go(func() {
					defer e.untrack(c)
					handle(c)
				})
			case err == nil:
				_ = c.Close()
			case errors.Is(err, net.ErrClosed) || e.ctx.Err() != nil:
				return
			default:
				e.run.log.Warn("accept", "error", err)
				sleep(e.ctx, acceptPause)
			}
		}
	})
}

// track has a connection closed with the tunnel. It says no when that has
// happened, or when there are too many.
func (e *exposure) track(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.conns) >= 2*maxConns { // each has two ends here
		return false
	}
	e.conns[c] = struct{}{}
	return true
}

func (e *exposure) untrack(c net.Conn) {
	_ = c.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
}

// forward connects a client with a port of the device, until both sides have
// ended or one fails.
func (e *exposure) forward(c net.Conn, port uint16) {
	ctx, cancel := context.WithTimeout(e.ctx, dialTimeout)
	device, err := e.Dial(ctx, port)
	cancel()
	if err != nil {
		e.run.log.Debug("dial", "udid", e.UDID, "port", port, "error", err)
		return
	}
	if !e.track(device) {
		_ = device.Close()
		return
	}
	defer e.untrack(device)
	var wg sync.WaitGroup
	wg.Go(func() { carry(device, c) })
	carry(c, device)
	wg.Wait()
}

// carry copies one direction and passes its end on. A failure ends both.
func carry(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if err == nil {
		err = link.CloseWrite(to)
	}
	if err != nil {
		_ = to.Close()
		_ = from.Close()
	}
}
