package tunneld

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"

	"github.com/imdlua/imdlua/runtime/link"
)

// The addresses that foreign clients dial are on the loopback interface of the server.
// A Client that knows the server's token may be on another machine. It asks the server,
// at either API, to connect it as if it had dialled the address that the API lists:
//
//	C  GET /imdlua/connect?address=127.77.3.9&port=49152 HTTP/1.1
//	   Connection: Upgrade, Upgrade: tcp, Authorization: Bearer TOKEN
//	S  101 Switching Protocols
//	   and the device's bytes from here on
const (
	connectPath = "/imdlua/connect" // pymobiledevice3's API has bridgePath
	connectTo   = "tcp"             // the Upgrade header
)

// connect is GET /imdlua/connect.
func (r *run) connect(w http.ResponseWriter, q *http.Request) {
	address, err := netip.ParseAddr(q.URL.Query().Get("address"))
	port, err2 := strconv.ParseUint(q.URL.Query().Get("port"), 10, 16)
	if err != nil || err2 != nil || port == 0 || q.Header.Get("Upgrade") != connectTo {
		reply(w, http.StatusBadRequest, detail{"not an address, a port and an upgrade"})
		return
	}
	e, handle := r.behind(address, uint16(port))
	if e == nil {
		reply(w, http.StatusNotFound, detail{"no tunnel at that address"})
		return
	}
	defer e.wg.Done()
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		reply(w, http.StatusInternalServerError, detail{"the connection is not ours to take"})
		return
	}
	c := &readAhead{Conn: raw, r: buffered.Reader}
	if l, ok := raw.(*limitedConn); ok {
		l.release() // it counts for the tunnel now and no longer for the API
	}
	if !e.track(c) {
		_ = c.Close()
		return
	}
	defer e.untrack(c)
	if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nServer: "+serverName+
		"\r\nConnection: Upgrade\r\nUpgrade: "+connectTo+"\r\n\r\n"); err == nil {
		handle(c)
	}
}

// behind returns the exposure that a client of either API reaches at an address, and a
// function that serves a connection to it. The exposure does not end before the caller
// has called wg.Done.
func (r *run) behind(address netip.Addr, port uint16) (*exposure, func(net.Conn)) {
	for _, e := range r.reachable() {
		f := e.front()
		e.mu.Lock()
		for device, own := range f.ports {
			if f.address == address && own == port && !e.closed {
				e.wg.Add(1)
				e.mu.Unlock()
				return e, e.handler(f, device)
			}
		}
		e.mu.Unlock()
	}
	for _, e := range r.relayed() {
		e.mu.Lock()
		if e.Address.WithZone("") == address && !e.closed {
			e.wg.Add(1)
			e.mu.Unlock()
			return e, func(c net.Conn) { e.forward(c, port) }
		}
		e.mu.Unlock()
	}
	return nil, nil
}

// connect asks the server for a connection to the address and port of an entry.
func (c *Client) connect(ctx context.Context, address netip.Addr, port uint16) (net.Conn, error) {
	query := url.Values{
		"address": {address.WithZone("").String()}, "port": {strconv.Itoa(int(port))},
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://"+c.Address+connectPath+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Connection", "Upgrade")
	q.Header.Set("Upgrade", connectTo)
	q.Header.Set("Authorization", "Bearer "+c.Token)
	nc, err := c.dial(ctx, "tcp", c.Address)
	if err != nil {
		return nil, err
	}
	release := link.Guard(ctx, nc)
	upgraded, err := upgrade(nc, q)
	err = release(err)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return upgraded, nil
}

// upgrade sends the request, and returns the connection when the server has agreed.
func upgrade(nc net.Conn, q *http.Request) (net.Conn, error) {
	if err := q.Write(nc); err != nil {
		return nil, err
	}
	bound := &io.LimitedReader{R: nc, N: maxHeader}
	br := bufio.NewReader(bound)
	response, err := http.ReadResponse(br, q)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(response.Body)
		a := &answer{status: response.StatusCode, body: body}
		return nil, a.refusal("connect", q.URL.Host)
	}
	bound.N = math.MaxInt64
	return &readAhead{Conn: nc, r: br}, nil
}

// readAhead is a connection of which a buffered reader has read ahead.
type readAhead struct {
	net.Conn
	r *bufio.Reader // nil when its buffer is empty
}

// Read returns the bytes that were read ahead, then those of the connection.
func (c *readAhead) Read(p []byte) (int, error) {
	if c.r == nil {
		return c.Conn.Read(p)
	}
	if c.r.Buffered() == 0 {
		c.r = nil
		return c.Conn.Read(p)
	}
	return c.r.Read(p[:min(len(p), c.r.Buffered())])
}

// CloseWrite half-closes the connection.
func (c *readAhead) CloseWrite() error { return link.CloseWrite(c.Conn) }

// notThere reports whether the server answers that it has no such tunnel. It answers so
// for the tunnels that it lists for its upstreams.
func notThere(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}
