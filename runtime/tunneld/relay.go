package tunneld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// maxConns is the maximum number of connections into one tunnel. Further ones are
	// closed at once.
	maxConns = 1024
	// relayTries is how many ports after that of go-ios' API are tried for a relay. If
	// none is free, the relay takes any port.
	relayTries = 256
	// preambleTimeout bounds the time in which a client sends the preamble.
	preambleTimeout = 10 * time.Second
	// acceptPause is the pause after a connection could not be accepted, for example
	// because there are no file descriptors left.
	acceptPause = 100 * time.Millisecond
)

// relayBase returns the address after whose port relays listen. It is the address of
// the API if that is on loopback.
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

// openRelay opens the relay of the tunnel.
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

// listenBehind listens on the first free port after base, or on any if none is free.
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
	err = release(err)
	var port uint16
	if err == nil {
		port, err = e.destination(b)
	}
	if err == nil {
		e.forward(c, port)
		return
	}
	// A client that sends nothing has only checked that the relay is there.
	if errors.Is(err, io.EOF) || e.ctx.Err() != nil {
		return
	}
	e.run.log.Debug("refused", "error",
		&Error{Op: "relay", Address: e.Address.String(), Err: err})
}

// destination returns the port of a preamble, whose address must be the device's.
func (e *exposure) destination(preamble []byte) (uint16, error) {
	to, port, err := decodePreamble(preamble)
	if err != nil {
		return 0, err
	}
	if to != e.Address.As16() {
		return 0, fmt.Errorf("preamble asks for %s", netip.AddrFrom16(to))
	}
	return port, nil
}

// serve accepts connections until the tunnel ends. It closes each connection when its
// handler has returned.
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
				_ = link.Sleep(e.ctx, acceptPause)
			}
		}
	})
}

// track registers a connection that is closed with the tunnel. It returns false if the
// tunnel has ended or if there are too many connections.
func (e *exposure) track(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.conns) >= 2*maxConns { // a relayed connection has two of them
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

// forward connects a client to a port of the device, until both sides have ended or one
// of them fails.
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
	link.Join(c, device)
}
