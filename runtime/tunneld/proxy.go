package tunneld

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/things-go/go-socks5"
	"github.com/things-go/go-socks5/statute"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// maxProxied is how many connections a Proxy has at a time. Further ones wait.
	maxProxied = 512
	// proxyTimeout bounds the time in which a client authenticates itself and says where
	// to connect to, and the time for its answer.
	proxyTimeout = 10 * time.Second
	// HostSuffix may follow the identifier of a device in the host name that a client of
	// a Proxy asks for.
	HostSuffix = ".imdlua"
)

// Proxy makes all ports of devices reachable for programs that can use a proxy. Clients
// speak SOCKS5 or the CONNECT of HTTP, on the same port. The host name that a client
// asks for is the UDID of a device:
//
//	curl -x socks5h://imdlua:TOKEN@127.0.0.1:1080 http://00008120-001A2D3E4F567890:8100/status
//	curl -p -x http://imdlua:TOKEN@127.0.0.1:1080 http://00008120-001A2D3E4F567890.imdlua:8100/status
//
// Names are not resolved, and no other host can be reached. The fields must not change
// while it serves.
type Proxy struct {
	// Dial connects to a port of the device that a client names, without HostSuffix. The
	// error matches fs.ErrNotExist if there is no such device. It must be set.
	Dial func(ctx context.Context, host string, port uint16) (net.Conn, error)
	// Token is the password of all clients, whose user name is ignored. It must be set.
	Token string
	// Logger is silent when nil.
	Logger *slog.Logger
}

