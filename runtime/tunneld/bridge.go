package tunneld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"github.com/imdlua/imdlua/runtime/link"
)

// A client of pymobiledevice3's API that cannot dial the address of a tunnel, because it
// is on another computer or in a container, opens a WebSocket for each connection. The
// server accepts the WebSocket in any case, and says with the code of its end what was
// wrong, because clients take a refused upgrade for a server that is too old:
//
//	C  GET /connect?udid=U&port=P&address=A, Upgrade: websocket
//	S  101 Switching Protocols
//	   binary messages have the bytes of the connection; their borders mean nothing
//	S  close 1000 when the device has ended the connection
//	   close 1003 after a text message
//	   close 1013 if there are too many connections
//	   close 4404 if there is no tunnel to the device
//	   close 4502 if the connection in the tunnel fails
//
// Without P the connection is to the list of services. A chooses one of several tunnels
// to the device.
const (
	bridgePath = "/connect"

	closeNoTunnel     websocket.StatusCode = 4404
	closeNoConnection websocket.StatusCode = 4502

	// maxBridges is how many such connections there may be, as in pymobiledevice3.
	maxBridges = 200
	// maxSent and maxReceived bound the messages in each direction. Received ones are
	// not held in memory.
	maxSent     = 64 << 10
	maxReceived = 1 << 20
	// maxReason is the length of the reason in a close frame.
	maxReason = 123
)

// hopsHeader says through how many further servers a request may go. maxHops is the
// number for requests without the header.
const (
	hopsHeader = "X-Tunneld-Hops-Remaining"
	maxHops    = 4
)

// hopsOf returns how many further servers may be asked for a request.
func hopsOf(q *http.Request) int {
	n, err := strconv.ParseUint(q.Header.Get(hopsHeader), 10, 16)
	if err != nil {
		return maxHops
	}
	return int(min(n, maxHops))
}

// connKey is the key of the connection in the context of its requests.
type connKey struct{}

// bridge is GET /connect.
func (r *run) bridge(w http.ResponseWriter, q *http.Request) {
	raw, _ := q.Context().Value(connKey{}).(*limitedConn)
	ws, err := websocket.Accept(w, q, nil)
	if err != nil {
		r.log.Debug("no WebSocket", "error", err) // Accept has answered
		return
	}
	if raw != nil {
		raw.release() // it counts as a bridge now and no longer for the API
		defer context.AfterFunc(r.ctx, func() { _ = raw.Close() })()
	}
	ws.SetReadLimit(maxReceived)
	why := r.bridgeTo(q, ws)
	r.log.Debug("WebSocket ends", "code", int(why.Code), "reason", why.Reason)
	_ = ws.Close(why.Code, clipReason(why.Reason))
	_ = ws.CloseNow()
}

// clipReason shortens the reason of a close frame.
func clipReason(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxReason)], "")
}

// target is what a client of /connect asks for.
type target struct {
	udid    string
	port    uint16     // 0 means that of the list of services
	address netip.Addr // invalid means any tunnel
}

func decodeTarget(query url.Values) (target, error) {
	t := target{udid: query.Get("udid")}
	if t.udid == "" || len(t.udid) > maxUDID {
		return target{}, errors.New("udid: not the identifier of a device")
	}
	if s := query.Get("port"); s != "" {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return target{}, errors.New("port: not a number from 1 to 65535")
		}
		t.port = uint16(n)
	}
	if s := query.Get("address"); s != "" {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return target{}, errors.New("address: not an IP address")
		}
		t.address = a.WithZone("")
	}
	return t, nil
}

// bridgeTo connects a WebSocket to what the request names, and returns with which code
// and reason it is to be closed.
func (r *run) bridgeTo(q *http.Request, ws *websocket.Conn) websocket.CloseError {
	t, err := decodeTarget(q.URL.Query())
	if err != nil {
		return websocket.CloseError{Code: websocket.StatusPolicyViolation, Reason: err.Error()}
	}
	select {
	case r.bridges <- struct{}{}:
		defer func() { <-r.bridges }()
	default:
		return websocket.CloseError{
			Code: websocket.StatusTryAgainLater, Reason: "too many connections",
		}
	}
	noTunnel := websocket.CloseError{Code: closeNoTunnel, Reason: "no tunnel to " + t.udid}
	e := r.tunnelTo(t)
	if e != nil {
		defer e.wg.Done()
		return e.bridge(ws, t)
	}
	if r.upstream.returned(q) || hopsOf(q) == 0 {
		return noTunnel
	}
	base := r.upstream.having(q, r.net.dial, r.log, t.udid)
	if base == "" {
		return noTunnel
	}
	return r.bridgeUpstream(q, ws, base, t)
}

// tunnelTo returns the exposure of the tunnel that a client asks for, or nil. It does not
// end before the caller has called wg.Done.
func (r *run) tunnelTo(t target) *exposure {
	for _, e := range r.reachable() {
		f := e.front()
		if !SameUDID(e.UDID, t.udid) ||
			t.address.IsValid() && t.address != f.address && t.address != e.Address.WithZone("") {
			continue
		}
		if e.enter() {
			return e
		}
	}
	return nil
}

// enter counts a user of the exposure that its end waits for. It returns false if the
// tunnel has ended.
func (e *exposure) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.wg.Add(1)
	}
	return !e.closed
}

