package tunneld

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/link"
)

// onLoopback reports whether only this machine can connect to an address. An address
// that is not a TCP address, such as that of a pipe, is local.
func onLoopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return !ok || t.IP.IsLoopback()
}

// guard passes the requests on that are allowed and refuses the others. The APIs change
// state on GET, so that a web page could end a tunnel with the address of an image. A
// browser names the site that a request comes from in Origin, or for images in
// Sec-Fetch-Site. A host name that was rebound to 127.0.0.1 (DNS rebinding) appears in
// Host.
func (r *run) guard(
	at net.Addr, refuse func(w http.ResponseWriter, status int), next http.Handler,
) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Server", serverName)
		status := 0
		switch {
		case len(q.Header.Values("Origin")) > 0,
			slices.ContainsFunc(q.Header.Values("Sec-Fetch-Site"), crossSite):
			status = http.StatusForbidden
		case (r.Token == "" || onLoopback(at)) && !isHere(q.Host, at):
			status = http.StatusForbidden
		case r.Token != "" && !bears(q.Header.Get("Authorization"), r.Token):
			w.Header().Set("WWW-Authenticate", "Bearer")
			status = http.StatusUnauthorized
		}
		if status != 0 {
			// A client that is refused must not keep one of the few connections.
			w.Header().Set("Connection", "close")
			path := link.Clip(q.URL.Path)
			r.log.Warn("refused", "method", link.Clip(q.Method), "path", path, "status", status)
			refuse(w, status)
			return
		}
		r.log.Debug("request", "method", q.Method, "path", q.URL.Path)
		if !r.enter() {
			refuse(w, http.StatusServiceUnavailable)
			return
		}
		defer r.wg.Done()
		q.Body = http.MaxBytesReader(w, q.Body, maxRequest)
		if r.Token != "" && q.URL.Path == connectPath && q.Method == http.MethodGet {
			r.connect(w, q)
			return
		}
		next.ServeHTTP(w, q)
	})
}

// crossSite reports whether the Sec-Fetch-Site header says that a page of another site
// makes the request. Its value is "none" if the user typed the address.
func crossSite(site string) bool { return site != "" && site != "none" && site != "same-origin" }

// isHere reports whether a Host header names the listener on which the request came.
func isHere(hostport string, at net.Addr) bool {
	t, ok := at.(*net.TCPAddr)
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = strings.Trim(hostport, "[]"), "80"
	}
	if !ok {
		t = &net.TCPAddr{}
	} else if port != strconv.Itoa(t.Port) {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	own, _ := netip.AddrFromSlice(t.IP)
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || a == netip.IPv6Loopback() ||
		a == own.Unmap()
}

// bears reports whether the header has the token.
func bears(header, token string) bool {
	const scheme = "bearer "
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return false
	}
	return sameSecret(header[len(scheme):], token)
}

// limited is a listener with a maximum number of open connections. Further ones wait to
// be accepted.
type limited struct {
	net.Listener
	free   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newLimited(l net.Listener, n int) *limited {
	return &limited{Listener: l, free: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept waits until the number of connections is below the maximum, and then for a
// connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.free })}, nil
}

// Close ends Accept.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

// CloseWrite half-closes the connection.
func (c *limitedConn) CloseWrite() error { return link.CloseWrite(c.Conn) }

// Close closes the connection, after which the listener accepts another one.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}