// Serve accepts clients from l until ctx ends or l fails. In the first case it returns
// nil. When it returns, l and all connections are closed.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	if p.Dial == nil || p.Token == "" {
		_ = l.Close()
		return &Error{Op: "serve", Err: errors.New("a proxy needs Dial and a token")}
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &proxyRun{Proxy: p, log: p.Logger, ctx: ctx}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.log = r.log.With("layer", "tunneld")
	limited := newLimited(l, maxProxied)
	defer r.wg.Wait()
	defer cancel()
	defer limited.Close()
	defer context.AfterFunc(ctx, func() { _ = limited.Close() })()
	for {
		c, err := limited.Accept()
		switch {
		case err == nil:
			r.wg.Go(func() { r.client(c) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return &Error{Op: "serve", Address: l.Addr().String(), Err: err}
		default:
			r.log.Warn("accept", "error", err)
			_ = link.Sleep(ctx, acceptPause)
		}
	}
}

// proxyRun is a Proxy while it serves.
type proxyRun struct {
	*Proxy
	log *slog.Logger
	ctx context.Context
	wg  sync.WaitGroup // clients
}

// client serves one client. Its first byte says which protocol it speaks.
func (r *proxyRun) client(raw net.Conn) {
	defer raw.Close()
	defer context.AfterFunc(r.ctx, func() { _ = raw.Close() })()
	_ = raw.SetDeadline(time.Now().Add(proxyTimeout))
	bound := &io.LimitedReader{R: raw, N: maxHeader}
	c := &readAhead{Conn: raw, r: bufio.NewReader(bound)}
	first, err := c.r.Peek(1)
	if err == nil && first[0] == statute.VersionSocks5 {
		bound.N = math.MaxInt64 // the messages of SOCKS5 are short
		err = r.socks(c)
	} else if err == nil {
		err = r.connect(c, bound)
	}
	if err != nil && !errors.Is(err, io.EOF) && r.ctx.Err() == nil {
		r.log.Debug("proxy", "error", clipped{err})
	}
}

// dial connects to the device that a client names.
func (r *proxyRun) dial(host string, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(r.ctx, dialTimeout)
	defer cancel()
	name := deviceName(host)
	if name == "" || len(name) > maxUDID || port == 0 {
		return nil, fmt.Errorf("%q port %d: %w", link.Clip(host), port, fs.ErrNotExist)
	}
	return r.Dial(ctx, name, port)
}

// deviceName returns which device a host name stands for.
func deviceName(host string) string {
	host = strings.TrimSuffix(host, ".")
	if n := len(host) - len(HostSuffix); n > 0 && strings.EqualFold(host[n:], HostSuffix) {
		host = host[:n]
	}
	return host
}

// pass passes bytes on between a client and a device. The client has sent its request
// and got its answer, so that no deadline applies any more.
func (r *proxyRun) pass(client, device net.Conn) {
	defer device.Close()
	defer context.AfterFunc(r.ctx, func() { _ = device.Close() })()
	_ = client.SetDeadline(time.Time{})
	link.Join(client, device)
}

// socks serves a client of SOCKS5.
func (r *proxyRun) socks(c net.Conn) error {
	refuse := func(_ context.Context, w io.Writer, _ *socks5.Request) error {
		return socks5.SendReply(w, statute.RepCommandNotSupported, nil)
	}
	s := socks5.NewServer(
		socks5.WithCredential(password(r.Token)),
		socks5.WithResolver(unresolved{}),
		socks5.WithConnectHandle(func(_ context.Context, _ io.Writer, q *socks5.Request) error {
			return r.socksConnect(c, q)
		}),
		socks5.WithBindHandle(refuse),
		socks5.WithAssociateHandle(refuse),
	)
	return s.ServeConn(c)
}

// socksConnect serves a client that has authenticated itself.
func (r *proxyRun) socksConnect(c net.Conn, q *socks5.Request) error {
	host := q.RawDestAddr.FQDN
	if host == "" {
		host = q.RawDestAddr.IP.String()
	}
	device, err := r.dial(host, uint16(q.RawDestAddr.Port))
	_ = c.SetDeadline(time.Now().Add(proxyTimeout))
	if err != nil {
		return errors.Join(err, socks5.SendReply(c, socksReply(err), nil))
	}
	// The address on which a connection in a tunnel leaves means nothing to a client.
	if err := socks5.SendReply(c, statute.RepSuccess, &net.TCPAddr{IP: net.IPv4zero}); err != nil {
		_ = device.Close()
		return err
	}
	client := &readAhead{Conn: c}
	if b, ok := q.Reader.(*bufio.Reader); ok {
		client.r = b // the client may have sent more already
	}
	r.pass(client, device)
	return nil
}

// socksReply returns the reply for an error of Dial.
func socksReply(err error) uint8 {
	switch {
	case link.Is(err, syscall.ECONNREFUSED):
		return statute.RepConnectionRefused
	case errors.Is(err, context.DeadlineExceeded):
		return statute.RepTTLExpired
	}
	return statute.RepHostUnreachable
}

// password accepts clients that have it.
type password string

// Valid reports whether a client has the password.
func (p password) Valid(_, got, _ string) bool { return sameSecret(got, string(p)) }

// unresolved resolves no names.
type unresolved struct{}

// Resolve returns no address.
func (unresolved) Resolve(ctx context.Context, _ string) (context.Context, net.IP, error) {
	return ctx, nil, nil
}

// sameSecret compares hashes, which have equal lengths, in constant time.
func sameSecret(got, want string) bool {
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1
}

// connect serves a client of HTTP.
func (r *proxyRun) connect(c *readAhead, bound *io.LimitedReader) error {
	q, err := http.ReadRequest(c.r)
	if err != nil {
		return errors.Join(err, answerProxy(c, http.StatusBadRequest, nil))
	}
	status, header := r.check(q)
	if status != 0 {
		r.log.Warn("refused", "method", link.Clip(q.Method), "status", status)
		return answerProxy(c, status, header)
	}
	host, text, err := net.SplitHostPort(q.Host)
	port, err2 := strconv.ParseUint(text, 10, 16)
	if err != nil || err2 != nil {
		return answerProxy(c, http.StatusBadRequest, nil)
	}
	device, err := r.dial(host, uint16(port))
	_ = c.SetDeadline(time.Now().Add(proxyTimeout))
	if err != nil {
		return errors.Join(err, answerProxy(c, httpStatus(err), nil))
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = device.Close()
		return err
	}
	bound.N = math.MaxInt64
	r.pass(c, device)
	return nil
}

// check returns the status with which a request is refused, or 0. Web pages cannot send
// CONNECT, but they can send other requests to this port.
func (r *proxyRun) check(q *http.Request) (int, http.Header) {
	scheme, credentials, _ := strings.Cut(q.Header.Get("Proxy-Authorization"), " ")
	known := false
	switch strings.ToLower(scheme) {
	case "bearer":
		known = sameSecret(credentials, r.Token)
	case "basic":
		if b, err := base64.StdEncoding.DecodeString(credentials); err == nil {
			_, word, _ := strings.Cut(string(b), ":")
			known = sameSecret(word, r.Token)
		}
	}
	switch {
	case len(q.Header.Values("Origin")) > 0,
		slices.ContainsFunc(q.Header.Values("Sec-Fetch-Site"), crossSite):
		return http.StatusForbidden, nil
	case !known:
		return http.StatusProxyAuthRequired,
			http.Header{"Proxy-Authenticate": {`Basic realm="imdlua"`}}
	case q.Method != http.MethodConnect:
		return http.StatusMethodNotAllowed, http.Header{"Allow": {http.MethodConnect}}
	}
	return 0, nil
}

// httpStatus returns the status for an error of Dial.
func httpStatus(err error) int {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// answerProxy refuses a request and says that the connection ends.
func answerProxy(w io.Writer, status int, header http.Header) error {
	text := strings.ToLower(http.StatusText(status)) + "\n"
	if header == nil {
		header = http.Header{}
	}
	header.Set("Server", serverName)
	header.Set("Content-Type", "text/plain; charset=utf-8")
	return (&http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: header, Close: true,
		ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text)),
	}).Write(w)
}