// bridge connects a WebSocket to a port of the device.
func (e *exposure) bridge(ws *websocket.Conn, t target) websocket.CloseError {
	port := t.port
	if port == 0 {
		port = e.RSDPort
	}
	ctx, cancel := context.WithTimeout(e.ctx, dialTimeout)
	c, err := e.dialListed(ctx, port)
	cancel()
	if err == nil && !e.track(c) {
		_ = c.Close()
		err = errors.New("too many connections into the tunnel")
	}
	if err != nil {
		return websocket.CloseError{Code: closeNoConnection, Reason: fmt.Sprintf("%s: %v",
			netip.AddrPortFrom(e.Address.WithZone(""), port), err)}
	}
	defer e.untrack(c)
	closing, cut := e.closing()
	defer cut()
	return relayMessages(closing, ws, c)
}

// closing returns a context for a client of the tunnel. It ends a moment after the tunnel,
// so that the client can still be told of the end.
func (e *exposure) closing() (context.Context, func()) {
	ctx, cancel := context.WithCancel(e.run.ctx)
	stop := context.AfterFunc(e.ctx, func() {
		_ = link.Sleep(ctx, closeTimeout)
		cancel()
	})
	return ctx, func() {
		stop()
		cancel()
	}
}

// dialListed connects to a port of the device, or to a port of the list that other
// programs read. On systems without aliases the list has the ports on which this server
// listens.
func (e *exposure) dialListed(ctx context.Context, port uint16) (net.Conn, error) {
	f := e.front()
	device := port
	if !f.alias {
		e.mu.Lock()
		for known, own := range f.ports {
			if own == port {
				device = known
			}
		}
		e.mu.Unlock()
	}
	if device == port || device != e.RSDPort {
		return e.Dial(ctx, device)
	}
	client, server := link.Pipe()
	if !e.track(server) {
		_ = client.Close()
		_ = server.Close()
		return nil, net.ErrClosed
	}
	e.wg.Go(func() {
		defer e.untrack(server)
		e.handler(f, device)(server)
	})
	return client, nil
}

// bridgeUpstream connects a WebSocket to the upstream that has the tunnel.
func (r *run) bridgeUpstream(
	q *http.Request, ws *websocket.Conn, base string, t target,
) websocket.CloseError {
	query := url.Values{"udid": {t.udid}}
	if t.port != 0 {
		query.Set("port", strconv.Itoa(int(t.port)))
	}
	if t.address.IsValid() {
		query.Set("address", t.address.String())
	}
	transport := &http.Transport{DialContext: r.net.dial, MaxResponseHeaderBytes: maxHeader}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(r.ctx, dialTimeout)
	up, _, err := websocket.Dial(ctx, strings.TrimRight(base, "/")+bridgePath+"?"+query.Encode(),
		&websocket.DialOptions{
			HTTPClient: &http.Client{Transport: transport}, HTTPHeader: r.upstream.header(q),
		})
	cancel()
	if err != nil {
		return websocket.CloseError{Code: closeNoConnection,
			Reason: fmt.Sprintf("upstream %s: %v", base, err)}
	}
	c := websocket.NetConn(r.ctx, up, websocket.MessageBinary)
	defer func() { _ = up.CloseNow() }()
	return relayMessages(r.ctx, ws, c)
}

// relayMessages passes bytes on between a WebSocket and a connection, which it closes,
// until one of them ends. It returns how the WebSocket is to be closed.
func relayMessages(ctx context.Context, ws *websocket.Conn, c net.Conn) websocket.CloseError {
	var received websocket.CloseError
	done := make(chan struct{})
	go func() {
		defer close(done)
		received = receiveMessages(ctx, ws, c)
		_ = c.Close() // ends sendMessages
	}()
	why := sendMessages(ctx, ws, c)
	select {
	case <-done:
		return received // the client was first
	default:
	}
	_ = c.Close()
	_ = ws.Close(why.Code, clipReason(why.Reason)) // ends receiveMessages
	_ = ws.CloseNow()
	<-done
	return why
}

// receiveMessages writes the messages of a client to c.
func receiveMessages(ctx context.Context, ws *websocket.Conn, c net.Conn) websocket.CloseError {
	for {
		kind, message, err := ws.Reader(ctx)
		if err != nil {
			return websocket.CloseError{Code: websocket.StatusNormalClosure}
		}
		if kind != websocket.MessageBinary {
			return websocket.CloseError{
				Code: websocket.StatusUnsupportedData, Reason: "only binary messages are accepted",
			}
		}
		if _, err := io.Copy(c, message); err != nil {
			return endOf(err)
		}
	}
}

// sendMessages sends what c has to a client.
func sendMessages(ctx context.Context, ws *websocket.Conn, c net.Conn) websocket.CloseError {
	b := make([]byte, maxSent)
	for {
		n, err := c.Read(b)
		if n > 0 {
			if err := ws.Write(ctx, websocket.MessageBinary, b[:n]); err != nil {
				return endOf(err)
			}
		}
		if err != nil {
			return endOf(err)
		}
	}
}

// endOf returns how a WebSocket is closed after an error of its other side. The code of
// an upstream is passed on.
func endOf(err error) websocket.CloseError {
	var closed websocket.CloseError
	switch {
	case errors.Is(err, io.EOF):
		return websocket.CloseError{Code: websocket.StatusNormalClosure}
	case errors.As(err, &closed) && closed.Code != websocket.StatusNoStatusRcvd:
		return closed
	}
	return websocket.CloseError{Code: websocket.StatusInternalError, Reason: err.Error()}
}
